"""The commands as they are typed: exit codes, sentences, lines; against a real server and a stand-in for the worker."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from broker import cli, embedded, solo
from broker.connection import connect
from broker.outcomes import Outcomes
from shared.records import Failure, Intent, Outcome, Reply, Transcript
from shared.settings import Settings

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def server():
    with embedded.start() as running:
        yield running


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No .env and no GOLEM_* of the developer's, and a folder with two files."""
    for key in [key for key in os.environ if key.startswith("GOLEM_")]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x" * 50)


@pytest.fixture
def redis(server, monkeypatch):
    monkeypatch.setenv("GOLEM_REDIS_URL", server.url)
    with connect(Settings.read()) as client:
        client.flushall()
        yield client


@pytest.fixture
def worker(redis):
    """Ends every job: as done, or as failed where its name says so."""
    outcomes, stop = Outcomes(Settings.read(), redis), threading.Event()

    def work():
        while not stop.wait(0.02):
            for key in redis.scan_iter("golem:job:*"):
                if redis.hexists(key, "queued"):
                    job = key.decode().removeprefix("golem:job:")
                    end(outcomes, job, json.loads(redis.hget(key, "job"))["name"])

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def end(outcomes, job, name):
    if "bad" in name:
        error = Failure(code="bad-audio", message=f"{name} is not audio that we can read.")
        outcomes.write(Outcome(job=job, name=name, state="failed", error=error))
        return
    outcomes.write(
        Outcome(
            job=job, name=name, state="done", transcript=Transcript(text="hello there"),
            intent=Intent(label="greet", score=0.9, method="cosine"),
            reply=Reply(text="Hi.", prompt="", seed=1, new_tokens=2),
        )
    )  # fmt: skip


@pytest.fixture
def golem(monkeypatch, capsys):
    """Types a command; (exit code, stdout, stderr)."""

    def typed(*args, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["golem", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            cli.main()
        shown = capsys.readouterr()
        return left.value.code or 0, shown.out, shown.err

    return typed


# -- help and sentences ---------------------------------------------------------------------------------------------


def test_help_answers_in_under_0_3_seconds():
    def once():
        process = subprocess.Popen([sys.executable, "-m", "broker.cli", "--help"], stdout=subprocess.DEVNULL)
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = code
        assert code == 0
        return used.ru_utime + used.ru_stime  # what it takes on a machine that does nothing else

    assert min(once() for _ in range(5)) < 0.3


def test_help_loads_no_broker_and_no_model_library():
    heavy = {"celery", "redis", "pydantic", "rich", "torch"}
    code = f"import sys, broker.cli; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_command_is_listed_and_explained(golem):
    code, out, _ = golem("--help")
    assert code == 0
    for command in ("run", "submit", "results", "status", "flower", "worker", "models"):
        assert f"\n  {command} " in out
    assert "..." not in out.partition("\n")[2], "each explanation fits its line"


def test_a_file_that_is_not_there_is_wrong_usage_and_nothing_starts(golem, monkeypatch):
    monkeypatch.setattr(solo, "system", lambda files: pytest.fail("a system was started"))
    code, out, err = golem("run", "a.wav", "gone.wav")
    assert (code, out) == (2, "")
    assert err == "golem: There is no file gone.wav.\n"


@pytest.mark.parametrize(
    "typed",
    [
        ["run"],
        ["run", "a.wav", "--nonsense"],
        ["run", "a.wav", "--temperature", "-1"],
        ["run", "a.wav", "--seed", "x"],
        ["run", "a.wav", "--max-new-tokens", "0"],
        ["run", "a.wav", "--labels", ""],
        ["run", "a.wav", "--labels", "@nowhere"],
        ["submit", "a.wav", "--labels", "x,x"],
        ["results", "-"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_2_and_no_traceback(golem, typed):
    code, out, err = golem(*typed)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_a_setting_that_cannot_be_used_is_named(golem, monkeypatch):
    monkeypatch.setenv("GOLEM_VAULT_LIMIT", "plenty")
    code, _, err = golem("submit", "a.wav")
    assert code == 2
    assert "GOLEM_VAULT_LIMIT" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [["submit", "a.wav"], ["results", "x"], ["status"]])
def test_redis_away_is_one_sentence_without_the_password(golem, monkeypatch, command):
    monkeypatch.setenv("GOLEM_REDIS_URL", "redis://:s3cret@127.0.0.1:1/0")
    code, out, err = golem(*command)
    assert (code, out) == (1, "")
    assert "GOLEM_REDIS_URL" in err
    assert "s3cret" not in err
    assert len(err.splitlines()) == 1


def test_a_traceback_is_shown_only_on_request(golem, monkeypatch):
    def broken(*args):
        raise RuntimeError("oh\nno")

    monkeypatch.setattr("broker.inputs.expand", broken)
    code, _, err = golem("submit", "a.wav")
    assert code == 1
    assert err == "golem: An error of the program itself, RuntimeError: oh\\nno. GOLEM_DEBUG=1 shows where.\n"
    monkeypatch.setenv("GOLEM_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["golem", "submit", "a.wav"])
    with pytest.raises(RuntimeError):
        cli.main()


# -- the producer's side ----------------------------------------------------------------------------------------------


def test_submit_prints_one_id_for_each_file_and_results_knows_them(golem, redis):
    code, out, _ = golem("submit", "a.wav", "b.wav")
    ids = out.split()
    assert (code, len(ids)) == (0, 2)
    code, out, err = golem("results", *ids)
    assert (code, out) == (1, "")
    assert err.count("still under way") == 2
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
    golem("submit", "a.wav", "--labels", 'on="turning it on",off', "--language", "RU", "--translate", "--seed", "7",
          "--max-new-tokens", "9", "--temperature", "0")  # fmt: skip
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
    assert state["queues"]["oracle"] == {"waiting": 0, "oldest_s": None}
    assert (state["in_hand"], state["dead"], state["boxes"]) == (0, 0, {})
    code, out, _ = golem("status")
    assert "No worker is running." in out


def test_the_status_tells_no_secret_of_a_box(golem, redis):
    told = {"token": "s3cret", "host": "h", "pid": "1", "resident": '["scribe"]', "allocated": "5"}
    redis.hset("golem:box:card0@h", mapping=told)
    _, out, _ = golem("status", "--json")
    assert json.loads(out)["boxes"] == {"card0@h": {"in_hand": 0, "resident": ["scribe"], "allocated": 5}}


def test_ctrl_c_while_waiting_leaves_the_jobs_and_says_so(redis, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.cli", "submit", "a.wav", "--wait"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end_at = time.monotonic() + 20
    while not redis.llen("scribe") and time.monotonic() < end_at:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on" in err
    assert "Traceback" not in err
    assert redis.llen("scribe") == 1


# -- the workers' side ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [["worker", "--queues", "scribe", "--help"], ["models", "list", "--json"]])
def test_worker_and_models_become_the_other_program(golem, monkeypatch, typed):
    became = []
    monkeypatch.setattr(os, "execv", lambda program, args: became.append((program, args)) or sys.exit(0))
    assert golem(*typed)[0] == 0
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "workers", *typed])]


@pytest.mark.parametrize("typed", [["worker"], ["models", "list"], ["run", "a.wav"]])
def test_a_producer_without_torch_is_told_what_to_install(golem, monkeypatch, typed):
    monkeypatch.setattr(solo, "find_spec", lambda name: None)
    code, _, err = golem(*typed)
    assert code == 1
    assert "golem-chain[worker]" in err
    assert len(err.splitlines()) == 1
