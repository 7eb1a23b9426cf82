"""``/v2/alarms``: alarms listed, made, changed and removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from starlette.requests import Request
from starlette.responses import Response

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import Definition
from autoscaler.alarms.rules import CompositeRule
from autoscaler.api.v2 import lists, simple
from autoscaler.api.v2.actions import (
    Actions,
    actions_of,
    check_places,
    check_policies,
    need_trust,
    owned_trusts,
    with_trust,
)
from autoscaler.api.v2.body import Draft, body, owner, parse_alarm
from autoscaler.api.v2.errors import FaultError, answer, foreign
from autoscaler.api.v2.options import Options
from autoscaler.api.v2.permission import admin, check_project, member, reader, visible
from autoscaler.api.v2.query import RANKS, Value
from autoscaler.api.v2.requests import decoded
from autoscaler.api.v2.rules import DEPRECATED, AlarmType
from autoscaler.api.v2.scope import Scope, scope_of
from autoscaler.api.v2.shown import Row, alarm_value, shown_alarm
from autoscaler.engine.service import ContendedError, DeclaredError, NotFoundError
from autoscaler.errors import PermanentError, TemporaryError, TrustScopedError
from autoscaler.ports import HISTORY_ENTRIES, HistoryEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.api.identity import Identity
    from autoscaler.api.v2.fields import Object
    from autoscaler.engine.catalogue import Listing
    from autoscaler.engine.service import Service

log = structlog.get_logger()


class Alarms:
    """The methods of ``/v2/alarms`` and ``/v2/alarms/{alarm_id}``."""

    def __init__(self, service: Service, options: Options) -> None:
        self._service = service
        self._options = options
        self._making: Counter[str] = Counter()

    # --- reading -----------------------------------------------------------------------------------------------------

    async def get_all(self, request: Request) -> Response:
        """The alarms of a project, or of all."""
        identity = reader(request)
        simple.check_arguments(request, (*simple.QUERY, *simple.PAGING))
        asked = simple.parse_query(request)
        simple.check_alarm_query(asked)
        listings = self._service.listings(_project(request, identity, asked))
        wanted = {each.field: simple.alarm_value(each) for each in asked if each.field != "all_projects"}
        page = simple.parse_page(request, simple.ALARM_SORT_KEYS)
        return await lists.alarms(
            self._service,
            listings,
            lambda row: _passes(row, wanted),
            asks=wanted,
            order=page.order,
            limit=page.limit,
            marker=page.marker,
        )

    async def get(self, request: Request, alarm_id: str) -> Response:
        """One alarm."""
        simple.check_arguments(request, ())
        listing = await visible(self._service, reader(request), alarm_id)
        (record,) = await self._service.records([alarm_id])
        return answer(200, shown_alarm(listing, record))

    async def get_state(self, request: Request, alarm_id: str) -> Response:
        """The state of an alarm."""
        simple.check_arguments(request, ())
        await visible(self._service, reader(request), alarm_id)
        (record,) = await self._service.records([alarm_id])
        return answer(200, record.state)

    async def history(self, request: Request, alarm_id: str) -> Response:
        """What happened to an alarm, also to one that is gone."""
        identity = reader(request)
        simple.check_arguments(request, (*simple.QUERY, *simple.PAGING))
        asked = simple.parse_query(request)
        for each in asked:
            if each.field in {"project", "project_id"}:
                check_project(identity, each.value)
        test = simple.parse_history(asked)
        page = simple.parse_page(request, simple.HISTORY_SORT_KEYS)

        def theirs(entry: HistoryEntry) -> bool:
            return identity.is_admin or entry.on_behalf_of == identity.project_id

        lines = await self._service.history_of(alarm_id, limit=HISTORY_ENTRIES)
        if not any(map(theirs, lines)):
            await visible(self._service, identity, alarm_id)
        return await lists.entries(
            self._service,
            [alarm_id],
            lambda entry: theirs(entry) and test(entry),
            order=page.order,
            limit=page.limit,
            marker=page.marker,
        )

    # --- changing ----------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Response:
        """Make an alarm."""
        identity = member(request)
        simple.check_arguments(request, ())
        sent = body(await decoded(request, "data"))
        user_id = owner(sent, "user_id", identity.user_id)
        project_id = owner(sent, "project_id", identity.project_id)
        if not identity.is_admin and user_id != identity.user_id:
            raise foreign("user", user_id)
        check_project(identity, project_id)
        scope, draft = await self._draft(sent, identity, project_id)
        async with self._within_quotas(user_id, project_id):
            self._check(draft.definition(user_id=user_id, project_id=project_id, sees=scope.sees))
            actions, made = await self._trusted(draft.actions, [], identity)
            definition = draft.definition(user_id=user_id, project_id=project_id, sees=scope.sees, actions=actions)
            try:
                listing, record = await self._service.create(definition, draft.state, identity.actor)
            except PermanentError:
                await self._drop(made)
                raise
        _warn_of_age(listing)
        location = f"{request.base_url}v2/alarms/{listing.alarm.alarm_id}"
        return answer(201, shown_alarm(listing, record), {"Location": location})

    async def put(self, request: Request, alarm_id: str) -> Response:
        """Give an alarm another definition as a whole."""
        identity = member(request)
        simple.check_arguments(request, ())
        listing = await visible(self._service, identity, alarm_id)
        _check_undeclared(listing)
        sent = body(await decoded(request, "data"))
        before = listing.definition
        user_id, project_id = identity.user_id, identity.project_id
        if identity.is_admin:
            user_id = owner(sent, "user_id", before.user_id)
            project_id = owner(sent, "project_id", before.project_id)
        scope, draft = await self._draft(sent, identity, project_id)
        self._check(draft.definition(user_id=user_id, project_id=project_id, sees=scope.sees))
        owned = owned_trusts(actions_of(before))
        (record,) = await self._service.records([alarm_id])
        # a trust gives the token of its maker to whatever the alarm calls: it is not for who else may change the alarm
        theirs = owned if user_id == before.user_id else ()
        usable = [trust_id for trust_id in theirs if trust_id != record.trust_gone]
        actions, made = await self._trusted(draft.actions, usable, identity)
        definition = draft.definition(user_id=user_id, project_id=project_id, sees=scope.sees, actions=actions)
        try:
            listing, record = await self._service.replace(alarm_id, definition, draft.state, identity.actor)
        except (NotFoundError, DeclaredError, ContendedError, PermanentError):
            await self._drop(made)
            raise
        _warn_of_silence(before, definition)
        kept = owned_trusts(actions)
        await self._drop([trust_id for trust_id in owned if trust_id not in kept])
        return answer(200, shown_alarm(listing, record))

    async def put_state(self, request: Request, alarm_id: str) -> Response:
        """Set the state of an alarm by hand."""
        identity = member(request)
        simple.check_arguments(request, ())
        await visible(self._service, identity, alarm_id)
        state = await decoded(request, "state")
        if not isinstance(state, str) or state not in set(AlarmState):
            raise FaultError(400, "state invalid")
        record = await self._service.set_state(alarm_id, AlarmState(state), identity.actor)
        return answer(200, record.state)

    async def delete(self, request: Request, alarm_id: str) -> Response:
        """Remove an alarm; its history stays."""
        identity = member(request)
        simple.check_arguments(request, ())
        listing = await visible(self._service, identity, alarm_id)
        _check_undeclared(listing)
        await self._service.delete(alarm_id, identity.actor)
        await self._drop(owned_trusts(actions_of(listing.definition)))
        return Response(status_code=204)

    async def _draft(self, sent: Object, identity: Identity, project_id: str) -> tuple[Scope, Draft]:
        scope = scope_of(identity, project_id, await self._options.service_project())
        draft = parse_alarm(sent, identity, scope, self._options.alarm_max_actions)
        check_policies(draft.actions, self._service.policies(), project_id, scope)
        await check_places(draft.actions, self._options.admits)
        return scope, draft

    def _check(self, definition: Definition) -> None:
        try:
            self._service.understood(definition)
        except ValueError as error:
            raise FaultError(400, str(error)) from error

    @asynccontextmanager
    async def _within_quotas(self, user_id: str, project_id: str) -> AsyncIterator[None]:
        """Make one more alarm, if there may be one; those that are being made here count, so two at once are two."""
        kept = await self._service.quota(project_id)
        limit = self._options.project_alarm_quota if kept is None else kept
        of_user = self._options.user_alarm_quota
        in_project = self._service.count(project_id) + self._making[f"project {project_id}"]
        by_user = self._service.count_of_user(user_id) + self._making[f"user {user_id}"]
        if 0 <= limit <= in_project or 0 <= of_user <= by_user:
            raise FaultError(403, f"Alarm quota exceeded for user {user_id} on project {project_id}")
        making = Counter((f"project {project_id}", f"user {user_id}"))
        self._making += making
        try:
            yield
        finally:
            self._making -= making

    # --- trusts ------------------------------------------------------------------------------------------------------

    async def _trusted(
        self, actions: Actions, owned: Sequence[str], identity: Identity
    ) -> tuple[Actions, Sequence[str]]:
        """Actions with the trust that they need, and the ids of those that were made for it."""
        if not need_trust(actions):
            return actions, ()
        if owned:
            return with_trust(actions, owned[0]), ()
        if self._options.trusts is None:
            raise FaultError(400, "trust+ actions need Keystone, and this controller is configured without one")
        try:
            trust_id = await self._options.trusts.make(identity)
        except TrustScopedError:
            # whoever scales a stack by its own alarms acts by a trust; the action is then called without a token
            log.warning("trust not made", user_id=identity.user_id, project_id=identity.project_id)
            return actions, ()
        return with_trust(actions, trust_id), (trust_id,)

    async def _drop(self, trust_ids: Sequence[str]) -> None:
        if self._options.trusts is None:
            return
        for trust_id in trust_ids:
            try:
                await self._options.trusts.drop(trust_id)
            except (TemporaryError, PermanentError) as error:
                # the alarm is gone or changed whether the trust goes or not
                log.warning("trust left behind", trust_id=trust_id, error=str(error))


def _project(request: Request, identity: Identity, asked: Sequence[simple.Asked]) -> str | None:
    """The project whose alarms are listed; None for all."""
    everywhere = [each for each in asked if each.field == "all_projects"]
    if everywhere and everywhere[0].flag():
        admin(request)
        return None
    named = [each.value for each in asked if each.field == "project_id"]
    for project_id in named:
        check_project(identity, project_id)
    return named[-1] if named else identity.project_id


def _passes(row: Row, wanted: Mapping[str, Value]) -> bool | None:
    known = True
    for field, value in wanted.items():
        found = alarm_value(row, field)
        if found is None:
            known = False
        elif found != (RANKS.get(str(value), len(RANKS)) if field == "severity" else value):
            return False
    return True if known else None


def _check_undeclared(listing: Listing) -> None:
    if listing.origin:
        raise DeclaredError(listing.alarm.name, listing.origin)


def _warn_of_age(listing: Listing) -> None:
    """Whoever makes an alarm of a type that Aodh has given up learns what there is instead."""
    alarm = listing.alarm
    parts = alarm.rule.documents if isinstance(alarm.rule, CompositeRule) else ({"type": alarm.type},)
    for kind in sorted({part["type"] for part in parts} & DEPRECATED.keys()):
        told = {"alarm_id": alarm.alarm_id, "alarm_name": alarm.name}
        log.warning("alarm of a deprecated type", **told, type=kind, instead=DEPRECATED[AlarmType(kind)].value)


def _warn_of_silence(before: Definition, after: Definition) -> None:
    """Heat takes the actions of a composite alarm away when only its rule is changed."""
    if after.type == AlarmType.COMPOSITE and any(actions_of(before).values()) and not any(actions_of(after).values()):
        log.warning("composite alarm without actions", alarm_id=before.alarm_id, alarm_name=after.name)
