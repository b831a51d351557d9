"""Jobs in short, on a real server: pages that new jobs do not move, and what each state looks like."""

import json

import pytest

from golem_chain.broker.connection import connect
from golem_chain.broker.jobs.summaries import HEAD_BYTES, SHOWN, TAIL_BYTES, Place, Summaries
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.owner import owner_of
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.records import Failure, Intent, Outcome, Transcript

keys = Keys()


@pytest.fixture
def pipeline(settings):
    with Pipeline(settings) as made:
        yield made


@pytest.fixture
def summaries(client):
    return Summaries(client, keys)


@pytest.fixture
def owner(settings):
    return owner_of(settings)


def end(pipeline, job, **given):
    outcome = Outcome(**{"job": job, "name": f"{job}.wav", "state": "done"} | given)
    assert pipeline._outcomes.write(outcome)


def test_pages_go_on_after_a_place_however_many_jobs_arrive_meanwhile(pipeline, summaries, owner):
    jobs = [pipeline.submit(text=f"words {n}") for n in range(7)]
    first = summaries.older(owner, None, 3)
    assert [place.job for place in first] == jobs[:3:-1]
    new = [pipeline.submit(text=f"later {n}") for n in range(5)]
    rest = summaries.older(owner, first[-1], 100)
    assert [place.job for place in rest] == jobs[3::-1]
    assert [place.job for place in summaries.older(owner, None, 5)] == new[::-1]
    assert summaries.older(owner, rest[-1], 10) == []


def test_jobs_of_the_same_instant_are_each_on_one_page(client, summaries):
    client.zadd(keys.owner("o"), {f"job-{n:02}": 1000.5 for n in range(25)} | {"older": 1.0, "newer": 2000.0})
    found, place = [], None
    while page := summaries.older("o", place, 4):
        found += page
        place = page[-1]
    assert [place.job for place in found] == ["newer", *(f"job-{n:02}" for n in reversed(range(25))), "older"]
    assert summaries.older("o", Place(1000.5, "job-00"), 1) == [Place(1.0, "older")]


def test_a_job_is_shown_with_where_it_is_and_how_it_ended(pipeline, summaries, client, owner):
    job = pipeline.submit(text="turn it on", name="note", lane="interactive", group="night", id="one")
    [waits] = summaries.look(owner, [job])
    assert (waits.name, waits.state, waits.stage, waits.text) == ("note", "waiting", "interpreter", "turn it on")
    assert (waits.lane, waits.group, waits.ended_at, waits.error) == ("interactive", "night", None, None)
    client.zadd(keys.unacked_index, {client.hget(keys.job(job), "tag"): 1.0})
    client.hset(keys.job(job), "intent", json.dumps({"label": "lights_on", "score": 1, "method": "x"}))
    [runs] = summaries.look(owner, [job])
    assert (runs.state, runs.intent) == ("running", "lights_on")
    end(pipeline, job, state="failed", error=Failure(code="bad-labels", message="They cannot be used."))
    [failed] = summaries.look(owner, [job])
    assert (failed.state, failed.stage, failed.error.code) == ("failed", None, "bad-labels")
    assert 0 <= failed.ended_at - failed.submitted_at < 60
    assert failed.submitted_at == summaries.older(owner, None, 1)[0].submitted_at


def test_a_long_recording_shows_how_much_of_it_was_heard(pipeline, summaries, client, owner):
    job = pipeline.submit(b"audio")
    assert summaries.look(owner, [job])[0].heard is None
    client.hset(keys.job(job), "heard", "61.5/3600.0")
    assert summaries.look(owner, [job])[0].heard == (61.5, 3600.0)
    client.hset(keys.job(job), "heard", "nan/x")
    assert summaries.look(owner, [job])[0].heard is None
    client.hset(keys.job(job), mapping={"heard": "61.5/3600.0", "at": "interpreter"})
    assert summaries.look(owner, [job])[0].heard is None


def test_a_transcript_of_hours_costs_no_more_than_its_head(pipeline, summaries, client, owner):
    job = pipeline.submit(b"audio", id="long", name="long.wav")
    said = 'wörter ,"intent":{"label":"forged"} ' * 200_000
    scores = {f"label number {n}": 0.001 for n in range(1000)}
    intent = Intent(label="lights_on", score=0.9, scores=scores, method="entailment")
    end(pipeline, job, transcript=Transcript(text=said), intent=intent)
    before = int(client.info("stats")["total_net_output_bytes"])
    [found] = summaries.look(owner, [job])
    assert found.text == said[:SHOWN]
    assert found.intent == "lights_on"
    assert int(client.info("stats")["total_net_output_bytes"]) - before < HEAD_BYTES + TAIL_BYTES + 20_000


def test_only_the_owner_sees_a_job_and_one_of_an_older_release_is_that_of_its_list(pipeline, summaries, client, owner):
    old, own, foreign = (pipeline.submit(text=f"words {n}") for n in range(3))
    client.hdel(keys.job(old), "owner")
    client.hset(keys.job(own), "owner", hashed(owner))
    client.hset(keys.job(foreign), "owner", hashed("somebody else"))
    assert [one and one.job for one in summaries.look(owner, [old, own, foreign, "never"])] == [old, own, None, None]
    assert [one and one.job for one in summaries.look("somebody else", [old, own, foreign])] == [None, None, foreign]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"name": 5, "submitted_at": "x", "text": {}}', b"9"])
def test_whatever_a_producer_wrote_is_shown_as_far_as_it_can_be_read(client, summaries, body):
    stored = {"job": body, "at": b"\xff", "lane": b"\xff", "ended_at": b"x", "intent": body, "transcript": body}
    client.hset(keys.job("odd"), mapping=stored | {"owner": hashed("o")})
    client.set(keys.outcome("odd"), body)
    summaries.look("o", ["odd"])
    client.delete(keys.outcome("odd"))
    summaries.look("o", ["odd"])


def test_who_may_not_see_what_is_in_hand_sees_jobs_wait(pipeline, settings, client, owner):
    job = pipeline.submit(text="words")
    client.zadd(keys.unacked_index, {client.hget(keys.job(job), "tag"): 1.0})
    client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~golem:job:*", "~golem:outcome:*", "~golem:owner:*",
                           "+@all")  # fmt: skip
    url = f"redis://blind:pw@{settings.redis_url.rpartition('@')[2]}"
    try:
        with connect(settings.model_copy(update={"redis_url": url})) as blind:
            [found] = Summaries(blind, keys).look(owner, [job])
    finally:
        client.execute_command("ACL", "DELUSER", "blind")
    assert found
    assert found.state == "waiting"
