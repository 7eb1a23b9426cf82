"""What is rendered is what Kubernetes takes, and what a controller can run with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from autoscaler.declarations import load
from autoscaler.settings import PREFIX, Settings, unknown_variables
from tests.chart.rendering import (
    CHART,
    EXAMPLES,
    NOTES,
    Object,
    chart,
    controller,
    example,
    helm_python,
    objects,
    one,
    pods,
    texts,
)

pytestmark = pytest.mark.slow

ALL = [*EXAMPLES, "everything"]
OLDEST, NEWEST = "1.27", "1.37"
"""Kubernetes' versions between which a cluster may be."""
CUSTOM: dict[str, Object] = {
    "ServiceMonitor": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "endpoints"],
            "properties": {
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
                },
                "namespaceSelector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchNames": {"type": "array", "items": {"type": "string"}}},
                },
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                            "scheme": {"enum": ["http", "https"]},
                            "tlsConfig": {"type": "object"},
                            "authorization": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {
                                    "type": {"type": "string"},
                                    "credentials": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "required": ["key"],
                                        "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
    "ScaledObject": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {key: {"type": "string"} for key in ("apiVersion", "kind", "name")},
                },
                "minReplicaCount": {"type": "integer"},
                "maxReplicaCount": {"type": "integer"},
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"horizontalPodAutoscalerConfig": {"type": "object"}},
                },
                "triggers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "prometheus"},
                            "metricType": {"enum": ["AverageValue", "Value"]},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    },
                },
            },
        },
    },
}
"""The fields of others' kinds that the chart uses, as they are documented: no package has their own schemas."""


def check(thing: Object, version: str) -> None:
    """Raises jsonschema.ValidationError where Kubernetes would refuse an object, or drop a field of it."""
    if thing["kind"] in CUSTOM:
        jsonschema.validate(thing, {"type": "object", "properties": CUSTOM[thing["kind"]]})
    else:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", ALL)
def test_what_an_example_comes_to_is_valid(name: str, version: str) -> None:
    found = objects(example(name))

    assert len(found) >= 3
    for thing in found:
        check(thing, version)


@pytest.mark.parametrize("name", ALL)
def test_helm_finds_nothing_to_blame(name: str) -> None:
    report = helm_python.lint(CHART, example(name), strict=True, kube_version=f"v{NEWEST}.0")

    assert report["errors"] == []
    assert [found["error"] for found in report["messages"]] == ["icon is recommended"]


def test_a_chart_comes_out_whole(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)

    with helm_python.Chart.load(archive) as packed:
        assert {kind["kind"] for kind in objects(example("production"), of=packed)} == {
            "ConfigMap",
            "Deployment",
            "Ingress",
            "Job",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "ScaledObject",
            "Service",
            "ServiceAccount",
            "ServiceMonitor",
        }


# --- mistakes that must be found ------------------------------------------------------------------------------------


def mistakes(of: helm_python.Chart) -> list[str]:
    """What Kubernetes would say to two of the examples."""
    found: list[str] = []
    for thing in (*objects(example("minimal"), of=of), *objects(example("production"), of=of)):
        try:
            check(thing, NEWEST)
        except jsonschema.ValidationError as error:
            found.append(error.message)
    return found


@pytest.mark.parametrize(
    ("template", "right", "wrong", "said"),
    [
        pytest.param(
            "deployment.yaml", "replicas: {{ int .Values.replicaCount }}", 'replicas: "two"', "'two'", id="type"
        ),
        pytest.param("deployment.yaml", "minReadySeconds:", "minReadySecond:", "minReadySecond", id="field"),
        pytest.param("_helpers.tpl", "imagePullPolicy:", "imagePulPolicy:", "imagePulPolicy", id="deep-field"),
        pytest.param(
            "service.yaml", "port: {{ int .Values.service.port }}, ", "", "'port' is a required", id="missing"
        ),
        pytest.param("servicemonitor.yaml", "interval:", "intervall:", "intervall", id="custom-field"),
        pytest.param("autoscaling.yaml", "maxReplicaCount:", "maxReplicas:", "maxReplicas", id="custom-kind"),
    ],
)
def test_a_mistake_in_a_template_is_found(tmp_path: Path, template: str, right: str, wrong: str, said: str) -> None:
    shutil.copytree(CHART, tmp_path / "autoscaler")
    file = tmp_path / "autoscaler" / "templates" / template
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))

    with helm_python.Chart.load(tmp_path / "autoscaler") as mistaken:
        assert said in "\n".join(mistakes(mistaken))
    assert mistakes(chart()) == []


