from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from autoscaler.addresses import Reach
from autoscaler.errors import SettingsError
from autoscaler.settings import (
    Auth,
    LogFormat,
    Settings,
    SourceKind,
    load,
    reference,
    stream_beginning,
    unknown_variables,
)

CREDENTIALS = (
    "AUTOSCALER_KEYSTONE_URL: expected with either AUTOSCALER_KEYSTONE_USERNAME and AUTOSCALER_KEYSTONE_PASSWORD, or "
    "AUTOSCALER_KEYSTONE_CREDENTIAL_ID and AUTOSCALER_KEYSTONE_CREDENTIAL_SECRET"
)


def test_nothing_needs_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ops")
    bare = load()

    assert (bare.api_host, bare.api_port, bare.redis_url, bare.mqtt_topic) == ("127.0.0.1", 8042, None, "measures/#")
    assert bare.state_dir == Path("/home/ops/.local/state/autoscaler")


def test_the_state_folder_follows_the_desktops_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")

    assert load().state_dir == Path("/var/state/autoscaler")


def test_the_environment_is_read_and_the_command_line_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_REDIS_URL", "redis://one")
    monkeypatch.setenv("AUTOSCALER_NAMESPACE", "east")

    assert load().redis_url == "redis://one"
    assert load(redis_url="redis://two", namespace=None).redis_url == "redis://two"
    assert load(redis_url="redis://two", namespace=None).namespace == "east"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_AMQP_TTL", "")

    assert load().amqp_ttl is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_TRUSTED_SOURCES", "mqtt, amqp")
    monkeypatch.setenv("AUTOSCALER_CORS_ORIGINS", "https://a.example,http://localhost:3000")
    monkeypatch.setenv("AUTOSCALER_LOG_FORMAT", "JSON")
    read = load()

    assert read.trusted_sources == {SourceKind.MQTT, SourceKind.AMQP}
    assert read.cors_origins == ("https://a.example", "http://localhost:3000")
    assert read.log_format is LogFormat.JSON


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            {"API": "8042"}, "AUTOSCALER_API: expected HOST:PORT such as 127.0.0.1:8042, got '8042'", id="api"
        ),
        pytest.param(
            {"API": "localhost:70000"},
            "AUTOSCALER_API: expected HOST:PORT such as 127.0.0.1:8042, got 'localhost:70000'",
            id="port",
        ),
        pytest.param(
            {"API": "0.0.0.0:8042"},
            "AUTOSCALER_API: expected an address of this machine only, such as 127.0.0.1, since AUTOSCALER_AUTH=noauth "
            "believes everybody; got 0.0.0.0 (AUTOSCALER_AUTH_FORCE=true allows it)",
            id="open-to-all",
        ),
        pytest.param(
            {"REDIS_URL": "http://:secret@host"},
            "AUTOSCALER_REDIS_URL: expected a URL that begins with redis:// or rediss:// or redis+cluster:// or "
            "rediss+cluster:// or unix://",
            id="redis",
        ),
        pytest.param(
            {"REDIS_URL": "redis+cluster://ops:secret@one:1,:2"},
            "AUTOSCALER_REDIS_URL: expected HOST:PORT,HOST:PORT after redis+cluster://",
            id="redis-cluster-without-a-host",
        ),
        pytest.param(
            {"REDIS_URL": "redis+cluster://one:port"},
            "AUTOSCALER_REDIS_URL: expected HOST:PORT,HOST:PORT after redis+cluster://",
            id="redis-cluster-without-a-port",
        ),
        pytest.param(
            {"REDIS_URL": "rediss+cluster://one:1,two:2/3"},
            "AUTOSCALER_REDIS_URL: expected no database, or 0: a cluster has no other",
            id="redis-cluster-with-a-database",
        ),
        pytest.param(
            {"MQTT_URL": "mqtt://"},
            "AUTOSCALER_MQTT_URL: expected a host, and only a number as a port, after mqtt://",
            id="mqtt",
        ),
        pytest.param(
            {"AMQP_URL": "amqp://host:port"},
            "AUTOSCALER_AMQP_URL: expected a host, and only a number as a port, after amqp://",
            id="amqp",
        ),
        pytest.param(
            {"AMQP_URL": "127.0.0.1"},
            "AUTOSCALER_AMQP_URL: expected a URL that begins with amqp:// or amqps://",
            id="no-scheme",
        ),
        pytest.param(
            {"AMQP_PARTITION_HEADER": "group"},
            "AUTOSCALER_AMQP_PARTITION_HEADER: expected only with AUTOSCALER_AMQP_PARTITIONS",
            id="header-without-partitions",
        ),
        pytest.param(
            {"AMQP_PARTITIONS": "2", "AMQP_PARTITION_HEADER": "a group"},
            "AUTOSCALER_AMQP_PARTITION_HEADER: expected 1 to 100 letters, digits and _.-, got 'a group'",
            id="header",
        ),
        pytest.param(
            {"AMQP_PARTITIONS": "0"},
            "AUTOSCALER_AMQP_PARTITIONS: expected greater than or equal to 1, got '0'",
            id="no-partitions",
        ),
        pytest.param(
            {"AMQP_STREAM": "s", "AMQP_STREAM_FROM": "2026-01-31T12:00:00"},
            "AUTOSCALER_AMQP_STREAM_FROM: expected first, next, last, an offset, or a time with its zone such as "
            "2026-01-31T12:00:00Z, got '2026-01-31T12:00:00'",
            id="stream-from",
        ),
        pytest.param(
            {"AMQP_STREAM_FROM": "next"},
            "AUTOSCALER_AMQP_STREAM_FROM: expected only with AUTOSCALER_AMQP_STREAM",
            id="from-without-stream",
        ),
        pytest.param(
            {"AMQP_STREAM": "s", "AMQP_PARTITIONS": "2"},
            "AUTOSCALER_AMQP_PARTITIONS: expected only without AUTOSCALER_AMQP_STREAM",
            id="stream-and-partitions",
        ),
        pytest.param(
            {"AMQP_STREAM": "autoscaler.measures"},
            "AUTOSCALER_AMQP_STREAM: expected another name than that of AUTOSCALER_AMQP_QUEUE",
            id="stream-named-like-the-queue",
        ),
        pytest.param({"REDIS_URL": "unix://"}, "AUTOSCALER_REDIS_URL: expected a path after unix://", id="socket"),
        pytest.param(
            {"MQTT_TOPIC": "measures/#/cpu"},
            "AUTOSCALER_MQTT_TOPIC: expected # only as the whole last level, as in measures/#, got 'measures/#/cpu'",
            id="topic",
        ),
        pytest.param(
            {"MQTT_TOPIC": "measures/vm+"},
            "AUTOSCALER_MQTT_TOPIC: expected + only as a whole level, as in measures/+/cpu, got 'measures/vm+'",
            id="topic-level",
        ),
        pytest.param(
            {"WEBHOOK_CA": "/nowhere/ca.pem"},
            "AUTOSCALER_WEBHOOK_CA: path does not point to a file, got '/nowhere/ca.pem'",
            id="no-such-file",
        ),
        pytest.param(
            {"NAMESPACE": "a{b}"},
            "AUTOSCALER_NAMESPACE: expected 1 to 100 letters, digits and _.-, got 'a{b}'",
            id="namespace",
        ),
        pytest.param(
            {"AUTH": "none"}, "AUTOSCALER_AUTH: expected 'noauth', 'keystone' or 'tokens', got 'none'", id="auth"
        ),
        pytest.param(
            {"TRUSTED_PROXIES": "10.0.0.1, proxy.example.org"},
            "AUTOSCALER_TRUSTED_PROXIES: expected networks such as 10.1.0.0/16, got 'proxy.example.org': "
            "'proxy.example.org' does not appear to be an IPv4 or IPv6 network",
            id="proxy-by-name",
        ),
        pytest.param({"AUTH": "tokens"}, "AUTOSCALER_TOKENS: expected with AUTOSCALER_AUTH=tokens", id="no-tokens"),
        pytest.param(
            {"TOKENS": __file__},
            "AUTOSCALER_TOKENS: expected only with AUTOSCALER_AUTH=tokens or keystone; noauth looks at no token",
            id="tokens-that-nobody-looks-at",
        ),
        pytest.param(
            {"AUTH": "keystone"}, "AUTOSCALER_KEYSTONE_URL: expected with AUTOSCALER_AUTH=keystone", id="no-keystone"
        ),
        pytest.param(
            {"KEYSTONE_USERNAME": "u"}, "AUTOSCALER_KEYSTONE_URL: expected with credentials of Keystone", id="nowhere"
        ),
        pytest.param({"AUTH": "keystone", "KEYSTONE_URL": "http://k"}, CREDENTIALS, id="no-credentials"),
        pytest.param({"KEYSTONE_URL": "http://k", "KEYSTONE_USERNAME": "u"}, CREDENTIALS, id="no-password"),
        pytest.param({"KEYSTONE_URL": "http://k", "KEYSTONE_CREDENTIAL_ID": "u"}, CREDENTIALS, id="no-secret"),
        pytest.param(
            {
                "KEYSTONE_URL": "http://k",
                "KEYSTONE_USERNAME": "u",
                "KEYSTONE_PASSWORD": "p",
                "KEYSTONE_CREDENTIAL_ID": "i",
                "KEYSTONE_CREDENTIAL_SECRET": "s",
            },
            CREDENTIALS,
            id="both-kinds-of-credentials",
        ),
        pytest.param(
            {"KEYSTONE_URL": "keystone:5000"},
            "AUTOSCALER_KEYSTONE_URL: expected a URL that begins with http:// or https://",
            id="keystone-scheme",
        ),
        pytest.param(
            {"KEYSTONE_INTERFACE": "private"},
            "AUTOSCALER_KEYSTONE_INTERFACE: expected internal, public or admin, got 'private'",
            id="interface",
        ),
        pytest.param(
            {"PROMETHEUS_URL": "prometheus://u:secret@p"},
            "AUTOSCALER_PROMETHEUS_URL: expected a URL that begins with http:// or https://",
            id="prometheus",
        ),
        pytest.param(
            {"OPENSTACK_URL": "rabbit://u:secret@p"},
            "AUTOSCALER_OPENSTACK_URL: expected a URL that begins with amqp:// or amqps://",
            id="openstack",
        ),
        pytest.param(
            {"UDP": "4952"}, "AUTOSCALER_UDP: expected HOST:PORT such as 127.0.0.1:4952, got '4952'", id="udp"
        ),
        pytest.param(
            {"WEBHOOK_KEY": __file__},
            "AUTOSCALER_WEBHOOK_CERT, AUTOSCALER_WEBHOOK_KEY: expected both or neither",
            id="key-without-certificate",
        ),
        pytest.param(
            {"WEBHOOK_ALLOW": "10.1.0.0/16,10.1.0.1/16"},
            "AUTOSCALER_WEBHOOK_ALLOW: expected networks such as 10.1.0.0/16, got '10.1.0.1/16': "
            "10.1.0.1/16 has host bits set",
            id="networks",
        ),
        pytest.param(
            {"CORS_ORIGINS": "ops.example.org"},
            "AUTOSCALER_CORS_ORIGINS: expected origins such as https://ops.example.org, got 'ops.example.org'",
            id="origins",
        ),
        pytest.param(
            {"AMQP_PREFETCH": "0"},
            "AUTOSCALER_AMQP_PREFETCH: expected greater than or equal to 1, got '0'",
            id="prefetch",
        ),
        pytest.param(
            {"MAX_FUTURE": "nan"}, "AUTOSCALER_MAX_FUTURE: expected a finite number, got 'nan'", id="not-finite"
        ),
        pytest.param(
            {"MQTT_CERT": __file__},
            "AUTOSCALER_MQTT_CERT, AUTOSCALER_MQTT_KEY: expected both or neither",
            id="half-a-pair",
        ),
        pytest.param(
            {"MQTT_PASSWORD": "secret"},
            "AUTOSCALER_MQTT_PASSWORD: expected only with AUTOSCALER_MQTT_USERNAME",
            id="no-user",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"AUTOSCALER_{name}", value)

    with pytest.raises(SettingsError) as refused:
        load()
    assert str(refused.value) == expected


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load(namespace=" ", shards=0, api="x")

    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("api", "host", "port"),
    [("localhost:0", "localhost", 0), ("[::1]:8042", "::1", 8042), ("127.9.9.9:1", "127.9.9.9", 1)],
)
def test_this_machine_has_several_names(api: str, host: str, port: int) -> None:
    read = load(api=api)

    assert (read.api_host, read.api_port) == (host, port)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, True),
        ({"metrics_open": False}, False),
        ({"api": "0.0.0.0:1", "auth_force": True}, False),
        ({"api": "0.0.0.0:1", "auth_force": True, "metrics_open": True}, True),
    ],
)
def test_metrics_are_open_on_this_machine_only_unless_it_is_said(settings: dict[str, Any], shown: bool) -> None:  # noqa: FBT001
    assert load(**settings).shows_metrics is shown


