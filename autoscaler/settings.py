"""What a process is told by its environment; read once, changed by a restart.

Each field is the variable ``AUTOSCALER_`` + its name in capitals; ``docs/reference/settings.md`` is made from the
docstrings here.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from autoscaler.addresses import Reach
from autoscaler.alarms.rules import OnOutage
from autoscaler.errors import SettingsError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from typing import Final

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

PREFIX: Final = "AUTOSCALER_"
NOT_SETTINGS: Final = (
    "AUTOSCALER_TEST_",
    "AUTOSCALER_SHARED_DATA",
    "AUTOSCALER_ORACLE_PYTHON",
    "AUTOSCALER_AODH_",
    "AUTOSCALER_GROUP",
    "AUTOSCALER_MEMBER",
    "AUTOSCALER_COMMANDS_",
)
"""Prefixes of variables that mean something to the tests, to other commands, or to the members of a group."""
FILE: Final = "_FILE"
"""Behind the name of a setting that holds a secret: the file that it stands in."""
COMMANDS_TOKEN: Final = "AUTOSCALER_TOKEN"  # noqa: S105 - a name
"""The token that commands show to the controller; no setting either."""

_SCHEMES: Final[Mapping[str, tuple[str, ...]]] = {
    "redis_url": ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix"),
    "mqtt_url": ("mqtt", "mqtts"),
    "amqp_url": ("amqp", "amqps"),
    "notify_url": ("amqp", "amqps"),
    "openstack_url": ("amqp", "amqps"),
    "shadow_url": ("amqp", "amqps"),
    "keystone_url": ("http", "https"),
    "prometheus_url": ("http", "https"),
    "octavia_url": ("http", "https"),
    "heat_url": ("http", "https"),
    "zaqar_url": ("http", "https"),
}
CLUSTER: Final = "+cluster"
"""The end of the scheme of a Redis Cluster's URL."""
_REDIS_PORT: Final = 6379
_BEGINNINGS: Final = ("first", "next", "last")
Beginning = str | int | datetime
"""Where a stream is begun: ``first``, ``next``, ``last`` (what was written together last), an offset or a time."""
_INTERFACES: Final = ("internal", "public", "admin")

SHADOW: Final = ".shadow"
"""The end of the names of what is a shadow's own: queues, the namespace, with it the MQTT client id."""
SHADOW_TTL: Final = 600.0
SHADOW_MAX_LENGTH: Final = 100_000
"""Of a shadow's queue of measures, where nothing else is said: nobody may notice that it is full."""

Words = Annotated[tuple[str, ...], NoDecode]
"""Separated by commas."""


class Auth(StrEnum):
    """Who may ask the API."""

    NOAUTH = "noauth"
    KEYSTONE = "keystone"
    TOKENS = "tokens"


class SourceKind(StrEnum):
    """Where measures come from."""

    MQTT = "mqtt"
    AMQP = "amqp"
    HTTP = "http"
    OPENSTACK = "openstack"
    UDP = "udp"
    GNOCCHI = "gnocchi"
    PROMETHEUS = "prometheus"


class Mixed(StrEnum):
    """What a leaf of a composite alarm is while its values lie on both sides of the threshold."""

    PLAIN = "plain"
    AODH = "aodh"


class LogFormat(StrEnum):
    """How a log line looks."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least grave line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state") / "autoscaler"


class _SecretFiles(PydanticBaseSettingsSource):
    """Settings that hold a secret, out of the files that ``AUTOSCALER_…_FILE`` name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """See pydantic-settings."""
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}{FILE}", "")
        if not path or not is_secret(field_name, field):
            return None, field_name, False
        if os.environ.get(variable):
            raise SettingsError(f"{variable}{FILE}: expected only without {variable}")
        try:
            return Path(path).read_text().rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise SettingsError(f"{variable}{FILE}: {path}: {reason or error}") from None

    def __call__(self) -> dict[str, Any]:
        """See pydantic-settings."""
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value}


