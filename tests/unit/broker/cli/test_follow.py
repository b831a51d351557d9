"""The commands submit, results and cancel against a real server and a stand-in for the worker."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golem_chain.broker.cli import follow
from golem_chain.broker.cli.progress import Progress
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings
from tests.support.command_count import commands

keys = Keys()

pytestmark = pytest.mark.usefixtures("surroundings")


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
    assert out.index("a.wav") < out.index("b.wav")
    assert "greet 0.90" in out
    assert err.startswith("2 jobs · ")


def test_one_failed_job_is_exit_1_and_the_others_finish(golem, worker):
    Path("bad.wav").write_bytes(b"y")
    code, out, err = golem("submit", "a.wav", "bad.wav", "b.wav", "--wait", "--json")
    assert code == 1
    states = {outcome["name"]: outcome["state"] for outcome in map(json.loads, out.splitlines())}
    assert states == {"a.wav": "done", "bad.wav": "failed", "b.wav": "done"}
    sentence, totals = err.splitlines()
    assert sentence == "golem: bad.wav is not audio that we can read."
    assert totals.startswith("3 jobs (1 not done)")


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


def test_the_bars_of_many_jobs_cost_few_commands(redis, monkeypatch):
    ids = [f"job{n}" for n in range(5000)]
    with redis.pipeline() as pipe:
        for job in ids:
            pipe.hset(f"golem:job:{job}", "queued", "1")
        for job in ids[:2000]:
            pipe.hset(f"golem:job:{job}", "run:scribe", "{}")
        pipe.hset(f"golem:job:{ids[2003]}", "heard", "5.0/60.0")
        pipe.execute()
    shown = []

    class Bars(Progress):
        live = True

        def show(self, done, far=(0.0, 0.0)):
            shown.append((done, far))

    begun = time.monotonic()

    def check():
        if time.monotonic() - begun > 3:
            raise TimeoutError

    monkeypatch.setattr(follow, "Progress", Bars)
    with Pipeline(Settings.read()) as pipeline, commands(redis) as spent, pytest.raises(TimeoutError):
        follow.follow(pipeline, ids, as_json=True, check=check)
    assert spent() < 1500, "500 a second"
    assert len(shown) >= 1
    assert shown[-1] == ({"scribe": 2000, "interpreter": 0, "oracle": 0}, (5.0, 60.0))


def test_ctrl_c_while_waiting_leaves_the_jobs_and_says_so(redis, tmp_path, eventually):
    process = subprocess.Popen(
        [sys.executable, "-m", "golem_chain.broker.cli", "submit", "a.wav", "--wait"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    # submitted, and waiting
    eventually(lambda: redis.llen(keys.queue("scribe")) and redis.pubsub_numsub(keys.ended)[0][1])
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "submitted jobs continue" in err
    (job,) = (key.decode().removeprefix("golem:job:") for key in redis.scan_iter("golem:job:*"))
    assert out.split() == [job], "its id, so that its result can be asked for"
    assert "Traceback" not in err
    assert redis.llen(keys.queue("scribe")) == 1


def test_a_submit_that_gives_up_halfway_says_which_jobs_continue(golem, redis, monkeypatch):
    from golem_chain.broker.pipeline import Pipeline
    from golem_chain.shared.errors import VaultFull

    ids: list[str] = []
    submit = Pipeline.submit_with

    def full(pipeline, *args, **options):
        if ids:
            raise VaultFull("The vault is full.")
        ids.append(submit(pipeline, *args, **options))
        return ids[-1]

    monkeypatch.setattr(Pipeline, "submit_with", full)
    code, out, err = golem("submit", "--wait", "--json", "a.wav", "b.wav")
    assert code == 1
    assert [json.loads(line)["job"] for line in out.splitlines()] == ids
    assert "The vault is full." in err


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
