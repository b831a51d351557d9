"""What the process that tries a device answers, and that a machine without a driver starts none."""

import json
import subprocess
from dataclasses import asdict

import pytest

from golem_chain.shared.errors import DeviceRefused
from golem_chain.workers.devices import card, probe
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.probe import Found, read

CARD = Card("RTX 3050", (8, 6), 8 << 30)


@pytest.fixture(autouse=True)
def forget():
    probe._known.clear()
    yield
    probe._known.clear()


def test_without_a_driver_the_cpu_is_known_without_asking(monkeypatch):
    monkeypatch.setattr(card, "DRIVERS", ())
    monkeypatch.setattr(subprocess, "run", lambda *args, **named: pytest.fail("asked"))
    assert probe.ask("auto") == probe.ask("cpu") == Found("cpu")


def test_an_answer_is_read_whatever_libraries_print_before_it():
    told = json.dumps({"device": "cuda:0", "card": asdict(CARD), "warning": ""})
    assert read("auto", f"a banner\n{told}\n", 0) == Found("cuda:0", CARD)


def test_a_device_is_asked_once_by_whatever_name(monkeypatch):
    asked = []

    def answer(wanted):
        asked.append(wanted)
        return Found("cuda:0", CARD)

    monkeypatch.setattr(probe, "_ask", answer)
    assert probe.ask("auto") is probe.ask("auto") is probe.ask("cuda:0")
    assert asked == ["auto"]


@pytest.mark.parametrize("told", ["", "a banner\n", "[1"])
def test_a_process_that_died_of_the_device_is_a_refusal_in_one_sentence(told):
    with pytest.raises(DeviceRefused, match="ended with code -11 and no answer") as refused:
        read("cuda", told, -11)
    assert "GOLEM_DEVICE=cpu" in refused.value.message


def test_a_device_that_never_answers_is_refused(monkeypatch):
    def hangs(*args, **named):
        raise subprocess.TimeoutExpired("probe", named["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    with pytest.raises(DeviceRefused, match="has not answered for 120 s"):
        probe.ask("cuda")


def test_a_refusal_comes_from_the_process_as_the_sentence_that_it_is():
    with pytest.raises(DeviceRefused, match="GOLEM_DEVICE") as refused:
        probe.ask("cuda:77")  # a real process
    assert "\n" not in refused.value.message