def with_(path: str, value: Any) -> Object:
    """The values of the least example, and one more."""
    values = place = example("minimal")
    *within, key = path.split("/")
    for part in within:
        place = place.setdefault(part, {})
    place[key] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("replicaCounts", 3, "'replicaCounts' not allowed", id="key"),
        pytest.param("image/tags", "1", "'tags' not allowed", id="key-within"),
        pytest.param("settings/keystone_uri", "http://k", "'keystone_uri' not allowed", id="setting"),
        pytest.param("settings/keystone_password", "1234", "'keystone_password' not allowed", id="secret-in-the-clear"),
        pytest.param("settings/api", "0.0.0.0:1", "'api' not allowed", id="setting-of-the-charts-own"),
        pytest.param("secretSettings/redis_uri", {"secret": "a", "key": "b"}, "'redis_uri' not allowed", id="secret"),
        pytest.param(
            "fileSettings/amqp_queue_file", {"secret": "a", "key": "b"}, "'amqp_queue_file' not", id="no-secret"
        ),
        pytest.param("fileSettings/redis_url", {"secret": "a", "key": "b"}, "'redis_url' not allowed", id="no-file"),
        pytest.param("secretSettings/mqtt_password", {"secret": "a"}, "missing property 'key'", id="half-a-reference"),
        pytest.param("replicaCount", "three", "want integer", id="type"),
        pytest.param("settings/amqp_prefetch", 0, "/settings/amqp_prefetch", id="bound"),
        pytest.param("settings/log_level", "loud", "/settings/log_level", id="choice"),
        pytest.param("settings/heat_repair", "yes", "/settings/heat_repair", id="word-for-a-truth"),
        pytest.param("image/digest", "sha256:123", "/image/digest", id="digest"),
        pytest.param("mode", "daemonset", "/mode", id="mode"),
        pytest.param("rules", {"web.txt": "alarms: []"}, "'web.txt' does not match", id="file-that-is-not-read"),
        pytest.param(
            "rules", {"web.test.yaml": "alarms: []"}, "invalid propertyName 'web.test.yaml'", id="test-that-is-not-read"
        ),
    ],
)
def test_a_mistake_in_the_values_is_refused(path: str, value: Any, said: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        texts(with_(path, value))

    assert said in str(refused.value).replace("additional properties ", "")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("secretSettings/redis_url", None, "redis_url: expected in secretSettings", id="no-store"),
        pytest.param("settings/auth", None, "settings.auth: expected keystone or another", id="open"),
        pytest.param("settings/auth", "noauth", "settings.auth: expected keystone or another", id="open-by-name"),
        pytest.param("settings/redis_url", "redis://r", "redis_url: in settings and in secretSettings", id="twice"),
        pytest.param(
            "fileSettings/redis_url_file",
            {"secret": "a", "key": "b"},
            "redis_url: in secretSettings, and as",
            id="file",
        ),
        pytest.param("trial/valkey", {"enabled": True}, "redis_url: in secretSettings and set by trial", id="trial"),
        pytest.param("autoscaling/kind", "keda", "autoscaling.prometheusAddress: expected", id="whom-to-ask"),
        pytest.param(
            "autoscaling", {"kind": "hpa", "minReplicas": 9}, "autoscaling.minReplicas: ", id="more-than-most"
        ),
        pytest.param("metrics/serviceMonitor", {"enabled": True}, "authorization: expected", id="closed-metrics"),
        pytest.param("ingress/enabled", True, "ingress.hosts: expected", id="no-hosts"),
    ],
)
def test_values_that_no_controller_could_run_with_are_refused(path: str, value: Any, said: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        texts(with_(path, value))

    assert said in str(refused.value)


# --- what a controller is given -------------------------------------------------------------------------------------


def given(container: Object, file: Path) -> dict[str, str]:
    """The settings in a container's environment, by field, with something plausible for what comes out of secrets."""
    url = {"redis_url": "rediss://:p@redis", "keystone_url": "https://k"}
    found: dict[str, str] = {}
    for variable in container["env"]:
        name = variable["name"].removeprefix(PREFIX).lower()
        value = variable.get("value")
        if value is None:
            value = url.get(name, "amqps://u:p@rabbit" if name.endswith("_url") else "secret")
        found[name] = str(file) if value.startswith("/etc/autoscaler/files/") else value
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_variable_is_a_setting_and_all_can_be_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text("secret")
    found = given(controller(objects(example(name))), tmp_path / "ca.crt")

    assert unknown_variables({PREFIX + field.upper(): value for field, value in found.items() if field != "tz"}) == []
    for field, value in found.items():
        monkeypatch.setenv(PREFIX + field.upper(), value)
    assert Settings().replica == "secret"


def test_values_reach_the_controller_as_they_were_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(controller(objects(example("everything"))), tmp_path)

    assert found["amqp_max_length"] == "1000000"
    assert found["history_ttl"] == "31536000"
    assert found["min_evaluation_interval"] == "0.5"
    assert found["heat_repair"] == "true"
    assert found["cors_origins"] == "https://a.example.org,https://b.example.org"
    assert (found["api"], found["udp"]) == ("[::]:9000", "[::]:4952")
    assert "log_format" not in found


@pytest.mark.parametrize("name", ["production", "trial"])
def test_rules_and_policies_arrive_as_they_were_written(name: str) -> None:
    found = objects(example(name))
    data = one("ConfigMap", found, "autoscaler-declarations")["data"]
    declared = load(data)

    assert set(data) == {"rules-web.yaml", "policies-web.yaml"}
    assert [alarm.name for alarm in declared.alarms.values()] == ["web-busy"]
    assert list(declared.policies) == ["web-out"]
    assert one("ConfigMap", found, "autoscaler-check")["data"] == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("  alarms:\n    - indented\n", id="indented"),
        pytest.param("# {{ .Values.x }} {% x %}\nalarms: []", id="templates"),
        pytest.param("a: 'ü – 你 \U0001f525'\r\nb: \t\"quoted\"   \n\n\n", id="signs"),
        pytest.param("\n\n---\nalarms: []\n...\n", id="documents"),
        pytest.param("true", id="word"),
    ],
)
def test_a_text_is_mounted_as_it_is(text: str) -> None:
    found = objects(with_("rules/odd.yaml", text))

    assert one("ConfigMap", found, "autoscaler-declarations")["data"] == {"rules-odd.yaml": text}


