"""Calls one of Ceilometer's own publishers; runs in the virtualenv that has ceilometer.

Reads a JSON object: `publisher` (the URL as in a pipeline), `kind` (`sample` or `event`), `things` (keyword arguments
of each sample or event) and `configuration` (lines of ceilometer.conf). They are all published at once, in one call.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from ceilometer import publisher, sample, service
from ceilometer.event import models


def made(kind: str, thing: dict[str, Any]) -> Any:
    if kind == "sample":
        return sample.Sample(**thing)
    traits = [models.Trait(*trait) for trait in thing.pop("traits")]
    return models.Event(traits=traits, **thing)


def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ceilometer.conf"
        file.write_text("\n".join(asked["configuration"]) + "\n")
        configuration = service.prepare_service(["publish"], [str(file)])
        logging.getLogger().setLevel(logging.WARNING)
        kind = asked["kind"]
        namespace = f"ceilometer.{'event' if kind == 'event' else 'sample'}.publisher"
        found = publisher.get_publisher(configuration, asked["publisher"], namespace)
        things = [made(kind, thing) for thing in asked["things"]]
        (found.publish_events if kind == "event" else found.publish_samples)(things)


main()
