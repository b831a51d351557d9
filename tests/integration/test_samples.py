"""The samples do what they say, as programs, against a server and a worker with fake engines."""

import asyncio
import json
import re
import runpy
import sys
from typing import Any

import pytest

from golem_chain.broker.jobs.options import make_options
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from tests.support.paths import ROOT

keys = Keys()


@pytest.fixture
def sample(monkeypatch):
    """Runs a sample as a program: its name, the server's address, arguments."""

    def run(name, url, *args):
        monkeypatch.setenv("GOLEM_REDIS_URL", url)
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        return runpy.run_path(str(ROOT / "samples" / name), run_name="__main__")

    return run


# -- batch_folder.py


def test_a_folder_is_submitted_as_a_group_and_each_result_printed(chain, sample, capsys, tmp_path):
    for name, words in {"one.wav": b"lights now", "two.FLAC": b"bad", "notes.txt": b"no audio"}.items():
        (tmp_path / name).write_bytes(words)
    sample("batch_folder.py", chain.settings.redis_url, tmp_path, "night")
    out = capsys.readouterr().out.splitlines()
    assert sorted(out) == [
        f"{tmp_path / 'one.wav'}: lights now",
        f"{tmp_path / 'two.FLAC'}: failed: {tmp_path / 'two.FLAC'} is not audio.",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "one.wav", "two.FLAC"]
    assert chain.pipeline.group("night").status().jobs == 2


def test_an_interrupted_batch_goes_on_after_the_last_result_shown(settings, client, sample, capsys, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(name.encode())

    def interrupted(pipeline, name):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "group", interrupted)  # the jobs are submitted, nothing is shown yet
        with pytest.raises(KeyboardInterrupt):
            sample("batch_folder.py", settings.redis_url, tmp_path, "night")
    messages = [json.loads(raw) for raw in client.lrange(keys.queue("scribe"), 0, -1)]
    jobs = [message["headers"]["id"].partition(".")[0] for message in messages]
    assert len(jobs) == 3
    with Pipeline(settings) as pipeline:
        for job in jobs:
            pipeline.cancel(job)
        [first, _, _] = pipeline.group("night").ends()
    (tmp_path / ".night.cursor").write_text(first.cursor)  # as if it had died after showing one
    sample("batch_folder.py", settings.redis_url, tmp_path, "night")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert client.llen(keys.queue("scribe")) == 3, "nothing was submitted again"


@pytest.mark.parametrize("name", ["batch_folder.py", "group_progress.py"])
def test_a_sample_ends_with_a_sentence_if_redis_is_away(sample, tmp_path, name):
    (tmp_path / "a.wav").write_bytes(b"a")
    args = {"batch_folder.py": [tmp_path, "night"], "group_progress.py": ["night"]}[name]
    with pytest.raises(SystemExit, match=r"Redis at redis://127\.0\.0\.1:1/0 cannot be reached"):
        sample(name, "redis://127.0.0.1:1/0", *args)


# -- group_progress.py


def test_a_group_is_followed_to_its_end(chain, sample, capsys):
    options = make_options(group="bar", labels="a,b")
    chain.pipeline.submit_many([b"a", b"b", b"bad", b"sleep 1"], options)
    sample("group_progress.py", chain.settings.redis_url, "bar")
    shown = capsys.readouterr().out.rstrip().split("\r")
    assert shown[-1].strip() == f"[{'#' * 40}] 4 of 4 ended, 1 without result"
    assert shown[1].strip().startswith("[")


# -- async_web_handler.py


@pytest.fixture
def app(sample):
    """Starts the app as a server does, and stops it after the block."""

    def made(url):
        return sample("async_web_handler.py", url)["app"]

    return made


