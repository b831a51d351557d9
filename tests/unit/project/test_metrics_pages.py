"""The page of metrics, the dashboard and the alerts name what a scrape has, and the alerts fire when they should."""

import json
import re
import shutil
import subprocess
from itertools import combinations

import pytest
import yaml

from docs.generate import grafana_dashboard, metrics_page
from tests.support.paths import ROOT

NAMES = metrics_page.names()
RULES_FILE = ROOT / "docs" / "alerts" / "golem-chain.yml"
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
PANELS = grafana_dashboard.dashboard()["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
HOW_TO = (ROOT / "docs" / "how-to" / "metrics.md").read_text()


def used(expr):
    return set(re.findall(r"\b(?:golem|process)_[a-z_]+", expr))


@pytest.mark.parametrize("made", [metrics_page, grafana_dashboard])
def test_what_is_generated_is_up_to_date(made):
    assert made.TARGET.read_text() == made.page(), "run make docs"


@pytest.mark.parametrize("expr", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_a_query_names_only_metrics_that_a_scrape_has(expr):
    assert used(expr)
    assert used(expr) <= NAMES


def test_the_dashboard_shows_every_metric_of_the_system():
    shown = {name for expr in QUERIES for name in used(expr)}
    missing = {row.name for row in metrics_page.rows() if not any(name.startswith(row.name) for name in shown)}
    assert missing == {"golem_box_info", "golem_stage_workers"}, "a device's name, and what an alert watches"


@pytest.mark.parametrize("expr", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_what_every_door_tells_is_not_added_up_over_doors(expr):
    assert not re.search(r"sum(?: by \([a-z, ]+\))? ?\((?:rate\(|increase\()?golem_(?!http_)", expr)


def test_panels_have_a_place_a_name_and_an_explanation():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= grafana_dashboard.WIDE
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    json.dumps(PANELS, allow_nan=False)


def test_each_alert_says_what_to_do_and_is_documented():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")
        assert f"`{rule['alert']}`" in HOW_TO
    assert set(re.findall(r"`(Golem[A-Z]\w+)`", HOW_TO)) == {rule["alert"] for rule in RULES}


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: install prometheus")

    def run(*args):
        return subprocess.run([found, *map(str, args)], capture_output=True, text=True, timeout=60)

    return run


def test_prometheus_reads_the_alerts(promtool):
    ran = promtool("check", "rules", RULES_FILE)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def series(name, values, **labels):
    given = ",".join(f'{key}="{value}"' for key, value in {"instance": "door:8000", **labels}.items())
    return {"series": f"{name}{{{given}}}", "values": values}


#: Alert -> series by which it fires after an hour. `a+bxn`: from a on, b more each minute.
FIRES = {
    "GolemDoorAway": [],
    "GolemRedisAway": [series("golem_up", "0x60")],
    "GolemNoWorker": [series("golem_workers", "1 0x60")],
    "GolemStageUnserved": [series("golem_stage_workers", "0x60", stage="oracle"), series("golem_workers", "1x60")],
    "GolemInteractiveWaits": [series("golem_queue_oldest_seconds", "0+60x60", stage="scribe", lane="interactive")],
    "GolemBulkWaits": [series("golem_queue_oldest_seconds", "3000+60x60", stage="scribe", lane="bulk")],
    "GolemDeadLetters": [series("golem_dead_letters", "1x60")],
    "GolemJobsFail": [
        series("golem_jobs_ended_total", "0+1x60", state="failed"),
        series("golem_jobs_ended_total", "0+2x60", state="done"),
    ],
    "GolemOutOfMemory": [series("golem_box_ooms_total", "0+1x60", box="b", stage="scribe")],
    "GolemSwitchStorm": [
        series("golem_box_loads_total", "0+9x60", box="b", stage="scribe"),
        series("golem_jobs_ended_total", "0+3x60", state="done"),
        series("golem_queue_waiting", "100x60", stage="scribe", lane="bulk"),
    ],
    "GolemVaultNearlyFull": [series("golem_vault_bytes", "95x60"), series("golem_vault_limit_bytes", "100x60")],
    "GolemWebhooksWait": [series("golem_webhooks_late_seconds", "0+60x60"), series("golem_webhooks_outbox", "0x60")],
    "GolemWebhooksDead": [series("golem_webhooks_dead", "1x60")],
    "GolemWrongKeys": [series("golem_http_requests_total", "0+600x60", route="none", method="GET", status="401")],
}
#: A system that works, seen by two doors: no alert fires.
FINE = [
    series(name, values, instance=f"door{n}:8000", **labels)
    for n in (1, 2)
    for name, values, labels in (
        ("golem_up", "1x60", {}),
        ("golem_build_info", "1x60", {"version": "1"}),
        ("golem_workers", "1x60", {}),
        ("golem_stage_workers", "1x60", {"stage": "scribe"}),
        ("golem_queue_oldest_seconds", "5x60", {"stage": "scribe", "lane": "interactive"}),
        ("golem_queue_oldest_seconds", "600x60", {"stage": "scribe", "lane": "bulk"}),
        ("golem_queue_waiting", "500x60", {"stage": "scribe", "lane": "bulk"}),
        ("golem_dead_letters", "0x60", {}),
        ("golem_jobs_ended_total", "0+100x60", {"state": "done"}),
        ("golem_jobs_ended_total", "0+1x60", {"state": "failed"}),
        ("golem_box_loads_total", "0+20x60", {"box": "b", "stage": "scribe"}),
        ("golem_box_ooms_total", "3x60", {"box": "b", "stage": "scribe"}),
        ("golem_vault_bytes", "50x60", {}),
        ("golem_vault_limit_bytes", "100x60", {}),
        ("golem_webhooks_late_seconds", "1x60", {}),
        ("golem_webhooks_outbox", "0x60", {}),
        ("golem_webhooks_dead", "0x60", {}),
        ("golem_http_requests_total", "0+600x60", {"route": "/v1/jobs", "method": "GET", "status": "200"}),
    )
]


def test_each_alert_fires_when_it_should_and_none_while_all_is_well(promtool, tmp_path):
    assert FIRES.keys() == {rule["alert"] for rule in RULES}

    def case(name, given):
        count = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        other = [] if name == "GolemDoorAway" else [series("golem_build_info", "1x60", version="1")]
        expected = [{"expr": count, "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": 1}]}]
        return {"interval": "1m", "input_series": given + other, "promql_expr_test": expected, "name": name}

    fires = [case(name, given) for name, given in FIRES.items()]
    quiet = {"expr": "count(ALERTS) or vector(0)", "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": 0}]}
    fine = {"interval": "1m", "input_series": FINE, "promql_expr_test": [quiet], "name": "fine"}
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES_FILE)], "evaluation_interval": "1m", "tests": [*fires, fine]})
    )
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr
