"""Verdicts beside a model, and the form that they and the settings choose."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.cpu import computing, flags_of, processor_name
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import chosen, verdicts
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.verdicts import Binding, Tried, Verdict, binding_of, find, write

TURING, AMPERE = Card("GTX 1650", (7, 5), 4 << 30), Card("RTX 3050", (8, 6), 8 << 30)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint("oracle", "smol", tmp_path, "local", "folder", "CC0", "float32", 1, "abc")


def verdict(binding: Binding, *tried: Tried) -> Verdict:
    return Verdict(binding, 48, 0, tried, "a processor", 12.5, "2026-01-02T03:04:05Z")


def test_what_was_written_is_found_and_equal(checkpoint: Checkpoint) -> None:
    made = verdict(
        binding_of(checkpoint, None),
        Tried("bfloat16", True, 1.9, {"mean KL": 0.0007, "top-1 agreement": 0.991}),
        Tried("float16", False, None, {}, "it is not faster"),
    )
    assert find(checkpoint, made.binding) is None
    assert write(checkpoint, made)
    assert find(checkpoint, made.binding) == made
    assert [path.suffix for path in (checkpoint.folder / "proofs").iterdir()] == [".json"], "no part is left"


def test_a_verdict_is_void_once_weights_torch_processor_or_version_change(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(checkpoint, verdict(binding_of(checkpoint, None), Tried("bfloat16", True, 2.0)))
    for other in (replace(checkpoint, fingerprint="new"), replace(checkpoint, dtype="float16")):
        assert find(other, binding_of(other, None)) is None, "other weights"
    assert find(checkpoint, binding_of(checkpoint, AMPERE)) is None, "another device"
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "read_flags", lambda: frozenset({"avx2"}))
        assert find(checkpoint, binding_of(checkpoint, None)) is None, "another processor"
    with monkeypatch.context() as patch:
        patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        assert find(checkpoint, binding_of(checkpoint, None)) is None, "instructions that may not be used"
    for package in ("torch", "golem-chain"):
        with monkeypatch.context() as patch:
            patch.setattr(verdicts, "_version", lambda name, package=package: "9" if name == package else "1")
            assert find(checkpoint, binding_of(checkpoint, None)) is None, f"another {package}"
    assert find(checkpoint, binding_of(checkpoint, None))


def test_boxes_with_other_devices_share_a_store(checkpoint: Checkpoint) -> None:
    for card, form in ((None, "bfloat16"), (TURING, "float16"), (AMPERE, "bfloat16")):
        write(checkpoint, verdict(binding_of(checkpoint, card), Tried(form, True, 2.0)))
    for card, form in ((None, "bfloat16"), (TURING, "float16"), (AMPERE, "bfloat16")):
        found = find(checkpoint, binding_of(checkpoint, card))
        assert found is not None
        assert found.fastest() == Precision(form)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 2}', '{"format": 1}', "[" * 100_000, "\xff", '{"format": 1, "tried": [{}]}'],
)
def test_a_damaged_verdict_is_none(checkpoint: Checkpoint, text: str) -> None:
    made = verdict(binding_of(checkpoint, None), Tried("bfloat16", True, 2.0))
    write(checkpoint, made)
    (path,) = (checkpoint.folder / "proofs").iterdir()
    path.write_text(text, encoding="latin-1")
    assert find(checkpoint, made.binding) is None
    assert chosen.proved(Settings.read(_env_file=None), checkpoint, None) is None
    assert write(checkpoint, made), "it is made anew"
    assert find(checkpoint, made.binding) == made


def test_a_form_that_nobody_knows_makes_a_verdict_void(checkpoint: Checkpoint) -> None:
    made = verdict(binding_of(checkpoint, None), Tried("bfloat16", True, 2.0))
    write(checkpoint, made)
    (path,) = (checkpoint.folder / "proofs").iterdir()
    for form in ("int3", "__class__", "bfloat16; rm"):
        record = json.loads(path.read_text())
        record["tried"][0]["form"] = form
        path.write_text(json.dumps(record))
        assert find(checkpoint, made.binding) is None


def test_a_store_that_cannot_be_written_is_told_and_the_verdict_holds_for_the_process(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    (checkpoint.folder / "proofs").write_text("a file where the folder should be")  # root may write anywhere else
    made = verdict(binding_of(checkpoint, None), Tried("bfloat16", True, 2.0))
    assert not write(checkpoint, made)
    assert "could not be written" in caplog.text
    assert find(checkpoint, made.binding) == made
    assert find(replace(checkpoint, fingerprint="new"), replace(made.binding, weights="new float32")) is None


def test_the_fastest_that_passed_is_chosen_and_float32_if_none_did(checkpoint: Checkpoint) -> None:
    binding = binding_of(checkpoint, None)
    fast, faster = Tried("bfloat16", True, 1.4), Tried("float32 with bfloat16 products", True, 1.9)
    failed = Tried("float16", False, 3.0, {}, "labels differ")
    assert verdict(binding, fast, faster, failed).fastest() == Precision("float32", None, "bfloat16")
    assert verdict(binding, failed).fastest() == Precision("float32")
    assert verdict(binding, fast, Tried("bfloat16 8 bit", True, 0.8)).fastest(8) == Precision("bfloat16", 8)
    assert verdict(binding, fast).fastest(4) is None, "float32 is not packed"


@pytest.mark.parametrize("card", [None, TURING, AMPERE])
def test_auto_runs_what_was_proved_and_without_a_proof_what_ran_before(
    checkpoint: Checkpoint, card: Card | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("golem_chain.workers.devices.dtype.read_flags", lambda: frozenset({"avx512_bf16"}))
    auto, before = Settings.read(_env_file=None), {None: "float32", TURING: "float16", AMPERE: "bfloat16"}
    assert chosen.form_of(auto, checkpoint, card).name == before[card]
    write(checkpoint, verdict(binding_of(checkpoint, card), Tried("bfloat16", False, 2.0, {}, "words differ")))
    assert chosen.form_of(auto, checkpoint, card).name == "float32", "what has failed does not run, whatever ran before"
    write(checkpoint, verdict(binding_of(checkpoint, card), Tried("bfloat16", True, 2.0)))
    assert chosen.form_of(auto, checkpoint, card).name == "bfloat16"
    assert chosen.form_of(Settings.read(_env_file=None, dtype="float16"), checkpoint, card).name == "float16"
    assert chosen.form_of(Settings.read(_env_file=None, bits="8"), checkpoint, card).bits == 8


def test_a_scribe_whose_products_failed_multiplies_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golem_chain.workers.devices.dtype.read_flags", lambda: frozenset({"avx512_bf16"}))
    scribe = Checkpoint("scribe", "tiny", tmp_path, "local", "folder", "CC0", "float32", 1, "abc")
    auto = Settings.read(_env_file=None)
    assert chosen.form_of(auto, scribe, None).name == "float32 with bfloat16 products"
    write(scribe, verdict(binding_of(scribe, None), Tried("float32 with bfloat16 products", False, 1.8, {}, "words")))
    assert chosen.form_of(auto, scribe, None).name == "float32"


def test_a_processor_is_known_by_what_it_computes_with() -> None:
    flags = flags_of("flags\t\t: fpu avx2 avx512_bf16 fma ibrs\nflags\t\t: fpu avx2 avx512_bf16 fma\n")
    told = computing(flags, {})
    assert told.endswith("avx2 avx512_bf16 fma"), "flags that compute nothing are left out"
    assert computing(flags, {"ONEDNN_MAX_CPU_ISA": "AVX2"}) == f"{told} ONEDNN_MAX_CPU_ISA=AVX2"
    assert "bf16" in computing(flags_of("Features\t: fp asimd bf16 i8mm crc32\n"), {}).split()
    assert processor_name("processor : 0\nmodel name\t: AMD EPYC 9R14\n") == "AMD EPYC 9R14"
    assert processor_name("")
    assert computing(frozenset(), os.environ)
