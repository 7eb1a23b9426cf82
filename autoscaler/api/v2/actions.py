"""The actions of an alarm: which somebody may name, and the trust that some of them need.

An action ``trust+http://host/…`` is called with a token for whoever made the alarm. The trust that gives it is written
into the stored URL, ``trust+http://ID:delete@host/…`` in the first of an alarm's and ``trust+http://ID@host/…`` in the
others, and never shown.

Source:
    aodh/api/controllers/v2/alarms.py, ``check_alarm_actions`` and ``update_actions``, 23.0.0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from autoscaler.alarms.definition import ACTIONS, SCHEMES, Definition, scrubbed
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.api.v2.errors import FaultError
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.identity import Identity
    from autoscaler.api.v2.scope import Scope
    from autoscaler.scaling.policy import ScalingPolicy

TRUST: Final = "trust+"
OWNED: Final = ":delete"
ADMINS: Final = frozenset(("log", "test"))
HOSTED: Final = frozenset(("http", "https", "trust+http", "trust+https"))

Actions = Mapping[str, tuple[str, ...]]
"""URLs by key, one key for each state."""


def parse_actions(name: str, urls: Sequence[str], identity: Identity, most: int) -> tuple[str, ...]:
    """The actions of one state, each once, in the order given.

    Raises:
        FaultError: one is not known, or not for whoever asks.
    """
    each = tuple(dict.fromkeys(map(normal, urls)))
    if 0 < most < len(each):
        raise FaultError(400, f"{name} count exceeds maximum value {most}")
    for url in each:
        _check(url, identity)
    return each


def normal(url: str) -> str:
    """As it is stored; Aodh shows ``log://`` as ``log:``, and that comes back here."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.lower()}:{rest or '//'}" if colon else url


def _check(url: str, identity: Identity) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FaultError(400, f"Unable to parse action {url}") from error
    if any(character.isspace() or not character.isprintable() for character in url):
        raise FaultError(400, f"Unable to parse action {url!r}")
    if parts.scheme not in SCHEMES:
        raise FaultError(400, f"Unsupported action {url}")
    if parts.scheme in ADMINS and not identity.is_admin:
        raise FaultError(401, f"You are not authorized to create action: {url}")
    if parts.scheme in HOSTED and (not parts.hostname or port == 0):
        raise FaultError(400, f"Unable to parse action {url}: a host is missing")
    if parts.scheme.startswith(TRUST) and "@" in parts.netloc:
        raise FaultError(400, "trust URL cannot contain a trust ID.")


def check_policies(actions: Actions, policies: Iterable[ScalingPolicy], project_id: str, scope: Scope) -> None:
    """Refuse ``policy://`` actions that the alarm may not call.

    Raises:
        FaultError: a policy is not known, or belongs to another project.
    """
    named = {url for urls in actions.values() for url in urls if url.startswith(POLICY_SCHEME)}
    if not named:
        return
    owners = {f"{POLICY_SCHEME}{policy.name}": policy.project_id for policy in policies}
    for url in sorted(named):
        owner = owners.get(url)
        if owner != project_id and not (owner == "" and scope.sees == ANY_PROJECT):
            # in the same words for both, so that nobody learns the names of others
            raise FaultError(400, f"Unsupported action {url}: there is no such policy in project {project_id}")


async def check_places(actions: Actions, admits: Callable[[str], Awaitable[bool]]) -> None:
    """Refuse actions that call what alarms may not call, as far as can be told before they do.

    Raises:
        FaultError: one does; in the same words whatever there is at the address.
    """
    for url in dict.fromkeys(url for urls in actions.values() for url in urls):
        subscribers = parse_qs(urlsplit(url).query).get("subscriber", []) if url.startswith("zaqar:") else []
        for place in (url, *subscribers):
            if not await admits(place):
                raise FaultError(400, f"Unsupported action {url}: alarms may not call this address")


def actions_of(definition: Definition) -> Actions:
    """The actions of a stored alarm."""
    return {key: getattr(definition, key) for key in ACTIONS}


def need_trust(actions: Actions) -> bool:
    """Whether any action is called for whoever made the alarm."""
    return any(url.startswith(TRUST) for urls in actions.values() for url in urls)


def owned_trusts(actions: Actions) -> list[str]:
    """The trusts that were made for these actions and go with them."""
    found = (urlsplit(url) for urls in actions.values() for url in urls if url.startswith(TRUST))
    return [parts.username for parts in found if parts.username and parts.netloc.rpartition("@")[0].endswith(OWNED)]


def with_trust(actions: Actions, trust_id: str) -> dict[str, tuple[str, ...]]:
    """The actions with a trust written into those that need it; the first owns it."""
    owner = f"{trust_id}{OWNED}"
    written: dict[str, tuple[str, ...]] = {}
    for key, urls in actions.items():
        taken = []
        for url in urls:
            if not url.startswith(TRUST):
                taken.append(url)
                continue
            scheme, _, rest = url.partition("://")
            taken.append(f"{scheme}://{owner}@{rest}")
            owner = trust_id
        written[key] = tuple(taken)
    return written


def without_trusts(value: Any) -> Any:
    """Anything of JSON in which actions stand under their keys, without the trusts in them."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: [scrubbed(url) if isinstance(url, str) else url for url in inner]
        if key in ACTIONS and isinstance(inner, list | tuple)
        else inner
        for key, inner in value.items()
    }
