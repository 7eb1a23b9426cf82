"""What Aodh tells of its alarms on the cloud's bus, in a queue of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from autoscaler.adapters.sources.decode import (
    LIVE,
    NAME_LENGTH,
    SHOWN_LENGTH,
    brief,
    from_iso8601,
    kind_of,
    name_of,
    parsed,
    text_of,
)
from autoscaler.adapters.sources.envelope import unwrapped
from autoscaler.adapters.sources.link import Received, Tls
from autoscaler.adapters.sources.openstack import OsloSource
from autoscaler.alarms.notice import Notice, Told
from autoscaler.errors import InvalidMeasureError, Rejection
from autoscaler.ports import Batch, Source, Undecoded

NOTICE: Final = "notice"
"""What dead letters of this source are."""
PREFIX: Final = "alarm."
"""What the types of Aodh's notifications begin with; whatever else comes on the exchange is let go."""
KEPT: Final = 86_400.0
"""Seconds that a notification, and a queue that nobody listens at, wait at the broker."""


class AodhSource(OsloSource):
    """See :class:`autoscaler.ports.Source`; its batches hold notices and nothing else.

    Args:
        url: ``amqp[s]://[user[:password]@]host[:port][/vhost]``.
        now: not looked at: what is old has happened all the same.
        exchange: Aodh's ``control_exchange``.
        topic: one of Aodh's ``[oslo_messaging_notifications] topics``.
        queue: what the name of the own queue begins with.
        max_length: messages that the queue holds before the oldest are dropped.
        tls: for ``amqps``; the system's authorities when None.

    Raises:
        PermanentError: the URL is none.
    """

    exclusive = True  # two that shared the queue would each know half of Aodh's alarms

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], float],
        exchange: str = "aodh",
        topic: str = "notifications",
        queue: str = "autoscaler.aodh",
        max_length: int = 100_000,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(
            url,
            keys={"notices": f"{topic}.info"},
            now=now,
            exchange=exchange,
            queue=queue,
            ttl=KEPT,
            max_length=max_length,
            expires=KEPT,
            tls=tls,
        )

    def _batch(self, received: Iterable[Received]) -> Batch:
        notices: list[Notice] = []
        rejected: list[Undecoded] = []
        for message in received:
            try:
                notice = decode(message.payload)
            except InvalidMeasureError as error:
                shown = message.payload[:SHOWN_LENGTH].decode(errors="replace")
                rejected.append(Undecoded(error.rejection, error.detail, shown, kind=NOTICE))
            else:
                notices += [] if notice is None else [notice]
        return Batch((), rejected, self.name, notices=notices)


def decode(payload: bytes) -> Notice | None:
    """The notice in a message; None where it is about something else.

    Raises:
        InvalidMeasureError: it cannot be read.
    """
    if len(payload) > LIVE.max_bytes:
        detail = f"a message of {len(payload)} bytes; at most {LIVE.max_bytes} are taken"
        raise InvalidMeasureError(Rejection.TOO_LONG, detail)
    try:
        return _notice(unwrapped(payload))
    except RecursionError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, "nested too deeply") from error


def _notice(document: object) -> Notice | None:
    message = _object("the message", document)
    event_type = _text(message, "event_type")
    if not event_type.startswith(PREFIX):
        return None
    payload = _object("payload", message.get("payload"))
    told = event_type.removeprefix(PREFIX).replace("_", " ")
    if told not in set(Told):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"event_type: {brief(event_type)} is not known")
    return Notice(
        event_id=name_of("event_id", payload.get("event_id")),
        alarm_id=name_of("alarm_id", payload.get("alarm_id")),
        told=Told(told),
        detail=_detail(payload.get("detail")),
        time=from_iso8601(_text(payload, "timestamp")),
        user_id=_text(payload, "user_id", ""),
        project_id=_text(payload, "project_id", ""),
    )


def _detail(detail: object) -> Mapping[str, Any]:
    """From the API an object, from the evaluator JSON in a text."""
    if isinstance(detail, str):
        detail = parsed(text_of("detail", detail, LIVE.max_bytes).encode())
    found = _object("detail", detail)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, "detail: half a surrogate pair is no text") from error
    return found


def _object(name: str, found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"{name}: expected an object, found {kind_of(found)}")
    return found


def _text(document: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A text; null is no more than a missing key."""
    found = document.get(key)
    return default if found is None and default is not None else text_of(key, found, NAME_LENGTH)


_fits: type[Source] = AodhSource
