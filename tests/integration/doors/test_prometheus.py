"""A real Prometheus scrapes a door with keys: it takes every metric, answers the dashboard's queries, and reads the
alerts."""

import re
import time

import pytest

from docs.generate import grafana_dashboard
from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from tests.support.door import serving
from tests.support.paths import ROOT
from tests.support.prometheus import scraping

RULES = ROOT / "docs" / "alerts" / "golem-chain.yml"


@pytest.fixture(scope="module")
def prometheus(chain, tmp_path_factory):
    """Scrapes a door with an operator's key, while jobs run."""
    folder = tmp_path_factory.mktemp("prometheus")
    token = keys.make()
    keys.add(folder / "keys.toml", Key(name="prometheus", sha256=keys.hash_of(token), operator=True))
    settings = chain.settings.model_copy(update={"api_keys": f"@{folder / 'keys.toml'}"})
    with (
        serving(settings) as url,
        scraping(folder, url.removeprefix("http://"), RULES, authorization={"credentials": token}) as made,
    ):
        end = time.monotonic() + 30
        while not made.values("golem_up == 1"):
            assert time.monotonic() < end, made.ask("targets")
        for _ in range(4):
            chain.outcomes([chain.pipeline.submit(words, labels="a,b") for words in (b"one", b"two", b"bad")])
            time.sleep(1)
        yield made


def test_prometheus_takes_the_scrape(prometheus):
    [target] = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    [(_, count)] = prometheus.values("scrape_samples_scraped")
    assert 150 < count < 600, "bounded: one worker, three stages"
    [(_, took_s)] = prometheus.values("min_over_time(scrape_duration_seconds[1m])")
    assert took_s < 0.25


@pytest.mark.parametrize(
    ("title", "expr"),
    [
        (panel["title"], target["expr"])
        for panel in grafana_dashboard.dashboard()["panels"]
        for target in panel.get("targets", ())
    ],
)
def test_every_query_of_the_dashboard_has_an_answer(prometheus, title, expr):
    [(box, _), *_] = prometheus.values("golem_box_in_hand")
    asked = expr.replace("$__rate_interval", "4s").replace("$box", box["box"])
    assert "$" not in asked
    assert prometheus.values(asked), title


def test_ends_and_loads_are_rates_that_prometheus_can_take(prometheus):
    [(_, done)] = prometheus.values('golem_jobs_ended_total{state="done"}')
    assert done >= 8
    [(_, loads)] = prometheus.values("sum(increase(golem_box_loads_total[30s]))")
    assert loads > 0


def test_no_alert_fires_on_a_system_that_works(prometheus):
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(re.findall("- alert:", RULES.read_text()))
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"GolemJobsFail"}, "a third of the jobs was made to fail"
