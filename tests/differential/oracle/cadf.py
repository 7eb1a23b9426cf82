"""What pycadf, by which OpenStack's services tell audit events, makes of events of ours."""

import json
import sys

from pycadf import attachment, event, host, resource


def part(document):
    known = {key: document[key] for key in ("id", "typeURI", "name") if key in document}
    made = resource.Resource(**known)
    if "host" in document:
        made.host = host.Host(**document["host"])
    return made


def checked(told):
    """An event put together anew by pycadf, which raises where a value is none of CADF's."""
    made = event.Event(
        **{key: told[key] for key in ("eventType", "id", "eventTime", "action", "outcome", "name")},
        **{key: part(told[key]) for key in ("initiator", "target", "observer")},
    )
    for each in told.get("attachments", []):
        made.add_attachment(attachment.Attachment(**each))
    return {"valid": made.is_valid(), "event": made.as_dict()}


if __name__ == "__main__":
    json.dump([checked(told) for told in json.load(sys.stdin)], sys.stdout)
