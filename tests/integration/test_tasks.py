"""Jobs through a real worker process: each ends in exactly one Outcome, whatever fails."""

import json
import os
import runpy
import signal
import sys
import time

import pytest

from golem_chain.broker.app import make_app
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.monitoring import status, timeline
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.submission import Asked
from golem_chain.shared.records import JobOptions, OracleParams, Transcript
from golem_chain.workers.child.requests import seed_of
from tests.support.fleet import descendants
from tests.support.paths import ROOT

keys = Keys()


def test_a_job_goes_through_three_stages_and_ends_in_one_outcome(chain):
    job = chain.pipeline.submit(b"lights please", labels="lights,music", name="my clip.wav", language="en")
    outcome = chain.outcomes([job])[job]
    assert (outcome.state, outcome.error, outcome.name) == ("done", None, "my clip.wav")
    assert outcome.transcript.text == "lights please"
    assert len(outcome.transcript.segments) == 1, "the Outcome has them, the messages do not"
    assert outcome.intent.label == "lights"
    assert outcome.intent.scores == {"lights": 0.9, "music": 0.0}
    assert outcome.reply.text == "lights: lights please"
    assert list(outcome.stages) == ["scribe", "interpreter", "oracle"]
    for run in outcome.stages.values():
        assert run.worker.startswith("test@")
        assert run.peak_bytes > 1_000_000
        assert 0 <= run.queued_s < 30
        assert run.batch_size == 1
    assert chain.client.llen(keys.queue("scribe")) == chain.client.llen(keys.queue("oracle")) == 0


def test_one_bad_file_fails_alone_in_its_batch(chain):
    jobs = [chain.pipeline.submit(text, labels="a,b", name="x.wav") for text in (b"a", b"bad", b"b", b"bad", b"a")]
    outcomes = chain.outcomes(jobs)
    assert [outcomes[job].state for job in jobs] == ["done", "failed", "done", "failed", "done"]
    bad = outcomes[jobs[1]]
    assert (bad.error.code, bad.error.message) == ("bad-audio", "x.wav is not audio.")
    assert bad.transcript is bad.intent is bad.reply is None
    assert bad.stages == {}


def test_silence_ends_early_and_wakes_no_model(chain):
    job = chain.pipeline.submit(b"silence")
    outcome = chain.outcomes([job])[job]
    assert outcome.state == "done"
    assert (outcome.intent.label, outcome.intent.method, outcome.reply) == ("noise", "silence", None)
    assert list(outcome.stages) == ["scribe"]
    assert not chain.client.exists(*(Keys().queue(stage) for stage in STAGES)), "no message went to the other stages"


def test_a_text_that_the_interpreter_calls_silence_wakes_no_oracle(chain):
    job = chain.pipeline.submit(b"...")
    outcome = chain.outcomes([job])[job]
    assert (outcome.state, outcome.transcript.text, outcome.intent.label) == ("done", "...", "noise")
    assert (outcome.reply, list(outcome.stages)) == (None, ["scribe", "interpreter"])


def test_a_failing_stage_keeps_what_the_earlier_ones_gave(chain):
    job = chain.pipeline.submit(b"confuse me", labels="a,b")
    outcome = chain.outcomes([job])[job]
    assert (outcome.state, outcome.error.code) == ("failed", "bad-labels")
    assert outcome.transcript.text == "confuse me"
    assert list(outcome.stages) == ["scribe"]


def test_an_unexpected_error_is_one_sentence_without_the_words_of_users(chain):
    job = chain.pipeline.submit(b"bug")
    outcome = chain.outcomes([job])[job]
    assert outcome.error.message == "The scribe failed unexpectedly (ValueError): see the worker's log."


def test_out_of_memory_is_tried_again_and_then_said(chain):
    job = chain.pipeline.submit(b"oom")
    outcome = chain.outcomes([job])[job]
    assert (outcome.error.code, outcome.error.message) == ("out-of-memory", "No room: lower GOLEM_BATCH.")


def test_a_retry_that_waits_while_connections_break_counts_no_delivery(chain, eventually):
    def waiting():
        return [tag for tag, entry in chain.client.hgetall(keys.unacked).items() if b'"delay_s"' in entry]

    job = chain.pipeline.submit(b"oom", labels="a,b")
    before = chain.log.read_text().count("Requeued 1 message")
    for broken in range(4):
        [tag] = eventually(waiting)
        assert chain.client.hget(keys.deliveries, tag) == b"1"
        chain.client.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda n=before + broken + 1: chain.log.read_text().count("Requeued 1 message") == n)
    assert chain.outcomes([job])[job].error.code == "out-of-memory"


