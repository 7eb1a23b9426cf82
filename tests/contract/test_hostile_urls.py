"""What alarms of tenants may not make the controller call; a listener on loopback counts who comes."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network

import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.actions.trust import TrustAction
from autoscaler.adapters.actions.webhook import WebhookAction, tls_clients
from autoscaler.adapters.actions.zaqar import ZaqarAction
from autoscaler.adapters.reach import Guard
from autoscaler.addresses import Reach
from autoscaler.errors import AddressRefusedError, PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.receiver import Receiver, answering, receiver

pytestmark = pytest.mark.slow

LOOPBACK = Reach(allowed=(ip_network("127.0.0.0/8"),))


class Names:
    """A name server of somebody's: each name has answers, one after another; the last one stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): [list(each) for each in given] for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        name = host.rstrip(".").lower()
        if name in self.answers:
            given = self.answers[name]
            return given.pop(0) if len(given) > 1 else given[0]
        if name.endswith("localhost"):
            return ["127.0.0.1", "::1"]
        # as the system's resolver reads it, but nobody is asked
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(address[0]) for *_, address in found]


def names() -> Names:
    return Names(
        inside_example=[["127.0.0.1"]],
        metadata_example=[["169.254.169.254"]],
        six_example=[["::1"]],
        mapped_example=[["::ffff:127.0.0.1"]],
        several_example=[["10.0.0.1", "::1", "127.0.0.1"]],
        nobody_example=[[]],
    )


def row(url: str, *, declared: bool = False) -> OutboxRow:
    return OutboxRow(id="a:1:0", alarm_id="a", url=url, body={"current": "alarm"}, created=0.0, declared=declared)


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    """Listens at 127.0.0.1 and, where this machine has IPv6, at ::1."""
    async with receiver() as it:
        try:
            six = await asyncio.start_server(it.serve, "::1", it.port)
        except OSError:
            yield it
            return
        try:
            yield it
        finally:
            six.close()


HOSTILE = [
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.255.255.254:PORT/",
    "http://2130706433:PORT/",
    "http://017700000001:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://a.localhost:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://169.254.169.254:PORT/latest/meta-data/",
    "http://2852039166:PORT/",
    "http://0xa9fea9fe:PORT/",
    "http://100.100.100.200:PORT/",
    "http://10.0.0.1:PORT/",
    "http://172.16.0.1:PORT/",
    "http://192.168.0.1:PORT/",
    "http://255.255.255.255:PORT/",
    "http://224.0.0.1:PORT/",
    "http://inside.example:PORT/",
    "http://INSIDE.example.:PORT/",
    "http://metadata.example:PORT/",
    "http://six.example:PORT/",
    "http://mapped.example:PORT/",
    "http://several.example:PORT/",
    "http://nobody.example:PORT/",
    "http://allowed.example@127.0.0.1:PORT/",
    "http://allowed.example:80@127.0.0.1:PORT/",
    "http://allowed.example%2f@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@allowed.example/",
    "http://127.0.0.1:PORT?@allowed.example/",
    "http://allowed.example\\@127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http://127.0.0.1:PORT\t/",
    "http://127.0.0.1\t:PORT/",
    "http://127.0.0.1\n:PORT/",
    "http://127.0.0.1\r\nHost: allowed.example\r\n:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://127。0。0。1:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://ｌｏｃａｌｈｏｓｔ:PORT/",
    "http://127.0.0.1%00.allowed.example:PORT/",
    "http://127.0.0.1%2eallowed.example:PORT/",
    "http://:PORT/",
    "http:///127.0.0.1:PORT/",
    "http://127.0.0.1:+PORT/",
    "http://127.0.0.1:99999999/",
    "http://127.0.0.1:PORT:80/",
    "http://[::1:PORT/",
    "HTTP://127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/",
]


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_refused_and_nobody_comes(url: str, there: Receiver) -> None:
    url = url.replace("PORT", str(there.port))
    with Guard(Reach(), resolve=names()) as guard:
        async with WebhookAction(2.0, guard=guard) as webhook:
            for action, called in ((webhook, url), (TrustAction(webhook, None), f"trust+{url}")):
                with pytest.raises(PermanentError), capture_logs():
                    await action.deliver(row(called))
            named = any(name in url.lower() for name in names().answers)
            assert named or not await guard.admits(url)  # nor can such an alarm be made
    assert (there.received, there.connections) == ([], set())


async def test_a_name_that_leads_elsewhere_the_second_time_is_judged_by_what_is_called(there: Receiver) -> None:
    rebinding = Names(rebinding_example=[["127.0.0.2"], ["169.254.169.254"], ["127.0.0.1"]])
    with Guard(Reach(allowed=(ip_network("127.0.0.2/32"),)), resolve=rebinding) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            outcomes = []
            for _ in range(4):
                try:
                    await action.deliver(row(f"http://rebinding.example:{there.port}/"))
                except (AddressRefusedError, TemporaryError) as error:
                    outcomes.append(type(error))
    # the first was allowed, and nobody listens there: what was judged was called, not what the name leads to by then
    assert outcomes == [TemporaryError, AddressRefusedError, AddressRefusedError, AddressRefusedError]
    assert rebinding.asked == ["rebinding.example"] * 4
    assert there.received == []