def test_an_open_door_can_be_insisted_on() -> None:
    assert load(api="0.0.0.0:8042", auth_force=True).api_host == "0.0.0.0"


def test_keystone_is_asked_where_it_is_said() -> None:
    read = load(
        api="0.0.0.0:8042", auth="Keystone", keystone_url="https://k", keystone_username="u", keystone_password="p"
    )

    assert (read.auth, read.keystone_interface, read.token_cache) == (Auth.KEYSTONE, "internal", 60.0)


def test_settings_do_not_show_secrets() -> None:
    shown = repr(
        load(
            redis_url="redis://:hidden1@host",
            mqtt_url="mqtt://u:hidden2@host",
            amqp_url="amqp://u:hidden3@host",
            mqtt_username="u",
            mqtt_password="hidden4",
            keystone_url="http://k",
            keystone_credential_id="i",
            keystone_credential_secret="hidden5",
            prometheus_url="http://u:hidden6@p",
            openstack_url="amqp://u:hidden7@o",
            notify_url="amqp://u:hidden8@n",
            telemetry_secret="hidden9",
        )
    )

    assert "hidden" not in shown


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("redis_url", "rediss://:pw@r"), ("mqtt_password", "secret")):
        (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setenv(f"AUTOSCALER_{name.upper()}_FILE", str(tmp_path / name))
    monkeypatch.setenv("AUTOSCALER_MQTT_USERNAME", "me")
    settings = load()

    assert settings.redis_url == "rediss://:pw@r"
    assert settings.mqtt_password is not None
    assert settings.mqtt_password.get_secret_value() == "secret"
    assert load(redis_url="redis://other").redis_url == "redis://other"
    assert unknown_variables({"AUTOSCALER_REDIS_URL_FILE": "x", "AUTOSCALER_MQTT_PASSWORD_FILE": "x"}) == []
    assert unknown_variables({"AUTOSCALER_NAMESPACE_FILE": "x"})


def test_a_secret_file_that_is_none_is_said_without_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOSCALER_REDIS_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"AUTOSCALER_REDIS_URL_FILE: .*none: No such file or directory"):
        load()
    (tmp_path / "none").write_text("http://:secret@r")
    with pytest.raises(SettingsError) as refused:
        load()
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("AUTOSCALER_REDIS_URL", "redis://r")
    with pytest.raises(SettingsError, match="expected only without AUTOSCALER_REDIS_URL"):
        load()


