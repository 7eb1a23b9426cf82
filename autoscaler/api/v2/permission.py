"""Who may ask what of Aodh's paths: its default roles, and its segregation of projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from autoscaler.api.identity import MEMBER, READER, Identity, identity_of
from autoscaler.api.v2.errors import forbidden, foreign, not_found

if TYPE_CHECKING:
    from autoscaler.engine.catalogue import Listing
    from autoscaler.engine.service import Service


def admin(request: Request) -> Identity:
    """Whoever asks, if they may act for every project."""
    identity = identity_of(request)
    if identity.operator or not identity.is_admin:
        raise forbidden()
    return identity


def member(request: Request) -> Identity:
    """Whoever asks, if they may change what is their project's."""
    return _in_project(request, MEMBER)


def reader(request: Request) -> Identity:
    """Whoever asks, if they may see what is their project's."""
    return _in_project(request, READER)


def _in_project(request: Request, role: str) -> Identity:
    identity = identity_of(request)
    if identity.operator or (not identity.is_admin and (role not in identity.roles or not identity.project_id)):
        raise forbidden()
    return identity


def limited_to(identity: Identity) -> str | None:
    """The project that somebody is confined to; None for admins."""
    return None if identity.is_admin else identity.project_id


def check_project(identity: Identity, project_id: object) -> None:
    """Refuse a project that is not theirs."""
    if not identity.is_admin and project_id != identity.project_id:
        raise foreign("project", project_id)


async def visible(service: Service, identity: Identity, alarm_id: str) -> Listing:
    """An alarm that whoever asks may see."""
    listing = await service.listing(alarm_id)
    if not identity.is_admin and listing.alarm.project_id != identity.project_id:
        raise not_found(alarm_id)
    return listing
