"""``autoscaler run``: the controller itself."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer


def run(
    rules: Annotated[
        Path | None, typer.Option(envvar="AUTOSCALER_RULES", help="File or folder of alarms.", show_default=False)
    ] = None,
    policies: Annotated[
        Path | None, typer.Option(envvar="AUTOSCALER_POLICIES", help="File or folder of groups, policies, schedules.")
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(envvar="AUTOSCALER_REDIS_URL", metavar="URL", help="Redis or Valkey; else one is started."),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_MQTT_URL", metavar="URL", help="Broker to take measures from.")
    ] = None,
    mqtt_topic: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_MQTT_TOPIC", metavar="FILTER", help="Default measures/#.")
    ] = None,
    amqp: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_AMQP_URL", metavar="URL", help="Broker to take measures from.")
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            envvar="AUTOSCALER_AMQP_PARTITIONS", metavar="N", help="Queues that the AMQP broker divides measures among."
        ),
    ] = None,
    api: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_API", metavar="HOST:PORT", help="Default 127.0.0.1:8042.")
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(envvar="AUTOSCALER_STATE_DIR", help="Where the Redis of its own keeps its data.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_NAMESPACE", help="What every key in Redis begins with.")
    ] = None,
    shadow: Annotated[
        bool | None,
        typer.Option(
            "--shadow",
            envvar="AUTOSCALER_SHADOW",
            help="Change nothing, and report where it would have differed from Aodh.",
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_LOG_FORMAT", metavar="json|console", help="Default console.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(envvar="AUTOSCALER_LOG_LEVEL", metavar="LEVEL", help="Default info.")
    ] = None,
) -> None:
    """Run the controller until it is told to end.

    Every setting is also a variable AUTOSCALER_…; docs/reference/settings.md names them all.
    """
    gc.disable()  # a quarter of what follows would be looking for garbage, and what is imported stays
    try:
        from autoscaler import app, settings  # noqa: PLC0415 - half a second, and more on slow machines
    finally:
        gc.enable()
    found = settings.load(
        rules=rules,
        policies=policies,
        redis_url=redis,
        mqtt_url=mqtt,
        mqtt_topic=mqtt_topic,
        amqp_url=amqp,
        amqp_partitions=partitions,
        api=api,
        state_dir=state_dir,
        namespace=namespace,
        shadow=shadow,
        log_format=log_format,
        log_level=log_level,
    )
    raise typer.Exit(app.run(found))
