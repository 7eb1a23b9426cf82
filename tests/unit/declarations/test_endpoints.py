"""``endpoints.yaml``: every fault is told at its place, and no secret is."""

import pytest

from autoscaler.declarations.endpoints import Auth, Basic, Certificate, Endpoint, Secret, parse
from autoscaler.errors import DeclarationError

WHOLE = """
signing: [{file: all}]
endpoints:
  - url: https://hooks.example.org:8443/ops
    headers: {X-Team: ops, X-Key: {env: KEY}}
    auth: {basic: {username: me, password: {file: password}}}
    signing: [{file: new}, {file: old}]
    client_certificate: {certificate: me.pem, key: me.key}
    ca: ca.pem
    timeout: 3
    tenants: true
  - {url: "http://127.0.0.1", auth: {bearer: {plain: token}}}
"""


def test_a_document_is_read() -> None:
    found = parse(WHOLE, "endpoints.yaml")

    assert found.signing == (Secret(file="all"),)
    assert found.endpoints == (
        Endpoint(
            url="https://hooks.example.org:8443/ops",
            headers={"X-Team": "ops", "X-Key": Secret(env="KEY")},
            auth=Auth(basic=Basic(username="me", password=Secret(file="password"))),
            signing=(Secret(file="new"), Secret(file="old")),
            client_certificate=Certificate(certificate="me.pem", key="me.key"),
            ca="ca.pem",
            timeout=3.0,
            tenants=True,
        ),
        Endpoint(url="http://127.0.0.1", auth=Auth(bearer=Secret(plain="token"))),
    )
    assert "token" not in repr(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[]", ["1:1: file: expected a mapping with endpoints, signing, got"], id="list"),
        pytest.param("endpoint: []", ['1:1: endpoint: unknown key; did you mean "endpoints"?'], id="key"),
        pytest.param("signing: {file: x}", ["1:10: signing: expected a list, got"], id="no-list"),
        pytest.param("signing: [whsec_abc]", ["1:11: signing[0]: expected {file: PATH} or {env: NAME}"], id="in-clear"),
        pytest.param("signing: [{file: a, env: B}]", ["1:11: signing[0]: expected {file: PATH}"], id="two"),
        pytest.param("signing: [{}]", ["1:11: signing[0]: expected {file: PATH}"], id="none"),
        pytest.param(
            "endpoints:\n  - {url: 'https://h', auth: {bearer: abcdef}}",
            ["2:39: endpoints[0].auth.bearer: expected {file: PATH}"],
            id="token-in-clear",
        ),
        pytest.param(
            "endpoints:\n  - {url: 'https://h', auth: {}}", ["[0].auth: expected either bearer or basic"], id="auth"
        ),
        pytest.param("endpoints: [{}]", ["endpoints[0].url: "], id="no-url"),
        pytest.param(
            "endpoints: [{url: 'https://h', color: red}]", ["1:32: endpoints[0].color: unknown key"], id="unknown"
        ),
        pytest.param(
            "endpoints: [{url: 'https://h', headers: {Webhook-Id: x}}]",
            ["endpoints[0].headers: expected no header that the controller sends itself, got Webhook-Id"],
            id="header",
        ),
        pytest.param("endpoints: [{url: 'https://h', timeout: 15}]", ["timeout: expected at most 14"], id="timeout"),
        pytest.param(
            "endpoints: [{url: 'https://h'}, {url: 'https://h'}]", ["[1].url: expected each URL once"], id="twice"
        ),
        pytest.param("a: [", ["syntax: expected YAML"], id="syntax"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_place(text: str, told: list[str]) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(text, "endpoints.yaml")
    problems = [str(problem) for problem in caught.value.problems]
    assert len(problems) == len(told), problems
    assert all(part in problem for part, problem in zip(told, problems, strict=True)), problems
    assert not any("abcdef" in problem or "whsec_abc" in problem for problem in problems)


@pytest.mark.parametrize(
    "url", ["ftp://h", "h", "https://", "https://u:p@h", "https://h?x=1", "https://h:0", "https://h#x", "https://[::1"]
)
def test_an_endpoint_is_a_place(url: str) -> None:
    with pytest.raises(DeclarationError, match="expected http:// or https://, a host"):
        parse(f"endpoints: [{{url: '{url}'}}]", "endpoints.yaml")
