"""Actions that signal Heat's groups: held until Heat will take them, and followed until their effect is seen.

An action stays at the head of its lane until it is over, so whoever dies over it leaves it to the next replica; what
must not be forgotten meanwhile, that a signal was sent, is in the group's record before it is sent. One signal to a
group is under way at a time. Which group of Heat's is meant is found out by whoever may read it: the alarm's own trust,
or the controller, where the stack is in the alarm's own project.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import msgspec
import structlog
from msgspec.structs import replace

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.definition import trust_of
from autoscaler.engine.decide import frozen
from autoscaler.engine.listen import Listener
from autoscaler.errors import HeldError, PermanentError, TemporaryError
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import (
    AlreadyDecided,
    Changed,
    GroupPut,
    GroupState,
    Orchestration,
    OutboxRow,
    Place,
    Put,
    Rights,
    Store,
    Told,
    WorkItem,
)
from autoscaler.scaling.decide import UNBOUNDED
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Word
from autoscaler.scaling.signals import (
    Claim,
    Concluded,
    HeatGroup,
    Hold,
    Over,
    Send,
    concluded,
    outdated,
    sent,
    step,
)

log = structlog.get_logger()

HEAT = "heat:"
"""What the names of groups that Heat owns begin with."""
KEPT = "heat"
"""Which group a policy moves, and which the stack of its members is, are kept as this."""
KEPT_SECONDS = 30 * 86_400.0
"""For which the record and the decisions of a group are kept after its last signal."""
AWAY_RECHECK = 2.0
"""Seconds until a Heat that is away is asked again; an action that waits for it is not given up for that."""
SHORTEST_WAIT = 0.1
SENDING = 15.0
"""Seconds for which a signal counts as being sent; longer than Heat is waited for."""
OPERATOR = Rights()
_SCALED = frozenset({Reason.SIGNALLED, Reason.UNCONFIRMED, Reason.EFFECT_UNKNOWN, Reason.REPAIRED})
_TOLD_EACH = frozenset({Reason.SUPERSEDED, Reason.REFUSED})

Deliver = Callable[[OutboxRow], Awaitable[None]]


class Watched(msgspec.Struct, frozen=True):
    """A group that actions lead to, as people are told of it.

    Attributes:
        name: of its record and decisions.
        stack: name of its stack.
        group: name of the resource; "" where nobody here may read it.
    """

    name: str
    project_id: str
    stack: str
    group: str = ""
    min_size: int | None = None
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What is to be kept of a step.

    Attributes:
        id: of the decision; the same is kept once.
    """

    id: str
    claim: Claim
    reason: Reason
    text: str
    seen: HeatGroup | None = None
    before: int | None = None
    to: int | None = None
    until: float | None = None