class Server:
    """What a web server does with an ASGI app: start it, hand it requests, stop it."""

    def __init__(self, app):
        self._app = app
        self._to, self._told = asyncio.Queue[Any](), asyncio.Queue[Any]()

    async def __aenter__(self):
        self._running = asyncio.create_task(self._app({"type": "lifespan"}, self._to.get, self._told.put))
        self._to.put_nowait({"type": "lifespan.startup"})
        assert (await self._told.get())["type"] == "lifespan.startup.complete"
        return self

    async def __aexit__(self, *raised):
        self._to.put_nowait({"type": "lifespan.shutdown"})
        assert (await self._told.get())["type"] == "lifespan.shutdown.complete"
        await self._running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def request(self, *parts, method="POST", path="/hear", hang_up_after_s=None):
        """Return the status and the answer to a request, None if the app sent none."""
        received, sent = asyncio.Queue[Any](), []
        for n, part in enumerate(parts):
            received.put_nowait({"type": "http.request", "body": part, "more_body": n < len(parts) - 1})
        if hang_up_after_s is not None:
            asyncio.get_running_loop().call_later(hang_up_after_s, received.put_nowait, {"type": "http.disconnect"})

        async def send(message):
            sent.append(message)

        await self._app({"type": "http", "method": method, "path": path}, received.get, send)
        return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else None


def test_the_web_handler_answers_many_at_once(chain, app):
    async def main():
        async with Server(app(chain.settings.redis_url)) as server:
            return await asyncio.gather(server.request(b"music", b" now"), server.request(b"bad"), server.request(b"a"))

    heard, bad, other = asyncio.run(main())
    assert heard == (200, {"text": "music now", "intent": "music", "reply": "music: music now"})
    assert bad == (422, {"error": "audio is not audio."})
    assert other[0] == 200


def test_the_web_handler_refuses_what_is_no_recording(chain, app):
    async def main():
        async with Server(app(chain.settings.redis_url)) as server:
            assert (await server.request(b"a", path="/"))[0] == 404
            assert (await server.request(b"a", method="GET"))[0] == 405
            assert (await server.request(b"x" * (6 << 20), b"x" * (6 << 20)))[0] == 413

    asyncio.run(main())


def test_the_job_of_a_client_that_hung_up_is_cancelled(settings, client, app):
    async def main():
        async with Server(app(settings.redis_url)) as server:
            assert await server.request(b"music", hang_up_after_s=0.3) is None

    asyncio.run(main())
    [job] = [key.decode().removeprefix(keys.outcome("")) for key in client.scan_iter(keys.outcome("*"))]
    assert b'"state":"cancelled"' in client.get(keys.outcome(job))
    assert client.llen(keys.lane("scribe", "interactive")) == 1


def test_the_web_handler_without_workers_gives_up_in_time(settings, client, app):
    async def main():
        made = app(settings.redis_url)
        type(made).hear.__globals__["PATIENCE_S"] = 0.2
        async with Server(made) as server:
            assert (await server.request(b"music"))[0] == 504

    asyncio.run(main())


def test_the_web_handler_says_try_again_while_redis_is_away_and_names_no_server(app):
    async def main():
        async with Server(app("redis://127.0.0.1:1/0")) as server:
            assert await server.request(b"music") == (503, {"error": "Try again later."})

    asyncio.run(main())


# -- docs/how-to/programs.md


def test_the_programs_of_the_page_run_as_they_are(chain, monkeypatch, capsys, tmp_path):
    chain.client.delete(keys.group("night"), keys.group_ends("night"))
    (tmp_path / "clip.wav").write_bytes(b"music now")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLEM_REDIS_URL", chain.settings.redis_url)
    page = (ROOT / "docs" / "how-to" / "programs.md").read_text()
    for program in re.findall(r"^```python\n(.+?)^```$", page, re.M | re.S):
        exec(program, {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines() == [
        "music now music music: music now",
        "missing.wav cannot be opened (No such file or directory): check the path and its permissions.",
        "done clip.wav",
        "1 of 1",
        "done",
    ]
