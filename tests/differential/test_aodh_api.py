"""Aodh's own tests of its API, as they are installed with it, against running controllers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.differential import asking
from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(600)]

QUOTAS = [(-1, -1), (1, 1), (1, -1), (-1, 1), (1, 2), (2, 1)]
"""Of a user and of a project, as Aodh's tests set them."""

NOTIFIED = "looks into Aodh's process for the notification; test_notifications.py listens on a real bus"
TRUST = "has a Keystone within Aodh's process; tests/integration/test_keystone.py has a real one"
COUNTED = "writes counters of evaluations into Aodh's database"
ROLELESS = "asks without a role, which is 403 here (0017), and looks for translations within Aodh's process"
PYTHONS = "a Python object in the text of an error is left out (0017)"
EXCUSED = {
    "test_alarm_scenarios.TestAlarms.test_alarm_sends_notification": NOTIFIED,
    "test_alarm_scenarios.TestAlarms.test_alarms_sends_notification": NOTIFIED,
    "test_alarm_scenarios.TestAlarms.test_delete_alarm_sends_notification": NOTIFIED,
    "test_alarm_scenarios.TestAlarms.test_get_alarm_forbiden": "sets a policy file",
    "test_alarm_scenarios.TestAlarms.test_post_alarm_trust": TRUST,
    "test_alarm_scenarios.TestAlarms.test_put_alarm_trust": TRUST,
    "test_alarm_scenarios.TestAlarmsHistory.test_delete_alarm_history_after_deletion": "the history is kept (0017)",
    "test_alarm_scenarios.TestAlarmsHistory.test_get_alarm_history_constrained_by_alarm_id_failed": PYTHONS,
    "test_alarm_scenarios.TestAlarmsHistory.test_get_alarm_history_constrained_by_not_supported_rule": PYTHONS,
    "test_alarm_scenarios.TestAlarmsHistory.test_record_alarm_history_config": "turns the history off",
    "test_alarm_scenarios.TestAlarmsRuleGnocchi.test_post_gnocchi_aggregation_alarm_project_constraint": (
        "looks into Aodh's process for a question to Gnocchi; nobody is asked here"
    ),
    "test_app.TestApiMiddleware.test_best_match_language": ROLELESS,
    "test_app.TestApiMiddleware.test_json_parsable_error_middleware_translation_400": ROLELESS,
    "test_app.TestApiMiddleware.test_translated_then_untranslated_error": ROLELESS,
    "test_app.TestApiMiddleware.test_xml_parsable_error_middleware_translation_400": ROLELESS,
    "test_metrics.TestMetrics.test_get_all_metrics_all_projects": COUNTED,
    "test_metrics.TestMetrics.test_get_all_metrics_all_projects_forbidden": COUNTED,
    "test_metrics.TestMetrics.test_get_all_metrics_forbidden": COUNTED,
    "test_metrics.TestMetrics.test_get_all_metrics_inside_project": COUNTED,
}


def test_aodhs_own_tests_of_its_api_pass(tmp_path: Path) -> None:
    if not asking.PYTHON.exists():
        pytest.skip(f"{asking.PYTHON} is missing; `make oracle` makes it, or set AUTOSCALER_ORACLE_PYTHON")
    settings = {
        f"{user},{project}": {"USER_ALARM_QUOTA": str(user), "PROJECT_ALARM_QUOTA": str(project)}
        for user, project in QUOTAS
    }
    with ExitStack() as running:
        hosts = {}
        for name, chosen in {**settings, "history": {}}.items():
            folder = tmp_path / name
            folder.mkdir()
            port = free_port()
            controller = ControllerProcess(folder, port=port, settings={"AUTH": "noauth", **chosen})
            running.enter_context(controller).until_ready()
            hosts[name] = f"127.0.0.1:{port}"

        outcomes: dict[str, str] = asking.ask("aodh_api_tests.py", hosts)

    failed = {name: why for name, why in outcomes.items() if why}
    assert {name: why for name, why in failed.items() if name not in EXCUSED} == {}
    assert failed.keys() == EXCUSED.keys()
    assert len(outcomes) - len(failed) == 79
