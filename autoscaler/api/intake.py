"""What every path that takes measures or events has in common: limits, patience, and who may send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from autoscaler.api.callers import require_sender
from autoscaler.api.faults import RETRY_AFTER, fault
from autoscaler.api.identity import Identity, identity_of
from autoscaler.declarations.tokens import Scope, Sends
from autoscaler.errors import Rejection, TemporaryError
from autoscaler.measures.measure import Measure, as_json
from autoscaler.ports import Batch, Decoder, Form, Undecoded

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service
    from autoscaler.measures.event import Event

MAX_BYTES: Final = 1024 * 1024
"""Of a body."""
PATIENCE: Final = 5.0
"""Seconds that a request waits for the store."""
MAX_PENDING: Final = 200_000
"""Measures that may wait to be written before senders are asked to come back."""
KEPT: Final = 65_536
"""Bytes of a body too long to be taken that are kept as a dead letter."""


class Decoded(Protocol):
    """A message taken apart."""

    @property
    def measures(self) -> Sequence[Measure]:
        """In the order of the message."""
        ...

    @property
    def indexes(self) -> Sequence[int]:
        """Of each measure in the message, from 0."""
        ...

    @property
    def rejected(self) -> Sequence[Undecoded]:
        """What was not taken."""
        ...

    @property
    def events(self) -> Sequence[Event]:
        """In the order of the message."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """See :class:`Decoded`."""

    measures: Sequence[Measure] = ()
    indexes: Sequence[int] = ()
    rejected: Sequence[Undecoded] = ()
    events: Sequence[Event] = ()


Decode = Callable[[bytes], Decoded]
"""The measures and events of a body, and what of it could not be taken; never raises. Whether a project that is named
counts is its business, save that where tokens say who sends it must leave them all in, see :func:`owned`."""

Fault = Callable[[int, str, Mapping[str, str] | None], Response]
"""The answer to a request that failed, in the form that its sender knows."""

Answer = Callable[[bytes, Identity], Awaitable[Response]]
"""What is answered to a body and whoever sent it; raises TemporaryError while the store is away."""


class Rejected(msgspec.Struct, frozen=True):
    """A measure or event that was not taken; ``index`` counts from 0."""

    index: int
    reason: str
    detail: str


class Taken(msgspec.Struct, frozen=True):
    """The answer."""

    accepted: int
    rejected: list[Rejected]


class Intake:
    """Reads bodies within bounds and hands what is in them to the controller.

    Args:
        service: takes it.
        source: for dead letters and metric labels.
        sends: what a token must allow to be sent.
        kind: of what is sent, ``measure`` or ``event``.
        max_bytes: of a body.
        encoding: content-encoding that bodies have.
        fault: the form of errors.
    """

    def __init__(
        self,
        service: Service,
        source: str,
        *,
        sends: Sends,
        kind: str = "measure",
        max_bytes: int = MAX_BYTES,
        encoding: str = "identity",
        fault: Fault = fault,
    ) -> None:
        self._service = service
        self._source = source
        self._sends = sends
        self._kind = kind
        self._max_bytes = max_bytes
        self._encoding = encoding
        self._fault = fault

    async def answered(self, request: Request, answer: Answer) -> Response:
        """The answer to a request: ``answer`` to its body, or why it does not come to that."""
        identity = identity_of(request)
        require_sender(identity, self._sends)
        if request.headers.get("content-encoding", "identity").lower() != self._encoding:
            expected = "without content-encoding" if self._encoding == "identity" else f"encoded as {self._encoding}"
            return self._fault(415, f"expected a body {expected}", None)
        busy = self._busy()
        if busy:
            return self._away(busy)
        try:
            body, whole = await self._read(request)
        except ClientDisconnect:
            return self._fault(400, "the body ended too early", None)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer(body, identity) if whole else await self._too_long(body)
        except (TimeoutError, TemporaryError):
            # whatever of it is stored after all is harmless when it is sent again
            return self._away(f"the store is away; send the same {self._kind}s again")

    async def taken(self, decoded: Decoded, identity: Identity) -> Response:
        """202 with what became of each measure or event, 400 where nothing could be read."""
        theirs = self.owned(decoded, identity)
        refused = await self.write(theirs)
        whole = next((found for found in theirs.rejected if found.index is None), None)
        if whole is not None:
            return self._fault(status_of(whole), f"{whole.rejection}: {whole.detail}", None)
        rejected = [Rejected(found.index or 0, found.rejection, found.detail) for found in theirs.rejected]
        if refused:
            rejected += _without_room(theirs.measures, theirs.indexes, refused)
        accepted = len(theirs.measures) + len(theirs.events) - len(refused)
        answer = Taken(accepted, sorted(rejected, key=lambda found: found.index))
        return Response(msgspec.json.encode(answer), status_code=202, media_type="application/json")

    def owned(self, decoded: Decoded, identity: Identity) -> Decoded:
        """A message as it counts: as its sender's, and without what they may not send; see :func:`owned`."""
        return owned(decoded, identity, self._sends)

    async def write(self, message: Decoded) -> Sequence[Measure]:
        """Have it written and what was rejected buried; the measures that had no room."""
        return await self._service.take(Batch(message.measures, message.rejected, self._source, message.events))

    def _busy(self) -> str:
        runner = self._service.runner
        if runner.store_error:
            return "the store is away; nothing of this was stored"
        if runner.lag.pending > MAX_PENDING:
            return f"{runner.lag.pending} measures wait to be written; nothing of this was stored"
        return ""

    def _away(self, message: str) -> Response:
        return self._fault(503, message, {"Retry-After": RETRY_AFTER})

    async def _too_long(self, head: bytes) -> Response:
        message = f"the body is longer than {self._max_bytes} bytes; nothing of it was stored"
        text = head[:KEPT].decode(errors="replace")
        await self.write(Message(rejected=(Undecoded(Rejection.TOO_LONG, message, text, kind=self._kind),)))
        return self._fault(413, message, None)

    async def _read(self, request: Request) -> tuple[bytes, bool]:
        """The body, or its beginning and False where it is too long; no more of it is held than is taken."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                return bytes(body[: self._max_bytes]), False
        return bytes(body), True


class IntakeEndpoint:
    """Takes what a decoder finds in bodies, and answers when it is written."""

    def __init__(self, service: Service, decode: Decode, *, source: str, sends: Sends, kind: str = "measure") -> None:
        self._intake = Intake(service, source, sends=sends, kind=kind)
        self._decode = decode

    async def post(self, request: Request) -> Response:
        """The answer to one POST."""
        return await self._intake.answered(request, self._took)

    async def _took(self, body: bytes, identity: Identity) -> Response:
        return await self._intake.taken(self._decode(body), identity)


def status_of(whole: Undecoded) -> int:
    """How a message is answered of which nothing could be taken."""
    return 413 if whole.rejection is Rejection.TOO_LONG else 400


def owned(message: Decoded, identity: Identity, kind: Sends) -> Decoded:
    """A message as it counts: where a token says who sends it, that decides on the project of what it holds.

    Where nobody does, it is what it was decoded to, by what ``AUTOSCALER_TRUSTED_SOURCES`` says. What the token may not
    send is rejected.
    """
    if not identity.checked:
        return message
    measures = [
        measure if measure.project_id == project_id else msgspec.structs.replace(measure, project_id=project_id)
        for measure in message.measures
        for project_id in (identity.project_of(measure.project_id),)
    ]
    events = [
        msgspec.structs.replace(event, project_id=identity.project_of(event.project_id)) for event in message.events
    ]
    project_id = identity.project_of("")  # of those who may name one, what they name counts
    rejected = [
        replace(found, form=msgspec.structs.replace(found.form, project_id=project_id)) for found in message.rejected
    ]
    theirs = Message(measures, message.indexes, rejected, events)
    return theirs if identity.scope is None else _within(theirs, identity.scope, kind)


def _within(message: Message, scope: Scope, kind: Sends) -> Message:
    """What of a message is within a scope; the rest is rejected, each under its index."""
    kept: list[tuple[Measure, int]] = []
    events: list[Event] = []
    rejected = list(message.rejected)
    for measure, index in zip(message.measures, message.indexes, strict=True):
        if scope.allows(kind, measure.metric):
            kept.append((measure, index))
        else:
            detail = f"this token may not send the metric {measure.metric!a}"
            form = Form(Decoder.NATIVE, trusted=True)
            rejected.append(Undecoded(Rejection.OUT_OF_SCOPE, detail, as_json(measure), index, form=form))
    for event, index in zip(message.events, _free(message), strict=False):
        if scope.allows(kind, event.event_type):
            events.append(event)
        else:
            detail = f"this token may not send events of the type {event.event_type!a}"
            payload = json.dumps(event.document)  # it may hold half a surrogate pair
            form = Form(Decoder.EVENTS, project_id=event.project_id)
            rejected.append(Undecoded(Rejection.OUT_OF_SCOPE, detail, payload, index, "event", form))
    return Message([measure for measure, _ in kept], [index for _, index in kept], rejected, events)


def _free(message: Message) -> Iterator[int]:
    """The indexes of a message's events: all that nothing else of it has."""
    others = {*message.indexes, *(found.index for found in message.rejected)}
    return (index for index in count() if index not in others)


def _without_room(measures: Sequence[Measure], indexes: Sequence[int], refused: Sequence[Measure]) -> list[Rejected]:
    ids = {id(measure) for measure in refused}
    detail = "the window has as many series as it may have"
    return [
        Rejected(index, Rejection.TOO_MANY_SERIES, detail)
        for index, measure in zip(indexes, measures, strict=True)
        if id(measure) in ids
    ]
