"""What all who speak AMQP 0-9-1 have in common: the errors of the client told as ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from autoscaler.errors import REFUSED_DELAY, TemporaryError

_REFUSALS: Final = (
    AuthenticationError,
    ProbableAuthenticationError,
    ConnectionNotAllowed,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
)
"""What only people can mend."""

logging.getLogger("aiormq").setLevel(
    logging.CRITICAL
)  # it tells of every failed try, with traces; whoever calls tells of it once


@contextmanager
def translated(patience: float) -> Iterator[None]:
    """The client's errors as TemporaryError; ``patience``: seconds that a call was given."""
    try:
        yield
    except _REFUSALS as error:
        raise TemporaryError(said(error, patience), delay=REFUSED_DELAY) from error
    except InvalidFrameError as error:  # RabbitMQ closes the connection instead, and the client forgets why
        detail = "the broker closed the connection when asked for the virtual host: is it there, and open to this user?"
        raise TemporaryError(detail, delay=REFUSED_DELAY) from error
    except (AMQPError, OSError, RuntimeError) as error:  # RuntimeError: a connection that closed during a call
        raise TemporaryError(said(error, patience)) from error
    except asyncio.CancelledError as error:
        # the client cancels the calls of a connection that is lost; only a task that is asked to end must end
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TemporaryError("the connection was lost") from error
    except Exception as error:
        # what still waits when a connection ends for no reason that the client knows is told just that
        if type(error) is not Exception:
            raise
        raise TemporaryError("the connection was lost") from error


def said(error: BaseException, patience: float) -> str:
    """What an error says, or else what it is."""
    if isinstance(error, TimeoutError):
        return f"no answer within {patience:.3g} s"
    return str(error) or type(error).__name__
