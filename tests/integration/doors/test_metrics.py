"""Metrics: what a scrape tells of a system, what it costs, and that none of it is anybody's words or ids."""

import json
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import golem_chain
from golem_chain.broker.connection import connect
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import timeline
from golem_chain.shared.settings import Settings
from tests.support.command_count import commands
from tests.support.door import serving

keys = Keys()


class Scrape:
    """The metrics of a scrape."""

    def __init__(self, url):
        answer = httpx.get(f"{url}/metrics", timeout=20)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        self.text = answer.text
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))

    def sum(self, name, **labels):
        wanted = labels.items()
        return sum(value for (one, given), value in self.samples.items() if one == name and wanted <= set(given))


@pytest.fixture
def later():
    """Scrapes once what was read before is too old to be given out again."""

    def scrape(url):
        time.sleep(0.6)
        return Scrape(url)

    return scrape


def test_an_end_is_counted_and_a_batch_lands_in_the_histograms(door, chain, later):
    before = later(door)
    jobs = [chain.pipeline.submit(words, labels="a,b") for words in (b"one", b"two", b"bad")]
    chain.outcomes(jobs)
    after = later(door)

    def grown(name, **labels):
        return after.sum(name, **labels) - before.sum(name, **labels)

    assert grown("golem_jobs_ended_total", state="done") == 2
    assert grown("golem_jobs_ended_total", state="failed") == 1
    assert grown("golem_jobs_submitted_total") == 3
    assert grown("golem_stage_waiting_seconds_count", stage="oracle") == 2
    assert grown("golem_stage_waiting_seconds_count", stage="scribe") == 3
    batches = grown("golem_batch_jobs_count", stage="scribe")
    assert 1 <= batches <= 3
    assert grown("golem_batch_compute_seconds_count", stage="scribe") == batches
    assert grown("golem_batch_load_seconds_sum") >= 0
    assert grown("golem_box_loads_total") >= 2, "each stage's model, one at a time"
    assert grown("golem_box_switches_total") >= 2
    assert grown("golem_box_unloads_total") >= 2


def test_a_scrape_tells_what_waits_and_what_each_worker_holds(door, chain, tmp_path, eventually, later):
    job = chain.pipeline.submit(f"until {tmp_path / 'enough'}".encode(), labels="a,b")
    eventually((tmp_path / "enough.begun").exists)
    late = [chain.pipeline.submit(b"late", labels="a,b") for _ in range(2)]
    seen = later(door)
    (tmp_path / "enough").touch()
    chain.outcomes([job, *late])
    assert (seen("golem_up"), seen("golem_workers"), seen("golem_stage_workers", stage="oracle")) == (1, 1, 1)
    assert seen("golem_in_hand") >= 1
    assert seen("golem_in_hand") + seen.sum("golem_queue_waiting", stage="scribe") == 3
    [box] = {labels["box"] for family in seen.families.values() for _, labels, *_ in family.samples if "box" in labels}
    assert seen("golem_box_resident", box=box, stage="scribe") == 1
    assert seen("golem_box_budget_bytes", box=box) >= seen("golem_box_allocated_bytes", box=box) > 0
    assert seen("golem_vault_bytes") > 0
    assert seen("golem_vault_limit_bytes") == chain.settings.vault_limit
    assert seen("golem_dead_letters") == seen("golem_webhooks_outbox") == seen("golem_webhooks_dead") == 0
    assert job not in seen.text


def test_requests_are_counted_by_the_template_of_their_route(door, later):
    before = later(door)
    for n in range(3):
        httpx.delete(f"{door}/v1/dead-letters/{n}")
        httpx.get(f"{door}/nowhere/{n}")
    httpx.post(f"{door}/v1/dead-letters/x/retry", content=b"x" * 1000)
    httpx.request("BREW", f"{door}/health")
    httpx.get(f"{door}/health")
    after = later(door)
    given = {"route": "/v1/dead-letters/{letter}", "method": "DELETE", "status": "404"}
    assert after("golem_http_requests_total", **given) - (before("golem_http_requests_total", **given) or 0) == 3
    assert after("golem_http_requests_total", route="none", method="GET", status="404") >= 3
    assert after.sum("golem_http_requests_total", method="other") == 1
    assert after("golem_http_first_byte_seconds_count", route="/health") == 1
    assert after("golem_http_requests_under_way") == 1, "the scrape itself"
    assert "nowhere" not in after.text


def test_open_streams_are_counted_until_they_end(door, later, eventually):
    with (
        httpx.Client(timeout=20) as client,
        client.stream("GET", f"{door}/v1/system/events") as answer,
    ):
        lines = answer.iter_lines()  # it closes the stream when it goes
        assert next(lines)
        assert Scrape(door)("golem_http_streams") == 1
    eventually(lambda: Scrape(door)("golem_http_streams") == 0)