def test_a_job_that_kills_its_worker_ends_as_failed_and_its_neighbours_as_done(chain):
    jobs = [chain.pipeline.submit(text, labels="a,b") for text in (b"a", b"die", b"b")]
    outcomes = chain.outcomes(jobs)
    assert [outcomes[job].state for job in jobs] == ["done", "failed", "done"]
    assert outcomes[jobs[1]].error.code == "too-many-deliveries"


def test_a_stage_that_runs_past_its_time_limit_ends_as_failed(make_chain):
    chain = make_chain(time_limit_s=3, time_limit_per_audio_s=0)
    jobs = [chain.pipeline.submit(text, labels="a,b") for text in (b"sleep 60", b"a")]
    outcomes = chain.outcomes(jobs)
    assert outcomes[jobs[0]].error.code == "time-limit"
    assert outcomes[jobs[1]].state == "done", "it shared a batch with the long one and ran again without it"


def test_a_hang_ends_by_its_signs_of_life_and_not_by_a_guess_at_the_length_of_the_audio(make_chain):
    chain = make_chain(time_limit_s=3, time_limit_per_audio_s=4)
    hang = b"sleep 100".ljust(200_000)  # at most 100 s by its size: 403 s for the Scribe
    submitted = time.monotonic()
    (outcome,) = chain.outcomes([chain.pipeline.submit(hang, labels="a,b")]).values()
    assert (outcome.error.code, outcome.error.message) == ("time-limit", "The stage exceeded its time limit of 3 s.")
    assert time.monotonic() - submitted < 60


