"""All declared files -> domain values: every problem of every file, or all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.definition import ACTIONS
from autoscaler.alarms.rules import CompositeRule, Condition, Leaf, Rule, leaves_of
from autoscaler.declarations.alarm import READ_ONLY, AlarmDocument, action_fault, policy_name
from autoscaler.declarations.checks import Contents, cross_checked
from autoscaler.declarations.derived import SHIPPED, DerivedDocument, shipped
from autoscaler.declarations.documents import Document, Path, read
from autoscaler.declarations.generation import Declarations, digest
from autoscaler.declarations.items import Item
from autoscaler.declarations.policy import GroupDocument, PolicyDocument, ScheduleDocument
from autoscaler.declarations.reading import TYPES, Reader
from autoscaler.declarations.targets import TARGETS
from autoscaler.declarations.wording import one_of, shown, unknown_key
from autoscaler.errors import DeclarationError, Problem

if TYPE_CHECKING:
    from typing import Final

SECTIONS: Final = ("alarms", "groups", "policies", "schedules", "derived_metrics")
SHORT_TYPES: Final = ("threshold", "aggregation")
"""Ours; the others are Aodh's, and are taken with what Aodh's GET adds to them."""


def load(texts: Mapping[str, str], *, rules_only: bool = False, mixed_as_aodh: bool = False) -> Declarations:
    """Everything that YAML texts declare.

    Args:
        texts: by file name, as problems shall name it. Any file may hold any of the sections.
        rules_only: alarms may name policies and groups that are not among the texts. Such actions are left out, such
            a rule looks at every series that matches, and ``ignored`` says so.
        mixed_as_aodh: how composite alarms resolve mixed values, see :class:`autoscaler.alarms.rules.CompositeRule`.

    Raises:
        DeclarationError: with every problem of every file; nothing was loaded.
    """
    loader = _Loader(mixed_as_aodh=mixed_as_aodh)
    for file, text in texts.items():
        document, problems = read(file, text)
        loader.problems += problems
        if document is not None:
            loader.read(document)
    loader.own_policies()
    loader.add_shipped()
    loader.derive()
    problems = loader.problems + list(cross_checked(loader.contents, rules_only=rules_only))
    if problems:
        raise DeclarationError(tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.column, p.key))))
    if rules_only:
        loader.leave_out_unknown()
    return _declarations(loader, texts)


def dump(declarations: Declarations) -> bytes:
    """Declarations as they are published to other replicas."""
    return json.dumps(dict(declarations.texts), sort_keys=True).encode()


def parse(documents: bytes, *, mixed_as_aodh: bool = False) -> Declarations:
    """The inverse of :func:`dump`; ``mixed_as_aodh`` as of :func:`load`.

    Raises:
        DeclarationError: another version of the program wrote what this one cannot read.
    """
    return load(json.loads(documents), mixed_as_aodh=mixed_as_aodh)


def _declarations(loader: _Loader, texts: Mapping[str, str]) -> Declarations:
    contents = loader.contents
    origins = {f"alarm {item.value.alarm_id}": item.origin() for item in contents.alarms}
    origins |= {f"group {item.value.name}": item.origin() for item in contents.groups}
    origins |= {f"policy {item.value.name}": item.origin() for item in contents.policies}
    origins |= {f"schedule {item.value.name}": item.origin() for item in contents.schedules}
    origins |= {f"derived metric {item.raw['name']}": item.origin() for item in contents.derived}
    declarations = Declarations(
        alarms={item.value.alarm_id: item.value for item in contents.alarms},
        groups={item.value.name: item.value for item in contents.groups},
        policies={item.value.name: item.value for item in contents.policies},
        schedules={item.value.name: item.value for item in contents.schedules},
        derived={item.raw["name"]: item.value for item in contents.derived},
        origins=origins,
        texts=dict(texts),
        ignored=tuple(loader.ignored),
    )
    return replace(declarations, generation=digest(declarations))


class _Loader(Reader):
    """Reads documents one after another and collects what is in them and wrong with them."""

    def __init__(self, *, mixed_as_aodh: bool) -> None:
        super().__init__(mixed_as_aodh=mixed_as_aodh)
        self.ignored: list[Problem] = []
        self.contents = Contents()

    def read(self, document: Document) -> None:
        """Take in one file."""
        if not isinstance(document.value, dict):
            expected = f"expected a mapping with {', '.join(SECTIONS)}, got {shown(document.value)}"
            self.problems.append(document.problem((), expected))
            return
        for section, things in document.value.items():
            if section not in SECTIONS:
                self.problems.append(document.problem((section,), unknown_key(section, SECTIONS), of_key=True))
            elif not isinstance(things, list):
                self.problems.append(document.problem((section,), f"expected a list, got {shown(things)}"))
            else:
                for index, raw in enumerate(things):
                    self._thing(document, (section, index), raw)

    def own_policies(self) -> None:
        """Give each policy, once every file is read, to the owner of its group."""
        owners = {item.value.name: item.value.project_id for item in self.contents.groups}
        self.contents.policies = [
            replace(item, value=msgspec.structs.replace(item.value, project_id=owners.get(item.value.group, "")))
            for item in self.contents.policies
        ]

    def leave_out_unknown(self) -> None:
        """Take out of alarms what names a policy or group that nobody declares."""
        names = self.contents.names
        for number, item in enumerate(self.contents.alarms):
            changes: dict[str, Any] = {}
            for key in ACTIONS:
                for index, url in enumerate(item.raw.get(key) or ()):
                    name = policy_name(url)
                    if name and name not in names["policies"]:
                        self.ignored.append(item.problem(f'left out: policy "{name}" is not declared', key, index))
                        kept = changes.get(key, getattr(item.value, key))
                        changes[key] = tuple(action for action in kept if action != url)
            leaves = list(leaves_of(item.value.rule))
            for at, leaf in enumerate(leaves):
                if isinstance(leaf, Rule) and leaf.group is not None and leaf.group not in names["groups"]:
                    expected = f'left out: group "{leaf.group}" is not declared, every series counts'
                    self.ignored.append(item.problem(expected, *item.leaves[at], "group"))
                    leaves[at] = msgspec.structs.replace(leaf, group=None)
            changes["rule"] = _of_leaves(item.value.rule, leaves)
            self.contents.alarms[number] = replace(item, value=msgspec.structs.replace(item.value, **changes))

    def add_shipped(self) -> None:
        """The derived metrics that are always there, but for those whose name or parts are declared."""
        document, problems = read(SHIPPED, shipped())
        assert document is not None
        assert not problems
        declared = {item.raw["name"] for item in self.contents.derived}
        for index, raw in enumerate(document.value["derived_metrics"]):
            if not declared & {raw["name"], raw["from"], raw["divide_by"]["metric"]}:
                self._derived(document, ("derived_metrics", index), raw)

    def derive(self) -> None:
        """Tell rules over derived metrics, once every file is read, how these are made."""
        derived = {item.raw["name"]: item.value for item in self.contents.derived}
        for number, item in enumerate(self.contents.alarms):
            leaves = [
                msgspec.structs.replace(leaf, derivation=derived.get(leaf.metric)) if isinstance(leaf, Rule) else leaf
                for leaf in leaves_of(item.value.rule)
            ]
            alarm = msgspec.structs.replace(item.value, rule=_of_leaves(item.value.rule, leaves))
            self.contents.alarms[number] = replace(item, value=alarm)

    def _thing(self, document: Document, path: Path, raw: Any) -> None:
        if not isinstance(raw, dict):
            self.problems.append(document.problem(path, f"expected a mapping, got {shown(raw)}"))
            return
        section = str(path[0])
        if section in self.contents.names and isinstance(raw.get("name"), str):
            self.contents.names[section].add(raw["name"])
        match section:
            case "alarms":
                self._alarm(document, path, raw)
            case "derived_metrics":
                self._derived(document, path, raw)
            case "groups":
                self._group(document, path, raw)
            case "policies":
                self._policy(document, path, raw)
            case _:
                self._schedule(document, path, raw)

    def _alarm(self, document: Document, path: Path, raw: dict[str, Any]) -> None:
        kind = raw.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            expected = one_of(TYPES, kind) if kind is not None else f"missing; expected one of {', '.join(TYPES)}"
            self.problems.append(document.problem((*path, "type"), expected))
            self._faulty_actions(document, path, raw)
            return
        body, rule_key = (raw, "rule") if kind in SHORT_TYPES else self._aodh_body(document, path, raw, kind)
        common = self.validated(AlarmDocument, document, path, body, renamed={"rule": rule_key})
        project_id = own if isinstance(own := body.get("project_id"), str) else ""
        rule = body.get("rule")
        found = None if rule is None else self.condition(kind, document, (*path, rule_key), rule, project_id)
        faulty = self._faulty_actions(document, path, raw)
        if common is not None and found is not None and not faulty:
            leaves = tuple((rule_key, *leaf) for leaf in found.leaves)
            self.contents.alarms.append(Item(common.to_domain(found.condition), raw, document, path, leaves=leaves))

    def _aodh_body(self, document: Document, path: Path, raw: dict[str, Any], kind: str) -> tuple[dict[str, Any], str]:
        """A body as Aodh takes or answers it, in our form, and what its rule is called there."""
        body = dict(raw)
        for key in READ_ONLY & body.keys():
            del body[key]
            self.ignored.append(document.problem((*path, key), "ignored: Aodh's own word about the alarm", of_key=True))
        own = f"{kind}_rule"
        if own in body and "rule" in body:
            expected = f"expected either rule or {own}"
            self.problems.append(document.problem((*path, "rule"), expected, of_key=True))
        if own in body:
            body["rule"] = body.pop(own)
            return body, own
        return body, "rule"

    def _faulty_actions(self, document: Document, path: Path, raw: dict[str, Any]) -> bool:
        found = [
            document.problem((*path, key, index), fault)
            for key in ACTIONS
            if isinstance(urls := raw.get(key), list)
            for index, url in enumerate(urls)
            if isinstance(url, str) and url and (fault := action_fault(url))
        ]
        self.problems += found
        return bool(found)

    def _derived(self, document: Document, path: Path, raw: dict[str, Any]) -> None:
        derived = self.validated(DerivedDocument, document, path, raw)
        if derived is not None:
            self.contents.derived.append(Item(derived.to_domain(), raw, document, path))

    def _group(self, document: Document, path: Path, raw: dict[str, Any]) -> None:
        common = self.validated(GroupDocument, document, path, raw)
        target = raw.get("target")
        if target is None:
            return  # said already
        place = (*path, "target")
        if not isinstance(target, dict):
            self.problems.append(document.problem(place, f"expected a mapping, got {shown(target)}"))
            return
        kind = target.get("type")
        if not isinstance(kind, str) or kind not in TARGETS:
            expected = one_of(TARGETS, kind) if kind is not None else f"missing; expected one of {', '.join(TARGETS)}"
            self.problems.append(document.problem((*place, "type"), expected))
            return
        own = {key: value for key, value in target.items() if key != "type"}
        options = self.validated(TARGETS[kind], document, place, own)
        if common is not None and options is not None:
            group = common.to_domain(kind, options.model_dump(mode="json", exclude_none=True))
            self.contents.groups.append(Item(group, raw, document, path))

    def _policy(self, document: Document, path: Path, raw: dict[str, Any]) -> None:
        policy = self.validated(PolicyDocument, document, path, raw)
        if policy is not None:
            self.contents.policies.append(Item(policy.to_domain(), raw, document, path))

    def _schedule(self, document: Document, path: Path, raw: dict[str, Any]) -> None:
        schedule = self.validated(ScheduleDocument, document, path, raw)
        if schedule is None:
            return
        if schedule.min_size is schedule.max_size is schedule.desired_capacity is None:
            expected = "expected at least one of min_size, max_size, desired_capacity"
            self.problems.append(document.problem(path, expected))
            return
        self.contents.schedules.append(Item(schedule.to_domain(), raw, document, path))


def _of_leaves(condition: Condition, leaves: Sequence[Leaf]) -> Condition:
    """``condition`` with other leaves in the place of its own."""
    if isinstance(condition, CompositeRule):
        return msgspec.structs.replace(condition, leaves=tuple(leaves))
    return leaves[0] if leaves else condition
