"""Prometheus: the answer to an instant query."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from autoscaler.adapters import http
from autoscaler.adapters.probes.promql import LABEL_NAME, scoped
from autoscaler.alarms.observation import Sample, Samples
from autoscaler.alarms.rules import PrometheusRule
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final

    from autoscaler.alarms.observation import Observation
    from autoscaler.alarms.rules import PoolHealthRule


_ANSWER: Final = "Prometheus: the answer"


class Series(msgspec.Struct, frozen=True):
    """One element of an instant vector; without ``value`` it is a native histogram."""

    metric: dict[str, str]
    value: tuple[float, str] | None = None


class Data(msgspec.Struct, frozen=True, rename="camel"):
    """What a query results in."""

    result_type: str
    result: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What Prometheus answers, well or ill."""

    status: str
    data: Data | None = None
    error_type: str = ""
    error: str = ""


class PrometheusProbe:
    """See :class:`autoscaler.ports.Probe`.

    Args:
        url: ``http[s]://[user[:password]@]host[:port][/prefix]``.
        ca: file of certificates that the server's is checked with; "" for the system's.
        project_label: that queries of ordinary users are bound to.
        timeout: seconds for one look.

    Raises:
        PermanentError: the URL, the file or the label cannot be used.
    """

    def __init__(self, url: str, *, ca: str = "", project_label: str = "project", timeout: float = 10.0) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise PermanentError("URL of Prometheus: expected http://… or https://…")
        http.origin_of(url)
        if not LABEL_NAME.fullmatch(project_label):
            raise PermanentError(f"label of the project in Prometheus: {project_label!r} is not the name of a label")
        self._query_url = f"{url.rstrip('/')}/api/v1/query"
        self._project_label = project_label
        self._timeout = timeout
        try:
            context = ssl.create_default_context(cafile=ca or None)
        except OSError as error:  # of which SSLError is one
            raise PermanentError(f"certificates of Prometheus: {ca}: {error}") from error
        self._client = http.client(verify=context)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def look(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        """What the rule's query, bound to its project, answers with at this moment."""
        if not isinstance(rule, PrometheusRule):
            raise PermanentError("Prometheus knows queries only")
        query = rule.query
        if rule.scope_to_project is not None:
            query = scoped(query, self._project_label, rule.scope_to_project)
        try:
            asked = urlencode({"query": query, "timeout": f"{self._timeout:g}"})
        except UnicodeEncodeError as error:
            raise PermanentError("the query holds characters that cannot be sent") from error
        request = http.Request("GET", f"{self._query_url}?{asked}", self._timeout, {"accept": "application/json"})
        try:
            body = await http.called(self._client, request)
        except http.RefusedError as error:
            raise _refused(error) from error
        return _samples(_answer(body))


def _refused(error: http.RefusedError) -> PermanentError:
    """In Prometheus' own words where it has said any."""
    try:
        answer = http.decoded(error.body, Answer, _ANSWER)
    except TemporaryError:
        return error
    return PermanentError(f"Prometheus: {answer.error_type}: {answer.error}") if answer.error else error


def _answer(body: bytes) -> Data:
    if len(body) >= http.MAX_BODY_BYTES:
        raise PermanentError(f"Prometheus: the answer is longer than {http.MAX_BODY_BYTES // 2**20} MiB")
    answer = http.decoded(body, Answer, _ANSWER)
    if answer.status != "success" or answer.data is None:
        raise PermanentError(f"Prometheus: {answer.error_type}: {answer.error}")
    return answer.data


def _samples(data: Data) -> Samples:
    try:
        match data.result_type:
            case "vector":
                series = msgspec.json.decode(data.result, type=list[Series])
                return Samples(tuple(_sample(each) for each in series))
            case "scalar":
                _, text = msgspec.json.decode(data.result, type=tuple[float, str])
                return Samples((Sample({}, float(text)),))
            case other:
                raise PermanentError(f"Prometheus: expected a query for an instant vector or a scalar, not a {other}")
    except (msgspec.DecodeError, ValueError) as error:
        raise TemporaryError(f"{_ANSWER} cannot be read: {error}") from error


def _sample(series: Series) -> Sample:
    if series.value is None:
        raise PermanentError("Prometheus: a native histogram has no value to compare; use histogram_quantile() or so")
    return Sample(series.metric, float(series.value[1]))
