"""trust+http and trust+https actions: a webhook that bears a token of whoever made the alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import structlog

from autoscaler.adapters import http
from autoscaler.adapters.openstack import NO_KEYSTONE
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from autoscaler.adapters.actions.webhook import WebhookAction
    from autoscaler.adapters.openstack import Tokens
    from autoscaler.ports import OutboxRow

PREFIX = "trust+"
AWAY_DELAY = 5.0
"""Seconds until a Keystone that is away is asked again; actions wait for it as long as it takes."""

_log = structlog.get_logger(__name__)


class Trusted(NamedTuple):
    """The two parts of a trusted URL.

    Attributes:
        trust_id: "" where none could be made.
        url: what is called, without prefix and trust.
    """

    trust_id: str
    url: str


def trusted(url: str) -> Trusted:
    """``trust+SCHEME://TRUST[:delete]@REST``, taken apart; ``:delete`` is a note of the API's to itself.

    Raises:
        PermanentError: it is no URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise PermanentError(f"{redacted(url)}: not a URL that can be called") from error
    user, _, place = parts.netloc.rpartition("@")
    plain = parts._replace(scheme=parts.scheme.removeprefix(PREFIX), netloc=place)
    return Trusted(user.partition(":")[0], urlunsplit(plain))


class TrustAction:
    """See :class:`autoscaler.ports.Action`.

    A URL without a trust is called without a token, since that is all that can be done for it: a refusal then says
    that it was, and is final.

    Args:
        webhook: that makes the calls.
        tokens: None where there is no Keystone.
    """

    schemes = frozenset({"trust+http", "trust+https"})

    def __init__(self, webhook: WebhookAction, tokens: Tokens | None) -> None:
        self._webhook = webhook
        self._tokens = tokens

    async def deliver(self, row: OutboxRow) -> None:
        """POST the row's body with a token for the trust, with a new one where that is refused."""
        trust_id, url = trusted(row.url)
        async with http.within(self._webhook.timeout, f"POST {redacted(row.url)}"):
            if trust_id:
                await self._deliver(row, url, trust_id)
            else:
                await self._deliver_blindly(row, url)

    async def _deliver(self, row: OutboxRow, url: str, trust_id: str) -> None:
        if self._tokens is None:
            raise PermanentError(f"POST {redacted(row.url)}: {NO_KEYSTONE}")
        try:
            token = await self._tokens.token(trust_id)
        except TemporaryError as error:
            delay = AWAY_DELAY if error.delay is None else error.delay
            raise TemporaryError(str(error), delay=delay, tried=False, reached=False) from error
        try:
            await self._webhook.post(row, url, {"x-auth-token": token})
        except http.RefusedError as error:
            if error.status != 401:
                raise
        else:
            return
        token = await self._tokens.renewed(token, trust_id)
        await self._webhook.post(row, url, {"x-auth-token": token})

    async def _deliver_blindly(self, row: OutboxRow, url: str) -> None:
        _log.warning("action sent without a token", alarm_id=row.alarm_id, row=row.id, url=redacted(row.url))
        try:
            await self._webhook.post(row, url)
        except http.RefusedError as error:
            said = f"unconfirmed: sent without a token, since no trust could be made for it; {error}"
            raise PermanentError(said) from error
