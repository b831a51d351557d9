"""How often the host and a card wait for each other in a step: today's numbers, which may only fall.

A step of a small model takes less than its launches: each kernel costs the host some microseconds, each read lets the
card wait for the host. Counted on a fake card with models of two layers: of a real model the kernels grow with its
layers, reads and uploads do not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter.engine import Interpreter, Utterance
from golem_chain.workers.stages.oracle.decoder.attention import Step
from golem_chain.workers.stages.oracle.decoder.llama import Llama
from golem_chain.workers.stages.oracle.decoder.texts import SlottedTexts
from golem_chain.workers.stages.oracle.engine import Oracle
from golem_chain.workers.stages.scribe import transcribe
from golem_chain.workers.stages.scribe.engine import Recording
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder
from tests.support import text_models
from tests.support.fake_card import FakeCard
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe
from tests.unit.workers.stages.test_on_card import LABELS, replies, text_on_card, whisper_on_card

#: At most: kernels, reads by the host, uploads.
SCRIBE_STEP = {  # by beams and timestamps
    (1, False): (57, 0, 0),
    (1, True): (74, 0, 0),
    (5, False): (140, 0, 0),
    (5, True): (157, 0, 0),
}
ORACLE_STEP = (124, 1, 0)  # 9 of them for the likeliest logits in float32
ORACLE_STEP_WITH_NGRAMS = (94, 1, 0)
INTERPRETER_BATCH = {"cosine": (50, 2, 3), "entailment": (135, 6, 2)}


@pytest.fixture
def card() -> Iterator[FakeCard]:
    with FakeCard() as entered:
        yield entered


def between_calls(monkeypatch: pytest.MonkeyPatch, card: FakeCard, owner: Any, name: str) -> list[dict[str, int]]:
    """Collects what is counted from one call of a function to the next: one step, with all that is around it."""
    ours, last, found = getattr(owner, name), dict[str, int](), list[dict[str, int]]()

    def watched(*args: Any, **kwargs: Any) -> Any:
        now = card.counts
        found.append({what: now[what] - last.get(what, 0) for what in now})
        last.update(now)
        return ours(*args, **kwargs)

    monkeypatch.setattr(owner, name, watched)
    return found


def usual(steps: list[dict[str, int]]) -> tuple[int, int, int]:
    """The third step of the first batch: a first step has the prompt, and a last one drops rows."""
    third = steps[3]
    return third["kernels"], third["reads"], third["uploads"]


def no_more(found: tuple[int, int, int], most: tuple[int, int, int]) -> bool:
    return all(one <= limit for one, limit in zip(found, most, strict=True))


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timestamps"])
@pytest.mark.parametrize("beams", [1, 5])
def test_a_step_of_the_scribe_launches_and_waits_no_more_than_today(
    tmp_path: Path, card: FakeCard, monkeypatch: pytest.MonkeyPatch, beams: int, timestamps: bool
) -> None:
    seconds, most = 33 if timestamps else 2, SCRIBE_STEP[beams, timestamps]
    monkeypatch.setattr(transcribe, "TEMPERATURES", ())
    monkeypatch.setattr(transcribe, "MOST_TOKENS", 12)
    engine = scribe(whisper_on_card(tmp_path, torch.float16), scribe_beam=beams, **OFF)
    steps = between_calls(monkeypatch, card, Decoder, "step")
    engine.run(ready(engine, Recording("a.wav", hum(seconds), "en")))
    assert no_more(usual(steps), most), steps[:6]
    assert max(step["reads"] for step in steps[2:6]) == 1, "the host looks once in four steps which rows have ended"


@pytest.mark.parametrize("params", [{}, {"no_repeat_ngram_size": 2, "temperature": 0}], ids=["chat", "greedy, n-grams"])
def test_a_step_of_the_oracle_launches_and_waits_no_more_than_today(
    tmp_path: Path, card: FakeCard, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    engine = Oracle(text_on_card(text_models.llama(tmp_path), torch.bfloat16), Settings.read(_env_file=None))
    engine.load()
    steps = between_calls(monkeypatch, card, SlottedTexts, "step")
    replies(engine, 6, 6, **params)
    most = ORACLE_STEP_WITH_NGRAMS if params else ORACLE_STEP
    assert no_more(usual(steps), most), steps[:6]


def test_a_layer_of_the_oracle_launches_so_few_kernels_that_smollm2_stays_below_700(
    tmp_path: Path, card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Oracle(text_on_card(text_models.llama(tmp_path), torch.bfloat16), Settings.read(_env_file=None))
    engine.load()
    steps = between_calls(monkeypatch, card, SlottedTexts, "step")
    replies(engine, 6, 6)
    two = usual(steps)[0]
    del engine.model.model.layers[1]
    steps.clear()
    engine._read = None
    engine._kept.drop()
    replies(engine, 6, 6)
    one = usual(steps)[0]
    assert one + 29 * (two - one) <= 700, (one, two)


def test_a_step_of_the_oracle_keeps_its_shapes_and_addresses(
    tmp_path: Path, card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a graph of kernels could be captured once: while rows end and leave, and others join."""
    engine = Oracle(text_on_card(text_models.llama(tmp_path), torch.bfloat16), Settings.read(_env_file=None))
    engine.load()
    seen = list[tuple[Any, ...]]()
    ours = Llama.hidden

    def watched(self: Any, ids: Any, positions: Any, memory: Any) -> Any:
        if isinstance(memory, Step):
            held: list[Any] = [ids, positions, memory.cache.keys, memory.cache.values]
            shapes = [tuple(one.shape) for one in (*held, memory.mask)]
            seen.append((*(one.held.data_ptr() for one in held), memory.width, *shapes))
        return ours(self, ids, positions, memory)

    monkeypatch.setattr(Llama, "hidden", watched)
    engine.slots = 3
    replies(engine, 2, 9, 5, 7, 3, 1, 6)
    assert len(seen) > 9
    assert len(set(seen)) == 1


@pytest.mark.parametrize("kind", ["cosine", "entailment"])
def test_a_batch_of_the_interpreter_launches_and_waits_no_more_than_today(
    tmp_path: Path, card: FakeCard, kind: str
) -> None:
    made = text_models.bert(tmp_path) if kind == "cosine" else text_models.bart(tmp_path, full=False)
    engine = Interpreter(text_on_card(made, torch.float16), Settings.read(_env_file=None))
    engine.load()

    def run(*texts: str) -> dict[str, int]:
        before, asked = card.counts, [engine.prepare(Utterance(text, "en", LABELS)) for text in texts]
        engine.run([one.item for one in asked if isinstance(one, Ready)])
        return {what: card.counts[what] - before[what] for what in before}

    run("play some music")  # the vectors of phrasings are computed once
    counts = run("turn on the lights", "what is the weather")
    found = counts["kernels"], counts["reads"], counts["uploads"]
    assert no_more(found, INTERPRETER_BATCH[kind]), counts