class Signaller:
    """Carries out the actions that signal Heat's groups.

    Args:
        deliver: sends an action as it is.
        alarm: one of this moment's alarms.
        wedged_after: seconds without any change after which a group that Heat says it is scaling counts as wedged.
        repair: whether such a group is freed.
        woken: called with a due time that this process has just set.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        heat: Orchestration,
        deliver: Deliver,
        *,
        alarm: Callable[[str], Alarm | None],
        wedged_after: float,
        repair: bool,
        woken: Callable[[float], None],
    ) -> None:
        self._store = store
        self._listener = listener
        self._heat = heat
        self._deliver = deliver
        self._alarm = alarm
        self._wedged_after = wedged_after
        self._repair = repair
        self._woken = woken

    # --- actions -----------------------------------------------------------------------------------------------------

    def leads(self, url: str) -> Place | None:
        """The policy that an action signals; None of any other action."""
        return self._heat.place(url)

    async def carry_out(self, row: OutboxRow, place: Place) -> None:
        """Bring an action further; when this returns it is over.

        Raises:
            HeldError: it waits for Heat, for another signal, or for its effect to be seen.
            TemporaryError: it was certainly not sent, or the store could not be reached.
            PermanentError: Heat refuses it.
        """
        alarm = self._alarm(row.alarm_id)
        (stored,) = await self._store.alarms([row.alarm_id])
        claim = _claim(row, place, alarm, stored)
        seen, rights = await self._seen(place, _rights(row, place, alarm))
        if seen is None:
            await self._carry_out_blindly(row, place, claim, alarm)
        else:
            await self._carry_out_watched(row, place, claim, seen, rights)

    async def _seen(self, place: Place, rights: Iterable[Rights]) -> tuple[HeatGroup | None, Rights]:
        """The group, and by which rights it was read; None where none of them will do."""
        for right in rights:
            try:
                return await self._heat.look(place, right), right
            except PermanentError as error:
                log.debug("group not readable", stack=place.stack, policy=place.policy, error=str(error))
            except TemporaryError as error:
                delay = AWAY_RECHECK if error.delay is None else error.delay
                raise HeldError(f"Heat cannot be asked about stack {place.stack}: {error}", delay=delay) from error
        return None, OPERATOR

    # --- groups that may be read -------------------------------------------------------------------------------------

    async def _carry_out_watched(
        self, row: OutboxRow, place: Place, claim: Claim, seen: HeatGroup, rights: Rights
    ) -> None:
        await self._know(place, seen)
        state = await self._store.group(seen.name)
        if state.record.repairing:
            await self._take_back(claim, seen, place, rights)
        taken = step(
            state.record,
            seen,
            claim,
            state.now,
            wedged_after=self._wedged_after,
            frozen=frozen(state.freeze),
        )
        match taken:
            case Over():
                return
            case Send(record):
                await self._put(seen.name, state, record)
                await self._send(row, place, seen.name, rights)
            case Hold(record, reason, text, until, quiet):
                said = None if quiet else _Said(f"{row.id}:{reason}", claim, reason, text, seen, until=until)
                await self._put(seen.name, state, record, said)
                await self._mend(record, reason, claim, seen, place, rights)
                raise HeldError(text, delay=max(SHORTEST_WAIT, until - state.now))
            case Concluded(record, reason, text, before, to):
                said = _Said(row.id, claim, reason, text, seen, before, to)
                await self._put(seen.name, state, concluded(record, claim), said)
                await self._mend(record, reason, claim, seen, place, rights)
            case _:
                assert_never(taken)

    async def _send(self, row: OutboxRow, place: Place, name: str, rights: Rights) -> None:
        """Send what the group's record says is sent; always raises, since its effect has yet to be seen."""
        try:
            if _is_bare(place) and rights == OPERATOR:
                await self._heat.signal(place, row.body)
            else:
                await self._deliver(row)
        except TemporaryError as error:
            if not error.reached:
                await self._unsent(name, row)
                raise
            log.warning("signal without an answer", alarm_id=row.alarm_id, row=row.id, error=str(error))
            raise HeldError(f"no answer to the signal: {error}", delay=SHORTEST_WAIT) from error
        except PermanentError as error:
            await self._refused(name, row, place, str(error))
            raise
        await self._change(name, lambda record: _answered(record, row.id))
        raise HeldError("Heat has taken the signal", delay=2 * SHORTEST_WAIT)

    async def _unsent(self, name: str, row: OutboxRow) -> None:
        def change(record: GroupRecord) -> GroupRecord:
            mine = record.signal is not None and record.signal.id == row.id
            return replace(record, signal=None) if mine else record

        await self._change(name, change)

    # --- groups that nobody here may read ----------------------------------------------------------------------------

    async def _carry_out_blindly(self, row: OutboxRow, place: Place, claim: Claim, alarm: Alarm | None) -> None:
        """Send a signal once: whether it does anything is not to be known here."""
        name = await self._unread(place, alarm)
        state = await self._store.group(name)
        if row.id in state.record.concluded:
            return
        over = outdated(claim)
        if over is not None:
            await self._conclude(name, _Said(row.id, claim, Reason.SUPERSEDED, over))
            return
        under_way = state.record.signal
        if under_way is not None and under_way.lane == row.lane:
            # whoever sent it died over it
            text = "sent, and the answer was never seen; it is not sent again for this"
            await self._conclude(name, _Said(row.id, claim, Reason.EFFECT_UNKNOWN, text))
            return
        if under_way is not None and state.now - under_way.sent_at < SENDING:
            raise HeldError(f"alarm {under_way.alarm}'s signal is being sent", delay=SHORTEST_WAIT)
        await self._put(name, state, replace(state.record, signal=sent(claim, None, state.now)))
        try:
            await self._deliver(row)
        except TemporaryError as error:
            if not error.reached:
                await self._unsent(name, row)
                raise
            text = f"sent, and not known to have been taken: {error}; it is not sent again for this"
            await self._conclude(name, _Said(row.id, claim, Reason.EFFECT_UNKNOWN, text))
        except PermanentError as error:
            await self._refused(name, row, place, str(error))
            raise
        else:
            text = "Heat has taken the signal; nobody here may read the group, so what it did is not known"
            await self._conclude(name, _Said(row.id, claim, Reason.UNCONFIRMED, text))

    async def _unread(self, place: Place, alarm: Alarm | None) -> str:
        """The name that decisions about a policy go by whose group nobody here may read."""
        owner = place.project_id if alarm is None else alarm.project_id
        name, key = f"{HEAT}{place.stack_id}:{place.policy}", _policy_key(place)
        if owner not in {place.project_id, "", ANY_PROJECT}:
            # another project's signal is no affair of the stack's owner, nor the other way round
            name, key = f"{name}@{owner}", f"{key}@{owner}"
        else:
            owner = place.project_id
        watched = msgspec.json.encode(Watched(name, owner, place.stack))
        await self._keep({key: watched, name: watched})
        return name

    # --- groups that are wedged --------------------------------------------------------------------------------------

    async def _mend(
        self, record: GroupRecord, reason: Reason, claim: Claim, seen: HeatGroup, place: Place, rights: Rights
    ) -> None:
        """Free a group that is wedged, where that is allowed."""
        if reason is not Reason.WEDGED:
            return
        log.error("group wedged", stack=seen.stack, group=seen.group, since=record.stuck_since, repair=self._repair)
        if not self._repair:
            return
        # so that whoever comes after us takes the mark back: a group that is left marked is replaced as a whole
        await self._change(seen.name, lambda record: replace(record, repairing=True))
        await self._heat.mark(place, rights, unhealthy=True)
        await self._take_back(claim, seen, place, rights)

    async def _take_back(self, claim: Claim, seen: HeatGroup, place: Place, rights: Rights) -> None:
        """Take the mark back by which a group is freed; always raises, for the group is to be looked at anew."""
        await self._heat.mark(place, rights, unhealthy=False)
        state = await self._store.group(seen.name)
        freed = replace(state.record, repairing=False, stuck=None, stuck_since=None, resizing=False)
        text = "marked unhealthy and healthy again, which ends what Heat noted of the resize that its engine died over"
        said = _Said(f"repaired:{seen.name}:{state.record.version}", claim, Reason.REPAIRED, text, seen)
        await self._put(seen.name, state, freed, said)
        log.warning("group repaired", stack=seen.stack, group=seen.group)
        raise HeldError("the group was wedged and has been freed", delay=AWAY_RECHECK)

    # --- what Heat tells ---------------------------------------------------------------------------------------------

    async def hear(self, told: Sequence[Told]) -> None:
        """Take note of what Heat told of groups that are known here, and have their actions looked at at once.

        Raises:
            TemporaryError: the store could not be reached; hearing the same again is harmless.
        """
        names = await self._store.kept(KEPT, [each.nested_id for each in told])
        lanes: dict[str, None] = {}
        now = await self._store.now()
        for each, name in zip(told, names, strict=True):
            if name is None:
                continue
            record = await self._change(name.decode(), partial(_with_word, word=replace(each.word, time=now)))
            if record.signal is not None:
                lanes[record.signal.lane] = None
        if lanes:
            await self._store.mark([WorkItem("lane", lane, now) for lane in lanes])
            self._woken(now)

    # --- what people ask ---------------------------------------------------------------------------------------------

    async def watched(self, alarms: Iterable[Alarm]) -> dict[str, Group]:
        """The groups of Heat's that these alarms have signalled, by name."""
        keys: dict[str, None] = {}
        for alarm in alarms:
            for url in _urls(alarm):
                place = self._heat.place(url)
                if place is not None:
                    keys[_policy_key(place)] = None
                    keys[f"{_policy_key(place)}@{alarm.project_id}"] = None
        found: dict[str, Group] = {}
        for document in await self._store.kept(KEPT, list(keys)) if keys else ():
            if document is not None:
                known = msgspec.json.decode(document, type=Watched)
                found[known.name] = _group(known)
        return found

    async def group(self, name: str) -> Group | None:
        """One of them; None where none is known by that name."""
        (known,) = await self._store.kept(KEPT, [name])
        return _group(msgspec.json.decode(known, type=Watched)) if known is not None and name.startswith(HEAT) else None

    async def _know(self, place: Place, seen: HeatGroup) -> None:
        """Keep which group a policy moves, and which the stack of its members is."""
        least, most = seen.limits
        watched = msgspec.json.encode(Watched(seen.name, seen.project_id, seen.stack, seen.group, least, most))
        entries = {_policy_key(place): watched, seen.name: watched}
        if seen.nested_id:
            entries[seen.nested_id] = seen.name.encode()
        await self._keep(entries)

    async def _keep(self, entries: Mapping[str, bytes]) -> None:
        known = await self._store.kept(KEPT, list(entries))
        changed = {key: value for (key, value), old in zip(entries.items(), known, strict=True) if value != old}
        if changed:
            await self._store.keep(KEPT, changed)

    # --- records and decisions ---------------------------------------------------------------------------------------

    async def _put(self, name: str, state: GroupState, record: GroupRecord, said: _Said | None = None) -> None:
        """Store what a step came to.

        Raises:
            HeldError: somebody else was first, so what was seen is no longer how it is.
        """
        decision = None if said is None else _decision(name, state, said)
        record = replace(record, version=state.record.version + 1)
        # each action's end is told, however many end alike
        coalesce = said is None or said.reason not in _TOLD_EACH
        # stacks come and go, and nobody says so; what people have said stays
        kept = KEPT_SECONDS if record.paused is None else None
        put = GroupPut(name, state.record.version, state.freeze, record, decision, coalesce=coalesce, kept=kept)
        answer = await self._store.put_group(put)
        match answer:
            case Changed():
                raise HeldError("the group was dealt with by another at the same moment", delay=SHORTEST_WAIT)
            case AlreadyDecided():
                await self._put(name, state, record)  # said before: the record is stored all the same
            case Put(stored):
                if decision is not None:
                    self._listener.decided(stored or decision)
            case _:
                assert_never(answer)

    async def _change(self, name: str, change: Callable[[GroupRecord], GroupRecord]) -> GroupRecord:
        """Change a record, whoever else does."""
        while True:
            state = await self._store.group(name)
            record = change(state.record)
            if record is state.record:
                return record
            try:
                await self._put(name, state, record)
            except HeldError:
                continue
            return record

    async def _conclude(self, name: str, said: _Said) -> None:
        """Keep what became of an action, whoever else changes the record."""
        while True:
            state = await self._store.group(name)
            try:
                await self._put(name, state, concluded(state.record, said.claim), said)
            except HeldError:
                continue
            return

    async def _refused(self, name: str, row: OutboxRow, place: Place, text: str) -> None:
        (stored,) = await self._store.alarms([row.alarm_id])
        claim = _claim(row, place, self._alarm(row.alarm_id), stored)
        reason = Reason.UNCONFIRMED if _is_bare(place) else Reason.REFUSED
        await self._conclude(name, _Said(row.id, claim, reason, text))


