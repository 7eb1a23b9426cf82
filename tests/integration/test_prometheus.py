"""A real Prometheus answers the probe, and judges what queries look like once they are bound to a project."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.adapters.probes.prometheus import PrometheusProbe
from autoscaler.adapters.probes.promql import scoped
from autoscaler.alarms.observation import Samples
from autoscaler.alarms.rules import PrometheusRule
from autoscaler.errors import PermanentError, TemporaryError
from tests.prometheus_server import Exporter, PrometheusServer
from tests.servers import SBIN

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        not (shutil.which("prometheus") or shutil.which("prometheus", path=SBIN)),
        reason="prometheus is not installed, and this test runs a real one: apt-get install prometheus",
    ),
]

EXPORTED = """
load{project="mine",vm="1"} 1
load{project="mine",vm="2"} 2
load{project="theirs",vm="3"} 100
load{vm="4"} 1000
spare{project="mine",vm="1"} 8
spare{project="theirs",vm="3"} 500
sum{project="mine"} 4
sum{project="theirs"} 400
"""
PATIENCE = 30.0
BOUND = 'project="mine"'


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    with Exporter(EXPORTED) as it:
        yield it


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter) -> Iterator[PrometheusServer]:
    with PrometheusServer(exporter.port) as server:
        yield server


@pytest.fixture
async def probe(prometheus: PrometheusServer) -> AsyncIterator[PrometheusProbe]:
    async with PrometheusProbe(prometheus.url) as it:
        await until(it, "count(load)", [4.0])
        yield it


async def values(probe: PrometheusProbe, query: str, project: str | None = None) -> list[float]:
    seen = await probe.look(PrometheusRule(query=query, threshold=0, scope_to_project=project))
    assert isinstance(seen, Samples)
    return sorted(sample.value for sample in seen.samples)


async def until(probe: PrometheusProbe, query: str, expected: list[float]) -> None:
    async with asyncio.timeout(PATIENCE):
        while await values(probe, query) != expected:
            await asyncio.sleep(0.05)  # until the next scrape; nothing tells of one


@pytest.mark.parametrize(
    ("query", "everything", "mine"),
    [
        pytest.param("load", [1, 2, 100, 1000], [1, 2], id="name"),
        pytest.param("sum(load)", [1103], [3], id="aggregation"),
        pytest.param("sum", [4, 400], [4], id="metric-called-sum"),
        pytest.param('load{project="theirs"}', [100], [], id="the-other-project"),
        pytest.param('load{project!="mine"}', [100, 1000], [], id="not-mine"),
        pytest.param('load{project=~"mine|theirs"}', [1, 2, 100], [1, 2], id="either"),
        pytest.param('load{project=""}', [1000], [], id="nobodys"),
        pytest.param('{__name__=~"lo.*"}', [1, 2, 100, 1000], [1, 2], id="name-as-matcher"),
        pytest.param('load{vm="}\\""} or load{vm="3"}', [100], [], id="brace-and-quote-in-a-string"),
        pytest.param("load # }\r or load", [1, 2, 100, 1000], [1, 2], id="comment-that-ends-early"),
        pytest.param("load and on(vm) spare", [1, 100], [1], id="set-operator"),
        pytest.param("max without(vm, project) (load) + 1", [1001], [3], id="grouped"),
        pytest.param("max_over_time(load[1m:1s]) > 1", [2, 100, 1000], [2], id="subquery"),
        pytest.param("spare / on (vm) group_left () load", [5, 8], [8], id="matching"),
        pytest.param("absent(nothing)", [1], [1], id="absent"),
        pytest.param("scalar(sum(load))", [1103], [3], id="scalar"),
        pytest.param("vector(7)", [7], [7], id="no-series"),
        pytest.param('label_replace(load, "project", "mine", "vm", ".*") > 50', [100, 1000], [], id="relabelled"),
    ],
)
async def test_a_query_sees_everything_or_one_project_only(
    probe: PrometheusProbe, query: str, everything: list[float], mine: list[float]
) -> None:
    await until(probe, query, everything)  # a subquery sees a scrape no sooner than its next step
    assert await values(probe, query, "mine") == mine


async def test_labels_come_with_the_values(probe: PrometheusProbe) -> None:
    seen = await probe.look(PrometheusRule(query='spare{vm="1"}', threshold=0))
    assert isinstance(seen, Samples)
    (sample,) = seen.samples
    assert sample.value == 8
    assert {"__name__": "spare", "project": "mine", "vm": "1"}.items() <= sample.labels.items()


async def test_what_the_exporter_shows_next_is_seen_next(probe: PrometheusProbe, exporter: Exporter) -> None:
    try:
        exporter.text = EXPORTED.replace('spare{project="mine",vm="1"} 8', 'spare{project="mine",vm="1"} 9')
        await until(probe, 'spare{vm="1"}', [9.0])
    finally:
        exporter.text = EXPORTED
    await until(probe, 'spare{vm="1"}', [8.0])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("sum(", "bad_data: .*parse error: unclosed left parenthesis", id="no-query"),
        pytest.param("nosuch(up)", "bad_data: .*unknown function", id="no-such-function"),
        pytest.param("load[5m]", "expected a query for an instant vector or a scalar, not a matrix", id="range-vector"),
        pytest.param('"text"', "not a string", id="text"),
        pytest.param("load + on(project) spare", "execution: .*many-to-one", id="matching-that-is-many-to-one"),
    ],
)
async def test_a_wrong_query_is_final_in_prometheus_own_words(probe: PrometheusProbe, query: str, said: str) -> None:
    with pytest.raises(PermanentError, match=f"^Prometheus: .*{said}"):
        await values(probe, query)


async def test_a_server_that_is_away_is_temporary(unused_tcp_port: int) -> None:
    async with PrometheusProbe(f"http://127.0.0.1:{unused_tcp_port}") as probe:
        with pytest.raises(TemporaryError):
            await values(probe, "up")


# --- whatever the query ----------------------------------------------------------------------------------------------

MARK = "\0"
NAMES = ["up", "a:b:c", "_x", "sum", "by", "and", "or", "unless", "offset", "without", "count_values", "rate", "start"]
LABELS = ["a", "by", "on", "bool", "offset", "le", "group_left"]
TEXTS = ['"b"', "'}'", '"\\"{,"', "`\\`", "'# no comment'", '"é\\n"', '""', "'it\\'s'"]
GAPS = [" ", "\n", "\t \r\n", " # gap {x=~\n", "#')\r"]

labels = st.lists(st.sampled_from(LABELS), max_size=2).map(lambda found: ["(", *", ".join(found).split(), ")"])
matchers = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["=", "!=", "=~", "!~"]), st.sampled_from(TEXTS))
)


@st.composite
def selectors(draw: st.DrawFn) -> list[str]:
    """Pieces of a selector, the first of them marked."""
    name = draw(st.none() | st.sampled_from(NAMES))
    matched = draw(matchers) + ([] if name else [("__name__", "=", '"x"')])
    inside = [piece for matcher in matched for piece in (*matcher, ",")]
    if inside and draw(st.booleans()):
        inside.pop()  # the last comma may stand or not
    braces = ["{", *inside, "}"] if inside or draw(st.booleans()) else []
    first, *others = [*([name] if name else []), *braces]
    return [MARK + first, *others]


def larger(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    grouping = st.tuples(st.sampled_from(["by", "BY", "without"]), labels).map(lambda found: [found[0], *found[1]])
    aggregator = st.sampled_from(
        [["sum", "("], ["Max", "("], ["topk", "(", "3", ","], ["count_values", "(", '"v"', ","]]
    )
    arithmetic = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2"])
    comparison = st.sampled_from([["=="], ["!="], ["<"], [">="], ["==", "bool"], ["<=", "BOOL"]])
    matching = st.one_of(
        st.just([]),
        st.tuples(st.sampled_from(["on", "ignoring"]), labels).map(lambda found: [found[0], *found[1]]),
        st.tuples(labels, st.sampled_from(["group_left", "group_right"])).map(
            lambda found: ["on", *found[0], found[1]]
        ),
    )
    return st.one_of(
        inner.map(lambda vector: ["(", *vector, ")"]),
        inner.map(lambda vector: ["-", *vector]),
        inner.map(lambda vector: ["abs", "(", *vector, ")"]),
        inner.map(lambda vector: ["max_over_time", "(", "(", *vector, ")", "[1h:5m]", "offset", "-", "5m", ")"]),
        selectors().map(lambda vector: ["rate", "(", *vector, "[ 5m ]", "@", "end", "(", ")", ")"]),
        selectors().map(lambda vector: [*vector, "offset", "1h30m"]),
        inner.map(lambda vector: [*vector, "*", "1.5e-3", "^", "-", "Inf"]),
        st.tuples(aggregator, inner, grouping).map(lambda found: [*found[0], *found[1], ")", *found[2]]),
        st.tuples(grouping, inner).map(lambda found: ["avg", *found[0], "(", *found[1], ")"]),
        st.tuples(inner, arithmetic, matching, inner).map(lambda found: [*found[0], found[1], *found[2], *found[3]]),
        st.tuples(inner, comparison, matching, inner).map(lambda found: [*found[0], *found[1], *found[2], *found[3]]),
        st.tuples(inner, st.sampled_from(["and", "OR", "unless"]), inner).map(
            lambda found: [*found[0], found[1], *found[2]]
        ),
    )


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, int]:
    """A query and how many selectors it has."""
    pieces = draw(st.recursive(selectors(), larger, max_leaves=6))
    query = "".join(piece.removeprefix(MARK) + draw(st.sampled_from(GAPS)) for piece in pieces)
    return query, sum(piece.startswith(MARK) for piece in pieces)


@pytest.fixture(scope="module")
def client(prometheus: PrometheusServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=prometheus.url, trust_env=False) as it:
        yield it


def formatted(client: httpx.Client, query: str) -> str | None:
    """The query as Prometheus writes it, without white space; None where it refuses it."""
    answer = client.post("/api/v1/format_query", data={"query": query})
    return re.sub(r"\s", "", answer.json()["data"]) if answer.is_success else None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=queries())
def test_binding_adds_a_matcher_to_every_selector_and_changes_nothing_else(
    client: httpx.Client, drawn: tuple[str, int]
) -> None:
    query, number = drawn
    as_it_was = formatted(client, query)
    as_it_is = formatted(client, scoped(query, "project", "mine"))
    if as_it_was is None:  # such as a vector on both sides that are matched by nothing: that is Prometheus' to say
        assert as_it_is is None
        return
    assert as_it_is is not None
    assert as_it_is.count(BOUND) == number
    assert re.sub(rf"\{{{BOUND}\}}|,{BOUND}", "", as_it_is) == as_it_was
