"""What was expected, in words a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from typing import Final

    from pydantic_core import ErrorDetails

_KINDS: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?``, or nothing where no known word is close."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a key that is none of ``known``."""
    names = sorted(known)
    return "unknown key" + (nearest(key, names) or f"; expected one of {', '.join(names)}")


def one_of(known: Iterable[str], got: object) -> str:
    """The message for a value that is none of ``known``."""
    names = list(known)
    close = nearest(got, names) if isinstance(got, str) else ""
    return f"expected one of {', '.join(names)}, got {shown(got)}{close}"


def shown(value: object) -> str:
    """A value as it is quoted in a message: short, on one line, spelled as in YAML."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, list | dict):
        text = "a list" if isinstance(value, list) else "a mapping"
    else:
        text = hex(value) if isinstance(value, int) and value.bit_length() > 1024 else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def explained(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What pydantic found wrong, as what was expected."""
    kind, got, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return f"missing{_described(model, error['loc'])}"
    if kind == "extra_forbidden":
        inner = _model_at(model, error["loc"][:-1])
        return unknown_key(str(error["loc"][-1]), _keys(inner) if inner else ())
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, got {shown(got)}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        return f"expected {words} {int(bound) if bound == int(bound) else bound}, got {shown(got)}"
    if kind in {"too_short", "too_long"}:
        bound, words = ("min_length", "at least") if kind == "too_short" else ("max_length", "at most")
        return f"expected {words} {context[bound]} of them, got {context['actual_length']}"
    if kind == "string_too_short":
        return f"expected text, got {shown(got)}"
    if kind == "string_too_long":
        return f"expected at most {context['max_length']} characters, got {len(str(got))}"
    if kind in {"enum", "literal_error"}:
        return one_of([part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")], got)
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(got)}"


def _described(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    inner = _model_at(model, loc[:-1])
    fields = {field.alias or name: field for name, field in inner.model_fields.items()} if inner else {}
    field = fields.get(str(loc[-1]))
    sentence = (field.description or "").split("\n")[0].split(";")[0].rstrip(".") if field else ""
    return f"; expected {sentence[:1].lower()}{sentence[1:]}" if sentence else ", but required"


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that describes what stands at ``loc``; None where none does."""
    found: type[BaseModel] | None = model
    for step in loc:
        if isinstance(step, int) or found is None:
            continue
        fields = {field.alias or name: field for name, field in found.model_fields.items()}
        found = _model_in(fields[step].annotation) if step in fields else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part)) is not None), None)
