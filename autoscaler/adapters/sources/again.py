"""What could not be taken, read once more: by the decoder that refused it, with the trust that its source had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import msgspec

from autoscaler.adapters.sources import ceilometer
from autoscaler.adapters.sources.decode import LIVE, Decoded, Limits, decode
from autoscaler.ports import Batch, DeadLetter, Decoder, Form

if TYPE_CHECKING:
    from autoscaler.adapters.sources.ceilometer import Reading
    from autoscaler.ports import Undecoded


def marked(rejected: Sequence[Undecoded], decoder: Decoder, *, trusted: bool) -> list[Undecoded]:
    """What was rejected, with how it was read."""
    form = Form(decoder, trusted)
    return [replace(found, form=form) for found in rejected]


def marking(read: Callable[[bytes], Decoded], decoder: Decoder, *, trusted: bool) -> Callable[[bytes], Decoded]:
    """``read``, that also says how it has read what it rejects."""

    def marking(body: bytes) -> Decoded:
        decoded = read(body)
        if not decoded.rejected:
            return decoded
        return replace(decoded, rejected=marked(decoded.rejected, decoder, trusted=trusted))

    return marking


class Again:
    """Reads dead letters.

    Args:
        now: Unix seconds; what timestamps are compared with.
        limits: of time and size.
        secret: of Ceilometer's signatures; "" where they are not looked at.
    """

    def __init__(self, *, now: Callable[[], float], limits: Limits = LIVE, secret: str = "") -> None:
        self._now = now
        self._limits = limits
        self._signed = ceilometer.Reading(limits=limits, secret=secret)
        self._samples = ceilometer.Reading(limits=limits)
        self._events = ceilometer.Reading(limits=limits, kind="event", made_ids=True)

    def __call__(self, letter: DeadLetter) -> Batch | None:
        """See :data:`autoscaler.engine.letters.ReadAgain`."""
        form = letter.form
        if form.decoder not in set(Decoder):
            return None
        decoded = self._decoded(Decoder(form.decoder), letter.payload.encode(errors="replace"), trusted=form.trusted)
        measures, events = decoded.measures, decoded.events
        if form.project_id:
            measures = [msgspec.structs.replace(measure, project_id=form.project_id) for measure in measures]
            events = [msgspec.structs.replace(event, project_id=form.project_id) for event in events]
        return Batch(measures, decoded.rejected, letter.source, events)

    def _decoded(self, decoder: Decoder, payload: bytes, *, trusted: bool) -> Decoded:
        match decoder:
            case Decoder.NATIVE:
                return decode(payload, now=self._now(), trusted=trusted, limits=self._limits)
            case Decoder.SIGNED:
                return self._of_ceilometer(payload, self._signed, trusted=trusted)
            case Decoder.SAMPLES:
                return self._of_ceilometer(payload, self._samples, trusted=trusted)
            case Decoder.EVENTS:
                return self._of_ceilometer(payload, self._events, trusted=trusted)
            case _:
                assert_never(decoder)

    def _of_ceilometer(self, payload: bytes, reading: Reading, *, trusted: bool) -> Decoded:
        return ceilometer.decode(payload, replace(reading, trusted=trusted), now=self._now())
