"""Targets: what is sent to the controller unasked, over brokers, HTTP and UDP."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from typing import Final

import cramjam

from autoscaler.adapters.sources import ceilometer, decode, remote_write
from autoscaler.adapters.sources.aodh import AodhSource
from autoscaler.adapters.sources.ceilometer import Reading
from autoscaler.adapters.sources.decode import LIVE, RECORDED
from autoscaler.adapters.sources.gnocchi import GnocchiDecoder, Posted
from autoscaler.adapters.sources.heat import HeatSource
from autoscaler.adapters.sources.link import Received
from autoscaler.adapters.sources.openstack import OpenStackSource
from autoscaler.adapters.sources.recordings import STDIN, Label, read
from autoscaler.errors import PermanentError
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded
from tests.fuzz.contract import NOW, as_stored, check_decoded, check_measures, check_rejected, is_json
from tests.protobuf import series

MEASURE: Final = {"metric": "n", "resource_id": "n", "timestamp": NOW, "value": 7}
SAMPLE: Final = {"counter_name": "n", "resource_id": "n", "timestamp": NOW, "counter_volume": 7}
LABELS: Final = {"__name__": "n", "instance": "n"}
NOTICE: Final = {
    "event_type": "alarm.creation",
    "payload": {"event_id": "n", "alarm_id": "n", "detail": {}, "timestamp": "2027-01-15T08:00:00"},
}
RESIZED: Final = {"event_type": "orchestration.autoscaling.end", "payload": {"groupname": "n"}}

_NATIVE: Final = json.dumps(MEASURE).encode()
_SAMPLE: Final = json.dumps(SAMPLE).encode()
_SERIES: Final = series(LABELS, [(NOW, 7)])
_NOTICE: Final = json.dumps(NOTICE).encode()
_RESIZED: Final = json.dumps(RESIZED).encode()


def native(data: bytes) -> None:
    """Measures in JSON; the fast way and the slow one agree, and neighbours stay."""
    for trusted, limits in ((True, LIVE), (False, RECORDED)):
        found = decode.decode(data, now=NOW, trusted=trusted, limits=limits)
        check_decoded(found, trusted=trusted)
        fast = decode._at_once(data, NOW, trusted=trusted, limits=limits)
        if fast is not None:
            slow = decode._one_by_one(data, NOW, trusted=trusted, limits=limits)
            assert list(slow.measures) == fast, "the fast way takes other measures than the slow one"
            assert not slow.rejected, "the fast way takes what the slow one refuses"
    lines = decode.decode(b"\n".join((_NATIVE, data, _NATIVE)), now=NOW, trusted=False)
    _check_neighbours(lines.measures, "in lines")
    if is_json(data):
        listed = decode.decode(b"[" + b",".join((_NATIVE, data, _NATIVE)) + b"]", now=NOW, trusted=False)
        _check_neighbours(listed.measures, "in a list")


def recordings(data: bytes) -> None:
    """Files of measures: each row for itself, after the header of a CSV too."""
    _check_recording(data)
    if data.lstrip()[:1] in b"{[":
        lines = _check_recording(_NATIVE + b"\n" + data + b"\n" + _NATIVE)
        _check_neighbours([line for line in lines if isinstance(line, Measure)], "in a recording")
        return
    rows = _check_recording(b"timestamp,value\n0,7\n" + data + b"\n0,7\n")
    assert sum(isinstance(row, Measure) and row.value == 7 for row in rows) >= 2


def _check_recording(data: bytes) -> list[Measure | Undecoded]:
    stdin = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(data))  # it is read as a file is, and is much quicker to write
    try:
        found = list(read([STDIN], Label(metric="m", resource_id="r")))
    except PermanentError:
        return []
    finally:
        sys.stdin = stdin
    check_measures(row for row in found if isinstance(row, Measure))
    check_rejected(row for row in found if isinstance(row, Undecoded))
    return found


def _check_neighbours(measures: Sequence[Measure], where: str) -> None:
    assert len(measures) >= 2, f"neighbours are lost {where}"
    for measure in (measures[0], measures[-1]):
        assert (measure.metric, measure.value) == ("n", 7), f"neighbours are lost {where}"


READINGS: Final = (
    Reading(trusted=True),
    Reading(secret="s"),
    Reading(trusted=True, kind="event", made_ids=True),
    Reading(limits=RECORDED, made_ids=True),
)


def samples(data: bytes) -> None:
    """Ceilometer's samples and events in JSON, in any envelope and none; neighbours in a list and in a batch stay."""
    for reading in READINGS:
        check_decoded(ceilometer.decode(data, reading, now=NOW), trusted=reading.trusted)
    if is_json(data):
        listed = b'{"payload": [' + b",".join((_SAMPLE, data, _SAMPLE)) + b"]}"
        wrapped = json.dumps({"oslo.version": "2.0", "oslo.message": listed.decode()}).encode()
        for message in (listed, wrapped, b'{"oslo.message": ' + listed + b"}"):
            _check_neighbours(ceilometer.decode(message, Reading(), now=NOW).measures, "in a payload")
    batch = _OPENSTACK._batch([Received(message, None) for message in (_SAMPLE, data, _SAMPLE)])
    _check_neighbours(batch.measures, "in a batch")