class Settings(BaseSettings):
    """Settings of one process. Fields hold what is needed to connect, so they are never logged as a whole."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    rules: Path | None = None
    """File or folder of alarms; none are declared where it is not set."""

    policies: Path | None = None
    """File or folder of groups, policies and schedules; none are declared where it is not set."""

    api: str = "127.0.0.1:8042"
    """HOST:PORT that the API listens at; port 0 takes any free one."""

    api_cert: FilePath | None = None
    """Certificate (PEM), with those between it and its authority, that the API shows; it speaks TLS then, and nothing
    else."""

    api_key: FilePath | None = None
    """Key (PEM) of that certificate."""

    api_client_ca: FilePath | None = None
    """Certificates (PEM) of the authorities by one of which every client of the API must be vouched for; clients need
    none where it is not set."""

    api_connections: int = Field(default=1000, ge=1)
    """Connections to the API at once; one more is answered 503, unless it asks `/healthz` or `/readyz`."""

    api_timeout: float = Field(default=30.0, ge=1)
    """Seconds within which a request must have arrived as a whole; it is answered 408 else."""

    auth: Auth = Auth.NOAUTH
    """Who may ask the API: `keystone` asks Keystone about every token; `tokens` knows those of a file; `noauth`
    believes everybody's headers, so it serves this machine only, called by an address or `localhost`, since a page in
    a browser can lead its own name here."""

    tokens: FilePath | None = None
    """File of the controller's own tokens, one on each line as `autoscaler token make` says it, by their hash; read
    again when it changes. With `tokens` nobody else is let in; with `keystone` these are let in, too."""

    auth_force: bool = False
    """Allow `noauth` at an address that other machines reach."""

    auth_failures: int = Field(default=20, ge=0)
    """Wrong tokens that an address may show in a minute before it has to wait; 0 means any number. Whoever has shown a
    good one from there does not have to."""

    metrics_open: bool | None = None
    """Show `/metrics`, in which groups are named, to everybody; else a token with the role `monitor` or `admin` is
    needed. Where it is not set, it is shown if `AUTOSCALER_API` is an address of this machine only."""

    trusted_proxies: Words = ()
    """Addresses and networks, separated by commas, of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are
    believed; nobody's where it is not set."""

    cors_origins: Words = ()
    """Origins whose pages may ask the API, separated by commas; with `noauth` the API may be called by their names,
    too."""

    keystone_url: str | None = None
    """Keystone, such as `https://keystone.example.org:5000/v3`; for `keystone`, and for actions and probes that need
    a token of the controller's own."""

    keystone_username: str | None = None
    """User that the controller is at Keystone."""

    keystone_password: SecretStr | None = None
    """Password of that user."""

    keystone_user_domain: str = "Default"
    """Domain of that user, by name."""

    keystone_project: str = "service"
    """Project that the controller works in, by name."""

    keystone_project_domain: str = "Default"
    """Domain of that project, by name."""

    keystone_credential_id: str | None = None
    """Application credential, in place of user and password."""

    keystone_credential_secret: SecretStr | None = None
    """Secret of the application credential."""

    keystone_region: str | None = None
    """Region whose services are used; any where it is not set."""

    keystone_interface: str = "internal"
    """Interface of the services that are used: `internal`, `public` or `admin`."""

    keystone_ca: FilePath | None = None
    """Certificates (PEM) that those of Keystone and the services are checked with; the system's where it is not set."""

    clouds: FilePath | None = None
    """A `clouds.yaml` with the credentials that groups name as `cloud`; where it is not set, the first of
    `$OS_CLIENT_CONFIG_FILE`, `./clouds.yaml`, `~/.config/openstack/clouds.yaml` and `/etc/openstack/clouds.yaml`."""

    token_cache: float = Field(default=60.0, ge=0)
    """Seconds for which Keystone's word on a token is believed."""

    alarm_max_actions: int = Field(default=100, ge=-1)
    """Actions that an alarm may have for one state; -1 means any number."""

    project_alarm_quota: int = Field(default=-1, ge=-1)
    """Alarms that a project may have, unless its own quota says otherwise; -1 means any number."""

    user_alarm_quota: int = Field(default=-1, ge=-1)
    """Alarms that a user may have; -1 means any number."""

    evaluation_metrics: bool = False
    """Count how often each alarm was evaluated to each state, for `/v2/metrics`."""

    composite_mixed: Mixed = Mixed.PLAIN
    """What a part of a composite alarm is while values lie on both sides of its threshold: `plain` keeps its state, as
    every other alarm does; `aodh` takes the opposite of the trend."""

    history_ttl: float = Field(default=2_592_000.0, gt=0)
    """Seconds for which an alarm's history is kept, also after the alarm is gone."""

    probe_interval: float = Field(default=15.0, ge=1)
    """Seconds between two questions to Prometheus or a load balancer, for each alarm that rests on one."""

    prometheus_url: str | None = Field(default=None, repr=False)
    """Prometheus server that `prometheus` alarms ask; `http://` or `https://`."""

    prometheus_ca: FilePath | None = None
    """Certificates (PEM) that the server's is checked with; the system's where it is not set."""

    prometheus_project_label: str = "project"
    """Label that the queries of ordinary users are bound to, with their project as its value."""

    octavia_url: str | None = None
    """Load balancer service; the catalog's where it is not set."""

    heat_url: str | None = None
    """Orchestration service, with `%(project_id)s` where the project belongs; the catalog's where it is not set."""

    heat_exchange: str = "heat"
    """Exchange on the broker `openstack_url` on which Heat tells of resizes (`orchestration.autoscaling.*`); nothing is
    taken where it is empty."""

    heat_wedged_after: float = Field(default=600.0, ge=10)
    """Seconds without any change after which a group that Heat says it is scaling counts as wedged: its engine died."""

    heat_repair: bool = False
    """Free such a group, by marking it unhealthy and healthy again."""

    zaqar_url: str | None = None
    """Messaging service; the catalog's where it is not set."""

    notify_url: str | None = Field(default=None, repr=False)
    """Broker that changes of alarms are told on, as Aodh tells them; `amqp://` or `amqps://`. Nobody is told where it
    is not set."""

    notify_exchange: str = Field(default="aodh", min_length=1)
    """Topic exchange for that."""

    notify_topic: str = Field(default="notifications", min_length=1)
    """Topic for that; the routing key is TOPIC.info."""

    audit_notify: bool = False
    """Tell every change by somebody's word on that broker, too, in CADF's form."""

    openstack_url: str | None = Field(default=None, repr=False)
    """Broker of the cloud's own services, to take Ceilometer's samples and events from; `amqp://` or `amqps://`."""

    openstack_exchange: str = Field(default="ceilometer", min_length=1)
    """Exchange that Ceilometer publishes on."""

    openstack_samples: str = "metering.sample"
    """Routing key of samples; nothing is taken where it is empty."""

    openstack_events: str = "alarm.all.sample"
    """Routing key of events; nothing is taken where it is empty."""

    openstack_queue: str = Field(default="autoscaler.openstack", min_length=1)
    """Beginning of the names of the controller's own queues there."""

    openstack_existing_queues: bool = False
    """Take from the queues that are named like the routing keys, whoever else was to get the messages."""

    openstack_ttl: float = Field(default=600.0, gt=0)
    """Seconds that a message waits in these queues before the broker drops it."""

    openstack_max_length: int = Field(default=100_000, ge=1)
    """Messages that each of these queues holds before the broker drops the oldest."""

    telemetry_secret: SecretStr | None = None
    """Ceilometer's `telemetry_secret`: samples and events from its broker or over UDP without its signature are
    refused; not looked at where it is not set. Over HTTP it signs nothing."""

    udp: str | None = None
    """HOST:PORT at which Ceilometer's `udp://` publisher is listened to; nothing listens where it is not set."""

    trusted_sources: Annotated[frozenset[str], NoDecode] = frozenset(("openstack",))
    """Sources whose word on a measure's project counts, separated by commas: `mqtt`, `amqp`, `http`, `openstack`,
    `udp`, `gnocchi` or `prometheus`; `mqtt:FILTER` for some topics, `amqp:EXCHANGE` for what is published to one,
    `amqp-user:NAME` for what a user of the broker sends. With `keystone` and `tokens`, what comes over HTTP is the
    project's whose token comes with it, and only the word of an admin or a service counts."""

    redis_url: str | None = Field(default=None, repr=False)
    """Redis or Valkey; `redis://`, `rediss://` or `unix://`. A cluster: `redis+cluster://HOST:PORT,HOST:PORT` or
    `rediss+cluster://`, with some of its nodes. A server of its own is started where it is not set."""

    redis_wait: int = Field(default=0, ge=0)
    """Replicas of Redis that must have a change before it counts as stored, and measures are acknowledged; 0 asks
    none. Of a cluster: of each of its primaries."""

    redis_ca: FilePath | None = None
    """Certificates (PEM) that those of Redis are checked with; the system's where it is not set."""

    redis_cert: FilePath | None = None
    """Certificate (PEM) that is shown to Redis."""

    redis_key: FilePath | None = None
    """Key (PEM) of that certificate."""

    allow_volatile_redis: bool = False
    """Be ready also with a Redis that may evict keys or keeps nothing on disk."""

    namespace: str = "autoscaler"
    """What every key in Redis begins with; one per deployment."""

    shards: int = Field(default=16, ge=1, le=1024)
    """How many shards a new deployment has; an older one keeps the number it began with."""

    state_dir: Path = Field(default_factory=_state_dir)
    """Folder that the Redis of its own keeps its data in."""

    mqtt_url: str | None = Field(default=None, repr=False)
    """Broker to take measures from; `mqtt://` or `mqtts://`."""

    mqtt_topic: str = Field(default="measures/#", min_length=1)
    """Topic filter that is subscribed to."""

    mqtt_seats: int = Field(default=1, ge=1, le=64)
    """Sessions at the broker that the replicas have among them, as many each; from 2 on the broker divides the measures
    among these (a shared subscription). The same for all replicas."""

    mqtt_username: str | None = None
    """User at the broker; one in the URL counts less."""

    mqtt_password: SecretStr | None = None
    """Password at the broker; one in the URL counts less."""

    mqtt_ca: FilePath | None = None
    """Certificates (PEM) that the broker's is checked with; the system's where it is not set."""

    mqtt_cert: FilePath | None = None
    """Certificate (PEM) that is shown to the broker."""

    mqtt_key: FilePath | None = None
    """Key (PEM) of that certificate."""

    amqp_url: str | None = Field(default=None, repr=False)
    """Broker to take measures from; `amqp://` or `amqps://`."""

    amqp_ca: FilePath | None = None
    """Certificates (PEM) that those of every AMQP broker are checked with, also of those of `AUTOSCALER_NOTIFY_URL`,
    `_OPENSTACK_URL` and `_SHADOW_URL`; the system's where it is not set."""

    amqp_cert: FilePath | None = None
    """Certificate (PEM) that is shown to them."""

    amqp_key: FilePath | None = None
    """Key (PEM) of that certificate."""

    amqp_exchange: str = Field(default="measures", min_length=1)
    """Topic exchange that the queue is bound to."""

    amqp_queue: str = Field(default="autoscaler.measures", min_length=1)
    """Durable queue that measures are taken from; replicas share it. With partitions what their names begin with."""

    amqp_routing_key: str = "#"
    """Routing key that the queue is bound with."""

    amqp_prefetch: int = Field(default=4000, ge=1, le=65_535)
    """Messages that may be unacknowledged at a time, of each queue."""

    amqp_partitions: int | None = Field(default=None, ge=1, le=64)
    """Queues that the broker divides the measures among, by a hash of their routing key, in place of one that replicas
    share; they have as many each. For RabbitMQ with the plugin `rabbitmq_consistent_hash_exchange`. The same for all
    replicas."""

    amqp_partition_header: str | None = None
    """Header whose value is hashed, in place of the routing key."""

    amqp_stream: str | None = Field(default=None, min_length=1, max_length=200)
    """RabbitMQ stream that measures are taken from, in place of a queue; one replica takes it at a time. It keeps what
    was taken, for `AUTOSCALER_AMQP_TTL` and up to `AUTOSCALER_AMQP_STREAM_MAX_BYTES`."""

    amqp_stream_from: str = "first"
    """Where the stream is begun: `first`, `next`, `last` (what was written together last), an offset, or a time such as
    `2026-01-31T12:00:00Z`. Another value begins it anew from there, once; after that, as after a restart, it goes on
    where it was left."""

    amqp_stream_max_bytes: int = Field(default=10_000_000_000, ge=1)
    """Size beyond which the broker drops the oldest of a stream."""

    amqp_quorum: bool = False
    """Declare the queue as a quorum queue."""

    amqp_ttl: float | None = Field(default=None, gt=0)
    """Seconds that a message waits in the queue before the broker drops it; for ever where it is not set."""

    amqp_max_length: int | None = Field(default=None, ge=1)
    """Messages that the queue, or each partition, holds before the broker drops the oldest; any number where it is not
    set."""

    shadow: bool = False
    """Change nothing, and report where the controller would have differed from Aodh. What is its own on brokers and in
    Redis is named with `.shadow` behind it."""

    shadow_url: str | None = Field(default=None, repr=False)
    """Broker that Aodh tells its changes on, for `AUTOSCALER_SHADOW`; that of `AUTOSCALER_OPENSTACK_URL` where it is
    not set."""

    shadow_exchange: str = Field(default="aodh", min_length=1)
    """Exchange for that: Aodh's `control_exchange`."""

    shadow_topic: str = Field(default="notifications", min_length=1)
    """Topic for that: one of Aodh's `[oslo_messaging_notifications] topics`."""

    shadow_evaluation_interval: float = Field(default=60.0, gt=0)
    """Aodh's `[evaluator] evaluation_interval`, in seconds."""

    shadow_tolerance: float | None = Field(default=None, gt=0)
    """Seconds between two transitions that count as one decision; two of Aodh's intervals and the alarm's granularity
    where it is not set."""

    replica: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    """Name of this controller among the replicas, the same after a restart; two that run at once need two names."""

    max_future: float = Field(default=60.0, ge=0)
    """Seconds that a measure may be ahead of the clock."""

    max_hold: float = Field(default=600.0, ge=0)
    """Seconds that missing data is not believed while a source is behind, or most series of an alarm have stopped at
    once."""

    api_outage: OnOutage = OnOutage.BELIEVE
    """What alarms made through the API do while most of their series have stopped at once: `hold` their state, or
    `believe` what is left, as Aodh does. Alarms in files say so themselves."""

    min_evaluation_interval: float = Field(default=0.2, ge=0)
    """Seconds between two evaluations of the members of one group, at least."""

    webhook_timeout: float = Field(default=10.0, gt=0, le=14)
    """Seconds within which a webhook must have answered."""

    webhook_max_attempts: int = Field(default=10, ge=1)
    """Deliveries of an action that are tried before it goes to the dead letters."""

    webhook_deadline: float = Field(default=3600.0, gt=0)
    """Seconds after which an action that cannot be delivered goes to the dead letters, however often it was tried."""

    webhook_verify: bool = True
    """Check the certificates of webhooks."""

    webhook_cert: FilePath | None = None
    """Certificate (PEM) that is shown to webhooks."""

    webhook_key: FilePath | None = None
    """Key (PEM) of that certificate."""

    webhook_allow_unverified: bool = False
    """Let alarms switch the check off for an action of theirs (`?aodh-alarm-ssl-verify=0`)."""

    webhook_allow: Words = ()
    """Networks that alarms made through the API may call though they are no public ones, such as `10.1.0.0/16`,
    separated by commas. Private, local and special addresses are refused to them, but for Heat's own in the catalog;
    with `noauth`, which serves this machine only, no sooner than this or `AUTOSCALER_WEBHOOK_DENY` is set. Alarms
    declared in files may call any."""

    webhook_deny: Words = ()
    """Networks that alarms made through the API may not call, though they are public or allowed."""

    endpoints: FilePath | None = None
    """File of what is shown to which webhooks: headers, credentials, signatures, client certificates; see the guide to
    webhooks."""

    webhook_ca: FilePath | None = None
    """Certificates (PEM) that those of webhooks are checked with; the system's where it is not set."""

    log_format: LogFormat = LogFormat.CONSOLE
    """`json` or `console`."""

    log_level: LogLevel = LogLevel.INFO
    """`debug`, `info`, `warning` or `error`."""

    @property
    def api_host(self) -> str:
        """Name or address of ``api``, without brackets."""
        return self.api.rpartition(":")[0].strip("[]")

    @property
    def shows_metrics(self) -> bool:
        """Whether ``/metrics`` is shown to everybody."""
        return _is_loopback(self.api_host) if self.metrics_open is None else self.metrics_open

    @property
    def api_port(self) -> int:
        """Port of ``api``."""
        return int(self.api.rpartition(":")[2])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line before the environment, and secrets in files, and nothing else."""
        return (init_settings, env_settings, _SecretFiles(settings_cls))

    @field_validator(
        "cors_origins", "trusted_sources", "trusted_proxies", "webhook_allow", "webhook_deny", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [word for part in value.split(",") if (word := part.strip())] if isinstance(value, str) else value

    @field_validator(
        "log_level", "log_format", "auth", "composite_mixed", "api_outage", "keystone_interface", mode="before"
    )
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("api", "udp")
    @classmethod
    def _is_address(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is None:
            return None
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+):([0-9]{1,5})", address)
        if found is None or int(found[2]) > 65_535:
            example = "127.0.0.1:8042" if info.field_name == "api" else "127.0.0.1:4952"
            raise ValueError(f"expected HOST:PORT such as {example}, got {address!r}")
        return address

    @field_validator("keystone_interface")
    @classmethod
    def _is_interface(cls, interface: str) -> str:
        if interface not in _INTERFACES:
            raise ValueError(f"expected internal, public or admin, got {interface!r}")
        return interface

    @field_validator(*_SCHEMES)
    @classmethod
    def _is_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        schemes = _SCHEMES[str(info.field_name)]
        if url is None:
            return None
        scheme = url.partition("://")[0]  # the rest is not quoted: it may hold a password
        if scheme not in schemes:
            shown = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"expected a URL that begins with {shown}")
        if scheme.endswith(CLUSTER):
            cluster_nodes(url)
            return url
        try:
            parts = urlsplit(url)
            whole = parts.path if scheme == "unix" else parts.hostname
            _ = parts.port
        except ValueError:
            whole = None
        if not whole:
            what = "a path" if scheme == "unix" else "a host, and only a number as a port,"
            raise ValueError(f"expected {what} after {scheme}://")
        return url

    @field_validator("mqtt_topic")
    @classmethod
    def _is_filter(cls, topic: str) -> str:
        levels = topic.split("/")
        if any("#" in level and (level != "#" or number < len(levels)) for number, level in enumerate(levels, 1)):
            raise ValueError(f"expected # only as the whole last level, as in measures/#, got {topic!r}")
        if any("+" in level and level != "+" for level in levels):
            raise ValueError(f"expected + only as a whole level, as in measures/+/cpu, got {topic!r}")
        return topic

    @field_validator("webhook_allow", "webhook_deny", "trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"expected networks such as 10.1.0.0/16, got {network!r}: {error}") from None
        return networks

    @field_validator("namespace", "amqp_partition_header")
    @classmethod
    def _is_plain(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
            raise ValueError(f"expected 1 to 100 letters, digits and _.-, got {name!r}")
        return name

    @field_validator("amqp_stream_from")
    @classmethod
    def _is_beginning(cls, text: str) -> str:
        stream_beginning(text)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"expected origins such as https://ops.example.org, got {origin!r}")
        return origins

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        if self.auth is Auth.NOAUTH and not self.auth_force and not _is_loopback(self.api_host):
            raise ValueError(
                f"{PREFIX}API: expected an address of this machine only, such as 127.0.0.1, since {PREFIX}AUTH=noauth "
                f"believes everybody; got {self.api_host} ({PREFIX}AUTH_FORCE=true allows it)"
            )
        return self

    @model_validator(mode="after")
    def _knows_tokens(self) -> Self:
        if self.auth is Auth.TOKENS and self.tokens is None:
            raise ValueError(f"{PREFIX}TOKENS: expected with {PREFIX}AUTH=tokens")
        if self.auth is Auth.NOAUTH and self.tokens is not None:
            raise ValueError(
                f"{PREFIX}TOKENS: expected only with {PREFIX}AUTH=tokens or keystone; noauth looks at no token"
            )
        return self

    @model_validator(mode="after")
    def _knows_keystone(self) -> Self:
        user = (self.keystone_username, self.keystone_password)
        credential = (self.keystone_credential_id, self.keystone_credential_secret)
        kinds = [kind for kind in (user, credential) if any(part is not None for part in kind)]
        if self.keystone_url is None and (kinds or self.auth is Auth.KEYSTONE):
            why = "credentials of Keystone" if kinds else f"{PREFIX}AUTH=keystone"
            raise ValueError(f"{PREFIX}KEYSTONE_URL: expected with {why}")
        if self.keystone_url is not None and (len(kinds) != 1 or None in kinds[0]):
            raise ValueError(
                f"{PREFIX}KEYSTONE_URL: expected with either {PREFIX}KEYSTONE_USERNAME and {PREFIX}KEYSTONE_PASSWORD, "
                f"or {PREFIX}KEYSTONE_CREDENTIAL_ID and {PREFIX}KEYSTONE_CREDENTIAL_SECRET"
            )
        return self

    @model_validator(mode="after")
    def _has_both_parts(self) -> Self:
        for one, other in (
            ("mqtt_cert", "mqtt_key"),
            ("webhook_cert", "webhook_key"),
            ("api_cert", "api_key"),
            ("redis_cert", "redis_key"),
            ("amqp_cert", "amqp_key"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{PREFIX}{one.upper()}, {PREFIX}{other.upper()}: expected both or neither")
        if self.api_client_ca is not None and self.api_cert is None:
            raise ValueError(f"{PREFIX}API_CLIENT_CA: expected only with {PREFIX}API_CERT")
        if self.redis_ca is not None and not (self.redis_url or "").startswith("rediss"):
            raise ValueError(f"{PREFIX}REDIS_CA: expected only with an {PREFIX}REDIS_URL that begins with rediss")
        if self.mqtt_password is not None and self.mqtt_username is None:
            raise ValueError(f"{PREFIX}MQTT_PASSWORD: expected only with {PREFIX}MQTT_USERNAME")
        return self

    @model_validator(mode="after")
    def _divides_by_something(self) -> Self:
        if self.amqp_partition_header is not None and self.amqp_partitions is None:
            raise ValueError(f"{PREFIX}AMQP_PARTITION_HEADER: expected only with {PREFIX}AMQP_PARTITIONS")
        return self

    @model_validator(mode="after")
    def _is_stream_or_queue(self) -> Self:
        if self.amqp_stream is None:
            if "amqp_stream_from" in self.model_fields_set:
                raise ValueError(f"{PREFIX}AMQP_STREAM_FROM: expected only with {PREFIX}AMQP_STREAM")
            return self
        for name in ("amqp_partitions", "amqp_quorum", "amqp_max_length"):
            if getattr(self, name):
                raise ValueError(f"{PREFIX}{name.upper()}: expected only without {PREFIX}AMQP_STREAM")
        if self.amqp_stream == self.amqp_queue:
            raise ValueError(f"{PREFIX}AMQP_STREAM: expected another name than that of {PREFIX}AMQP_QUEUE")
        return self

    @model_validator(mode="after")
    def _tells_somebody(self) -> Self:
        if self.audit_notify and self.notify_url is None and not self.shadow:
            raise ValueError(f"{PREFIX}NOTIFY_URL: expected with {PREFIX}AUDIT_NOTIFY")
        return self

    @model_validator(mode="after")
    def _takes_from_nobody(self) -> Self:
        if self.shadow and self.openstack_existing_queues:
            raise ValueError(
                f"{PREFIX}OPENSTACK_EXISTING_QUEUES: expected false with {PREFIX}SHADOW, "
                "which takes no message from anybody"
            )
        if self.shadow and self.aodh_url is None:
            raise ValueError(
                f"{PREFIX}SHADOW_URL: expected with {PREFIX}SHADOW: the broker that Aodh tells its changes on"
            )
        return self

    @property
    def reach(self) -> Reach | None:
        """Where alarms made through the API may call; None where only the operator, on this machine, can make any."""
        if self.auth is Auth.NOAUTH and not (self.auth_force or self.webhook_allow or self.webhook_deny):
            return None
        return Reach(
            tuple(map(ipaddress.ip_network, self.webhook_allow)), tuple(map(ipaddress.ip_network, self.webhook_deny))
        )

    @property
    def aodh_url(self) -> str | None:
        """The broker that Aodh tells its changes on."""
        return self.shadow_url or self.openstack_url

    def beside(self) -> Self:
        """The same, with what a controller has to itself under names that no other controller has."""
        return self.model_copy(
            update={
                "namespace": f"{self.namespace}{SHADOW}",
                "amqp_queue": f"{self.amqp_queue}{SHADOW}",
                "amqp_partitions": None,
                "amqp_partition_header": None,
                "amqp_stream": None,
                "amqp_ttl": self.amqp_ttl or SHADOW_TTL,
                "amqp_max_length": self.amqp_max_length or SHADOW_MAX_LENGTH,
                "openstack_queue": f"{self.openstack_queue}{SHADOW}",
                "state_dir": self.state_dir / "shadow",
                "notify_url": None,
                "audit_notify": False,
            }
        )


def load(**overrides: Any) -> Settings:
    """The settings of this process; a shadow's are what the same controller's would be, under names of its own.

    Args:
        overrides: what the command line says, by field; None leaves it to the environment.

    Raises:
        SettingsError: with one line for each variable that is wrong.
    """
    try:
        found = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_explained(detail) for detail in error.errors(include_url=False))) from None
    return found.beside() if found.shadow else found


def stream_beginning(text: str) -> Beginning:
    """Where a stream is begun, as ``AUTOSCALER_AMQP_STREAM_FROM`` says it.

    Raises:
        ValueError: it is none of what may be said.
    """
    if text in _BEGINNINGS:
        return text
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        expected = "first, next, last, an offset, or a time with its zone such as 2026-01-31T12:00:00Z"
        raise ValueError(f"expected {expected}, got {text!r}")
    return found


def cluster_nodes(url: str) -> list[tuple[str, int]]:
    """Hosts and ports of the nodes that a Redis Cluster's URL names.

    Raises:
        ValueError: it names none, or what no cluster has; the text shows no password.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") not in {"", "0"}:
        raise ValueError("expected no database, or 0: a cluster has no other")
    try:
        # no password is among them, unless it is not quoted: so they are not shown
        places = [urlsplit(f"//{place}") for place in parts.netloc.rpartition("@")[2].split(",")]
        nodes = [(place.hostname, place.port or _REDIS_PORT) for place in places]
    except ValueError:
        nodes = []
    found = [(host, port) for host, port in nodes if host]
    if not found or len(found) < len(nodes):
        raise ValueError(f"expected HOST:PORT,HOST:PORT after {parts.scheme}://")
    return found


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """One line for each variable that looks like a setting and is none."""
    fields = Settings.model_fields.items()
    known = {PREFIX + name.upper() for name, _ in fields}
    known |= {f"{PREFIX}{name.upper()}{FILE}" for name, field in fields if is_secret(name, field)}
    return [
        f"{name}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")
        for name in sorted(environment)
        if name.startswith(PREFIX)
        and name not in known
        and name != COMMANDS_TOKEN
        and not name.startswith(NOT_SETTINGS)
        for close in [difflib.get_close_matches(name, known, n=1, cutoff=0.8)]
    ]


def reference() -> str:
    """Every setting as a table in Markdown."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {' '.join((field.description or '').split())} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(("| variable | default | meaning |", "| --- | --- | --- |", *rows)) + "\n"


def is_secret(name: str, field: FieldInfo) -> bool:
    """Whether a setting may be given as a file: it is a secret, or a URL that may hold one."""
    return name in _SCHEMES or field.annotation == SecretStr | None


def _default(name: str, field: FieldInfo) -> str:
    if name == "state_dir":
        return "`$XDG_STATE_HOME/autoscaler` or `~/.local/state/autoscaler`"
    if name == "replica":
        return "the host's name"
    default = field.default
    if default is None or default in ((), frozenset(), PydanticUndefined):
        return "not set"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _explained(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error" and not detail["loc"]:
        return str(detail["ctx"]["error"])
    name = PREFIX + str(detail["loc"][0]).upper()
    if detail["type"] == "value_error":
        return f"{name}: {detail['ctx']['error']}"
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    # whoever mistakes one variable for another does not want a secret in the log
    return redacted(f"{name}: {message.replace('input should be', 'expected')}, got {detail['input']!r}")
