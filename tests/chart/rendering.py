"""The chart as Helm's own engine renders it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate.utils
import pytest
import yaml

helm_python = pytest.importorskip("helm_python", reason="its wheel holds Helm for Linux and for macOS on arm64 only")

# it reads some megabytes of schemas anew for each object
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

HELM = Path(__file__).parents[2] / "helm"
CHART = HELM / "autoscaler"
EXAMPLES = sorted(path.stem for path in (HELM / "examples").glob("*.yaml"))
NOTES = "autoscaler/templates/NOTES.txt"

Object = dict[str, Any]


@cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def example(name: str) -> Object:
    """The values of a file among the examples, or of the one beside this file that says everything."""
    path = HELM / "examples" / f"{name}.yaml"
    if not path.exists():
        path = Path(__file__).parent / f"{name}.yaml"
    return helm_python.values_from_yaml(path.read_text())


def texts(values: Object, *, of: helm_python.Chart | None = None) -> dict[str, str]:
    """What each template makes of these values, by its path."""
    return (of or chart()).render(values, name="autoscaler", namespace="openstack")


def objects(values: Object, *, of: helm_python.Chart | None = None) -> list[Object]:
    """Every object that these values come to."""
    return _objects(json.dumps(values), of or chart())


@cache
def _objects(values: str, of: helm_python.Chart) -> list[Object]:
    return [
        found
        for path, text in texts(json.loads(values), of=of).items()
        if path.endswith(".yaml")
        for found in yaml.load_all(text, yaml.CSafeLoader)
        if found
    ]


def one(kind: str, found: list[Object], name: str | None = None) -> Object:
    """The only object of a kind, or the one of that name."""
    (only,) = (thing for thing in found if thing["kind"] == kind and name in {None, thing["metadata"]["name"]})
    return only


def pods(found: list[Object]) -> Iterator[Object]:
    """The spec of every pod that would be started, that of a patch for another's included."""
    for thing in found:
        if thing["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield thing["spec"]["template"]["spec"]


def controller(found: list[Object]) -> Object:
    """The controller's container."""
    if any(thing["kind"] == "Deployment" for thing in found):
        pod = one("Deployment", found)["spec"]["template"]["spec"]
    else:
        patch = one("ConfigMap", found, "autoscaler-sidecar")["data"]["patch.yaml"]
        pod = yaml.safe_load(patch)["spec"]["template"]["spec"]
    (container,) = (container for container in pod["containers"] if container["name"] == "autoscaler")
    return container