@pytest.mark.parametrize("content", [None, "", {}])
def test_a_file_that_was_taken_out_leaves_nothing_behind(content: object) -> None:
    found = objects(with_("rules/web.yaml", content))

    assert {thing["kind"] for thing in found} == {thing["kind"] for thing in objects(example("minimal"))}
    assert "AUTOSCALER_RULES" not in {variable["name"] for variable in controller(found)["env"]}


def test_rules_are_mounted_as_one_folder_and_not_as_files() -> None:
    """A file mounted by ``subPath`` never changes; two volumes change at two moments."""
    pod = one("Deployment", objects(example("production")))["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    rules = next(variable for variable in pod["containers"][0]["env"] if variable["name"] == "AUTOSCALER_RULES")

    assert mounts[rules["value"]] == {"name": "autoscaler-declarations", "mountPath": rules["value"], "readOnly": True}
    assert not any("subPath" in mount for mount in mounts.values())
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "autoscaler-declarations")
    assert volume["projected"]["sources"] == [{"configMap": {"name": "autoscaler-declarations"}}]


def test_files_out_of_secrets_are_where_their_settings_say() -> None:
    container = controller(objects(example("everything")))
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = [v["value"] for v in container["env"] if str(v.get("value")).startswith("/etc/autoscaler/files/")]

    assert len(files) == 6
    assert all(file.rpartition("/")[0] in mounted for file in files)


