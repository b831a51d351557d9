"""The commands submit, results and cancel against a real server and a stand-in for the worker."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from golem_chain.broker import submission
from golem_chain.broker.cli import export
from golem_chain.broker.cli.follow.progress import Progress
from golem_chain.broker.cli.follow.report import Report
from golem_chain.broker.cli.follow.rows import Rows
from golem_chain.broker.cli.follow.wait import Following, follow_jobs
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.submission import Asked, Request, Submitted
from golem_chain.shared.errors import BadRequest, VaultFull
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings
from tests.support.command_count import commands

keys = Keys()

pytestmark = pytest.mark.usefixtures("surroundings")


class Bars(Progress):
    """Bars that are seen by the test; after so many seconds it raises TimeoutError."""

    live = True

    def __init__(self, seconds):
        super().__init__(1)
        self.shown, self._until = [], time.monotonic() + seconds

    def show(self, done, far=(0.0, 0.0), total=None):
        self.shown.append(({stage: done[stage] for stage in STAGES}, far, total))
        if time.monotonic() > self._until:
            raise TimeoutError


def submitted(redis):
    """Return the records of all jobs."""
    return [json.loads(redis.hget(key, "job")) for key in redis.scan_iter("golem:job:*")]


def test_submit_prints_one_id_for_each_file_and_results_knows_them(golem, redis, end):
    code, out, _ = golem("submit", "a.wav", "b.wav")
    ids = out.split()
    assert (code, len(ids)) == (0, 2)
    code, out, err = golem("results", *ids)
    assert (code, out) == (1, "")
    assert err.count("has not ended yet") == 2
    outcomes = Outcomes(Settings.read(), redis)
    for job in ids:
        end(outcomes, job, "a.wav")
    code, out, _ = golem("results", "-", "--json", stdin="\n".join(ids).encode())
    assert code == 0
    assert [json.loads(line)["job"] for line in out.splitlines()] == ids


def test_submit_as_json_names_job_and_file(golem, redis):
    code, out, _ = golem("submit", "-", "--json", stdin=b"a.wav\nb.wav\n")
    assert code == 0
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["a.wav", "b.wav"]


def test_options_travel_with_the_job(golem, redis):
    golem("submit", "a.wav", "--labels", 'on="turning it on",off', "--language", "RU", "--task", "translate",
          "--seed", "7", "--max-new-tokens", "9", "--temperature", "0")  # fmt: skip
    (key,) = redis.scan_iter("golem:job:*")
    job = json.loads(redis.hget(key, "job"))
    assert [label["name"] for label in job["labels"]["labels"]] == ["on", "off"]
    assert (job["language"], job["task"]) == ("ru", "translate")
    assert job["oracle"] == {"seed": 7, "max_new_tokens": 9, "temperature": 0.0}


def test_waiting_ends_with_a_table_and_totals(golem, worker):
    code, out, err = golem("submit", "a.wav", "b.wav", "--wait")
    assert code == 0
    assert ("a.wav" in out, "b.wav" in out, out.count("greet 0.90")) == (True, True, 2)
    assert err.startswith("2 jobs · ")


def test_one_failed_job_is_exit_1_and_the_others_finish(golem, worker):
    Path("bad.wav").write_bytes(b"y")
    code, out, err = golem("submit", "a.wav", "bad.wav", "b.wav", "--wait", "--json")
    assert code == 1
    states = {outcome["name"]: outcome["state"] for outcome in map(json.loads, out.splitlines())}
    assert states == {"a.wav": "done", "bad.wav": "failed", "b.wav": "done"}
    sentence, totals = err.splitlines()
    assert sentence == "golem: bad.wav is not audio that we can read."
    assert totals.startswith("3 jobs (1 failed)")


def test_a_file_that_cannot_be_handed_in_is_a_failed_job(golem, worker, monkeypatch):
    monkeypatch.setenv("GOLEM_AUDIO_MAX_BYTES", "100")
    Path("huge.wav").write_bytes(b"x" * 101)
    code, out, err = golem("submit", "huge.wav", "a.wav", "--wait", "--json")
    assert code == 1
    first, second = map(json.loads, out.splitlines())
    assert (first["name"], first["state"], first["error"]["code"]) == ("huge.wav", "failed", "audio-above-limit")
    assert (second["name"], second["state"]) == ("a.wav", "done")
    code, out, err = golem("submit", "huge.wav", "a.wav")
    assert (code, len(out.split())) == (1, 1)
    assert "huge.wav" in err
    assert "GOLEM_AUDIO_MAX_BYTES" in err


def test_a_file_without_readable_content_fails_alone_if_ids_come_from_content(golem, worker, monkeypatch):
    monkeypatch.setenv("GOLEM_AUDIO_MAX_BYTES", "100")
    Path("huge.wav").write_bytes(b"x" * 101)
    code, out, _ = golem("submit", "huge.wav", "a.wav", "--id-from", "content", "--wait", "--json")
    assert code == 1
    found = {one["name"]: one for one in map(json.loads, out.splitlines())}
    assert {name: one["state"] for name, one in found.items()} == {"huge.wav": "failed", "a.wav": "done"}
    assert len(found["huge.wav"]["job"]) == 32


def test_names_that_are_not_text_travel_and_come_back_readable(golem, worker):
    for raw in (b"n\xff.wav", b"two\nlines\x1b[31m.wav"):
        Path(os.fsdecode(raw)).write_bytes(b"z")
    code, out, _ = golem("submit", os.fsdecode(b"n\xff.wav"), "two\nlines\x1b[31m.wav", "--wait", "--json")
    assert code == 0
    assert {json.loads(line)["name"] for line in out.splitlines()} == {r"n\xff.wav", "two\nlines\x1b[31m.wav"}
    assert len(out.splitlines()) == 2


def test_a_job_that_nobody_knows_is_wrong_usage(golem, redis):
    code, _, err = golem("results", "nonesuch", "--wait")
    assert code == 2
    assert "nonesuch" in err


def test_status_counts_what_waits(golem, redis):
    golem("submit", "a.wav", "b.wav")
    code, out, _ = golem("status", "--json")
    state = json.loads(out)
    assert code == 0
    assert state["queues"]["scribe"]["waiting"] == 2
    nothing = {"waiting": 0, "oldest_s": None}
    assert state["queues"]["oracle"] == nothing | {"lanes": {"interactive": nothing, "bulk": nothing}}
    assert (state["in_hand"], state["dead"], state["boxes"]) == (0, 0, {})
    code, out, _ = golem("status")
    assert "No worker is running." in out


def test_the_status_tells_no_secret_of_a_box(golem, redis):
    told = {"token": "s3cret", "host": "h", "pid": "1", "resident": '["scribe"]', "allocated": "5"}
    redis.hset("golem:box:card0@h", mapping=told)
    redis.zadd(keys.boxes, {"card0@h": 1})
    _, out, _ = golem("status", "--json")
    assert json.loads(out)["boxes"] == {"card0@h": {"in_hand": 0, "resident": ["scribe"], "allocated": 5}}


def test_ctrl_c_while_waiting_leaves_the_jobs_and_says_how_to_go_on(golem, redis, end, tmp_path, eventually):
    process = subprocess.Popen(
        [sys.executable, "-m", "golem_chain.broker.cli", "submit", "a.wav", "b.wav", "--wait"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually(lambda: redis.llen(keys.queue("scribe")) == 2)
    ids = {job["name"]: job["id"] for job in submitted(redis)}
    outcomes = Outcomes(Settings.read(), redis)
    end(outcomes, ids["b.wav"], "b.wav")
    assert process.stdout
    assert any("b.wav" in row for row in iter(process.stdout.readline, ""))
    eventually(lambda: any("b" in one["flags"] for one in redis.client_list()))  # it waits for the next
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    said, _, command = err.strip().rpartition(": golem ")
    assert said == "golem: Stopped waiting; all 2 jobs were submitted and will finish"
    assert redis.llen(keys.queue("scribe")) == 2
    end(outcomes, ids["a.wav"], "a.wav")
    code, out, _ = golem(*command.rstrip(".").split(), "--json")
    assert (code, [json.loads(line)["name"] for line in out.splitlines()]) == (0, ["a.wav"]), "b.wav was shown before"


def test_a_server_that_is_emptied_while_a_command_waits_is_one_sentence(golem, redis, eventually):
    def empty():
        eventually(lambda: redis.llen(keys.queue("scribe")))
        redis.flushall()

    other = threading.Thread(target=empty)
    other.start()
    code, out, err = golem("submit", "a.wav", "--wait")
    other.join()
    assert (code, out) == (2, "")
    assert "never submitted" in err
    assert "will finish" not in err


def test_results_that_cannot_be_written_leave_the_jobs_and_say_how_to_go_on(golem, worker, monkeypatch):
    def full(*_):
        raise BadRequest("Cannot write out/a.txt (No space left on device): choose a folder with --out.")

    monkeypatch.setattr(export.Files, "write", full)
    code, _, err = golem("submit", "a.wav", "--wait", "--group", "night", "-f", "txt", "-o", "out")
    assert code == 2
    assert "choose a folder with --out; the job was submitted and will finish: golem results --group night" in err


def test_ctrl_c_while_waiting_for_a_job_of_an_earlier_command_names_the_job(golem, redis, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    golem("submit", "a.wav", "--id", "mine")
    monkeypatch.setattr(Pipeline, "watch", interrupt)
    code, _, err = golem("submit", "a.wav", "--id", "mine", "--wait")
    assert code == 130
    assert err.endswith("the job was submitted and will finish: golem results mine --wait.\n")


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_a_submit_that_gives_up_halfway_says_how_many_were_submitted(golem, redis, monkeypatch, wait):
    def full(vault, job, *_):
        if redis.exists("golem:group:night"):
            raise VaultFull("The vault is full.")
        return put(vault, job, *_)

    put = Vault.put
    monkeypatch.setattr(submission, "AT_ONCE", 1)
    monkeypatch.setattr(Vault, "put", full)
    code, out, err = golem("submit", "--json", "--group", "night", "a.wav", "b.wav", *wait)
    goes_on = ": golem results --group night --wait" if wait else ""
    assert code == 1
    assert err.startswith(f"golem: The vault is full; 1 of 2 jobs was submitted and will finish{goes_on}")
    [job] = submitted(redis)
    assert [json.loads(line)["job"] for line in out.splitlines()] == ([] if wait else [job["id"]])


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_a_group_that_is_cancelled_meanwhile_ends_the_submit_and_says_how_many_were_submitted(
    golem, redis, monkeypatch, wait
):
    def cancelled(vault, job, *_):
        if redis.exists("golem:group:night"):
            redis.hset("golem:group:night", "cancelled_at", 1)
        return put(vault, job, *_)

    put = Vault.put
    monkeypatch.setattr(submission, "AT_ONCE", 1)
    monkeypatch.setattr(Vault, "put", cancelled)
    code, _, err = golem("submit", "--group", "night", "a.wav", "b.wav", "a.wav", *wait)
    assert code == 1
    assert err == "golem: The group night was cancelled: 1 of 3 jobs was submitted before.\n"
    assert len(submitted(redis)) == 1


def test_jobs_are_counted_together_and_treated_as_asked(golem, redis):
    assert golem("submit", "a.wav", "b.wav", "--group", "night", "--expires", "2m", "--lane", "interactive")[0] == 0
    for job in submitted(redis):
        assert (job["group"], job["expires_s"], job["lane"]) == ("night", 120, "interactive")
    assert redis.hget(keys.group("night"), "jobs") == b"2"


def test_waiting_for_jobs_of_a_group_that_has_others_ends_with_ours(golem, redis, worker):
    with Pipeline() as pipeline:
        pipeline.submit("b.wav", group="night")
    code, out, err = golem("submit", "a.wav", "--group", "night", "--wait", "--json")
    assert (code, [json.loads(line)["name"] for line in out.splitlines()]) == (0, ["a.wav"])
    assert err.startswith("1 job · ")


def test_jobs_that_were_submitted_before_are_waited_for_although_they_are_in_no_group_of_ours(golem, redis, end):
    [first] = golem("submit", "a.wav", "--id-from", "content")[1].split()
    outcomes = Outcomes(Settings.read(), redis)
    later = threading.Timer(1.0, lambda: [end(outcomes, job["id"], job["name"]) for job in submitted(redis)])
    later.start()
    Path("c.wav").write_bytes(b"other")
    code, out, _ = golem("submit", "c.wav", "b.wav", "--id-from", "content", "--wait", "--json")
    later.join()
    assert code == 0
    found = {outcome["name"]: outcome["job"] for outcome in map(json.loads, out.splitlines())}
    assert found["b.wav"] == first
    assert set(found) == {"b.wav", "c.wav"}


def test_a_job_is_reported_under_each_name_that_it_was_submitted_with(redis, end):
    """Two files may be one job, if ids come from the content."""
    outcomes = Outcomes(Settings.read(), redis)
    shown: list[str] = []
    with Pipeline() as pipeline, Progress(3) as screen:
        report = Report(screen, Rows(), as_json=True, started=0.0, seen=lambda one: shown.append(one.name))
        following = Following(pipeline, pipeline.group("g"), report, screen)
        options = JobOptions(group="g")
        for id, name in (("one", "a.wav"), ("two", "b.wav"), ("one", "c.wav")):
            [one] = pipeline.stream_many([Request(Asked(b"x" if id == "one" else b"y"), id, name)], options)
            following.submitted(name, one)
        end(outcomes, "one", "a.wav")
        following.look(1)
        assert shown == ["a.wav", "c.wav"]
        [one] = pipeline.stream_many([Request(Asked(b"x"), "one", "d.wav")], options)
        following.submitted("d.wav", one)  # after it has ended
        end(outcomes, "two", "b.wav")
        following.wait()
    assert shown == ["a.wav", "c.wav", "b.wav", "d.wav"]
    assert report.totals.states == {"done": 4}


def test_the_bars_of_many_jobs_cost_few_commands(redis):
    ids = [f"job{n}" for n in range(5000)]
    with redis.pipeline() as pipe:
        for job in ids:
            pipe.hset(f"golem:job:{job}", "queued", "1")
        for job in ids[:2000]:
            pipe.hset(f"golem:job:{job}", "run:scribe", "{}")
        pipe.hset(f"golem:job:{ids[2003]}", "heard", "5.0/60.0")
        pipe.execute()
    bars, begun = Bars(3.0), time.monotonic()
    with Pipeline(Settings.read()) as pipeline, commands(redis) as spent, pytest.raises(TimeoutError):
        follow_jobs(pipeline, ids, Report(bars, Rows(), as_json=True, started=0.0), bars)
    assert spent() < 550 * (time.monotonic() - begun), "a second"
    assert bars.shown[-1][:2] == ({"scribe": 2000, "interpreter": 0, "oracle": 0}, (5.0, 60.0))


def test_an_id_of_ones_own_can_be_submitted_again_at_any_moment(golem, worker, redis):
    for _ in range(2):
        code, out, _ = golem("submit", "a.wav", "--id", "mine", "--wait", "--json")
        assert (code, json.loads(out)["job"]) == (0, "mine")
    assert golem("submit", "./a.wav", "--id", "mine")[:2] == (0, "mine\n")
    assert len(list(redis.scan_iter("golem:job:*"))) == 1
    Path("c.wav").write_bytes(b"other")
    code, _, err = golem("submit", "c.wav", "--id", "mine")
    assert code == 2
    assert "belongs to another job" in err


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("a.wav", "b.wav", "--id", "mine"), "--id names one job, and there are 2 files"),
        (("a.wav", "--id", "no good"), "--id 'no good': use 1 to 64 letters"),
        (("a.wav", "--id", ""), "--id '': use 1 to 64 letters"),
        (("a.wav", "--id", "mine", "--id-from", "content"), "leave one of them out"),
        (("a.wav", "--id-from", "name"), "--id-from"),
    ],
)
@pytest.mark.parametrize("command", ["submit", "transcribe"])
def test_an_id_that_cannot_be_used_is_one_sentence(golem, redis, command, typed, why):
    code, out, err = golem(command, *typed)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())
    assert not list(redis.scan_iter("golem:job:*"))


@pytest.mark.parametrize("own_root", [False, True])
def test_files_of_one_content_are_one_job_and_each_has_its_own_result(golem, worker, redis, monkeypatch, own_root):
    if own_root:
        monkeypatch.setenv("GOLEM_AUDIO_ROOT", str(Path.cwd()))
    Path("c.wav").write_bytes(b"y" * 50)
    files = ("a.wav", "b.wav", "c.wav")
    for _ in range(2):  # the second time it costs nothing
        code, out, _ = golem("submit", *files, "--id-from", "content", "--wait", "--json", "-f", "txt", "-o", "out")
        assert code == 0
        assert sorted(json.loads(line)["name"] for line in out.splitlines()) == list(files)
        assert sorted(path.name for path in Path("out").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    assert len(list(redis.scan_iter("golem:job:*"))) == 2
    code, out, _ = golem("submit", *files, "--id-from", "content")
    assert len(out.split()) == 3
    assert len(set(out.split())) == 2


def test_content_that_was_submitted_under_another_name_is_reported_under_its_own(golem, worker):
    assert golem("transcribe", "a.wav", "--id-from", "content")[0] == 0
    code, out, _ = golem("transcribe", "b.wav", "--id-from", "content", "-f", "srt")
    assert code == 0
    assert "b.wav" in out
    assert "a.wav" not in out
    assert Path("b.srt").exists()
    assert not Path("a.srt").exists()


@pytest.mark.parametrize("count", [10, 20_000])
def test_the_bars_of_a_group_cost_the_same_for_any_number_of_jobs(redis, count):
    redis.hset(keys.group("night"), mapping={"jobs": count, "at:scribe": count - 6, "at:oracle": 6})
    redis.hset("golem:job:job7", mapping={"job": "{}", "heard": "5.0/60.0"})
    bars, begun = Bars(2.0), time.monotonic()
    with Pipeline(Settings.read()) as pipeline:
        following = Following(pipeline, pipeline.group("night"), Report(bars, Rows(), as_json=True, started=0.0), bars)
        for number in range(count):
            following.submitted("a.wav", Submitted(f"job{number}"))
        with commands(redis) as spent, pytest.raises(TimeoutError):
            following.wait()
    assert spent() < 300 * (time.monotonic() - begun), "a second"
    assert bars.shown[-1] == ({"scribe": 6, "interpreter": 6, "oracle": 0}, (5.0, 60.0), count)
