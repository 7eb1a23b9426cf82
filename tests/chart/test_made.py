"""What is made from the code, or must agree with it."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from autoscaler import __version__
from autoscaler.api.metrics import Metrics
from docs.reference import chart as made
from tests.chart.rendering import CHART, example, objects, one

pytestmark = pytest.mark.slow

BESIDE = {"le", "pod"}
"""Labels that a metric has besides its own: a histogram's, and the one that Prometheus knows a target by."""


def metrics() -> dict[str, set[str]]:
    """The labels of every series that ``/metrics`` may have, by its name."""
    registry = Metrics().registry
    found: dict[str, set[str]] = {sample.name: set() for family in registry.collect() for sample in family.samples}
    for collector in registry._collector_to_names:
        for name in registry._collector_to_names[collector]:
            if isinstance(collector, MetricWrapperBase):
                found[name] = set(collector._labelnames)
    return found


def queries() -> list[str]:
    dashboard = json.loads((CHART / "dashboards" / "autoscaler.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return panels + [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]


def test_the_readme_and_the_schema_are_current() -> None:
    assert (CHART / "README.md").read_text() == made.readme(), "make docs"
    assert (CHART / "values.schema.json").read_text() == made.schema(), "make docs"


def test_every_value_is_described() -> None:
    def leaves(values: dict[str, object], described: set[str], above: str = "") -> list[str]:
        found: list[str] = []
        for key, value in values.items():
            path = f"{above}{key}"
            if path not in described:
                found += leaves(value, described, f"{path}.") if isinstance(value, dict) and value else [path]
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert leaves(values, {value.path for value in made.values()}) == []


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_asks_for_metrics_that_there_are(query: str) -> None:
    known = metrics()
    asked = re.findall(r"\b(?:autoscaler|process)_\w+", query)

    assert asked
    for name in asked:
        assert name in known
        for labels in re.findall(r"by \(([^)]*)\)", query):
            assert set(labels.split(", ")) <= known[name] | BESIDE


def test_a_dashboards_mistake_would_be_seen() -> None:
    assert "autoscaler_measures_received_total" in metrics()
    assert "autoscaler_measures_total" not in metrics()


def test_the_dashboard_is_a_configmap_that_grafana_finds() -> None:
    found = one("ConfigMap", objects(example("production")), "autoscaler-dashboard")

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["autoscaler.json"])["title"] == "autoscaler"


def test_controllers_are_scaled_by_a_metric_that_there_is() -> None:
    default = yaml.safe_load((CHART / "values.yaml").read_text())["autoscaling"]["metric"]
    hpa = one("HorizontalPodAutoscaler", objects(example("everything")))["spec"]["metrics"][0]["pods"]
    keda = one("ScaledObject", objects(example("production")))["spec"]["triggers"][0]["metadata"]

    assert {default, hpa["metric"]["name"]} <= set(metrics())
    assert hpa["target"]["averageValue"] == "2500000"
    assert keda["query"] == 'sum(autoscaler_source_behind_seconds{namespace="openstack",service="autoscaler"})'
