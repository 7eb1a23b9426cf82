from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.sources.trust import NOBODY, Trust
from autoscaler.errors import SettingsError
from autoscaler.settings import SourceKind


@pytest.mark.parametrize("kind", list(SourceKind))
def test_a_kind_of_source_is_trusted_as_a_whole(kind: SourceKind) -> None:
    trust = Trust.parse([kind.value])

    assert [other for other in SourceKind if trust.trusts(other, topic="t", user="u")] == [kind]
    assert not NOBODY.trusts(kind, topic="t", user="u")


@pytest.mark.parametrize(
    ("pattern", "topic", "trusted"),
    [
        pytest.param("measures/web", "measures/web", True, id="equal"),
        pytest.param("measures/web", "measures/web/1", False, id="longer"),
        pytest.param("measures/web/1", "measures/web", False, id="shorter"),
        pytest.param("measures/#", "measures/web/1", True, id="any-number-of-levels"),
        pytest.param("measures/#", "measures", True, id="none-of-them"),
        pytest.param("measures/#", "measured/web", False, id="another-root"),
        pytest.param("+/web", "measures/web", True, id="one-level"),
        pytest.param("+/web", "a/b/web", False, id="not-two"),
        pytest.param("measures/+", "measures/", True, id="an-empty-level"),
        pytest.param("measures/+", "measures", False, id="no-level"),
        pytest.param("+/+/cpu", "a/b/cpu", True, id="two-single-levels"),
        pytest.param("#", "anything/at/all", True, id="everything"),
        pytest.param("#", "$SYS/broker", False, id="but-the-brokers-own"),
        pytest.param("+/broker", "$SYS/broker", False, id="nor-by-one-level"),
        pytest.param("$SYS/#", "$SYS/broker", True, id="unless-named"),
        pytest.param("Measures/web", "measures/web", False, id="case-counts"),
    ],
)
def test_topics_are_matched_as_mqtt_does(pattern: str, topic: str, trusted: bool) -> None:  # noqa: FBT001
    trust = Trust.parse([f"mqtt:{pattern}"])

    assert trust.trusts("mqtt", topic=topic) is trusted
    assert not trust.trusts("amqp", topic=topic)


@given(
    st.lists(st.sampled_from(["a", "b", "", "$s"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "", "+", "$s"]), max_size=4),
    st.booleans(),
)
def test_a_filter_is_a_regular_expression_in_disguise(topic: list[str], levels: list[str], rest: bool) -> None:  # noqa: FBT001
    pattern = "/".join([*levels, "#"] if rest else levels)
    expression = "/".join("[^/]*" if level == "+" else re.escape(level) for level in levels)
    if rest:
        expression = f"{expression}(/.*)?" if levels else ".*"
    if pattern[:1] in {"+", "#"}:
        expression = r"(?!\$)" + expression

    trusted = bool(pattern) and Trust.parse([f"mqtt:{pattern}"]).trusts("mqtt", topic="/".join(topic))

    assert trusted == (bool(pattern) and re.fullmatch(expression, "/".join(topic)) is not None)


def test_amqp_is_trusted_by_exchange_or_by_user() -> None:
    trust = Trust.parse(["amqp:telemetry", "amqp-user:ceilometer"])

    assert trust.trusts("amqp", topic="telemetry")
    assert trust.trusts("amqp", topic="elsewhere", user="ceilometer")
    assert trust.trusts("openstack", user="ceilometer")
    assert not trust.trusts("openstack", topic="telemetry")
    assert not trust.trusts("amqp", topic="elsewhere", user="tenant")
    assert not trust.trusts("amqp")
    assert not trust.trusts("mqtt", topic="telemetry", user="ceilometer")


@pytest.mark.parametrize(
    "word",
    ["carrier-pigeon", "mqtt:", "mqtt:a/#/b", "mqtt:a+", "amqp:", "amqp-user:", "amqp-user", "http:x", "kind:x", ""],
)
def test_a_word_that_means_nothing_is_refused(word: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Trust.parse(["mqtt", word])

    known = "mqtt, amqp, http, openstack, udp, gnocchi, prometheus, mqtt:TOPIC_FILTER, amqp:EXCHANGE or amqp-user:NAME"
    assert str(refused.value) == f"AUTOSCALER_TRUSTED_SOURCES: expected {known}, got {word!r}"


def test_every_word_that_means_nothing_has_a_line() -> None:
    with pytest.raises(SettingsError) as refused:
        Trust.parse(["a", "b", "mqtt"])

    assert len(str(refused.value).splitlines()) == 2