def test_a_worker_that_was_suspended_longer_than_the_limit_fails_no_job(make_chain, tmp_path, eventually):
    chain = make_chain(time_limit_s=2, time_limit_per_audio_s=0)
    job = chain.pipeline.submit(f"until {tmp_path / 'go'}".encode(), labels="a,b")
    eventually((tmp_path / "go.begun").exists)
    pids = [chain.worker.pid, *descendants(chain.worker.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)  # longer than the limit
    (tmp_path / "go").touch()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert chain.outcomes([job])[job].state == "done"


def test_a_task_that_is_revoked_ends_its_job_and_its_id_can_be_submitted_again(chain, tmp_path, eventually):
    busy = chain.pipeline.submit(f"until {tmp_path / 'enough'}".encode())
    eventually((tmp_path / "enough.begun").exists)
    job = chain.pipeline.submit(b"a", id="revoked", labels="a,b")
    with make_app(chain.settings) as app:
        app.control.revoke("revoked.scribe", reply=True, timeout=20)
    (tmp_path / "enough").touch()
    outcomes = chain.outcomes([busy, job])
    assert (outcomes[job].state, outcomes[job].error.code) == ("cancelled", "cancelled")
    chain.client.delete(Keys().outcome(job), Keys().job(job))  # as after GOLEM_KEEP_S
    chain.pipeline.submit(b"a", id="revoked", labels="a,b")
    assert chain.outcomes([job])[job].state == "done"


def test_clips_do_not_wait_for_a_long_job_of_the_same_take(chain, tmp_path):
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        long = chain.pipeline.submit(b"sleep 3", labels="a,b")
        clips = [chain.pipeline.submit(b"a clip", labels="a,b") for _ in range(7)]
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    ends = [outcome.job for outcome in chain.pipeline.wait([long, *clips], 60)]
    assert ends[-1] == long
    assert sorted(ends[:-1]) == sorted(clips)
    stages = chain.pipeline.outcome(long).stages
    assert (stages["scribe"].batch_size, list(stages)) == (1, ["scribe", "interpreter", "oracle"])
    assert not chain.client.exists(Keys().crashes, Keys().deliveries), "it was put off, and no delivery was counted"


def test_idle_models_give_their_memory_back_and_the_box_says_so(make_chain, eventually):
    chain = make_chain(idle_unload_s=0.5)
    chain.outcomes([chain.pipeline.submit(b"a", labels="a,b")])
    eventually(lambda: not told(chain)["resident"], told=lambda: told(chain))
    last = told(chain)["last_event"]
    assert (last["kind"], last["reason"]) == ("unload", "idle")


def test_audio_by_reference_is_read_by_the_worker(chain):
    (chain.root / "clip.wav").write_bytes(b"music now")
    job = chain.pipeline.submit(chain.root / "clip.wav", labels="lights,music")
    assert not chain.client.exists(Keys().audio(job))
    assert chain.outcomes([job])[job].intent.label == "music"


def test_a_reference_that_was_swapped_for_a_link_is_refused_by_the_worker(chain):
    clip = chain.root / "swap.wav"
    clip.write_bytes(b"music now")
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        job = chain.pipeline.submit(clip)
        clip.unlink()
        clip.symlink_to("/etc/passwd")
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    outcome = chain.outcomes([job])[job]
    assert outcome.error.code == "audio-missing"


def test_a_stored_label_set_reaches_the_interpreter(chain):
    many = ",".join(f'thing{n}="the speaker wants thing number {n}"' for n in range(200))
    job = chain.pipeline.submit(b"give me thing7", labels=many)
    outcome = chain.outcomes([job])[job]
    assert outcome.intent.label == "thing7"
    assert len(outcome.intent.scores) == 200
    [key] = chain.client.scan_iter("golem:labels:*")
    assert 0 < chain.client.ttl(key) <= 120


def test_the_seed_is_the_jobs_own_or_follows_from_its_id(chain):
    chosen = chain.pipeline.submit(b"a", oracle=OracleParams(seed=7))
    derived = chain.pipeline.submit(b"a", id="always-the-same")
    outcomes = chain.outcomes([chosen, derived])
    assert outcomes[chosen].reply.seed == 7
    assert outcomes[derived].reply.seed == 7479171684217120222, "sha256 of the id: on every box, in every version"


def test_a_job_cancelled_while_queued_is_not_run(chain, tmp_path, eventually):
    enough = tmp_path / "enough"
    busy = chain.pipeline.submit(f"until {enough}".encode())
    eventually((tmp_path / "enough.begun").exists)
    queued = [chain.pipeline.submit(b"a") for _ in range(2)]
    assert chain.pipeline.cancel(queued[0]).state == "cancelled"
    enough.touch()
    outcomes = chain.outcomes([busy, *queued])
    assert [outcomes[job].state for job in (busy, *queued)] == ["done", "cancelled", "done"]
    assert not chain.client.hexists(f"golem:job:{queued[0]}", "transcript")


def test_a_running_job_that_is_cancelled_stops_and_neither_its_model_nor_its_neighbour_is_harmed(
    chain, tmp_path, eventually
):
    chain.outcomes([chain.pipeline.submit(b"warm", labels="a,b")])
    loads = told(chain)["loads_of"]["scribe"]
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        job = chain.pipeline.submit(f"until {tmp_path / 'never'}".encode())
        neighbour = chain.pipeline.submit(b"beside it", labels="a,b")
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    eventually((tmp_path / "never.begun").exists)  # both are running now
    start = time.monotonic()
    cancelled = chain.pipeline.cancel(job)
    assert cancelled.state == "cancelled"
    assert chain.outcomes([neighbour])[neighbour].state == "done"
    assert time.monotonic() - start < 60, "before the time limit of the two ended it"
    assert told(chain)["loads_of"]["scribe"] == loads + 1, "it was loaded for the two, and stayed for the one"
    assert chain.pipeline.outcome(job) == cancelled


def told(chain):
    """Return the box's published state."""
    return next(iter(status.read(chain.settings)["boxes"].values()))


def test_a_message_that_comes_twice_ends_the_job_once(chain):
    listener = chain.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("golem:ended")
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        job = chain.pipeline.submit(b"lights", labels="lights,music")
        again = {tag: redelivery(chain.client.lindex(keys.queue("scribe"), 0), tag) for tag in ("before", "after")}
        chain.client.lpush(keys.queue("scribe"), again["before"])
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    outcome = chain.outcomes([job])[job]
    assert outcome.state == "done"
    chain.client.lpush(keys.queue("scribe"), again["after"])
    chain.client.zadd("golem:wake:scribe", {"work": 0})
    last = chain.pipeline.submit(b"silence")
    chain.outcomes([last])
    ended = []
    while hashed(last) not in ended:
        if message := listener.get_message(timeout=1):
            ended.append(message["data"].decode())
    listener.close()
    assert ended.count(hashed(job)) == 1
    assert chain.pipeline.outcome(job) == outcome


def redelivery(raw, tag):
    message = json.loads(raw)
    message["properties"]["delivery_tag"] = tag
    return json.dumps(message)


def test_an_answer_that_was_stored_before_the_worker_died_is_not_computed_again(chain):
    chain.worker.send_signal(signal.SIGSTOP)
    try:
        job = chain.pipeline.submit(b"never heard", labels="lights,music")
        told = Transcript(text="music was stored")
        chain.client.hset(f"golem:job:{job}", "transcript", told.model_dump_json())
    finally:
        chain.worker.send_signal(signal.SIGCONT)
    outcome = chain.outcomes([job])[job]
    assert (outcome.transcript, outcome.intent.label) == (told, "music")
    assert outcome.reply.text == "music: music was stored"


def test_everything_of_an_ended_job_expires(chain, eventually):
    job = chain.pipeline.submit(b"a", labels="a,b")
    chain.outcomes([job])
    eventually(lambda: not chain.client.exists("golem:unacked"))  # after the acknowledgement nothing more is written
    keys = [*chain.client.scan_iter(f"*{job}*"), Keys().audio(job)]
    assert len(keys) == 3
    assert all(0 < chain.client.ttl(key) <= 120 for key in keys), {key: chain.client.ttl(key) for key in keys}


def test_a_box_tells_what_it_holds(chain):
    chain.outcomes([chain.pipeline.submit(b"a", labels="a,b")])
    told = next(iter(status.read(chain.settings)["boxes"].values()))
    assert told["resident"] == ["oracle"]
    assert told["loads"] == sum(told["loads_of"].values()) >= 3
    assert told["allocated"] > 1_000_000
    assert told["last_event"]["kind"] == "load"


def test_the_timeline_shows_each_batch_of_a_job(chain, eventually):
    job = chain.pipeline.submit(b"a", labels="a,b")
    chain.outcomes([job])
    mine = lambda: [span for span in all_spans(chain) if job in span.jobs]  # noqa: E731
    eventually(lambda: len(mine()) >= 3)  # the Oracle's batch event follows the Outcome
    spans = mine()
    assert [span.stage for span in spans] == ["scribe", "interpreter", "oracle"]
    assert all(span.start <= span.end for span in spans)


def all_spans(chain):
    [lane] = timeline.lanes(timeline.read(chain.client, 0, keys), 0, time.time() + 60)
    assert lane.budget > 0
    return lane.spans


def test_a_hundred_jobs_end_each_once(chain):
    jobs = [chain.pipeline.submit(f"job {n}".encode(), labels="a,b") for n in range(100)]
    outcomes = chain.outcomes(jobs)
    for n, job in enumerate(jobs):
        assert outcomes[job].transcript.text == f"job {n}"
        assert outcomes[job].reply.text.endswith(f"job {n}")
    assert max(outcomes[job].stages["oracle"].batch_size for job in jobs) > 1


def test_the_sample_producer_prints_what_it_hears(chain, monkeypatch, capsys, tmp_path):
    for name, words in {"one": b"lights now", "two": b"bad"}.items():
        (tmp_path / name).write_bytes(words)
    monkeypatch.setenv("GOLEM_REDIS_URL", chain.settings.redis_url)
    monkeypatch.setattr(sys, "argv", ["producer.py", str(tmp_path / "one"), str(tmp_path / "two")])
    runpy.run_path(str(ROOT / "samples" / "producer.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert f"{tmp_path / 'one'}: 'lights now' is lights: lights: lights now" in out
    assert f"{tmp_path / 'two'}: failed:" in out


def test_a_producer_needs_no_model_library(chain):
    code = (
        "import sys; from golem_chain import Pipeline; p = Pipeline(); p.submit(b'a', labels='a,b');"
        "heavy = {'torch', 'transformers', 'librosa', 'numpy', 'soundfile'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    env = os.environ | {"GOLEM_REDIS_URL": chain.settings.redis_url}
    assert os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", code], env) == 0


@pytest.mark.parametrize("id", ["a", "x" * 64])
def test_seeds_are_within_what_a_generator_takes(id, settings):
    with Pipeline(settings) as pipeline:
        job, _ = pipeline._submitter.describe(Asked(b"x"), JobOptions(), id, None)
    assert 0 <= seed_of(job) < 2**63