def _decision(name: str, state: GroupState, said: _Said) -> Decision:
    scaled = said.reason in _SCALED
    size = None if said.seen is None else said.seen.size
    return Decision(
        id=said.id,
        time=state.now,
        group=name,
        decision="scale" if scaled else "hold",
        reason=said.reason,
        text=said.text,
        before=size if said.before is None else said.before,
        to=said.to if scaled or said.to is not None else size,
        policy=said.claim.policy,
        alarm=said.claim.alarm,
        until=said.until,
        actor=Actor(kind="alarm", name=said.claim.alarm),
        inputs=_inputs(said.seen, said.claim),
    )


def _inputs(seen: HeatGroup | None, claim: Claim) -> dict[str, object]:
    asked: dict[str, object] = {"state": claim.asked, "begins": claim.begins}
    if seen is None:
        return asked
    return asked | {
        "stack": seen.stack,
        "group": seen.group,
        "size": seen.size,
        "failed": seen.failed,
        "status": seen.status,
        "scaling_in_progress": seen.in_progress,
        "cooldown_end": seen.cooldown_end,
        "cooldown_by": seen.cooldown_by,
    }


def _rights(row: OutboxRow, place: Place, alarm: Alarm | None) -> list[Rights]:
    """By what Heat may be asked about an action, the best first.

    The controller's own rights reach every project, so they serve only those whose own the stack is.
    """
    urls = [row.url, *(_urls(alarm) if alarm else ())]
    found = [Rights(trust_id) for trust_id in dict.fromkeys(map(trust_of, urls)) if trust_id]
    if alarm is not None and alarm.project_id in {place.project_id, "", ANY_PROJECT}:
        found.append(OPERATOR)
    return found


