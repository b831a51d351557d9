"""Flower starts on the running system, requires a password, and never shows the Redis password."""

import base64
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from redis import Redis

from golem_chain.broker.cli.operations import flower
from golem_chain.broker.keys import Keys
from golem_chain.shared.errors import BadSetting, MissingExtra
from golem_chain.shared.settings import Settings


def test_a_password_is_made_up_where_there_is_none():
    first, made = flower.credentials(None)
    second, _ = flower.credentials("")
    assert made
    assert first != second
    assert re.match(r"golem:\S{16}$", first)


def test_a_given_password_is_kept():
    assert flower.credentials("me:long enough") == ("me:long enough", False)


@pytest.mark.parametrize("given", ["me", "me:", "me:short", ":password1", ":"])
def test_a_password_that_protects_nothing_is_refused(given):
    with pytest.raises(BadSetting, match="GOLEM_FLOWER_AUTH") as told:
        flower.credentials(given)
    assert "password1" not in told.value.message


def test_a_box_without_flower_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(flower, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="monitor"):
        flower.serve(Settings.read(_env_file=None))


def ask(url, login=None):
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, ""


def test_flower_asks_for_the_password_and_shows_none(redis_server, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"GOLEM_REDIS_URL": redis_server.url, "GOLEM_FLOWER_PORT": str(port)}
    with Redis.from_url(redis_server.url) as client:
        client.delete(Keys().queue("oracle"))
        client.lpush(Keys().queue("oracle"), *range(4711))
    process = subprocess.Popen(
        [sys.executable, "-m", "golem_chain.broker.cli", "flower"],
        env=env,
        cwd=tmp_path,
        text=True,
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    try:
        said = process.stderr.readline()
        found = re.search(r"login (\S+) / (\S+)\. ", said)
        assert found, said
        place, login = f"http://127.0.0.1:{port}", f"{found[1]}:{found[2]}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                assert ask(place + "/")[0] == 401
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        secret = redis_server.url.split(":")[2].split("@")[0]
        for page in ("/", "/tasks", "/broker", "/api/tasks"):
            code, body = ask(place + page, login)
            assert code == 200, page
            assert secret not in body, page
            assert ask(place + page)[0] == 401, page
            assert page != "/broker" or "4711" in body, "the length of the queue"
        words = Path(f"/proc/{process.pid}/cmdline")
        if words.exists():
            assert secret not in words.read_text()
            assert login.split(":")[1] not in words.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=60)
        with Redis.from_url(redis_server.url) as client:
            client.delete(Keys().queue("oracle"))