def test_unknown_variables_are_named() -> None:
    environment = {
        "AUTOSCALER_REDIS_URI": "x",
        "AUTOSCALER_TEMPERATURE": "x",
        "AUTOSCALER_API": "x",
        "AUTOSCALER_TEST_REQUIRE": "x",
        "AUTOSCALER_TOKEN": "x",
        "HOME": "x",
    }

    assert unknown_variables(environment) == [
        "AUTOSCALER_REDIS_URI: unknown setting; did you mean AUTOSCALER_REDIS_URL?",
        "AUTOSCALER_TEMPERATURE: unknown setting",
    ]


def test_the_reference_tells_of_every_setting() -> None:
    rows = reference().splitlines()[2:]

    assert [row.split("`")[1] for row in rows] == [f"AUTOSCALER_{name.upper()}" for name in Settings.model_fields]
    assert all(row.split(" | ")[2].strip(" |") for row in rows)
    assert "| `AUTOSCALER_API` | `127.0.0.1:8042` |" in reference()
    assert "| `AUTOSCALER_AMQP_QUORUM` | `false` |" in reference()


def test_settings_do_not_change() -> None:
    read: Any = load()

    with pytest.raises(ValueError, match="frozen"):
        read.api = "localhost:1"


def test_what_a_shadow_has_to_itself_is_named_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_OPENSTACK_URL", "amqp://cloud")
    monkeypatch.setenv("AUTOSCALER_NOTIFY_URL", "amqp://cloud")
    monkeypatch.setenv("AUTOSCALER_STATE_DIR", "/var/state")
    monkeypatch.setenv("AUTOSCALER_AMQP_PARTITIONS", "4")
    live, shadow = load(), load(shadow=True)

    assert (shadow.namespace, shadow.amqp_queue) == ("autoscaler.shadow", "autoscaler.measures.shadow")
    assert (shadow.openstack_queue, shadow.state_dir) == ("autoscaler.openstack.shadow", Path("/var/state/shadow"))
    assert (shadow.amqp_ttl, shadow.amqp_max_length) == (600, 100_000)
    assert (live.amqp_partitions, shadow.amqp_partitions) == (4, None)
    assert (shadow.notify_url, shadow.aodh_url) == (None, "amqp://cloud")
    assert live.namespace == "autoscaler"
    assert load(shadow=True, shadow_url="amqp://other", amqp_ttl=5).aodh_url == "amqp://other"
    assert load(shadow=True, amqp_ttl=5).amqp_ttl == 5