# --- what Kubernetes makes of it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_pod_may_run_where_only_restricted_ones_may(name: str) -> None:
    """Kubernetes' Pod Security Standard "restricted", and besides it no token, no service links, no writable root."""
    for pod in pods(objects(example(name))):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod.get(host) for host in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            secured = container["securityContext"]
            assert secured["allowPrivilegeEscalation"] is False
            assert secured["capabilities"] == {"drop": ["ALL"]}
            assert secured["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ALL)
def test_nobody_is_given_rights(name: str) -> None:
    found = objects(example(name))

    assert not any("Role" in thing["kind"] for thing in found)
    assert all(thing["automountServiceAccountToken"] is False for thing in found if thing["kind"] == "ServiceAccount")


@pytest.mark.parametrize("name", [name for name in ALL if name != "sidecar"])
def test_what_looks_for_the_controllers_finds_them_and_nobody_else(name: str) -> None:
    found = objects(example(name))
    deployment = one("Deployment", found)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    service = one("Service", found, deployment["metadata"]["name"])
    looking = [deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    looking += [
        thing["spec"].get("podSelector", thing["spec"].get("selector"))["matchLabels"]
        for thing in found
        if thing["kind"] in {"PodDisruptionBudget", "NetworkPolicy"}
        and thing["metadata"]["name"] == service["metadata"]["name"]
    ]
    ports = {port["name"] for port in controller(found)["ports"]}

    assert all(selector.items() <= labels for selector in looking)
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    for other in found:
        if other["kind"] in {"StatefulSet", "Job"}:
            theirs = other["spec"]["template"]["metadata"]["labels"].items()
            assert not any(selector.items() <= theirs for selector in looking)


def test_the_monitor_finds_the_service() -> None:
    found = objects(example("production"))
    monitor, service = one("ServiceMonitor", found), one("Service", found)

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_new_version_takes_nobody_away_before_it_serves() -> None:
    deployment = one("Deployment", objects(example("minimal")))["spec"]
    pod = deployment["template"]["spec"]
    container = pod["containers"][0]

    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment["revisionHistoryLimit"] == 5
    assert container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "autoscaler", "scheme": "HTTP"}
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1] == "import time; time.sleep(5)"
    assert pod["terminationGracePeriodSeconds"] == 75


def test_replicas_are_left_to_who_scales_them() -> None:
    assert "replicas" not in one("Deployment", objects(example("production")))["spec"]
    assert one("Deployment", objects(example("minimal")))["spec"]["replicas"] == 2


def test_a_controller_on_loopback_is_asked_from_within() -> None:
    found = objects(with_("api/host", "127.0.0.1"))
    probes = [controller(found)[f"{name}Probe"]["exec"]["command"][2] for name in ("liveness", "readiness")]

    assert not [thing for thing in found if thing["kind"] == "Service"]
    assert [probe.partition("http://")[2].partition('"')[0] for probe in probes] == [
        "127.0.0.1:8042/healthz",
        "127.0.0.1:8042/readyz",
    ]


def test_an_api_with_a_certificate_is_asked_by_https() -> None:
    found = objects(example("everything"))
    within = objects(example("everything") | {"api": {"host": "127.0.0.1"}, "ingress": {}, "metrics": {}})

    assert controller(found)["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert one("ServiceMonitor", found)["spec"]["endpoints"][0]["scheme"] == "https"
    assert "https://127.0.0.1:8042/readyz" in controller(within)["readinessProbe"]["exec"]["command"][2]


def test_an_api_that_wants_a_certificate_is_only_looked_at() -> None:
    """The kubelet has none to show."""
    values = example("everything")
    values["fileSettings"]["api_client_ca"] = {"configMap": "ca", "key": "ca.crt"}
    probes = [controller(objects(values))[f"{name}Probe"] for name in ("startup", "liveness", "readiness")]

    assert all("httpGet" not in probe and probe["tcpSocket"] == {"port": "autoscaler"} for probe in probes)
    with pytest.raises(helm_python.HelmError, match=r"fileSettings\.api_client_ca: nobody could probe"):
        texts(values | {"api": {"host": "127.0.0.1"}, "ingress": {}, "metrics": {}})


# --- beside another, and for a trial --------------------------------------------------------------------------------

HEAT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "heat-engine"},
    "spec": {
        "selector": {"matchLabels": {"application": "heat", "component": "engine"}},
        "template": {
            "metadata": {"labels": {"application": "heat", "component": "engine"}},
            "spec": {
                "containers": [{"name": "heat-engine", "image": "heat"}],
                "volumes": [{"name": "etc", "emptyDir": {}}],
            },
        },
    },
}


