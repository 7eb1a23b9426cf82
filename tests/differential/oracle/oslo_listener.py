"""Listens with oslo.messaging, as what listens to Aodh does; prints each notification as one line of JSON.

Arguments: URL of the broker, exchange, topic.
"""

import json
import sys

import oslo_messaging
from oslo_config import cfg


class Endpoint:
    """Takes notifications of priority INFO."""

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        found = {"publisher_id": publisher_id, "event_type": event_type, "payload": payload, "metadata": metadata}
        print(json.dumps(found), flush=True)


url, exchange, topic = sys.argv[1:]
conf = cfg.ConfigOpts()
conf([])
transport = oslo_messaging.get_notification_transport(conf, url)
target = oslo_messaging.Target(exchange=exchange, topic=topic)
listener = oslo_messaging.get_notification_listener(transport, [target], [Endpoint()], executor="threading")
listener.start()
print("listening", flush=True)
sys.stdin.read()
listener.stop()
listener.wait()