def test_a_shadow_takes_no_message_from_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSCALER_OPENSTACK_URL", "amqp://cloud")
    monkeypatch.setenv("AUTOSCALER_OPENSTACK_EXISTING_QUEUES", "true")

    with pytest.raises(SettingsError, match="AUTOSCALER_OPENSTACK_EXISTING_QUEUES: expected false with"):
        load(shadow=True)


def test_a_shadow_must_hear_aodh() -> None:
    with pytest.raises(SettingsError, match="AUTOSCALER_SHADOW_URL: expected with AUTOSCALER_SHADOW"):
        load(shadow=True)


KEYSTONE = {"auth": "keystone", "keystone_url": "http://k", "keystone_username": "u", "keystone_password": "p"}


@pytest.mark.parametrize(
    ("settings", "limited"),
    [
        pytest.param({}, False, id="this machine only"),
        pytest.param({"auth_force": True}, True, id="everybody"),
        pytest.param({"webhook_deny": "8.8.8.8"}, True, id="told so"),
        pytest.param(KEYSTONE, True, id="tenants"),
    ],
)
def test_where_alarms_may_call_is_limited_where_others_than_the_operator_make_them(
    settings: dict[str, Any],
    limited: bool,  # noqa: FBT001
) -> None:
    assert (load(**settings).reach is not None) == limited


def test_the_networks_of_webhooks_are_read() -> None:
    reach = load(webhook_allow="10.1.0.0/16, fd00::/8", webhook_deny="10.1.2.3").reach
    assert reach == Reach(
        (ip_network("10.1.0.0/16"), ip_network("fd00::/8")),
        (ip_network("10.1.2.3/32"),),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("next", "next"),
        ("17", 17),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T13:00:00+01:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_where_a_stream_is_begun(text: str, found: object) -> None:
    assert stream_beginning(text) == found
