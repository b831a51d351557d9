"""The device's part of `golem doctor`."""

import json
import subprocess
import sys

import pytest
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices import card, doctor
from golem_chain.workers.devices.selection import Choice, choice

OLD = "Models run on the CPU, not on the GTX 980: its compute capability 5.2"


def settings(**given):
    return Settings.read(_env_file=None, **given)


def test_a_cpu_is_ok_and_a_device_that_is_not_there_is_wrong():
    device, room = doctor.check(settings(device="cpu"), lambda card: {"oracle": 2000})
    assert (device.state, room.state) == ("ok", "ok")
    assert "takes 2.0 kB" in room.message
    [found] = doctor.check(settings(device="cuda:99"), lambda card: {})
    assert (found.check, found.state) == ("device", "wrong")
    assert "GOLEM_DEVICE=cpu" in found.remedy or "from cuda:0" in found.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_card_that_torch_cannot_use_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(card, "DRIVERS", (str(tmp_path / "nvidiactl"),))
    assert doctor.device(choice(settings(device="auto"))).state == "ok", "there is no card"
    (tmp_path / "nvidiactl").touch()
    found = doctor.device(choice(settings(device="auto")))
    assert found.state == "warning"
    assert "though NVIDIA's driver is loaded: torch" in found.message
    assert doctor.device(choice(settings(device="cpu"))).state == "ok", "as asked"
    found = doctor.device(Choice(torch.device("cpu"), OLD))
    assert found.state == "warning"
    assert OLD in found.message
    assert "GOLEM_DEVICE=cpu" in found.remedy


def test_a_card_that_does_not_compute_is_wrong_and_no_traceback(monkeypatch):
    def fails(device):
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nhints")

    monkeypatch.setattr(doctor, "open_memory", fails)
    [found] = doctor.check(settings(device="cpu"), lambda card: {})
    assert (found.check, found.state) == ("device", "wrong")
    assert found.message.endswith("does not compute: CUDA error: uncorrectable ECC error encountered")
    assert "dmesg" in found.remedy


@pytest.mark.parametrize(
    ("budget", "free", "needs", "state"),
    [
        (80, 90, {"scribe": 10, "oracle": 70}, "ok"),
        (80, 90, {}, "ok"),
        (101, 90, {"oracle": 10}, "warning"),
        (80, 50, {"scribe": 10, "oracle": 70}, "warning"),
        (60, 90, {"scribe": 10, "oracle": 70}, "wrong"),
    ],
)
def test_the_largest_model_must_fit(budget, free, needs, state):
    found = doctor.room(budget, 100, free, needs)
    assert found.state == state
    assert bool(found.remedy) == (state != "ok")
    assert ("oracle" in found.message) == ("oracle" in needs and budget <= 100)


def test_the_workers_print_their_half_as_one_json_object(tmp_path):
    command = [sys.executable, "-m", "golem_chain.workers", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    names = [one["check"] for one in json.loads(done.stdout)["checks"]]
    assert names[:4] == ["model-scribe", "model-interpreter", "model-oracle", "disk"]
    assert "device" in names
