"""The machine's half of `golem doctor`: the workers' findings, and Flower's port."""

import http.server
import json
import socket
import subprocess
import sys
import threading

import pytest

from golem_chain.broker.local import system
from golem_chain.broker.monitoring import machine
from golem_chain.shared.settings import Settings


def workers(monkeypatch, code):
    monkeypatch.setattr(machine, "WORKERS", [sys.executable, "-c", code])


def test_the_findings_of_the_workers_half_are_passed_on(monkeypatch):
    told = {"checks": [{"check": "disk", "state": "ok", "message": "There is room", "remedy": ""}]}
    workers(monkeypatch, f"print({json.dumps(told)!r})")
    [found] = machine.models()
    assert (found.check, found.state, found.message) == ("disk", "ok", "There is room")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('golem: no \\x1b way')", r"exit code 1 (golem: no \x1b way)"),
        ("import sys; sys.exit(3)", "exit code 3 (no message)"),
        ("print('[]')", "no readable answer"),
        ("print('{\"checks\": [{}]}')", "no readable answer"),
        ("import time; time.sleep(60)", "did not end"),
    ],
)
def test_a_half_that_fails_is_wrong_and_says_why(monkeypatch, code, says):
    workers(monkeypatch, code)
    if "sleep" in code:
        monkeypatch.setattr(machine, "WORKERS_S", 0.2)
    [found] = machine.models()
    assert (found.check, found.state) == ("models", "wrong")
    assert says in found.message


def test_a_producer_without_model_libraries_skips_them(monkeypatch):
    monkeypatch.setattr(system, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("a process was started"))
    assert [one.state for one in machine.models()] == ["skipped"]


# -- Flower


@pytest.fixture
def flower(monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: object())

    def ask(port, address="127.0.0.1"):
        return machine.flower(Settings.read(_env_file=None, flower_port=port, flower_address=address))

    return ask


def test_a_free_port_is_ok_and_one_that_another_program_has_is_a_warning(flower, monkeypatch):
    monkeypatch.setattr(machine, "FLOWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert flower(port).state == "warning"
        assert flower(port).remedy == "set GOLEM_FLOWER_PORT"
    assert flower(port).state == "ok"


def test_an_address_of_another_machine_is_a_warning(flower):
    found = flower(5555, "203.0.113.7")  # reserved for documentation
    assert (found.state, found.remedy) == ("warning", "set GOLEM_FLOWER_ADDRESS")


def test_flower_itself_may_have_the_port(flower):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK" if self.path == "/healthcheck" else b"?")

        def log_message(self, format, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        found = flower(serving.server_port)
        serving.shutdown()
    assert found.state == "ok"
    assert "Flower is running" in found.message


def test_without_flower_its_port_is_skipped(flower, monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert flower(5555).state == "skipped"