def datagrams(data: bytes) -> None:
    """Ceilometer's samples in msgpack."""
    for reading in READINGS:
        check_decoded(ceilometer.decode_datagram(data, reading, now=NOW), trusted=reading.trusted)


def write_requests(data: bytes) -> None:
    """Prometheus' remote write, with and without snappy around; neighbours in the same request stay."""
    for trusted in (True, False):
        for payload in (data, _packed(data)):
            check_decoded(remote_write.decode(payload, now=NOW, trusted=trusted, limits=LIVE), trusted=trusted)
    alone = remote_write.decode(_packed(data), now=NOW, trusted=False, limits=LIVE)
    if all(fault.index is not None for fault in alone.rejected):
        joined = remote_write.decode(_packed(_SERIES + data + _SERIES), now=NOW, trusted=False, limits=LIVE)
        _check_neighbours(joined.measures, "in a request")


def _packed(request: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request))


def posted(data: bytes) -> None:
    """Bodies of Gnocchi's clients; neighbours in a list of points stay."""
    decoder = GnocchiDecoder()
    for take in (decoder.by_resource, decoder.by_metric, decoder.of_one):
        _check_posted(take(data, NOW))
    point = json.dumps({"timestamp": NOW, "value": 7}).encode()
    if is_json(data):
        found = decoder.of_one(b"[" + b",".join((point, data, point)) + b"]", NOW)
        ((first, *_, last),) = (each.points for each in found.series)
        assert first == last == (NOW, 7.0)


def _check_posted(found: Posted) -> None:
    check_rejected(found.rejected)
    for each in found.series:
        named = [Measure(each.metric or "m", each.owner or "r", at, value, "", each.unit) for at, value in each.points]
        check_measures(named)


def notices(data: bytes) -> None:
    """What Aodh and Heat tell on the bus; neighbours in a batch stay."""
    aodh = _AODH._batch([Received(message, None) for message in (_NOTICE, data, _NOTICE)])
    heat = _HEAT._batch([Received(message, None) for message in (_RESIZED, data, _RESIZED)])
    check_rejected([*aodh.rejected, *heat.rejected])
    for notice in aodh.notices:
        as_stored(notice)
    for told in heat.told:
        as_stored(told)
    assert [each.alarm_id for each in (aodh.notices[0], aodh.notices[-1])] == ["n", "n"]
    assert [each.nested_id for each in (heat.told[0], heat.told[-1])] == ["n", "n"]
    assert len(aodh.notices) >= 2
    assert len(heat.told) >= 2


_BROKER: Final = "amqp://127.0.0.1/"  # nobody connects to it: only what has come is taken apart
_OPENSTACK: Final = OpenStackSource(_BROKER, now=lambda: NOW)
_AODH: Final = AodhSource(_BROKER, now=lambda: NOW)
_HEAT: Final = HeatSource(_BROKER, now=lambda: NOW)