def test_the_patch_puts_the_controller_beside_another() -> None:
    found = objects(with_sidecar := example("sidecar") | {"rules": {"a.yaml": "alarms: []"}})
    patch = yaml.safe_load(one("ConfigMap", found, "autoscaler-sidecar")["data"]["patch.yaml"])
    added, pod = patch["spec"]["template"]["spec"], HEAT["spec"]["template"]["spec"]
    patched = {
        **pod,
        "containers": [*pod["containers"], *added["containers"]],
        "volumes": [*pod["volumes"], *added["volumes"]],
    }
    heat = {**HEAT, "spec": {**HEAT["spec"], "template": {**HEAT["spec"]["template"], "spec": patched}}}

    check(heat, NEWEST)
    assert set(added) == {"containers", "volumes"}
    assert {mount["name"] for mount in added["containers"][0]["volumeMounts"]} == {v["name"] for v in added["volumes"]}
    assert "readinessProbe" not in added["containers"][0]
    assert added["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": 10001,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert one("Service", found)["spec"]["selector"] == with_sidecar["sidecar"]["selector"]
    assert {thing["kind"] for thing in found} == {"ConfigMap", "Job", "Service", "ServiceMonitor"}


def test_another_chart_takes_the_container_in(tmp_path: Path) -> None:
    heat = tmp_path / "heat"
    shutil.copytree(CHART, heat / "charts" / "autoscaler")
    (heat / "templates").mkdir()
    (heat / "Chart.yaml").write_text(
        "apiVersion: v2\nname: heat\nversion: 1.0.0\ndependencies:\n  - {name: autoscaler, version: 0.1.0}\n"
    )
    (heat / "templates" / "engine.yaml").write_text(
        """apiVersion: apps/v1
kind: Deployment
metadata: {name: heat-engine}
spec:
  selector: {matchLabels: {application: heat, component: engine}}
  template:
    metadata: {labels: {application: heat, component: engine}}
    spec:
      containers:
        - {name: heat-engine, image: heat}
        - {{ include "autoscaler.container" .Subcharts.autoscaler | nindent 10 | trim }}
      volumes:
        {{- include "autoscaler.volumes" .Subcharts.autoscaler | nindent 8 }}
"""
    )
    values = example("sidecar") | {"rules": {"a.yaml": "alarms: []"}}

    with helm_python.Chart.load(heat) as parent:
        found = objects({"autoscaler": values}, of=parent)
    assert controller(found) == controller(objects(values))
    check(one("Deployment", found), NEWEST)
    volume = one("Deployment", found)["spec"]["template"]["spec"]["volumes"][-1]
    assert one("ConfigMap", found, volume["projected"]["sources"][0]["configMap"]["name"])["data"]


def test_a_trials_servers_are_found_by_what_leads_to_them() -> None:
    found = objects(example("trial"))
    secret = one("Secret", found)
    words, keys = secret["stringData"], []
    for variable in controller(found)["env"]:
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert reference["name"] == secret["metadata"]["name"]
            keys.append(reference["key"])

    assert keys == ["redis-url", "amqp-url"]
    assert f"requirepass {words['valkey-password']}\n" in words["valkey.conf"]
    assert words["redis-url"] == f"redis://:{words['valkey-password']}@autoscaler-valkey:6379/0"
    assert f"default_pass = {words['rabbitmq-password']}\n" in words["rabbitmq.conf"]
    assert words["amqp-url"] == f"amqp://autoscaler:{words['rabbitmq-password']}@autoscaler-rabbitmq:5672/"
    for name, port in (("autoscaler-valkey", 6379), ("autoscaler-rabbitmq", 5672)):
        assert one("Service", found, name)["spec"]["ports"][0]["port"] == port
        assert one("StatefulSet", found, name)["spec"]["serviceName"] == name


def test_a_trial_is_called_one_loudly() -> None:
    assert "FOR A TRIAL ONLY: Valkey RabbitMQ" in texts(example("trial"))[NOTES]
    assert "WARNING: settings.auth_force" in texts(example("trial"))[NOTES]
    assert "TRIAL" not in texts(example("production"))[NOTES]
    assert "WARNING: the ingress has no TLS" in texts(example("everything"))[NOTES]
    assert "WARNING: settings.trusted_proxies" in texts(example("everything"))[NOTES]
    assert "WARNING" not in texts(example("production"))[NOTES]
