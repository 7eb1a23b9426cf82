"""A PromQL query bound to one project: every selector in it gets a further matcher.

The query is read by the grammar of Prometheus (promql/parser, 2.42 to 3) and written anew from what was read, so that
what Prometheus sees is what was judged here: comments go, white space is ours. What this does not know (new syntax, an
unknown function) is refused, since it might read series that no matcher was put to.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.errors import PermanentError

if TYPE_CHECKING:
    from typing import Final

MAX_LENGTH: Final = 16 * 1024
MAX_DEPTH: Final = 64
"""Of parentheses and calls within each other."""

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

# possessive, so that no query takes longer than its length
_DURATION = r"(?:[0-9]++(?:ms|[smhdwy]))++"
_NUMBER = r"0[xX][0-9a-fA-F]++|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
_SPACE = r"[ \t\r\n]*"
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>[ \t\r\n]+ | \#[^\r\n]*)
    | (?P<range>\[{_SPACE}{_DURATION}{_SPACE}(?::{_SPACE}(?:{_DURATION}{_SPACE})?)?\])
    | (?P<duration>{_DURATION})(?![a-zA-Z0-9_:.])
    | (?P<number>{_NUMBER})(?![a-zA-Z0-9_:.])
    | (?P<string>"(?:[^"\\\n]++|\\[^\n])*+" | '(?:[^'\\\n]++|\\[^\n])*+' | `[^`]*+`)
    | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<mark>==|=~|!=|!~|<=|>=|[-+*/%^<>=(){{}},@])
    """,
    re.VERBOSE,
)

_AGGREGATORS: Final = frozenset(
    """
    sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio
    """.split()  # noqa: SIM905 - words are easier to read
)
_WORD_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2"})
_MARK_OPERATORS: Final = frozenset({"+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="})
_MATCH_OPERATORS: Final = frozenset({"=", "!=", "=~", "!~"})
_NEVER_NAMES: Final = frozenset({"on", "ignoring", "bool", "group_left", "group_right", "atan2"})
"""Keywords that name no metric, whatever stands around them."""
_NUMBER_WORDS: Final = frozenset({"inf", "nan"})
_FUNCTIONS: Final = frozenset(
    """
    abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min
    cos cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv
    double_exponential_smoothing exp first_over_time floor histogram_avg histogram_count histogram_fraction
    histogram_quantile histogram_quantiles histogram_stddev histogram_stdvar histogram_sum holt_winters hour idelta
    increase irate label_join label_replace last_over_time ln log10 log2 mad_over_time max_over_time min_over_time
    minute month pi predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort
    sort_by_label sort_by_label_desc sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time tan tanh time
    timestamp ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time vector year
    """.split()  # noqa: SIM905
)
"""Those that read no series but their arguments; ``info`` is not among them."""


def scoped(query: str, label: str, value: str) -> str:
    """``query`` with ``label="value"`` among the matchers of every selector; its meaning else unchanged.

    Args:
        label: a plain name of a label.
        value: of a project.

    Raises:
        PermanentError: the query cannot be bound with certainty, or there is no project to bind it to: an empty value
            would match the series that have no such label.
    """
    if not value:
        raise PermanentError("the query cannot be bound to a project: there is none")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return _Binder(query, f'{label}="{escaped}"').bound()


class _Kind(StrEnum):
    RANGE = "range"
    DURATION = "duration"
    NUMBER = "number"
    STRING = "string"
    WORD = "word"
    MARK = "mark"
    END = "end"


class _Token(NamedTuple):
    kind: _Kind
    text: str
    place: int


def _tokens(query: str) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    while place < len(query):
        match = _TOKEN.match(query, place)
        if match is None or match.lastgroup is None:
            raise _refusal(place, repr(query[place]))
        if match.lastgroup != "space":
            found.append(_Token(_Kind(match.lastgroup), match[0], place))
        place = match.end()
    found.append(_Token(_Kind.END, "", place))
    return found


def _refusal(place: int, what: str) -> PermanentError:
    return PermanentError(f"the query cannot be bound to a project: {what} at character {place + 1} is not understood")


