"""Prometheus' remote write 1.0: a block of snappy around a protocol buffer, labels in place of attributes.

Specification: https://prometheus.io/docs/specs/prw/remote_write_spec/. Exemplars, metadata and native histograms are
left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from autoscaler.adapters.sources.decode import (
    METADATA_KEYS,
    METADATA_LENGTH,
    NAME_LENGTH,
    SHOWN_LENGTH,
    Decoded,
    Limits,
    check_number,
    finite,
    in_time,
    name_of,
    text_of,
)
from autoscaler.errors import InvalidMeasureError, Rejection
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded

MAX_UNPACKED: Final = 16 * 1024 * 1024
"""Bytes of a request without snappy: a small one may claim to be huge."""

MAX_LABELS: Final = 500_000
"""Of a request: an empty one takes two bytes, and a million of them seconds to be read."""

METRIC: Final = "__name__"
RESOURCE_LABELS: Final = ("resource_id", "instance_id", "server_id", "resource", "vm_instance", "instance")
"""Labels that say what was measured, the first that is there."""
PROJECT_LABELS: Final = ("project_id", "project", "tenant_id")
DESCRIBING: Final = frozenset(
    (
        *RESOURCE_LABELS,
        *PROJECT_LABELS,
        *("job", "user_id", "server_group", "display_name", "resource_name", "host", "host_name", "hostname", "node"),
        *("unit", "publisher", "counter", "plugin", "flavor_id", "flavor_name", "image_ref", "availability_zone"),
    )
)
"""Labels that tell of a resource, and do not tell apart several series of one."""

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {"string": _Field.TYPE_STRING, "double": _Field.TYPE_DOUBLE, "int64": _Field.TYPE_INT64}
_MESSAGES: Final[Mapping[str, tuple[tuple[str, int, str, bool], ...]]] = {
    # name, number, type, repeated: what is not named here is skipped by the decoder
    "Label": (("name", 1, "string", False), ("value", 2, "string", False)),
    "Sample": (("value", 1, "double", False), ("timestamp", 2, "int64", False)),
    "TimeSeries": (("labels", 1, "Label", True), ("samples", 2, "Sample", True)),
    "WriteRequest": (("timeseries", 1, "TimeSeries", True),),
}


def _request_class() -> Callable[[], Any]:
    """The class of requests, made here so that nothing needs to be generated."""
    file = descriptor_pb2.FileDescriptorProto(name="autoscaler/remote_write.proto", package="autoscaler")
    file.syntax = "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number, type=_TYPES.get(kind, _Field.TYPE_MESSAGE))
            made.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind in _MESSAGES:
                made.type_name = f".autoscaler.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("autoscaler.WriteRequest"))


_Request: Final = _request_class()


def decode(payload: bytes, *, now: float, trusted: bool, limits: Limits) -> Decoded:
    """The measures of one request, and what of it could not be taken. Total.

    A value that is no number says that a series has ended or has none at the moment, and is passed over.

    Args:
        payload: as received.
        now: Unix seconds; what timestamps are compared with.
        trusted: whether the labels :data:`PROJECT_LABELS` count.
        limits: of time.
    """
    try:
        request = _unpacked(payload)
        _check_size(request, limits)
    except InvalidMeasureError as error:
        return Decoded((), (), (Undecoded(error.rejection, error.detail, payload[:200].hex()),))
    measures: list[Measure] = []
    indexes: list[int] = []
    rejected: list[Undecoded] = []
    for index, series in enumerate(request.timeseries):
        labels = {label.name: label.value for label in series.labels}
        try:
            template = _template(labels, trusted=trusted)
        except InvalidMeasureError as error:
            rejected.append(_rejected(error, labels, index))
            continue
        for sample in series.samples:
            if math.isnan(sample.value):
                continue
            try:
                at = in_time(sample.timestamp / 1000, now, limits)
                measures.append(_measure(template, at, finite("value", sample.value)))
            except InvalidMeasureError as error:
                rejected.append(_rejected(error, labels, index))
            else:
                indexes.append(index)
    return Decoded(measures, indexes, rejected)


def _rejected(error: InvalidMeasureError, labels: Mapping[str, str], index: int) -> Undecoded:
    return Undecoded(error.rejection, error.detail, _written(labels)[:SHOWN_LENGTH], index)


def _unpacked(payload: bytes) -> Any:
    length = _announced(payload)
    if length > MAX_UNPACKED:
        raise InvalidMeasureError(Rejection.TOO_LONG, f"{length} bytes unpacked; at most {MAX_UNPACKED} are taken")
    request = _Request()
    try:
        request.ParseFromString(bytes(cramjam.snappy.decompress_raw(payload)))
    except cramjam.DecompressionError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not a block of snappy: {error}") from error
    except DecodeError as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not a write request of remote write 1.0: {error}") from error
    return request


def _check_size(request: Any, limits: Limits) -> None:
    """Refuse a request of too many samples, series (they may be empty) or labels. Raises InvalidMeasureError."""
    check_number(len(request.timeseries), limits)
    check_number(sum(len(series.samples) for series in request.timeseries), limits)
    labels = sum(len(series.labels) for series in request.timeseries)
    if labels > MAX_LABELS:
        raise InvalidMeasureError(Rejection.TOO_LONG, f"{labels} labels in a request; at most {MAX_LABELS} are taken")


def _announced(payload: bytes) -> int:
    """How long a block of snappy says it is: seven bits per byte, the lowest first."""
    length = 0
    for position, byte in enumerate(payload[:5]):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return length
    raise InvalidMeasureError(Rejection.UNDECODABLE, "not a block of snappy: it does not begin with a length")


def _template(labels: Mapping[str, str], *, trusted: bool) -> Measure:
    """A measure of the series, at no time yet."""
    metadata = {
        name: value
        for name, value in sorted(labels.items())
        if name != METRIC and value and 0 < len(name) <= NAME_LENGTH and len(value) <= METADATA_LENGTH
    }
    if METRIC not in labels:
        raise InvalidMeasureError(Rejection.MISSING_KEY, METRIC)
    if len(metadata) > METADATA_KEYS:
        raise InvalidMeasureError(Rejection.TOO_LONG, f"more than {METADATA_KEYS} labels")
    project_id = next((labels[name] for name in PROJECT_LABELS if labels.get(name)), "") if trusted else ""
    return Measure(
        name_of("metric", labels[METRIC]),
        resource_of(labels),
        0.0,
        0.0,
        text_of("project_id", project_id, NAME_LENGTH),
        labels.get("unit", "")[:NAME_LENGTH],
        metadata,
    )


def _measure(template: Measure, at: float, value: float) -> Measure:
    return Measure(
        template.metric, template.resource_id, at, value, template.project_id, template.unit, template.metadata
    )


def resource_of(labels: Mapping[str, str]) -> str:
    """What a series is about, so named that no two series of a metric share a name.

    It is the value of the first of :data:`RESOURCE_LABELS`; where further labels tell apart several series of one
    resource, such as its processors, they are written behind it. Without any such label it is all labels.
    """
    by = next((name for name in RESOURCE_LABELS if labels.get(name)), "")
    if not by:
        return _bounded(_written({name: value for name, value in labels.items() if name != METRIC}))
    further = {name: value for name, value in labels.items() if name != METRIC and name not in DESCRIBING and value}
    return _bounded(labels[by] + (_written(further) if further else ""))


def _written(labels: Mapping[str, str]) -> str:
    shown = (f'{name}="{value}"' for name, value in sorted(labels.items()))
    return "{" + ", ".join(shown) + "}"


def _bounded(name: str) -> str:
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{name[: NAME_LENGTH - 33]}#{digest}"
