"""What Ceilometer's ``gnocchi://`` publisher and Gnocchi's clients write: resources, and measures of them.

Nothing can be read back but what describes a resource: measures are kept for alarms, not for reports. A resource is
known by the id that it was made with, so that it is the same as in samples that come another way; its attributes become
the metadata of its measures, and are read anew for each batch, since another replica may have changed them. Whoever is
not trusted to speak for every project has resources of their own, whatever ids they give them.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autoscaler.api.callers import require_sender
from autoscaler.api.documents import document_of
from autoscaler.api.identity import SERVICE, Identity, identity_of
from autoscaler.api.intake import Intake, Message, status_of
from autoscaler.declarations.tokens import Sends
from autoscaler.engine.audit import Change, difference
from autoscaler.measures.measure import Measure

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service
    from autoscaler.ports import Undecoded

SOURCE: Final = "gnocchi"
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a body: a whole pipeline's samples come at once."""
PREFIXES: Final = ("", "/gnocchi")
"""Where the paths are; ``/gnocchi`` can be registered as the endpoint of the ``metric`` service."""
BUILD: Final = "4.7.1"
"""The Gnocchi whose answers these are; ``ceilometer-upgrade`` asks."""
MAX_ATTRIBUTES: Final = 60
MAX_METRICS: Final = 1000
"""Of a resource, made by name; and its parts that are found again, of which the newest count."""
NAME_LENGTH: Final = 255
VALUE_LENGTH: Final = 1024

_METRICS: Final = uuid.UUID("8c1d4c8b-6f3d-4c55-8d70-53a9f0d0e0c4")
"""Metric ids are made of this, the resource and the name, so nobody needs to agree on them."""
_OWN: Final = frozenset(("id", "user_id", "project_id", "started_at", "ended_at", "metrics"))
"""Keys of a resource that are no attributes of its type."""
_TITLES: Final = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 413: "Too Long"}

_RESPONSES: Final = {
    "400": {"description": "It cannot be read, or names what is not known; Gnocchi's own body says which."},
    "401": {"description": "There is no valid token."},
    "403": {"description": "Only members of a project may send measures."},
    "413": {"description": "The body is too long."},
    "415": {"description": "The body is compressed."},
    "503": {"description": "The store is away; send the same again."},
}


def _described(summary: str, done: str, method: str = "post", *parameters: str) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    named = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters]
    answers = {done: {"description": "Done."}, "404": {"description": "There is none."}, **_RESPONSES}
    if done == "201":
        answers["409"] = {"description": "There is one already."}
    operation = {"tags": ["gnocchi"], "summary": summary, "responses": answers, "parameters": named}
    return {method: operation if method == "get" else {**operation, "requestBody": body}}


DESCRIBED: Final[Mapping[str, dict[str, Any]]] = {
    "/v1/batch/resources/metrics/measures": _described("Measures by resource and metric name", "202"),
    "/v1/batch/metrics/measures": _described("Measures by metric id", "202"),
    "/v1/resource/{type}": _described("Make a resource", "201", "post", "type"),
    "/v1/resource/{type}/{id}": {
        **_described("A resource", "200", "get", "type", "id"),
        **_described("Change attributes of a resource", "200", "patch", "type", "id"),
    },
}
"""The chief of these paths in OpenAPI; what the others are for stands in Gnocchi's own reference."""


class Points(Protocol):
    """Values of one series: Unix seconds and value."""

    @property
    def owner(self) -> str:
        """Resource id or metric id."""
        ...

    @property
    def metric(self) -> str:
        """Name; "" where the metric is known by its id."""
        ...

    @property
    def unit(self) -> str:
        """As sent."""
        ...

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """In the order of the message."""
        ...


class Posted(Protocol):
    """A body taken apart."""

    @property
    def series(self) -> Sequence[Points]:
        """In the order of the message."""
        ...

    @property
    def rejected(self) -> Sequence[Undecoded]:
        """Points, or without index the whole body."""
        ...


