"""zaqar and trust+zaqar actions: a message in a queue of Zaqar (API v2)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from autoscaler.adapters import http
from autoscaler.adapters.actions.trust import PREFIX, trusted
from autoscaler.adapters.actions.webhook import REQUEST_NAMESPACE, aodh_body
from autoscaler.adapters.reach import REFUSED
from autoscaler.errors import AddressRefusedError, PermanentError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from autoscaler.adapters.openstack import Service
    from autoscaler.adapters.reach import Guard
    from autoscaler.ports import OutboxRow

CLIENT_ID: Final = str(uuid.uuid5(REQUEST_NAMESPACE, "zaqar"))
"""Zaqar wants one of every client, the same after a restart, so that a client is not shown its own messages."""
SUBSCRIPTION_TTL: Final = 3600
"""Seconds, where the URL does not say."""
_SIGNED: Final = {
    "signature": "url-signature",
    "expires": "url-expires",
    "methods": "url-methods",
    "paths": "url-paths",
    "project_id": "x-project-id",
}
"""What a pre-signed queue's URL says, and the header that it goes into."""


class ZaqarAction:
    """See :class:`autoscaler.ports.Action`.

    Three kinds of URL, as in aodh/notifier/zaqar.py, 23.0.0: ``zaqar://?topic=T&subscriber=URL&ttl=3600`` makes the
    queue ``ALARM-T`` in our project and subscribes each subscriber; ``zaqar://?queue_name=Q&signature=…`` posts to a
    queue that somebody has signed for it; ``trust+zaqar://TRUST@?queue_name=Q`` to one of the alarm's owner.

    Args:
        messaging: Zaqar.
        timeout: seconds for one delivery as a whole.
        guard: judges what Zaqar may be told to call for alarms that are not the operator's own; as it is written, since
            the call is Zaqar's. None lets everything pass.
    """

    schemes = frozenset({"zaqar", "trust+zaqar"})

    def __init__(self, messaging: Service, timeout: float = 10.0, guard: Guard | None = None) -> None:
        self._messaging = messaging
        self._guard = guard
        self._timeout = timeout

    async def deliver(self, row: OutboxRow) -> None:
        """Post the row's body as one message."""
        place = redacted(row.url)
        try:
            query = {name: values[-1] for name, values in parse_qs(urlsplit(row.url).query).items()}
        except ValueError as error:
            raise PermanentError(f"{place}: not a URL that can be called") from error
        async with http.within(self._timeout, place):
            if row.url.startswith(PREFIX):
                await self._post_trusted(row, query, place)
            elif query.get("queue_name"):
                await self._post_signed(row, query, place)
            else:
                await self._post_own(row, query, place)

    async def _post_trusted(self, row: OutboxRow, query: Mapping[str, str], place: str) -> None:
        trust_id = trusted(row.url).trust_id
        if not trust_id:
            raise PermanentError(f"{place}: there is no trust to post to a queue of the alarm's owner with")
        queue = query.get("queue_name")
        if not queue:
            raise PermanentError(f"{place}: expected ?queue_name=QUEUE")
        await self._messaging.call(
            "POST", _path(queue, "messages"), body=_messages(row), trust_id=trust_id, headers={"client-id": CLIENT_ID}
        )

    async def _post_signed(self, row: OutboxRow, query: Mapping[str, str], place: str) -> None:
        missing = [name for name in _SIGNED if not query.get(name)]
        if missing:
            raise PermanentError(f"{place}: a queue that is signed for us needs {', '.join(missing)} too")
        headers = {"client-id": CLIENT_ID} | {header: query[name] for name, header in _SIGNED.items()}
        path = _path(query["queue_name"], "messages")
        await self._messaging.call_openly("POST", path, body=_messages(row), headers=headers)

    async def _post_own(self, row: OutboxRow, query: Mapping[str, str], place: str) -> None:
        topic = query.get("topic")
        if not topic:
            raise PermanentError(f"{place}: expected ?topic=TOPIC, or the queue_name of a queue that is signed for us")
        ttl = query.get("ttl", str(SUBSCRIPTION_TTL))
        if not (ttl.isascii() and ttl.isdigit()):
            raise PermanentError(f"{place}: expected ttl in whole seconds")
        queue = f"{row.alarm_id}-{topic}"
        for subscriber in parse_qs(urlsplit(row.url).query).get("subscriber", []):
            if not row.declared and self._guard is not None and not await self._guard.admits(subscriber):
                raise AddressRefusedError(f"{place}: subscriber {redacted(subscriber)}: {REFUSED}")
            await self._subscribe(queue, subscriber, int(ttl))
        await self._messaging.call(
            "POST", _path(queue, "messages"), body=_messages(row), headers={"client-id": CLIENT_ID}
        )

    async def _subscribe(self, queue: str, subscriber: str, ttl: int) -> None:
        subscription = {"subscriber": subscriber, "ttl": ttl, "options": {}}
        try:
            await self._messaging.call(
                "POST", _path(queue, "subscriptions"), body=subscription, headers={"client-id": CLIENT_ID}
            )
        except http.RefusedError as error:
            if error.status != 409:  # it is there already
                raise


def _path(queue: str, what: str) -> str:
    return f"/v2/queues/{quote(queue, safe='')}/{what}"


def _messages(row: OutboxRow) -> dict[str, object]:
    return {"messages": [{"body": aodh_body(row.body)}]}
