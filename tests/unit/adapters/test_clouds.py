"""Credentials by the name of a cloud: every form, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.clouds import CloudEntry, Clouds, cloud_entry
from autoscaler.errors import PermanentError
from tests.receiver import answering_json, receiver

AUTH = "auth_url: https://keystone.example.org/v3, username: ann, password: secret, project_name: web"
IN_DEFAULT = {"id": "default"}


def entry(folder: Path, text: str, *, secure: str = "", name: str = "one") -> CloudEntry:
    (folder / "clouds.yaml").write_text(f"clouds: {{one: {{{text}}}}}")
    if secure:
        (folder / "secure.yaml").write_text(f"clouds: {{one: {{{secure}}}}}")
    return cloud_entry(name, folder / "clouds.yaml")


def user(**fields: Any) -> dict[str, Any]:
    return {"methods": ["password"], "password": {"user": {"password": "secret", **fields}}}


ANN = user(name="ann", domain=IN_DEFAULT)


@pytest.mark.parametrize(
    ("auth", "identity", "scope"),
    [
        pytest.param(
            f"auth: {{{AUTH}}}", ANN, {"project": {"name": "web", "domain": IN_DEFAULT}}, id="user-and-password"
        ),
        pytest.param(
            f"auth: {{{AUTH}, user_domain_name: A, project_domain_id: b}}",
            user(name="ann", domain={"name": "A"}),
            {"project": {"name": "web", "domain": {"id": "b"}}},
            id="domains",
        ),
        pytest.param(
            "auth_type: v3password, auth: {auth_url: u, user_id: u1, password: secret, project_id: p1}",
            user(id="u1"),
            {"project": {"id": "p1"}},
            id="ids",
        ),
        pytest.param(
            "auth: {auth_url: u, username: ann, password: secret, trust_id: t1}",
            ANN,
            {"OS-TRUST:trust": {"id": "t1"}},
            id="a-trust",
        ),
        pytest.param(
            "auth_type: v3applicationcredential, "
            "auth: {auth_url: u, application_credential_id: c1, application_credential_secret: secret}",
            {"methods": ["application_credential"], "application_credential": {"id": "c1", "secret": "secret"}},
            None,
            id="an-application-credential",
        ),
        pytest.param(
            "auth: {auth_url: u, application_credential_name: c, application_credential_secret: secret, username: ann}",
            {
                "methods": ["application_credential"],
                "application_credential": {
                    "name": "c", "secret": "secret", "user": {"name": "ann", "domain": IN_DEFAULT},
                },
            },
            None,
            id="an-application-credential-by-name",
        ),
    ],
)  # fmt: skip
def test_who_we_are(tmp_path: Path, auth: str, identity: dict[str, Any], scope: dict[str, Any] | None) -> None:
    found = entry(tmp_path, auth)

    assert (found.credentials.identity, found.credentials.scope) == (identity, scope)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("", ("", "public", "", True), id="defaults"),
        pytest.param(
            "region_name: two, interface: internal, cacert: /ca.pem", ("two", "internal", "/ca.pem", True), id="all"
        ),
        pytest.param("endpoint_type: adminURL, verify: false", ("", "admin", "", False), id="as-it-was-spelled-once"),
        pytest.param("insecure: true", ("", "public", "", False), id="insecure"),
    ],
)  # fmt: skip
def test_what_else_is_honoured(tmp_path: Path, said: str, expected: tuple[str, str, str, bool]) -> None:
    found = entry(tmp_path, f"auth: {{{AUTH}}}, {said}")

    assert (found.region, found.interface, found.ca, found.verify) == expected


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    found = entry(tmp_path, "auth: {auth_url: u, username: ann, project_id: p}", secure="auth: {password: secret}")

    assert found.credentials.identity == ANN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(f"auth: {{{AUTH}}}, profile: big", "profiles of vendors are not known", id="a-profile"),
        pytest.param("auth: {username: ann, password: secret}", "expected auth_url under auth", id="no-url"),
        pytest.param("auth: {auth_url: u, username: ann}", "expected password, or application_", id="no-password"),
        pytest.param("auth: {auth_url: u, password: secret}", "expected username or user_id", id="no-user"),
        pytest.param(
            "auth: {auth_url: u, username: ann, password: secret}", "expected project_name, project_id or trust_id",
            id="no-project",
        ),
        pytest.param(
            "auth: {auth_url: u, application_credential_secret: secret}", "expected application_credential_id, or",
            id="a-credential-without-id",
        ),
        pytest.param(
            "auth: {auth_url: u, application_credential_id: c, application_credential_secret: secret, trust_id: t}",
            "an application credential can stand for no trust", id="a-credential-with-a-trust",
        ),
        pytest.param(f"auth: {{{AUTH}}}, auth_type: v3oidc", "expected auth_type password, ", id="another-type"),
        pytest.param(f"auth: {{{AUTH}}}, interface: outside", "expected interface public, ", id="another-interface"),
        pytest.param(f"auth: {{{AUTH}}}, verify: maybe", "expected true or false for verify, got 'maybe'", id="verify"),
        pytest.param("auth: [secret]", "expected a mapping, with another under auth", id="no-mapping"),
    ],
)  # fmt: skip
def test_what_is_not_enough_says_so_and_shows_no_secret(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PermanentError) as caught:
        entry(tmp_path, text)

    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/clouds.yaml:")
    assert "secret:" not in str(caught.value).replace("_secret", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "expected a mapping of clouds, but the file is empty", id="empty"),
        pytest.param("cloud: {}", "clouds.yaml:1:1: clouds: expected a mapping of clouds", id="another-key"),
        pytest.param("clouds: {a: [", "clouds.yaml:2:1: syntax: expected YAML", id="no-yaml"),
        pytest.param("clouds: {oen: {auth: {}}}", 'there is no cloud "one"; did you mean "oen"?', id="mistyped"),
    ],
)
def test_a_file_that_is_none_says_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "clouds.yaml").write_text(text)

    with pytest.raises(PermanentError) as caught:
        cloud_entry("one", tmp_path / "clouds.yaml")
    assert words in str(caught.value)


def test_the_usual_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE", raising=False)
    (tmp_path / "config" / "openstack").mkdir(parents=True)
    places = [tmp_path / "config" / "openstack" / "clouds.yaml", tmp_path / "clouds.yaml", tmp_path / "named.yaml"]
    with pytest.raises(PermanentError, match=r"cloud one: there is no clouds\.yaml \(clouds\.yaml, "):
        cloud_entry("one")
    for number, place in enumerate(places):
        place.write_text(f"clouds: {{one: {{auth: {{{AUTH}}}, region_name: r{number}}}}}")
        if place.name == "named.yaml":
            monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(place))
        assert cloud_entry("one").region == f"r{number}"


async def test_the_groups_of_a_cloud_share_one_token(tmp_path: Path) -> None:
    async with receiver() as there:
        token = {
            "user": {"id": "u"}, "project": {"id": "p", "name": "web", "domain": {"name": "Default"}}, "roles": [],
            "expires_at": "2099-01-01T00:00:00Z",
        }  # fmt: skip
        there.on("POST /v3/auth/tokens?nocatalog", answering_json({"token": token}, 201, x_subject_token="t"))
        endpoint = {"interface": "public", "region_id": "two", "url": f"{there.base}/heat"}
        catalog = [{"type": "orchestration", "endpoints": [endpoint | {"region_id": "one", "url": "x"}, endpoint]}]
        there.on("GET /v3/auth/catalog", answering_json({"catalog": catalog}))
        there.on("GET /heat/stacks", answering_json({}))
        text = f"region_name: two, auth: {{auth_url: {there.base}, username: a, password: s, project_id: p}}"
        (tmp_path / "clouds.yaml").write_text(f"clouds: {{one: {{{text}}}}}")
        async with Clouds(tmp_path / "clouds.yaml", clock=lambda: 0.0) as clouds:
            for _ in range(2):
                await (await clouds.service("one", "orchestration")).call("GET", "/stacks")

    assert there.requests == [
        "POST /v3/auth/tokens?nocatalog", "GET /v3/auth/catalog", "GET /heat/stacks", "GET /heat/stacks",
    ]  # fmt: skip
