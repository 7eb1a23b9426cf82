"""Queries bound to a project; tests/integration/test_prometheus.py has Prometheus itself judge the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.probes.promql import MAX_DEPTH, MAX_LENGTH, scoped
from autoscaler.errors import PermanentError

P = 'project="p"'


def bound(query: str) -> str:
    return scoped(query, "project", "p")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("up", f"up {{{P}}}", id="name"),
        pytest.param("job:up:sum5m", f"job:up:sum5m {{{P}}}", id="recorded"),
        pytest.param(":x", f":x {{{P}}}", id="leading-colon"),
        pytest.param("up{}", f"up {{ {P} }}", id="no-matchers"),
        pytest.param("{}", f"{{ {P} }}", id="neither-name-nor-matchers"),
        pytest.param('up{a="b"}', f'up {{ a = "b" , {P} }}', id="matcher"),
        pytest.param('up{a="b",}', f'up {{ a = "b" , {P} }}', id="trailing-comma"),
        pytest.param('up{project="other"}', f'up {{ project = "other" , {P} }}', id="another-project"),
        pytest.param('{__name__=~"a|b"}', f'{{ __name__ =~ "a|b" , {P} }}', id="name-as-matcher"),
        pytest.param('{"dots.in.it", "a.b"!~"c"}', f'{{ "dots.in.it" , "a.b" !~ "c" , {P} }}', id="quoted-names"),
        pytest.param("up{by='1',on=`2`}", f"up {{ by = '1' , on = `2` , {P} }}", id="keywords-as-labels"),
        pytest.param('up{a="}\\"{,"}', f'up {{ a = "}}\\"{{," , {P} }}', id="braces-in-a-string"),
        pytest.param("up{a=`\\`}", f"up {{ a = `\\` , {P} }}", id="raw-string-has-no-escapes"),
        pytest.param("rate(x[5m])", f"rate ( x {{{P}}} [5m] )", id="range"),
        pytest.param("x[1h30m:5m]", f"x {{{P}}} [1h30m:5m]", id="subquery"),
        pytest.param("x[1h:]", f"x {{{P}}} [1h:]", id="subquery-default-step"),
        pytest.param("x offset -5m", f"x {{{P}}} offset - 5m", id="offset"),
        pytest.param("x @ start()", f"x {{{P}}} @ start ( )", id="at-start"),
        pytest.param("x @ -1.5e3 offset 1w", f"x {{{P}}} @ - 1.5e3 offset 1w", id="at-moment"),
        pytest.param("sum(x)", f"sum ( x {{{P}}} )", id="aggregation"),
        pytest.param("SUM BY (a, b) (x)", f"SUM BY ( a , b ) ( x {{{P}}} )", id="grouped-before"),
        pytest.param("sum(x) without (a,)", f"sum ( x {{{P}}} ) without ( a , )", id="grouped-after"),
        pytest.param("topk(3, x)", f"topk ( 3 , x {{{P}}} )", id="parameter"),
        pytest.param('count_values("v", x)', f'count_values ( "v" , x {{{P}}} )', id="text-parameter"),
        pytest.param("sum", f"sum {{{P}}}", id="metric-called-sum"),
        pytest.param("sum(by)", f"sum ( by {{{P}}} )", id="metric-called-by"),
        pytest.param("and and and", f"and {{{P}}} and and {{{P}}}", id="metric-called-and"),
        pytest.param("rate", f"rate {{{P}}}", id="metric-called-rate"),
        pytest.param("a + b", f"a {{{P}}} + b {{{P}}}", id="operator"),
        pytest.param("a == bool on (x) b", f"a {{{P}}} == bool on ( x ) b {{{P}}}", id="matching"),
        pytest.param(
            "a * ignoring(x) group_left(y) (b)",
            f"a {{{P}}} * ignoring ( x ) group_left ( y ) ( b {{{P}}} )",
            id="group-labels-then-parentheses",
        ),
        pytest.param("a / on() group_right b", f"a {{{P}}} / on ( ) group_right b {{{P}}}", id="no-group-labels"),
        pytest.param("-inf + NaN * 0x1F", "- inf + NaN * 0x1F", id="numbers"),
        pytest.param("vector(1)", "vector ( 1 )", id="no-selector"),
        pytest.param("time() > 5", "time ( ) > 5", id="no-arguments"),
        pytest.param("a # + b\n+ c", f"a {{{P}}} + c {{{P}}}", id="comment"),
        pytest.param("a # \r+ c", f"a {{{P}}} + c {{{P}}}", id="comment-ended-by-carriage-return"),
        pytest.param('up{# }\na="#"}', f'up {{ a = "#" , {P} }}', id="comment-in-braces"),
        pytest.param(
            'label_replace(a, "x", "$1", "y", "(.*)")',
            f'label_replace ( a {{{P}}} , "x" , "$1" , "y" , "(.*)" )',
            id="texts",
        ),
    ],
)
def test_every_selector_and_nothing_else_gets_the_matcher(query: str, expected: str) -> None:
    assert bound(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="nothing"),
        pytest.param("# up", id="only-a-comment"),
        pytest.param("a b", id="two-expressions"),
        pytest.param("info(up)", id="function-that-reads-other-series"),
        pytest.param("union(a, b)", id="unknown-function"),
        pytest.param("RATE(a[5m])", id="functions-have-their-case"),
        pytest.param('{a="b" or c="d"}', id="or-in-braces"),
        pytest.param("up{a}", id="half-a-matcher"),
        pytest.param("up{a=b}", id="value-without-quotes"),
        pytest.param('up{a:b="c"}', id="colon-in-a-label"),
        pytest.param('up{a="b" c="d"}', id="no-comma"),
        pytest.param("up{", id="open-brace"),
        pytest.param("(up", id="open-parenthesis"),
        pytest.param("up)", id="parenthesis-too-many"),
        pytest.param("up[5]", id="range-without-unit"),
        pytest.param("up[$__interval]", id="range-of-a-dashboard"),
        pytest.param("up[5m # ]\n]", id="comment-in-a-range"),
        pytest.param("up[step()]", id="range-that-is-computed"),
        pytest.param('up{a="b', id="open-string"),
        pytest.param('up{a="b\n"}', id="newline-in-a-string"),
        pytest.param("a + on", id="keyword-that-names-nothing"),
        pytest.param("on(x)", id="matching-without-sides"),
        pytest.param("a * on(x) group_left (b + c)", id="group-labels-that-are-none"),
        pytest.param("a offset x", id="offset-of-nothing"),
        pytest.param("sum by (1) (a)", id="grouped-by-a-number"),
        pytest.param("a \u00a0+ b", id="other-space"),
        pytest.param("a; b", id="other-mark"),
        pytest.param("\\a", id="escape"),
        pytest.param("1x", id="number-that-goes-on"),
        pytest.param("WITH (x = y) x", id="another-dialect"),
        pytest.param("a smoothed", id="newer-syntax"),
        pytest.param("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), id="too-deep"),
        pytest.param("a" * (MAX_LENGTH + 1), id="too-long"),
    ],
)
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(PermanentError, match="cannot be bound to a project"):
        bound(query)


def test_a_refusal_says_where() -> None:
    with pytest.raises(PermanentError, match=r"'\]' at character 8 is not understood"):
        bound("sum (a)]")
    with pytest.raises(PermanentError, match="its end at character 5 is not understood"):
        bound("a + ")


@pytest.mark.parametrize(
    ("project", "matcher"),
    [
        pytest.param('a"} or up{x="', '{project="a\\"} or up{x=\\""}', id="quote"),
        pytest.param("a\\", '{project="a\\\\"}', id="backslash"),
        pytest.param("a\nb", '{project="a\\nb"}', id="newline"),
    ],
)
def test_no_project_breaks_out_of_its_matcher(project: str, matcher: str) -> None:
    assert scoped("up", "project", project) == f"up {matcher}"


def test_an_empty_project_is_refused_since_it_would_match_what_has_none() -> None:
    with pytest.raises(PermanentError, match="there is none"):
        scoped("up", "project", "")


@given(st.text(max_size=60) | st.text("ab:{}()[]\"'`\\#\r\n ,=~!<>+-*@0159msy_", max_size=40))
def test_any_text_is_refused_or_reads_the_same_once_bound(query: str) -> None:
    try:
        once = bound(query)
    except PermanentError:
        return
    # what was written reads the same again: the same selectors, no more and no fewer
    assert scoped(once, "q", "z").count('q="z"') == once.count(P)