def _urls(alarm: Alarm) -> list[str]:
    return [url for state in AlarmState for url in alarm.actions(state)]


def _is_bare(place: Place) -> bool:
    """Whether the action has neither a signature nor a trust to be let in by."""
    return not place.signed and not place.trust_id


def _claim(row: OutboxRow, place: Place, alarm: Alarm | None, stored: AlarmRecord | None) -> Claim:
    begins = row.created
    if stored is not None:
        begins = stored.state_timestamp if stored.evidence is None else stored.evidence.begins
    return Claim(
        id=row.id,
        lane=row.lane,
        policy=place.policy,
        alarm=str(row.body.get("alarm_name", "")) if alarm is None else alarm.name,
        asked=str(row.body.get("current", "")),
        state="" if alarm is None or stored is None else stored.state,
        created=row.created,
        begins=begins,
    )


def _answered(record: GroupRecord, row_id: str) -> GroupRecord:
    signal = record.signal
    if signal is None or signal.id != row_id:
        return record
    return replace(record, signal=replace(signal, answered=True))


def _with_word(record: GroupRecord, word: Word) -> GroupRecord:
    return replace(record, word=word)


def _policy_key(place: Place) -> str:
    return f"{place.stack_id}/{place.policy}"


def _group(known: Watched) -> Group:
    """As people are shown it beside declared groups; bounds that are not known are as wide as can be."""
    return Group(
        name=known.name,
        min_size=0 if known.min_size is None else known.min_size,
        max_size=UNBOUNDED if known.max_size is None else known.max_size,
        project_id=known.project_id,
        target_type="heat",
        target={"stack": known.stack, "group": known.group},
    )
