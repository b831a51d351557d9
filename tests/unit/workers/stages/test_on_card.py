"""Whole engines on a card that is not there: no operation mixes devices or dtypes, in float16 and in bfloat16.

What a card computes differently, its streams and its pinned memory are not covered: docs/memory.md says what is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Intent, OracleParams, Reply, Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter.engine import Interpreter, Utterance
from golem_chain.workers.stages.oracle.engine import Oracle, ReplyRequest
from golem_chain.workers.stages.scribe import transcribe
from golem_chain.workers.stages.scribe.engine import Recording
from golem_chain.workers.stages.scribe.whisper import rules
from tests.support import text_models
from tests.support.fake_card import CARD, FakeCard, MixedDevices, place
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, HeldWhisper, ready, scribe, whisper

LABELS = parse_labels("lights_on,weather")
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


@pytest.fixture
def card() -> Iterator[FakeCard]:
    with FakeCard() as entered:
        yield entered


@pytest.fixture(autouse=True)
def short_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of random weights always fail: one sampling is enough."""
    monkeypatch.setattr(transcribe, "TEMPERATURES", (0.5,))
    monkeypatch.setattr(transcribe, "MOST_TOKENS", 12)


def whisper_on_card(folder: Path, dtype: torch.dtype, *, multilingual: bool = True) -> HeldWhisper:
    held = whisper(folder / "whisper", multilingual=multilingual)
    place(held.model, dtype)
    held.dtype, held.device = dtype, CARD
    return held


def text_on_card(held: text_models.Held, dtype: torch.dtype) -> text_models.Held:
    place(held.model, dtype)
    held.dtype = dtype
    return held


def replies(oracle: Oracle, *counts: int, **params: Any) -> list[Any]:
    intent = Intent(label="lights_on", score=1.0, method="cosine")
    asked = [
        ReplyRequest(f"turn on light {n}", intent, LABELS, OracleParams(max_new_tokens=count, **params), seed=n)
        for n, count in enumerate(counts)
    ]
    prepared = [oracle.prepare(one) for one in asked]
    return list(oracle.run([one.item for one in prepared if isinstance(one, Ready)]))


@HALVES
def test_the_scribe_hears_on_a_card(tmp_path: Path, card: FakeCard, dtype: torch.dtype) -> None:
    """Language detection, word times, sampling and prompts, with and without a language."""
    engine = scribe(whisper_on_card(tmp_path, dtype), **OFF)
    asked: list[dict[str, Any]] = [
        {},
        {"language": "de", "word_times": True, "temperature": 0.7},
        {"prompt": "Kitchen lights."},
    ]
    found = engine.run(ready(engine, *(Recording(f"{n}.wav", hum(1, n), **one) for n, one in enumerate(asked))))
    assert all(isinstance(one, Transcript) for one in found)
    assert card.reads


@HALVES
def test_the_scribe_hears_with_a_short_context_on_a_card(tmp_path: Path, card: FakeCard, dtype: torch.dtype) -> None:
    engine = scribe(whisper_on_card(tmp_path, dtype), **OFF, scribe_context="fast")
    (found,) = engine.run(ready(engine, Recording("a.wav", hum(1))))
    assert isinstance(found, Transcript)


@HALVES
def test_the_scribe_hears_a_long_recording_with_timestamps_and_tries_again_on_a_card(
    tmp_path: Path, card: FakeCard, dtype: torch.dtype
) -> None:
    engine = scribe(whisper_on_card(tmp_path, dtype), **OFF)
    (found,) = engine.run(ready(engine, Recording("long.wav", hum(33), "en")))
    assert isinstance(found, Transcript)


@HALVES
def test_the_scribe_chooses_from_a_vocabulary_on_a_card(tmp_path: Path, card: FakeCard, dtype: torch.dtype) -> None:
    engine = scribe(whisper_on_card(tmp_path, dtype, multilingual=False), **OFF)
    asked = Vocabulary(phrases=("stop", "play some music", "go"))
    (found,) = engine.run(ready(engine, Recording("a.wav", hum(1), vocabulary=asked, word_times=True)))
    assert found.choice is not None or found.guards


@HALVES
@pytest.mark.parametrize("kind", ["cosine", "entailment"])
def test_the_interpreter_chooses_on_a_card(tmp_path: Path, card: FakeCard, dtype: torch.dtype, kind: str) -> None:
    made = text_models.bert(tmp_path) if kind == "cosine" else text_models.bart(tmp_path, full=False)
    engine = Interpreter(text_on_card(made, dtype), Settings.read(_env_file=None))
    engine.load()
    asked = [engine.prepare(Utterance(text, "en", LABELS)) for text in ("turn on the lights", "what is the weather")]
    found = engine.run([one.item for one in asked if isinstance(one, Ready)])
    assert [one.method for one in found if isinstance(one, Intent)] == [kind, kind]


@HALVES
@pytest.mark.parametrize("params", [{}, {"temperature": 0}], ids=["sampled", "greedy"])
@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_the_oracle_replies_on_a_card_while_shorter_replies_leave_the_batch(
    tmp_path: Path, card: FakeCard, dtype: torch.dtype, kind: str, params: Any
) -> None:
    made = text_models.llama(tmp_path) if kind == "chat" else text_models.gpt2(tmp_path, full=False)
    engine = Oracle(text_on_card(made, dtype), Settings.read(_env_file=None))
    engine.load()
    found = replies(engine, 2, 9, 5, **params)
    assert all(isinstance(one, Reply) for one in found)


def test_a_tensor_that_was_left_on_the_cpu_is_noticed(
    tmp_path: Path, card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = rules.TokenRules.__init__

    def forgotten(self: Any, specials: Any, vocabulary: int, timestamps: bool, device: torch.device) -> None:
        ours(self, specials, vocabulary, timestamps, torch.device("cpu"))

    monkeypatch.setattr(rules.TokenRules, "__init__", forgotten)
    engine = scribe(whisper_on_card(tmp_path, torch.float16), **OFF)
    with pytest.raises(MixedDevices):
        engine.run(ready(engine, Recording("long.wav", hum(33), "en")))


@HALVES
def test_a_weight_of_another_dtype_is_noticed(tmp_path: Path, card: FakeCard, dtype: torch.dtype) -> None:
    held = whisper_on_card(tmp_path, dtype)
    linear = held.model.model.decoder.layers[1].fc1
    linear._parameters["weight"] = linear.weight.float()
    engine = scribe(held, **OFF)
    with pytest.raises(RuntimeError, match="dtype"):
        engine.run(ready(engine, Recording("a.wav", hum(1), "en")))