class Decoder(Protocol):
    """Takes bodies apart; never raises."""

    def by_resource(self, body: bytes, now: float) -> Posted:
        """``{RESOURCE: {METRIC: …}}``."""
        ...

    def by_metric(self, body: bytes, now: float) -> Posted:
        """``{METRIC ID: […]}``."""
        ...

    def of_one(self, body: bytes, now: float) -> Posted:
        """``[…]``."""
        ...


class Resource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A resource as it is kept.

    Attributes:
        attributes: of its type, as text.
        metrics: ids of those that were made by name, by name.
        creator: user and project that made it.
    """

    id: str
    type: str
    user_id: str = ""
    project_id: str = ""
    started_at: str = ""
    ended_at: str = ""
    attributes: dict[str, Any] = {}
    metrics: dict[str, str] = {}
    creator: tuple[str, str] = ("", "")


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A metric that was given an id.

    Attributes:
        resource: key of its resource; "" where it has none and is one of its own.
    """

    id: str
    name: str
    resource: str = ""
    unit: str = ""
    project_id: str = ""


class WrongError(Exception):
    """A request that cannot be done, as Gnocchi says it."""

    def __init__(self, status: int, description: object) -> None:
        super().__init__(str(description))
        self.status = status
        self.description = description


def fault(status: int, message: object, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed, as Gnocchi's clients read it."""
    body = {"code": status, "title": _TITLES.get(status, "Unavailable"), "description": message}
    return JSONResponse(body, status, dict(headers or {}))


class _Asked(msgspec.Struct, frozen=True):
    """A request whose body is here."""

    path: Mapping[str, str]
    body: bytes
    identity: Identity

    @property
    def scope(self) -> str:
        """Whose resources are meant: "" are those of everybody."""
        return "" if _speaks_for_all(self.identity) else self.identity.project_id

    def key(self, resource_id: str) -> str:
        """What a resource is kept as."""
        return f"{self.scope}\x1f{canonical(resource_id)}"

    @property
    def document(self) -> dict[str, Any]:
        """The body, an object."""
        found = self.any_document
        if not isinstance(found, dict):
            raise WrongError(400, _invalid("expected an object"))
        return found

    @property
    def any_document(self) -> Any:
        """The body."""
        try:
            return document_of(self.body)
        except ValueError as error:
            raise WrongError(400, f"Unable to decode body: {error}") from error


Handle = Callable[[_Asked], Awaitable[Response]]


class GnocchiEndpoints:
    """The paths.

    Args:
        service: keeps and takes.
        decoder: takes bodies of measures apart.
        trusted: whether resources may name their project where nobody says who asks.
        clock: Unix seconds.
    """

    def __init__(self, service: Service, decoder: Decoder, *, trusted: bool, clock: Callable[[], float]) -> None:
        self._service = service
        self._decoder = decoder
        self._trusted = trusted
        self._clock = clock
        self._intake = Intake(service, SOURCE, sends=Sends.GNOCCHI, max_bytes=MAX_BYTES, fault=fault)

    def routes(self) -> list[Route]:
        """All of them, under each of :data:`PREFIXES`."""
        found = [Route("/gnocchi/", self._version, methods=["GET"])]
        for prefix in PREFIXES:
            root = f"{prefix}/v1"
            found += [
                self._post(f"{root}/batch/resources/metrics/measures", self._batch_by_resource),
                self._post(f"{root}/batch/metrics/measures", self._batch_by_metric),
                self._post(f"{root}/metric", self._make_metric),
                self._post(f"{root}/metric/{{metric_id}}/measures", self._measures_of_metric),
                self._post(f"{root}/resource/{{type}}", self._make_resource),
                self._post(f"{root}/resource/{{type}}/{{id}}/metric", self._make_metrics),
                self._post(f"{root}/resource/{{type}}/{{id}}/metric/{{name}}/measures", self._measures_of_resource),
                self._post(f"{root}/search/resource/{{type}}", self._search),
                self._post(f"{root}/archive_policy", self._make_archive_policy),
                self._post(f"{root}/resource_type", self._make_type),
                self._route(f"{root}/resource_type/{{name}}", self._change_type, "PATCH"),
                self._route(f"{root}/resource/{{type}}/{{id}}", self._change_resource, "PATCH"),
                self._route(f"{root}/resource/{{type}}/{{id}}", self._drop_resource, "DELETE"),
                self._route(f"{root}/resource/{{type}}/{{id}}", self._resource, "GET"),
                self._route(f"{root}/resource/{{type}}/{{id}}/metric/{{name}}", self._metric, "GET"),
                self._route(f"{root}/archive_policy/{{name}}", self._archive_policy, "GET"),
                self._route(f"{root}/resource_type/{{name}}", self._type, "GET"),
            ]
        # clients write some paths with a slash at the end, and a redirect would cost them a request each time
        slashed = [Route(f"{each.path}/", each.endpoint, methods=list(each.methods or ())) for each in found[1:]]
        return [*found, *slashed]

    def _post(self, path: str, handle: Handle) -> Route:
        return self._route(path, handle, "POST")

    def _route(self, path: str, handle: Handle, method: str) -> Route:
        async def answered(request: Request) -> Response:
            async def answer(body: bytes, identity: Identity) -> Response:
                if not (_speaks_for_all(identity) or identity.project_id):
                    return fault(403, "this needs a project")
                try:
                    return await handle(_Asked(dict(request.path_params), body, identity))
                except WrongError as error:
                    return fault(error.status, error.description)

            return await self._intake.answered(request, answer)

        return Route(path, answered, methods=[method])

    async def _version(self, request: Request) -> Response:
        require_sender(identity_of(request), Sends.GNOCCHI)
        return JSONResponse({"build": BUILD, "versions": [{"id": "v1.0", "status": "CURRENT", "links": []}]})

    # --- measures ----------------------------------------------------------------------------------------------------

    async def _batch_by_resource(self, asked: _Asked) -> Response:
        posted = await self._whole(self._decoder.by_resource(asked.body, self._clock()))
        named = {series.owner: asked.key(series.owner) for series in posted.series}
        resources = await self._resources(list(named.values()))
        unknown = [owner for owner, key in named.items() if key not in resources]
        if unknown:
            detail = [{"resource_id": canonical(owner), "original_resource_id": owner} for owner in unknown]
            raise WrongError(400, {"cause": "Unknown resources", "detail": detail})
        measures = [
            measure
            for series in posted.series
            for measure in self._measures(resources[named[series.owner]], series, asked.identity)
        ]
        return await self._written(asked, measures, posted)

    async def _batch_by_metric(self, asked: _Asked) -> Response:
        posted = await self._whole(self._decoder.by_metric(asked.body, self._clock()))
        metrics = await self._metrics([canonical(series.owner) for series in posted.series])
        resources = await self._resources([metric.resource for metric in metrics.values() if metric.resource])
        unknown, measures = [], []
        for series in posted.series:
            metric = metrics.get(canonical(series.owner))
            resource = None if metric is None else self._resource_of(metric, resources)
            if metric is None or resource is None or not self._may_post(metric, asked):
                unknown.append(series.owner)
            else:
                named = _Series(resource.id, metric.name, metric.unit, series.points)
                measures += self._measures(resource, named, asked.identity)
        if unknown:
            raise WrongError(400, f"Unknown metrics: {', '.join(sorted(unknown))}")
        return await self._written(asked, measures, posted)

    async def _measures_of_metric(self, asked: _Asked) -> Response:
        metric_id = canonical(asked.path["metric_id"])
        metric = (await self._metrics([metric_id])).get(metric_id)
        resources = {} if metric is None or not metric.resource else await self._resources([metric.resource])
        resource = None if metric is None else self._resource_of(metric, resources)
        if metric is None or resource is None or not self._may_post(metric, asked):
            raise WrongError(404, f"Metric {metric_id} does not exist")
        return await self._posted_to(asked, resource, metric.name, metric.unit)

    async def _measures_of_resource(self, asked: _Asked) -> Response:
        resource = await self._present(asked)
        return await self._posted_to(asked, resource, _name("metric", asked.path["name"]), "")

    async def _posted_to(self, asked: _Asked, resource: Resource, metric: str, unit: str) -> Response:
        posted = await self._whole(self._decoder.of_one(asked.body, self._clock()))
        points = [point for series in posted.series for point in series.points]
        measures = self._measures(resource, _Series(resource.id, metric, unit, points), asked.identity)
        return await self._written(asked, measures, posted)

    async def _whole(self, posted: Posted) -> Posted:
        problem = next((found for found in posted.rejected if found.index is None), None)
        if problem is not None:
            await self._intake.write(Message(rejected=posted.rejected))
            raise WrongError(status_of(problem), _invalid(f"{problem.rejection}: {problem.detail}"))
        return posted

    async def _written(self, asked: _Asked, measures: Sequence[Measure], posted: Posted) -> Response:
        """202, as Gnocchi: what cannot be taken of it is told by the dead letters."""
        message = Message(measures, range(len(measures)), posted.rejected)
        await self._intake.write(self._intake.owned(message, asked.identity))
        return Response(status_code=202, media_type="application/json")

    def _measures(self, resource: Resource, series: Points, identity: Identity) -> list[Measure]:
        believed = self._trusted or identity.checked
        project_id = resource.project_id if believed else ""
        metadata = metadata_of(resource)
        return [
            Measure(series.metric, resource.id, at, value, project_id, series.unit, metadata)
            for at, value in series.points
        ]

    def _resource_of(self, metric: Metric, resources: Mapping[str, Resource]) -> Resource | None:
        if metric.resource:
            return resources.get(metric.resource)
        return Resource(id=metric.id, type="generic", project_id=metric.project_id)

    @staticmethod
    def _may_post(metric: Metric, asked: _Asked) -> bool:
        if not asked.scope:
            return True
        return metric.resource.startswith(f"{asked.scope}\x1f") or metric.project_id == asked.scope

    # --- resources ---------------------------------------------------------------------------------------------------

    async def _make_resource(self, asked: _Asked) -> Response:
        document = asked.document
        resource_id = canonical(_name("id", document.get("id")))
        key = asked.key(resource_id)
        if await self._resources([key]):
            raise WrongError(409, f"Resource {resource_id} already exists")
        made = Resource(
            id=resource_id,
            type=_name("resource type", asked.path["type"]),
            started_at=_text("started_at", document.get("started_at")) or _iso(self._clock()),
            creator=(asked.identity.user_id, asked.identity.project_id),
        )
        made = _changed(made, {name: value for name, value in document.items() if name != "id"})
        metrics = _wanted(document.get("metrics") or {})
        _check_metrics(metrics)
        made = msgspec.structs.replace(made, metrics={name: _metric_id(key, name) for name in metrics})
        await self._keep_metrics(key, made, metrics)
        await self._keep(key, made)
        await self._note_part(asked, made)
        return JSONResponse(_shown(made), 201, {"Location": f"/v1/resource/{made.type}/{made.id}"})

    async def _change_resource(self, asked: _Asked) -> Response:
        present = await self._present(asked)
        changed = _changed(present, asked.document)
        if changed != present:
            await self._keep(asked.key(present.id), changed)
            await self._note_part(asked, changed)
        return JSONResponse(_shown(changed))

    async def _resource(self, asked: _Asked) -> Response:
        return JSONResponse(_shown(await self._present(asked)))

    async def _drop_resource(self, asked: _Asked) -> Response:
        present = await self._present(asked)
        await self._keep(asked.key(present.id), msgspec.structs.replace(present, ended_at=_iso(self._clock())))
        return Response(status_code=204)

    async def _search(self, asked: _Asked) -> Response:
        """The disks and interfaces of an instance, which Ceilometer asks for when it ends."""
        match asked.any_document:
            case {"=": {"instance_id": str(instance_id)}}:
                ids = await self._parts(asked, instance_id)
            case {"=": {"id": str(resource_id)}}:
                ids = [resource_id]
            case _:
                reason = 'only {"=": {"id": …}} and {"=": {"instance_id": …}} can be searched for'
                raise WrongError(400, _invalid(reason))
        found = (await self._resources([asked.key(name) for name in ids])).values()
        wanted = asked.path["type"]
        return JSONResponse([_shown(resource) for resource in found if wanted in {"generic", resource.type}])

    async def _present(self, asked: _Asked) -> Resource:
        resource_id = canonical(asked.path["id"])
        found = await self._resources([asked.key(resource_id)])
        if not found:
            raise WrongError(404, f"Resource {resource_id} does not exist")
        return found[asked.key(resource_id)]

    async def _resources(self, keys: Sequence[str]) -> dict[str, Resource]:
        """Those that are there, by key; one question for all."""
        wanted = list(dict.fromkeys(keys))
        kept = await self._service.kept("resource", wanted) if wanted else []
        return {key: msgspec.json.decode(each, type=Resource) for key, each in zip(wanted, kept, strict=True) if each}

    async def _keep(self, key: str, resource: Resource) -> None:
        """Keep a resource until it ends: the ids of what a cloud once had would be too many."""
        if not resource.ended_at:
            await self._service.keep("resource", {key: msgspec.json.encode(resource)})
            return
        await self._service.keep("resource", {key: None})
        await self._service.keep("resource parts", {key: None})
        if resource.metrics:
            await self._service.keep("metric", dict.fromkeys(resource.metrics.values()))

    async def _parts(self, asked: _Asked, instance_id: str) -> list[str]:
        (kept,) = await self._service.kept("resource parts", [asked.key(instance_id)])
        return [] if kept is None else msgspec.json.decode(kept, type=list[str])

    async def _note_part(self, asked: _Asked, resource: Resource) -> None:
        whole = resource.attributes.get("instance_id")
        if not isinstance(whole, str) or not whole or resource.ended_at:
            return
        parts = await self._parts(asked, whole)
        if resource.id not in parts:
            noted = msgspec.json.encode([*parts, resource.id][-MAX_METRICS:])
            await self._service.keep("resource parts", {asked.key(whole): noted})

    # --- metrics -----------------------------------------------------------------------------------------------------

    async def _make_metric(self, asked: _Asked) -> Response:
        document = asked.document
        name = _name("name", document.get("name") or "metric")
        resource_id = _text("resource_id", document.get("resource_id"))
        unit = _text("unit", document.get("unit"))
        if not resource_id:
            project_id = asked.identity.project_id if asked.identity.checked else asked.scope
            made = Metric(id=str(uuid.uuid4()), name=name, unit=unit, project_id=project_id)
            await self._service.keep("metric", {made.id: msgspec.json.encode(made)})
            return JSONResponse(_shown_metric(made, None), 201)
        return await self._named(asked, resource_id, {name: unit}, 201, one=True)

    async def _make_metrics(self, asked: _Asked) -> Response:
        return await self._named(asked, asked.path["id"], _wanted(asked.any_document), 200, one=False)

    async def _named(
        self, asked: _Asked, resource_id: str, wanted: Mapping[str, str], status: int, *, one: bool
    ) -> Response:
        key = asked.key(resource_id)
        found = await self._resources([key])
        if not found:
            raise WrongError(404, f"Resource {canonical(resource_id)} does not exist")
        again = sorted(set(wanted) & set(found[key].metrics))
        if again:
            raise WrongError(409, f"Named metric {again[0]} already exists")
        ids = {name: _metric_id(key, name) for name in wanted}
        resource = msgspec.structs.replace(found[key], metrics={**found[key].metrics, **ids})
        _check_metrics(resource.metrics)
        made = await self._keep_metrics(key, resource, wanted)
        await self._keep(key, resource)
        shown = [_shown_metric(metric, resource) for metric in made]
        return JSONResponse(shown[0] if one else shown, status)

    async def _keep_metrics(self, key: str, resource: Resource, wanted: Mapping[str, str]) -> list[Metric]:
        made = [Metric(id=resource.metrics[name], name=name, resource=key, unit=unit) for name, unit in wanted.items()]
        if made:
            await self._service.keep("metric", {metric.id: msgspec.json.encode(metric) for metric in made})
        return made

    async def _metric(self, asked: _Asked) -> Response:
        resource, name = await self._present(asked), asked.path["name"]
        metric_id = resource.metrics.get(name, "")
        metric = (await self._metrics([metric_id])).get(metric_id)
        if metric is None:
            raise WrongError(404, f"Metric {name} does not exist")
        return JSONResponse(_shown_metric(metric, resource))

    async def _metrics(self, ids: Sequence[str]) -> dict[str, Metric]:
        kept = await self._service.kept("metric", ids) if ids else []
        return {name: msgspec.json.decode(each, type=Metric) for name, each in zip(ids, kept, strict=True) if each}

    # --- archive policies and resource types: kept, and of no consequence --------------------------------------------

    async def _make_archive_policy(self, asked: _Asked) -> Response:
        return await self._make_kind(asked, "archive_policy", "Archive policy")

    async def _archive_policy(self, asked: _Asked) -> Response:
        return JSONResponse(await self._kind(asked.path["name"], "archive_policy", "Archive policy"))

    async def _make_type(self, asked: _Asked) -> Response:
        return await self._make_kind(asked, "resource_type", "Resource type")

    async def _type(self, asked: _Asked) -> Response:
        return JSONResponse(await self._kind(asked.path["name"], "resource_type", "Resource type"))

    async def _change_type(self, asked: _Asked) -> Response:
        _require_operator(asked.identity)
        present = await self._kind(asked.path["name"], "resource_type", "Resource type")
        attributes = dict(present.get("attributes") or {})
        for operation in asked.any_document if isinstance(asked.any_document, list) else [None]:
            match operation:
                case {"op": "add", "path": str(path), "value": dict(value)} if path.startswith("/attributes/"):
                    shown = {name: part for name, part in value.items() if name != "options"}
                    attributes[path.removeprefix("/attributes/")] = shown
                case {"op": "remove", "path": str(path)} if path.startswith("/attributes/"):
                    attributes.pop(path.removeprefix("/attributes/"), None)
                case _:
                    raise WrongError(400, _invalid("expected a list of operations that add or remove /attributes/…"))
        changed = {**present, "attributes": attributes}
        await self._service.keep("resource_type", {asked.path["name"]: msgspec.json.encode(changed)})
        before, after = difference(present, changed)
        await self._service.audit.record(
            asked.identity.actor, Change.REPLACED, "resource type", asked.path["name"], before=before, after=after
        )
        return JSONResponse(changed)

    async def _make_kind(self, asked: _Asked, kind: str, called: str) -> Response:
        _require_operator(asked.identity)
        document = asked.document
        name = _name("name", document.get("name"))
        if (await self._service.kept(kind, [name]))[0] is not None:
            raise WrongError(409, f"{called} {name} already exists")
        await self._service.keep(kind, {name: msgspec.json.encode(document)})
        await self._service.audit.record(asked.identity.actor, Change.CREATED, called.lower(), name, after=document)
        return JSONResponse(document, 201)

    async def _kind(self, name: str, kind: str, called: str) -> dict[str, Any]:
        (kept,) = await self._service.kept(kind, [name])
        if kept is None:
            raise WrongError(404, f"{called} {name} does not exist")
        return msgspec.json.decode(kept, type=dict[str, Any])


class _Series(msgspec.Struct, frozen=True):
    owner: str
    metric: str
    unit: str
    points: Sequence[tuple[float, float]]


def canonical(resource_id: str) -> str:
    """A resource id as it is compared: UUIDs are the same however they are written."""
    try:
        return str(uuid.UUID(resource_id))
    except ValueError:
        return resource_id


def metadata_of(resource: Resource) -> Mapping[str, str]:
    """What rules can match of a resource."""
    found = {name: _as_text(value) for name, value in resource.attributes.items()}
    if resource.user_id:
        found["user_id"] = resource.user_id
    return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _speaks_for_all(identity: Identity) -> bool:
    return identity.operator or identity.is_admin or SERVICE in identity.roles


def _require_operator(identity: Identity) -> None:
    if not _speaks_for_all(identity):
        raise WrongError(403, "this needs the role admin or service")


def _metric_id(key: str, name: str) -> str:
    return str(uuid.uuid5(_METRICS, f"{key}\x1f{name}"))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _invalid(reason: str) -> dict[str, object]:
    return {"cause": "Invalid input", "reason": reason, "detail": []}


def _name(key: str, value: object) -> str:
    found = _text(key, value)
    if not found or "/" in found:
        raise WrongError(400, _invalid(f"{key}: expected a name without /, found {found!a}"))
    return found


def _text(key: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > NAME_LENGTH or "\x1f" in value:
        raise WrongError(400, _invalid(f"{key}: expected a text of at most {NAME_LENGTH} characters"))
    return value


def _wanted(document: object) -> dict[str, str]:
    """Names of metrics that are to be made, with their units."""
    if not isinstance(document, dict):
        raise WrongError(400, _invalid("metrics: expected an object of metrics by name"))
    return {
        _name("metric", name): _text("unit", metric.get("unit")) if isinstance(metric, dict) else ""
        for name, metric in document.items()
    }


def _check_metrics(metrics: Mapping[str, str]) -> None:
    if len(metrics) > MAX_METRICS:
        raise WrongError(400, _invalid(f"{len(metrics)} metrics; at most {MAX_METRICS} are taken of a resource"))


def _changed(resource: Resource, document: Mapping[str, Any]) -> Resource:
    """A resource with some of its attributes changed; null takes one away."""
    named = ("user_id", "project_id", "started_at", "ended_at")
    own = {name: _text(name, document[name]) for name in named if name in document}
    attributes = dict(resource.attributes)
    for name, value in document.items():
        if name in _OWN:
            continue
        if value is None:
            attributes.pop(name, None)
            continue
        if not isinstance(value, str | int | float | bool) or len(_as_text(value)) > VALUE_LENGTH:
            reason = f"{name[:60]}: expected a text of at most {VALUE_LENGTH} characters, or a number"
            raise WrongError(400, _invalid(reason))
        attributes[_name("attribute", name)] = value
    if len(attributes) > MAX_ATTRIBUTES:
        raise WrongError(400, _invalid(f"{len(attributes)} attributes; at most {MAX_ATTRIBUTES} are taken"))
    return msgspec.structs.replace(resource, attributes=attributes, **own)


def _shown(resource: Resource) -> dict[str, Any]:
    user_id, project_id = resource.creator
    return {
        **resource.attributes,
        "id": resource.id,
        "original_resource_id": resource.id,
        "type": resource.type,
        "user_id": resource.user_id or None,
        "project_id": resource.project_id or None,
        "started_at": resource.started_at,
        "ended_at": resource.ended_at or None,
        "revision_start": resource.started_at,
        "revision_end": None,
        "creator": f"{user_id}:{project_id}",
        "created_by_user_id": user_id,
        "created_by_project_id": project_id,
        "metrics": resource.metrics,
    }


def _shown_metric(metric: Metric, resource: Resource | None) -> dict[str, Any]:
    return {
        "id": metric.id,
        "name": metric.name,
        "unit": metric.unit or None,
        "resource_id": None if resource is None else resource.id,
        "archive_policy_name": None,
    }