def test_every_metric_has_a_help_and_a_name_by_the_conventions(door, later):
    for family in later(door).families.values():
        assert family.documentation, family.name
        assert family.name.startswith(("golem_", "process_"))
        assert family.type in ("gauge", "counter", "histogram")
        ours = family.name.startswith("golem_")
        if ours and "seconds" in family.name:
            assert family.name.endswith("_seconds")
        if ours and "bytes" in family.name:
            assert family.name.endswith("_bytes")
        assert not any(sample.labels.keys() & {"job", "id", "name", "file"} for sample in family.samples)


@pytest.fixture(scope="module")
def crowded(start_server, tmp_path_factory):
    """A server with 10,000 messages in its queues and 20 boxes, and a door on it."""
    with start_server(tmp_path_factory.mktemp("crowded")) as server:
        settings = Settings.read(_env_file=None, redis_url=server.url)
        client = connect(settings)
        told: dict[str, Any] = {
            "resident": ["scribe"],
            "models": {"scribe": "openai/whisper-tiny@1 float32"},
            "device": "cuda:0 T4",
        }
        told |= dict.fromkeys(("allocated", "reserved", "free", "peak", "budget"), 1 << 30)
        counted = dict.fromkeys(("scribe", "interpreter", "oracle"), 12345)
        told |= {"loads": 1, "loads_of": counted, "unloads_of": counted, "ooms_of": counted, "switches": 7}
        told |= {"queues": list(counted), "last_event": {"kind": "load", "stage": "scribe", "at": time.time()}}
        with client.pipeline(transaction=False) as pipe:
            for n in range(20):
                pipe.hset(keys.box(f"box{n}@host"), mapping={name: json.dumps(one) for name, one in told.items()})
                pipe.zadd(keys.boxes, {f"box{n}@host": time.time()})
            pipe.execute()
        yield settings, client
        client.close()


def fill(client, count):
    raw = json.dumps({"headers": {"id": f"{'0' * 32}.scribe", "sent_at": time.time()}, "body": "x" * 300})
    with client.pipeline(transaction=False) as pipe:
        for _ in range(count):
            pipe.lpush(keys.queue("scribe"), raw)
        pipe.execute()


def test_a_scrape_costs_the_same_however_many_jobs_wait(crowded, later):
    settings, client = crowded
    counts = []
    with serving(settings) as url:
        later(url)
        for more in (1, 9_999):
            fill(client, more)
            time.sleep(0.6)
            with commands(client) as count:
                seen = Scrape(url)
                counts.append(count())
        assert seen("golem_queue_waiting", stage="scribe", lane="bulk") == 10_000
        assert 0 <= seen("golem_queue_oldest_seconds", stage="scribe", lane="bulk") < 60
        assert counts[0] == counts[1] < 60, "one for each box, and about thirty"
        took_s = []
        with httpx.Client() as client_of_http:
            for _ in range(5):
                time.sleep(0.6)
                began = time.perf_counter()
                client_of_http.get(f"{url}/metrics")
                took_s.append(time.perf_counter() - began)
        assert min(took_s) < 0.1, "7 to 10 ms where nothing else runs"


def test_the_names_of_workers_cannot_break_the_format(crowded, later):
    settings, client = crowded
    name = 'x"}\n# HELP evil \u2028 box'
    client.hset(
        keys.box(name), mapping={"queues": '["scribe"]', "allocated": '"many"', "resident": "7", "budget": "NaN"}
    )
    client.zadd(keys.boxes, {name: time.time()})
    with serving(settings) as url:
        seen = Scrape(url)
    client.zrem(keys.boxes, name)
    assert "evil" not in seen.families
    assert seen("golem_workers") == 21


def test_without_redis_a_scrape_says_so_and_is_no_error(start_server, tmp_path, later):
    with start_server(tmp_path) as server:
        settings = Settings.read(_env_file=None, redis_url=server.url)
    with serving(settings) as url:
        seen = Scrape(url)
        assert seen("golem_up") == 0
        assert seen("golem_workers") is None
        assert seen("golem_build_info", version=golem_chain.__version__) == 1
        assert later(url)("golem_http_requests_total", route="/metrics", method="GET", status="200") == 1


def test_batches_that_nobody_wrote_as_they_should_are_no_samples(door, chain, later):
    before = later(door)
    junk: list[dict[str, Any]] = [{}, {"stage": "x", "size": 1}, {"stage": ["scribe"]}]
    junk.append({"stage": "scribe", "size": "x", "load_s": -1, "queued_s": [None, "y", True]})
    for one in junk:
        timeline.tell(chain.client, "box", {"kind": "batch", **one}, keys)
    after = later(door)
    for name in ("golem_batch_jobs_count", "golem_batch_load_seconds_count", "golem_stage_waiting_seconds_count"):
        assert after.sum(name) == before.sum(name)
