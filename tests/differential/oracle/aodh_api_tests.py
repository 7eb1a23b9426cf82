"""Runs Aodh's own functional tests of its API, in place, against running controllers.

On stdin: {"USER,PROJECT": "HOST:PORT"}, a controller for each pair of quotas that the tests set, and an untouched one
as "history". Where the tests write into Aodh's database, alarms are made and changed by requests; the ids and times
that they were to have are put in place of the real ones. Prints {test: why it did not pass, or ""}.
"""

import http.client
import io
import json
import sys
import unittest
import urllib.parse
from datetime import datetime
from importlib import import_module

import webtest
from aodh import service
from aodh.storage import models
from aodh.tests import base, constants
from aodh.tests.functional import api
from oslo_config import fixture as configuration

MODULES = ("test_alarm_scenarios", "test_app", "test_complex_query_scenarios", "test_metrics", "test_quotas")
ADMIN = {"X-Roles": "admin", "X-User-Id": "the-admin", "X-Project-Id": "the-admins"}
EVERY_ALARM = "/v2/alarms?q.field=all_projects&q.op=eq&q.value=true"
OF_THE_CONNECTION = {"Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding"}
HOSTS = json.load(sys.stdin)
HISTORY_TIMES = {}


class Controller:
    """A WSGI application that passes requests on, under the names that a test has given."""

    def __init__(self):
        self.quotas = {"user_alarm_quota": -1, "project_alarm_quota": -1}
        self.names = {}
        self.times = {}
        self.history = False

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        query = urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        path = [self.names.get(part, part) for part in environ["PATH_INFO"].split("/")]
        url = urllib.parse.quote("/".join(path))
        if query:
            url += "?" + urllib.parse.urlencode([(key, self.names.get(value, value)) for key, value in query])
        headers = {
            key[5:].replace("_", "-").title(): value for key, value in environ.items() if key.startswith("HTTP_")
        }
        headers.pop("Host", None)
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        for name, real in self.names.items():
            body = body.replace(f'"alarm_id": "{name}"', f'"alarm_id": "{real}"')
        for given, real in self.times.items():
            body = body.replace(given, max(real))

        quotas = "{user_alarm_quota},{project_alarm_quota}".format(**self.quotas)
        connection = http.client.HTTPConnection(HOSTS["history" if self.history else quotas])
        connection.request(environ["REQUEST_METHOD"], url, body.encode() or None, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()

        for name, real in self.names.items():
            said = said.replace(real, name)
        for given, real in self.times.items():
            for time in real:
                said = said.replace(time, given)
        kept = [(key, value) for key, value in answer.getheaders() if key.title() not in OF_THE_CONNECTION]
        start_response(f"{answer.status} {answer.reason}", [*kept, ("Content-Length", str(len(said.encode())))])
        return [said.encode()]


class Storage:
    """What the tests use of Aodh's storage, by requests."""

    def __init__(self, app, controller):
        self._app = app
        self._controller = controller
        self._wanted = []
        self._changes = []

    def create_alarm(self, alarm):
        """Make it; in the order of their times, since each gets its own."""
        if not alarm.rule:
            return  # only there to have a history
        if alarm.timestamp == constants.MIN_DATETIME:
            self._make(alarm)
            return
        self._wanted.append(alarm)

    def make_all(self):
        """Make what waits for its turn."""
        for alarm in sorted(self._wanted, key=lambda alarm: alarm.timestamp):
            made = self._make(alarm)
            real = self._controller.times.setdefault(alarm.timestamp.isoformat(), [])
            real += [made["timestamp"], made["state_timestamp"]]
        self._wanted.clear()
        if self._changes:
            self._make_history()
            self._changes.clear()

    def clear(self):
        """Nothing: the next test does it."""

    def _make(self, alarm):
        document = json.loads(json.dumps(alarm.as_dict(), default=str))
        name = document.pop("alarm_id")
        for key in ("timestamp", "state_timestamp", "evaluate_timestamp", "state_reason"):
            document.pop(key, None)
        rule = document.pop("rule")
        if "metrics" in rule:
            rule["metrics"] = rule["metrics"] or ["any"]
        document[f"{alarm.type}_rule"] = rule
        made = self._app.post_json("/v2/alarms", params=document, headers=ADMIN).json
        self._controller.names[name] = made["alarm_id"]
        return made

    def record_alarm_change(self, change):
        """Have it recorded; once for all tests, which only read."""
        self._changes.append(change)

    def _make_history(self):
        """An alarm for each creation, and a change of its state for each transition."""
        self._controller.history = True
        if not HISTORY_TIMES:
            order = sorted(self._changes, key=lambda change: (change["timestamp"], change["alarm_id"], change["type"]))
            for change in order:
                headers = {**ADMIN, "X-User-Id": change["user_id"], "X-Project-Id": change["project_id"]}
                if change["type"] == "creation":
                    event = {"type": "event", "name": change["event_id"], "event_rule": {}}
                    made = self._app.post_json("/v2/alarms", params=event, headers=headers).json["alarm_id"]
                else:
                    self._app.put_json(f"/v2/alarms/{made}/state", params="ok", headers=headers)
                newest = self._app.get(f"/v2/alarms/{made}/history", headers=ADMIN).json[0]["timestamp"]
                HISTORY_TIMES.setdefault(change["timestamp"].isoformat(), []).append(newest)
        self._controller.times = HISTORY_TIMES

    def increment_alarm_counter(self, *_counter):
        raise unittest.SkipTest("writes counters into the database")

    def get_alarms(self, **wanted):
        found = []
        for shown in self._app.get(EVERY_ALARM, headers=ADMIN).json:
            rule = shown.pop(f"{shown['type']}_rule")
            if shown["type"] == "prometheus":
                rule["scope_to_project"] = self._as_created(shown["alarm_id"])["rule"].get("scope_to_project")
            # what is stored of log:// and test://, which are told without slashes
            for key in ("ok_actions", "alarm_actions", "insufficient_data_actions"):
                shown[key] = [f"{url}//" if url in {"log:", "test:"} else url for url in shown[key]]
            times = {key: datetime.fromisoformat(shown[key]) for key in ("timestamp", "state_timestamp")}
            found.append(models.Alarm(**{**shown, **times, "rule": rule}))
        return [alarm for alarm in found if all(getattr(alarm, key) == value for key, value in wanted.items())]

    def _as_created(self, alarm_id):
        return json.loads(self._app.get(f"/v2/alarms/{alarm_id}/history", headers=ADMIN).json[-1]["detail"])


def set_up(self):
    """In place of the one that loads Aodh's application over a database of its own."""
    base.BaseTestCase.setUp(self)
    self.engine = "mysql"  # with which Aodh sorts by severity
    self.CONF = self.useFixture(configuration.Config(service.prepare_service(argv=[], config_files=[]))).conf
    controller = Controller()
    real = self.CONF.set_override

    def override(name, value, group=None, **rest):
        if name in ("policy_file", "record_history"):
            raise unittest.SkipTest(f"sets {name}")
        if name in controller.quotas:
            controller.quotas[name] = value
        real(name, value, group=group, **rest)

    self.CONF.set_override = override
    self.setup_messaging(self.CONF)
    self.app = webtest.TestApp(controller, lint=False)
    self.alarm_conn = Storage(self.app, controller)
    while alarms := self.app.get(EVERY_ALARM, headers=ADMIN).json:
        for alarm in alarms:
            self.app.delete(f"/v2/alarms/{alarm['alarm_id']}", headers=ADMIN)


def send_json(self, path, params, method="post", **rest):
    """In place of the one that sends at once."""
    self.alarm_conn.make_all()
    return SEND_JSON(self, path, params, method=method, **rest)


class Outcomes(unittest.TestResult):
    """What became of each test: "" when it passed."""

    def __init__(self):
        super().__init__()
        self.found = {}
        self.newest = ""

    def note(self, test, why):
        self.newest = why
        self.found[".".join(test.id().split(".")[-3:])] = why

    def addSuccess(self, test):  # noqa: N802 - its name there
        self.note(test, "")

    def addSkip(self, test, reason):  # noqa: N802 - its name there
        self.note(test, reason)

    def addFailure(self, test, err):  # noqa: N802 - its name there
        self.note(test, str(err[1])[-2000:])

    addError = addFailure  # noqa: N815 - its name there


def each(suite):
    """Its tests, one by one."""
    for part in suite:
        yield from each(part) if isinstance(part, unittest.TestSuite) else (part,)


api.FunctionalTest.setUp = set_up
SEND_JSON, api.FunctionalTest.post_json = api.FunctionalTest.post_json, send_json
said, sys.stdout = sys.stdout, io.StringIO()
outcomes = Outcomes()
for module in MODULES:
    loaded = unittest.defaultTestLoader.loadTestsFromModule(import_module(f"aodh.tests.functional.api.v2.{module}"))
    for test in each(loaded):
        # again if it did not pass: an alarm without data may leave its state between two requests, as a granule ends
        for _ in range(3):
            unittest.TestSuite([test]).run(outcomes)
            if not outcomes.newest:
                break
json.dump(outcomes.found, said)
