"""What boxes compare: the dtype that runs and what rounds the weights, on any card."""

from types import SimpleNamespace
from typing import Any

import pytest

from golem_chain.shared.settings import Settings
from golem_chain.workers.child import device
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.dtype import computes_as
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.devices.probe import Found

TURING, AMPERE = Card("GTX 1650", (7, 5), 4 << 30), Card("RTX 3050", (8, 6), 8 << 30)


def compared(monkeypatch, tmp_path, card, stage="oracle", stored="bfloat16", **given):
    monkeypatch.setattr(device, "ask", lambda wanted: Found("cuda:0" if card else "cpu", card))
    monkeypatch.setattr(device, "_registered", {})
    checkpoint: Any = SimpleNamespace(stage=stage, dtype=stored, folder=tmp_path, fingerprint="abc")
    return device.precision_of(Settings.read(_env_file=None, agree="exact", **given), checkpoint)


def test_boxes_with_the_same_files_differ_if_their_cards_run_them_differently(monkeypatch, tmp_path):
    assert compared(monkeypatch, tmp_path, AMPERE) == "bfloat16"
    assert compared(monkeypatch, tmp_path, TURING) == "float16 from bfloat16"
    assert compared(monkeypatch, tmp_path, None) == "float32 from bfloat16"


def test_boxes_with_other_files_agree_if_they_run_the_same(monkeypatch, tmp_path):
    """One was pulled for a CPU, the other for a card."""
    for stored in ("float32", "float16"):
        assert compared(monkeypatch, tmp_path, TURING, "scribe", stored) == "float16"
    for flags, told in ((frozenset(), "float32"), (frozenset({"avx512_bf16"}), "float32 with bfloat16 products")):
        monkeypatch.setattr("golem_chain.workers.devices.dtype.read_flags", lambda flags=flags: flags)
        assert compared(monkeypatch, tmp_path, None, "scribe", "float32") == told


def test_a_classifier_counts_as_what_fast_makes_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr("golem_chain.workers.devices.dtype.read_flags", lambda: frozenset({"avx512_bf16"}))
    fast = {"stage": "interpreter", "stored": "float32", "dtype": "fast"}
    for config, dtype in (
        ('{"architectures": ["BartForSequenceClassification"]}', "bfloat16"),
        ('{"architectures": ["BertModel"]}', "float32"),
        ("[]", "float32"),
        ("{", "float32"),
    ):
        (tmp_path / "config.json").write_text(config)
        assert compared(monkeypatch, tmp_path, None, **fast) == dtype


@pytest.mark.parametrize(
    ("stored", "running", "told"),
    [
        ("float32", "float16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("float16", "float32", "float32 from float16"),
    ],
)
def test_what_the_store_has_rounded_before_is_told(stored, running, told):
    assert computes_as(stored, running) == told


def test_auto_is_settled_before_there_is_a_child_and_an_unexpected_device_is_told(monkeypatch, caplog):
    monkeypatch.setattr(device, "ask", lambda wanted: Found("cpu", None, "Models run on the CPU, not on the GTX 980"))
    assert device.settle(Settings.read(_env_file=None, device="auto")).device == "cpu"
    assert "not on the GTX 980; install a torch build for it, or set GOLEM_DEVICE=cpu" in caplog.text
    caplog.clear()
    monkeypatch.setattr(device, "ask", lambda wanted: Found("cuda:0", AMPERE))
    assert device.settle(Settings.read(_env_file=None, device="auto")).device == "cuda:0"
    assert not caplog.text


def test_what_an_exact_worker_has_registered_no_proof_changes(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_registered", {})
    forms = iter(["float32", "bfloat16", "bfloat16"])
    monkeypatch.setattr("golem_chain.workers.store.chosen.form_of", lambda *_: Precision.parse(next(forms)))
    checkpoint: Any = SimpleNamespace(stage="oracle", dtype="float32", folder=tmp_path, fingerprint="abc")
    exact, free = (Settings.read(_env_file=None, agree=agree) for agree in ("exact", "weights"))
    for _ in range(3):
        assert device.form_of(exact, checkpoint, None).name == "float32"
    assert device.form_of(free, checkpoint, None).name == "bfloat16"
    again: Any = SimpleNamespace(stage="oracle", dtype="float32", folder=tmp_path, fingerprint="pulled anew")
    assert device.form_of(exact, again, None).name == "bfloat16"
