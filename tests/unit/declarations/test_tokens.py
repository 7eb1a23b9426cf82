from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.declarations.tokens import PREFIX, Sends, is_own, line, new_token, parse
from autoscaler.errors import DeclarationError

HASH = "sha256:" + "0" * 64


def entry(**changes: object) -> str:
    document = {"name": "ci", "project": "shop", "roles": ["member"], "hash": HASH} | changes
    return json.dumps({key: value for key, value in document.items() if value is not None})


def test_a_token_is_found_by_what_it_is_and_by_nothing_near_it() -> None:
    token, other = new_token(), new_token()
    known = parse(f"# those of the build\n\n{line(token, 'ci', project='shop', roles=['member'])}\n", "tokens")

    found = known.find(token, 0)

    assert found is not None
    assert (found.name, found.project_id, found.roles, found.scope) == ("ci", "shop", {"member"}, None)
    assert [known.find(wrong, 0) for wrong in (other, token[:-1], f"{token} ", token.swapcase(), "")] == [None] * 5


def test_the_file_does_not_hold_the_token() -> None:
    token = new_token()

    written = line(token, "ci", project="shop", roles=["member"])

    assert token not in written
    assert token.removeprefix(PREFIX) not in written
    assert json.loads(written)["hash"] == "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def test_tokens_are_long_unlike_each_other_and_unlike_keystones() -> None:
    tokens = {new_token() for _ in range(1000)}

    assert len(tokens) == 1000
    assert all(is_own(token) and len(token) == len(PREFIX) + 43 for token in tokens)
    assert not any(map(is_own, ("gAAAAABl" + "x" * 170, "a" * 32, PREFIX + "x" * 42, PREFIX + "x" * 42 + "\n")))


def test_a_token_ends_when_it_expires() -> None:
    token = new_token()
    known = parse(line(token, "ci", project="p", roles=["reader"], expires=datetime(2030, 1, 1, tzinfo=UTC)), "tokens")
    end = datetime(2030, 1, 1, tzinfo=UTC).timestamp()

    assert known.find(token, end - 0.001) is not None
    assert known.find(token, end) is None


def test_hashes_that_begin_alike_are_told_apart() -> None:
    token = new_token()
    digest = hashlib.sha256(token.encode()).hexdigest()
    near = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    known = parse(entry(name="near", hash=f"sha256:{near}") + "\n" + entry(name="right", hash=f"sha256:{digest}"), "f")

    found = known.find(token, 0)

    assert found is not None
    assert found.name == "right"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("cpu", True), ("cpux", False), ("mem.free", True), ("mem", False), ("xmem.free", False), ("CPU", False)],
)
def test_a_scope_is_names_and_patterns_of_them(name: str, allowed: bool) -> None:  # noqa: FBT001
    (token,) = parse(entry(roles=None, sends={"measures": ["cpu", "mem.*"], "events": ["*"]}), "f").tokens

    assert token.scope is not None
    assert token.scope.allows(Sends.MEASURES, name) is allowed
    assert token.scope.allows(Sends.EVENTS, name)
    assert not token.scope.allows(Sends.REMOTE_WRITE, name)
    assert [kind for kind in Sends if token.scope.covers(kind)] == ["measures", "events"]


def test_brackets_in_a_name_are_brackets() -> None:
    (token,) = parse(entry(roles=None, sends={"measures": ["cpu[0]", "[!a]"]}), "f").tokens

    assert token.scope is not None
    allowed = [token.scope.allows(Sends.MEASURES, name) for name in ("cpu[0]", "[!a]", "cpu0", "b")]
    assert allowed == [True, True, False, False]


@given(st.text())
def test_a_name_without_wildcards_allows_itself_only(other: str) -> None:
    (token,) = parse(entry(roles=None, sends={"measures": ["cpu.util"]}), "f").tokens

    assert token.scope is not None
    assert token.scope.allows(Sends.MEASURES, other) is (other == "cpu.util")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        pytest.param("ast_secret", "token: expected an object in JSON, on one line", id="the-token-itself"),
        pytest.param("[]", "token: expected an object in JSON, on one line", id="list"),
        pytest.param("[" * 100_000, "token: expected an object in JSON, on one line", id="deep"),
        pytest.param(entry(rolls=["member"]), 'rolls: unknown key; did you mean "roles"?', id="unknown-key"),
        pytest.param(entry(name="a b"), "name: expected 1 to 100 letters, digits and _.@-, got 'a b'", id="name"),
        pytest.param(entry(name=None), "name: expected 1 to 100 letters, digits and _.@-, got ''", id="no-name"),
        pytest.param(
            entry(hash="ast_" + "x" * 43),
            "hash: expected sha256: and 64 hexadecimal digits, as `autoscaler token make` says it",
            id="the-token-as-its-hash",
        ),
        pytest.param(entry(roles=["membre"]), "roles: expected one of admin, member, reader, service", id="role"),
        pytest.param(entry(roles=[]), "roles: expected a list of admin", id="no-roles"),
        pytest.param(entry(roles="admin"), "roles: expected a list of admin", id="a-word"),
        pytest.param(entry(roles=None), "roles: expected either roles", id="neither"),
        pytest.param(entry(sends={"events": ["*"]}), "roles: expected either roles", id="both"),
        pytest.param(entry(project=None), "project: expected a project, save with the roles admin, ", id="no-project"),
        pytest.param(entry(project="any"), "project: expected the id of a project, got 'any'", id="any-project"),
        pytest.param(
            entry(project=None, roles=None, sends={"events": ["*"]}), "project: expected a project", id="nobodys"
        ),
        pytest.param(entry(roles=None, sends={"measure": ["*"]}), "sends: expected one of measures, ", id="kind"),
        pytest.param(entry(roles=None, sends={"measures": []}), "sends.measures: expected a list of 1 to 100", id="0"),
        pytest.param(entry(roles=None, sends={"measures": [1]}), "sends.measures: expected names such as", id="number"),
        pytest.param(entry(expires="2030-01-31"), "expires: expected a time with its zone", id="no-zone"),
        pytest.param(entry(expires=1), "expires: expected a time with its zone", id="not-a-time"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_without_a_secret(written: str, problem: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        parse(f"# tokens\n{written}\n", "tokens")

    assert str(raised.value).startswith(f"tokens:2:1: {problem}")
    assert "ast_" not in str(raised.value)


def test_two_of_one_name_or_one_hash_are_refused() -> None:
    with pytest.raises(DeclarationError) as raised:
        parse("\n".join((entry(), entry(hash="sha256:" + "1" * 64), entry(name="cd"))), "tokens")

    assert str(raised.value).splitlines() == [
        "tokens:2:1: name: there is another token named ci",
        "tokens:3:1: hash: this is the token of ci",
    ]
