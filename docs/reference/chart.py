"""The chart's README and its schema of values, made from the comments of ``values.yaml`` and from the settings.

A value with a comment that begins with ``# --`` is described by it. A map without one is described by what is in it,
and holds nothing else; a map with one holds what Kubernetes or the settings allow.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from autoscaler.settings import FILE, Settings, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

CHART: Final = Path(__file__).parents[2] / "helm" / "autoscaler"
OWN: Final = ("api", "udp", "replica", "rules", "policies", "state_dir")
"""Settings that the chart's other values are for."""

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string", "minLength": 1}
_PORT: Final[Json] = {"type": "integer", "minimum": 1, "maximum": 65_535}
_PART: Final[Json] = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}]}
_TEXTS: Final[Json] = {"type": "object", "additionalProperties": {"type": "string"}}
_FILES: Final[Json] = {
    "type": "object",
    "propertyNames": {"pattern": r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.ya?ml$", "not": {"pattern": r"\.test\.ya?ml$"}},
    "additionalProperties": {"type": ["string", "object", "null"]},
}
_RULED: Final[Mapping[str, Json]] = {
    "mode": {"enum": ["deployment", "sidecar"]},
    "commonLabels": _TEXTS,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "nodeSelector": _TEXTS,
    "image.repository": _TEXT,
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "rules": _FILES,
    "policies": _FILES,
    "existingDeclarations": {"type": "array", "items": _TEXT},
    "api.host": _TEXT,
    "api.port": _PORT,
    "api.udpPort": {"anyOf": [_PORT, {"type": "null"}]},
    "replicaCount": {"type": "integer", "minimum": 0},
    "strategy.maxUnavailable": _PART,
    "strategy.maxSurge": _PART,
    "podDisruptionBudget.maxUnavailable": _PART,
    "antiAffinity": {"enum": ["soft", "hard", "none"]},
    "serviceAccount.annotations": _TEXTS,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": _PORT,
    "service.annotations": _TEXTS,
    "ingress.annotations": _TEXTS,
    "ingress.hosts": {"type": "array", "items": _TEXT},
    "autoscaling.kind": {"enum": ["", "hpa", "keda"]},
    "autoscaling.minReplicas": {"type": "integer", "minimum": 1},
    "autoscaling.maxReplicas": {"type": "integer", "minimum": 1},
    "autoscaling.target": {"type": "number", "exclusiveMinimum": 0},
    "metrics.serviceMonitor.labels": _TEXTS,
    "metrics.serviceMonitor.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
    "metrics.dashboard.labels": _TEXTS,
    "metrics.dashboard.annotations": _TEXTS,
    "sidecar.selector": _TEXTS,
} | {f"probes.{name}": {"type": ["object", "null"]} for name in ("startup", "liveness", "readiness")}
"""What a value may be where its default does not say it, by its path."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value that is described.

    Args:
        path: keys with dots between them.
        default: as YAML has it.
        meaning: the comment, on one line.
    """

    path: str
    default: Any
    meaning: str


def values() -> list[Value]:
    """Every described value, in the order of ``values.yaml``."""
    text = CHART.joinpath("values.yaml").read_text()
    defaults = yaml.safe_load(text)
    return [Value(path, _at(defaults, path), meaning) for path, meaning in _described(text)]


def _described(text: str) -> Iterator[tuple[str, str]]:
    above: list[tuple[int, str]] = []  # indentation and key of what the line is in
    meaning: list[str] = []
    for line in text.splitlines():
        if comment := re.match(r"\s*# ?(.*)", line):
            begins = comment[1].startswith("-- ")
            if begins or meaning:
                meaning = [comment[1].removeprefix("-- ")] if begins else [*meaning, comment[1]]
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            indentation = len(key[1])
            above = [*((depth, name) for depth, name in above if depth < indentation), (indentation, key[2])]
            if meaning:
                yield ".".join(name for _, name in above), " ".join(meaning)
            meaning = []
        else:
            meaning = []


def _at(defaults: Any, path: str) -> Any:
    for key in path.split("."):
        defaults = defaults[key]
    return defaults


def readme() -> str:
    """The chart's README."""
    rows = [
        f"| `{value.path}` | `{json.dumps(value.default)}` | {value.meaning.replace('|', '&#124;')} |"
        for value in values()
    ]
    return "\n".join(
        (
            "# Chart `autoscaler`",
            "",
            "Made by `make docs` from `values.yaml`. [Examples](../examples) are beside it. How to install it,",
            "and what to know before: [docs/guides/kubernetes.md](../../docs/guides/kubernetes.md).",
            "",
            "| value | default | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
        )
    )


def schema() -> str:
    """``values.schema.json``: a key that is none, and a value of another type, are refused by Helm."""
    whole: Json = {"type": "object", "additionalProperties": False, "properties": {}}
    for value in values():
        *within, key = value.path.split(".")
        place = whole
        for part in within:
            place = place["properties"].setdefault(
                part, {"type": "object", "additionalProperties": False, "properties": {}}
            )
        place["properties"][key] = {"description": value.meaning, **_allowed(value)}
    # a chart that depends on this one says whether it does, and Helm adds what is global
    whole["properties"] |= {"enabled": {"type": "boolean"}, "global": {"type": "object"}}
    definitions = {"secret": _reference("secret"), "configMap": _reference("configMap")}
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", **whole, "definitions": definitions}
    return json.dumps(whole, indent=1) + "\n"


def _allowed(value: Value) -> Json:
    if value.path in _RULED:
        return _RULED[value.path]
    if value.path in {"settings", "secretSettings", "fileSettings"}:
        return {"type": "object", "additionalProperties": False, "properties": _settings(value.path)}
    match value.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
    raise TypeError(f"{value.path}: a default of {value.default!r} does not say what may stand there")


def _settings(kind: str) -> Json:
    """The settings that may stand in one of the three maps, by name."""
    found: Json = {}
    whole = Settings.model_json_schema()
    for name, field in whole["properties"].items():
        kinds = [_inlined(part, whole["$defs"]) for part in field.get("anyOf", [field])]
        if name in OWN:
            continue
        if kind == "secretSettings":
            found[name] = {"$ref": "#/definitions/secret"}
        elif kind == "fileSettings":
            secret = is_secret(name, Settings.model_fields[name])
            if secret or any(part.get("format") in {"path", "file-path"} for part in kinds):
                found[name + FILE.lower() if secret else name] = {
                    "anyOf": [{"$ref": f"#/definitions/{source}"} for source in ("secret", "configMap")]
                }
        elif not any(part.get("format") == "password" for part in kinds):
            found[name] = {"anyOf": [*(_plain(part) for part in kinds if part != {"type": "null"}), {"type": "null"}]}
    return found


def _inlined(part: Json, definitions: Json) -> Json:
    """A part of a schema without what only describes it, and with what it refers to in its place."""
    reference = part.get("$ref")
    if reference is not None:
        return _inlined(definitions[reference.rpartition("/")[2]], definitions)
    return {key: what for key, what in part.items() if key not in {"title", "description", "default", "writeOnly"}}


def _plain(part: Json) -> Json:
    """What a setting of this type may be in YAML; of a list also words with commas between them."""
    if part.get("type") == "array":
        return {"type": ["string", "array"], "items": {"type": "string"}}
    if "enum" in part:
        return {"enum": part["enum"]}
    return {key: what for key, what in part.items() if key != "format"}


def _reference(kind: str) -> Json:
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "required": [kind, "key"],
        "properties": {kind: _TEXT, "key": _TEXT},
    }
