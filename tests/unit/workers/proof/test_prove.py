"""Proofs with small random models through the real store and engines: what passes, what must fail, what interrupts."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.errors import GolemError, ModelCorrupt
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.proof import criteria, prove, replies
from golem_chain.workers.proof.candidates import REFERENCE
from golem_chain.workers.proof.own import Set, shipped
from golem_chain.workers.proof.prove import Device, Proof
from golem_chain.workers.store import verdicts
from golem_chain.workers.store.manifest import find
from golem_chain.workers.store.sources.progress import Show
from golem_chain.workers.store.sources.pull import pull
from tests.support import text_models

STAGES = {"bert": "interpreter", "llama": "oracle", "gpt2": "oracle"}
MAKE: dict[str, Callable[[Path], Any]] = {
    "bert": text_models.bert,
    "llama": text_models.llama,
    "gpt2": lambda folder: text_models.gpt2(folder, full=False),
}


@pytest.fixture
def proof(tmp_path, monkeypatch):
    """Makes the proof of a small model, whose weights `change` may spoil. Its products count as fast in bfloat16, since
    those of so small a model are not."""
    monkeypatch.setattr(prove, "time_products", lambda *_: {"float32": 1.0, "bfloat16": 0.1})
    monkeypatch.setattr(prove, "worth_it", lambda form, speed: True)
    monkeypatch.setattr(prove, "ROUNDS", 1)
    monkeypatch.setattr(replies, "PROMPTS", 16)
    monkeypatch.setattr(criteria, "LEAST_TOKENS", 100)

    def make(kind, change=lambda model: None, budget=1 << 40, **given):
        source = tmp_path / f"{kind}-source"
        source.mkdir()
        model = MAKE[kind](source).model
        with torch.no_grad():
            change(model)
        model.save_pretrained(source)
        stage = STAGES[kind]
        chosen = {f"{stage}_model": str(source), "store": tmp_path / "store", "device": "cpu", **given}
        settings = Settings.read(_env_file=None, **chosen)
        pull(settings, stages=(stage,), show=Show(quiet=True))
        return Proof(settings, find(settings, stage), Device(torch.device("cpu"), None, CpuMemory(), budget), some())

    return make


def some() -> Set:
    """Texts enough to judge by, and few enough for a test."""
    whole = shipped()
    return Set(whole.clips, whole.texts[:75], whole.labels[:2])


def scaled(factor: float) -> Callable[[Any], None]:
    """Makes a model sensitive: what rounding adds to its weights is multiplied on the way to its answers."""

    def change(model: Any) -> None:
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(factor)

    return change


def offset(model: Any) -> None:
    """Makes a sentence encoder sensitive: the first normalisation takes the same offset from all that tokens differ in,
    of which bfloat16 has kept nothing."""
    model.embeddings.word_embeddings.weight.add_(1000.0)


def test_a_form_that_answers_alike_passes_and_is_chosen(proof) -> None:
    verdict = proof("bert").run()
    tried = verdict.of(Precision("bfloat16"))
    assert tried.passed
    assert tried.figures["decisions"] == verdict.items == 150
    assert 0 < tried.figures["largest score difference"] <= criteria.SCORE, "the two are not the same model"
    assert verdict.fastest() in (Precision("bfloat16"), Precision("float32")), "by the speed that was measured"


@pytest.mark.parametrize(("kind", "change"), [("llama", scaled(6.0)), ("gpt2", scaled(6.0)), ("bert", offset)])
def test_a_model_made_sensitive_on_purpose_fails_and_float32_runs(proof, kind, change) -> None:
    made = proof(kind, change)
    verdict = made.run()
    tried = verdict.of(Precision("bfloat16"))
    assert not tried.passed
    assert tried.why
    assert verdict.fastest() == Precision("float32")
    verdicts.write(made.checkpoint, verdict)
    assert verdicts.find(made.checkpoint, verdict.binding) == verdict


def test_four_bits_that_answer_otherwise_fail(proof) -> None:
    verdict = proof("llama", scaled(3.0), bits="4").run()
    assert [one.form for one in verdict.tried if one.passed] == ["float32"]
    assert {one.form for one in verdict.tried} == {"bfloat16 4 bit", "float32 4 bit", "float32"}
    assert verdict.fastest(4) is None


def test_a_model_whose_float32_answers_are_no_numbers_gets_no_verdict(proof) -> None:
    def spoil(model: Any) -> None:
        model.lm_head.weight[3, 3] = float("nan")

    with pytest.raises(ModelCorrupt, match="not finite"):
        proof("llama", spoil).run()


def test_a_form_that_overflows_fails_by_itself(proof, monkeypatch) -> None:
    monkeypatch.setattr(prove, "time_products", lambda *_: {"float32": 1.0, "float16": 0.1})

    def swell(model: Any) -> None:
        model.embeddings.word_embeddings.weight.mul_(1e6)  # finite in float32, infinite in float16

    made = proof("bert", swell)
    tried = made.run().of(Precision("float16"))
    assert not tried.passed
    assert "not finite" in tried.why


@pytest.mark.parametrize("error", [RuntimeError("\"mm\" not implemented for 'Half'"), MemoryError(), ModelCorrupt("x")])
def test_what_a_candidate_raises_counts_against_it_only(proof, monkeypatch, error) -> None:
    made = proof("bert")
    engine = made._engine(Precision("bfloat16"))
    monkeypatch.setattr(engine, "run", lambda batch: (_ for _ in ()).throw(error))
    verdict = made.run()
    assert not verdict.of(Precision("bfloat16")).passed
    assert verdict.fastest() == Precision("float32")


def test_a_broken_device_is_no_verdict(proof, monkeypatch) -> None:
    made = proof("bert")
    engine = made._engine(Precision("bfloat16"))
    broken = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(engine, "run", lambda batch: (_ for _ in ()).throw(broken))
    with pytest.raises(torch.AcceleratorError):
        made.run()


def test_a_proof_that_is_interrupted_again_and_again_ends_with_the_same_verdict_and_holds_nothing(proof) -> None:
    made, turns, verdict = proof("bert"), 0, None
    whole, asked = proof_of_the_same(made), itertools.count(1)
    while verdict is None:
        verdict = made.run(lambda: next(asked) % 11 > 0)
        assert made._loaded is None, "a model was left in memory"
        turns += 1
    assert turns > 10
    figures = [(one.form, one.passed, one.figures) for one in verdict.tried]
    assert figures == [(one.form, one.passed, one.figures) for one in whole.tried]


def proof_of_the_same(made: Proof) -> Any:
    return Proof(made._settings, made.checkpoint, made._on, some()).run()


def test_only_one_model_is_in_memory_at_any_time(proof) -> None:
    made, most = proof("bert"), 0

    def look() -> bool:
        nonlocal most
        most = max(most, sum(engine.model is not None for engine in made._engines.values()))
        return True

    made.run(look)
    assert most == 1
    assert all(engine.model is None for engine in made._engines.values())


def test_a_float32_that_is_above_the_budget_is_compared_with_and_not_chosen(proof) -> None:
    made = proof("bert")
    made._on = Device(made._on.device, None, made._on.memory, made._need_bytes(REFERENCE) - 1)
    verdict = made.run()
    assert not verdict.of(Precision("float32")).passed
    assert "of a budget of" in verdict.of(Precision("float32")).why
    passed = verdict.of(Precision("bfloat16")).passed
    assert verdict.fastest() == (Precision("bfloat16") if passed else None), "what ran before goes on running"


def test_where_nothing_is_faster_nothing_is_compared(proof, monkeypatch) -> None:
    monkeypatch.setattr(prove, "worth_it", lambda form, speed: False)
    made = proof("bert")
    verdict = made.run()
    assert verdict.items == 0
    assert "times as fast" in verdict.of(Precision("bfloat16")).why
    assert verdict.fastest() == Precision("float32")


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_and_no_verdict(proof) -> None:
    made = proof("bert")
    made.checkpoint.weight_files[0].unlink()
    with pytest.raises(GolemError):
        made.run()