async def test_of_several_addresses_those_that_may_be_called_are(there: Receiver) -> None:
    several = Names(several_example=[["10.0.0.1", "127.0.0.9", "127.0.0.1"]])
    with Guard(LOOPBACK, resolve=several) as guard:
        async with WebhookAction(5.0, guard=guard) as action:
            await action.deliver(row(f"http://several.example:{there.port}/"))
    assert [got.headers["host"] for got in there.received] == [f"several.example:{there.port}"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_this_machine_is_not_followed(status: int, there: Receiver) -> None:
    async with receiver() as public:
        public.answer = answering(status, location=f"http://127.0.0.1:{there.port}/")
        with Guard(LOOPBACK, resolve=Names(public_example=[["127.0.0.1"]])) as guard:
            async with WebhookAction(2.0, guard=guard) as action:
                with pytest.raises(PermanentError, match="redirects are not followed"):
                    await action.deliver(row(f"http://public.example:{public.port}/"))
    assert (len(public.received), there.received) == (1, [])


async def test_the_operators_own_are_called_wherever_they_are(there: Receiver) -> None:
    with Guard(Reach(), resolve=names()) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            await action.deliver(row(there.url, declared=True))
            with pytest.raises(AddressRefusedError):  # also over the connection that is open now
                await action.deliver(row(there.url))
    assert len(there.received) == 1


async def test_what_a_receiver_sets_is_kept_for_nobody(there: Receiver) -> None:
    """Else one could write into what others' receivers under the same domain are sent, until they refuse it."""
    there.answer = answering(200, set_cookie="a=b; Domain=allowed.example")
    known = Names(a_allowed_example=[["127.0.0.1"]], b_allowed_example=[["127.0.0.1"]])
    with Guard(LOOPBACK, resolve=known) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            for url in (f"http://a.allowed.example:{there.port}/", f"http://b.allowed.example:{there.port}/"):
                await action.deliver(row(url))
                await action.deliver(row(url))
    assert len(there.received) == 4
    assert not any("cookie" in got.headers for got in there.received)


async def test_what_the_operator_allows_is_called_and_no_more(there: Receiver) -> None:
    with Guard(LOOPBACK, resolve=names()) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            await action.deliver(row(there.url))
            await action.deliver(row(f"http://inside.example:{there.port}/"))
            with pytest.raises(AddressRefusedError):
                await action.deliver(row(f"http://[::1]:{there.port}/"))
    assert len(there.received) == 2


async def test_every_refusal_is_in_the_same_words_and_only_the_log_says_what_was_found() -> None:
    said = []
    with Guard(Reach(), resolve=names()) as guard, capture_logs() as logs:
        async with WebhookAction(2.0, guard=guard) as action:
            for host in ("inside.example", "metadata.example", "nobody.example"):
                with pytest.raises(AddressRefusedError) as refused:
                    await action.deliver(row(f"http://{host}/secret"))
                said.append(str(refused.value).replace(host, "HOST"))
    assert set(said) == {"POST http://HOST/secret: address refused"}
    assert [line["addresses"] for line in logs] == [["127.0.0.1"], ["169.254.169.254"], []]


async def test_what_looks_like_an_address_before_an_at_is_a_user(there: Receiver) -> None:
    outside = Names(allowed_example=[["127.0.0.1"]])
    with Guard(LOOPBACK, resolve=outside) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            await action.deliver(row(f"http://10.0.0.1:80\\@allowed.example:{there.port}/"))
    assert outside.asked == ["allowed.example"]


async def test_tls_and_host_go_on_with_the_name(certificates: "Certificates") -> None:
    async with receiver(certificates.server) as it:
        guarded = Names(hooks_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
        with Guard(LOOPBACK, resolve=guarded) as guard:
            async with WebhookAction(2.0, tls_clients(ca=certificates.path), guard=guard) as action:
                await action.deliver(row(f"https://hooks.example:{it.port}/"))
                with pytest.raises(TemporaryError, match="certificate"):  # though a connection there is open already
                    await action.deliver(row(f"https://other.example:{it.port}/"))
    assert [got.headers["host"] for got in it.received] == [f"hooks.example:{it.port}"]


class Catalog:
    def __init__(self, *urls: str) -> None:
        self.urls = urls

    async def endpoints(self, service_types: Sequence[str]) -> list[str]:
        return list(self.urls) if "cloudformation" in service_types else []


async def test_heats_own_in_the_catalog_are_called_wherever_they_are(there: Receiver) -> None:
    with Guard(Reach(), catalog=Catalog(f"http://127.0.0.1:{there.port}/v1"), resolve=names()) as guard:
        async with WebhookAction(2.0, guard=guard) as action:
            await action.deliver(row(f"http://127.0.0.1:{there.port}/v1/signal/arn"))
            assert await guard.admits(f"trust+http://abc:delete@127.0.0.1:{there.port}/v1")
            assert not await guard.admits(f"http://127.0.0.1:{there.port + 1}/v1/signal/arn")
            for other in (f"http://127.0.0.1:{there.port + 1}/v1", f"http://localhost:{there.port}/v1"):
                with pytest.raises(AddressRefusedError):
                    await action.deliver(row(other))
    assert len(there.received) == 1


async def test_zaqar_is_not_told_to_call_what_we_would_not() -> None:
    with Guard(Reach(), resolve=names()) as guard:
        action = ZaqarAction(None, guard=guard)  # type: ignore[arg-type] - it is not asked for anything
        with pytest.raises(AddressRefusedError, match="address refused"):
            await action.deliver(row("zaqar://?topic=T&subscriber=http%3A//169.254.169.254/x"))


class Certificates:
    """A certificate for hooks.example."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/hooks.pem"
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.fixture
async def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(str(tmp_path_factory.mktemp("certificates")))
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hooks.example"
    key = f"{made.path}.key"
    process = await asyncio.create_subprocess_exec(
        *command.split(), "-addext", "subjectAltName=DNS:hooks.example", "-keyout", key, "-out", made.path,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    made.server.load_cert_chain(made.path, key)
    return made