class _Binder:
    """Reads an expression by recursive descent, writing as it goes."""

    def __init__(self, query: str, matcher: str) -> None:
        if len(query) > MAX_LENGTH:
            raise PermanentError(f"the query cannot be bound to a project: it is longer than {MAX_LENGTH} characters")
        self._tokens = _tokens(query)
        self._next = 0
        self._matcher = matcher
        self._depth = 0
        self._written: list[str] = []

    def bound(self) -> str:
        self._expression()
        if self._token.kind is not _Kind.END:
            raise self._unexpected()
        return " ".join(self._written)

    # --- tokens ------------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _word(self) -> str:
        """The token in lower case where it is a word, as keywords are read; else ""."""
        return self._token.text.lower() if self._token.kind is _Kind.WORD else ""

    def _is(self, mark: str, *, ahead: int = 0) -> bool:
        token = self._tokens[min(self._next + ahead, len(self._tokens) - 1)]
        return token.kind is _Kind.MARK and token.text == mark

    def _unexpected(self) -> PermanentError:
        return _refusal(self._token.place, repr(self._token.text) if self._token.text else "its end")

    def _take(self) -> None:
        self._written.append(self._token.text)
        self._next += 1

    def _take_mark(self, mark: str) -> None:
        if not self._is(mark):
            raise self._unexpected()
        self._take()

    def _take_kind(self, *kinds: _Kind) -> None:
        if self._token.kind not in kinds:
            raise self._unexpected()
        self._take()

    # --- expressions -------------------------------------------------------------------------------------------------

    def _expression(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PermanentError(f"the query cannot be bound to a project: it is nested deeper than {MAX_DEPTH}")
        self._operand()
        while self._at_operator():
            self._take()
            self._matching()
            self._operand()
        self._depth -= 1

    def _at_operator(self) -> bool:
        if self._token.kind is _Kind.MARK:
            return self._token.text in _MARK_OPERATORS
        return self._word in _WORD_OPERATORS

    def _matching(self) -> None:
        """How the sides of an operator find each other."""
        if self._word == "bool":
            self._take()
        if self._word in {"on", "ignoring"}:
            self._take()
            self._labels()
            if self._word in {"group_left", "group_right"}:
                self._take()
                if self._is("("):
                    self._labels()

    def _operand(self) -> None:
        while self._is("+") or self._is("-"):
            self._take()
        match self._token.kind:
            case _Kind.NUMBER | _Kind.DURATION | _Kind.STRING:
                self._take()
            case _Kind.WORD:
                self._named()
            case _Kind.MARK if self._is("("):
                self._take()
                self._expression()
                self._take_mark(")")
            case _Kind.MARK if self._is("{"):
                self._matchers()
            case _:
                raise self._unexpected()
        self._modifiers()

    def _named(self) -> None:
        """A number, an aggregation, a call or a selector that begin with a word."""
        word = self._word
        if word in _NUMBER_WORDS:
            self._take()
        elif word in _AGGREGATORS and self._at_aggregation():
            self._aggregation()
        elif self._is("(", ahead=1):
            if self._token.text not in _FUNCTIONS:
                raise self._unexpected()
            self._take()
            self._arguments()
        elif word in _NEVER_NAMES:
            raise self._unexpected()
        else:
            self._take()
            self._matchers()

    def _at_aggregation(self) -> bool:
        if self._is("(", ahead=1):
            return True
        following = self._tokens[self._next + 1]
        return following.kind is _Kind.WORD and following.text.lower() in {"by", "without"}

    def _aggregation(self) -> None:
        self._take()
        grouped = self._grouping()
        self._arguments()
        if not grouped:
            self._grouping()

    def _grouping(self) -> bool:
        if self._word not in {"by", "without"}:
            return False
        self._take()
        self._labels()
        return True

    def _arguments(self) -> None:
        self._take_mark("(")
        if not self._is(")"):
            self._expression()
            while self._is(","):
                self._take()
                self._expression()
        self._take_mark(")")

    def _labels(self) -> None:
        """Names of labels in parentheses; they select nothing."""
        self._take_mark("(")
        while not self._is(")"):
            if not LABEL_NAME.fullmatch(self._token.text):
                raise self._unexpected()
            self._take_kind(_Kind.WORD)
            if not self._is(","):
                break
            self._take()
        self._take_mark(")")

    def _matchers(self) -> None:
        """The matchers of a selector, whose name, if it has one, is written already; and ours."""
        if not self._is("{"):
            self._written.append("{" + self._matcher + "}")
            return
        self._take()
        while not self._is("}"):
            self._match()
            if not self._is(","):
                break
            self._take()
        if not self._is("}"):
            raise self._unexpected()
        if self._written[-1] not in {"{", ","}:
            self._written.append(",")
        self._written.append(self._matcher)
        self._take()

    def _match(self) -> None:
        """One matcher, or a metric's name in quotes."""
        if self._token.kind is _Kind.STRING:
            self._take()
            if self._is(",") or self._is("}"):
                return
        elif LABEL_NAME.fullmatch(self._token.text):
            self._take_kind(_Kind.WORD)
        else:
            raise self._unexpected()
        if self._token.kind is not _Kind.MARK or self._token.text not in _MATCH_OPERATORS:
            raise self._unexpected()
        self._take()
        self._take_kind(_Kind.STRING)

    def _modifiers(self) -> None:
        """Ranges, offsets and times after an operand, in any order."""
        while True:
            if self._token.kind is _Kind.RANGE:
                self._take()
            elif self._word == "offset":
                self._take()
                if self._is("-"):
                    self._take()
                self._take_kind(_Kind.DURATION)
            elif self._is("@"):
                self._take()
                self._moment()
            else:
                return

    def _moment(self) -> None:
        if self._word in {"start", "end"}:
            self._take()
            self._take_mark("(")
            self._take_mark(")")
            return
        if self._is("-") or self._is("+"):
            self._take()
        if self._word in _NUMBER_WORDS:
            self._take()
        else:
            self._take_kind(_Kind.NUMBER)
