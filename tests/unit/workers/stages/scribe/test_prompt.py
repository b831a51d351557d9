"""A prompt precedes the first window of its recording and touches no other; a temperature samples reproducibly."""

from pathlib import Path
from typing import Any

import pytest

from golem_chain.shared.records import Vocabulary
from golem_chain.workers.stages.scribe import guards, transcribe
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.whisper.decoding import decode_tokens
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe, whisper


@pytest.fixture(params=[False, True], ids=["English-only", "multilingual"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Scribe:
    return scribe(whisper(tmp_path, multilingual=request.param), guards="none", **OFF)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Records with which options batches are decoded."""
    found: list[dict[str, Any]] = []
    decode = decode_tokens

    def watched(*given: Any, **options: Any) -> Any:
        found.append(options)
        return decode(*given, **options)

    monkeypatch.setattr(transcribe, "decode_tokens", watched)
    return found


def test_recordings_with_other_prompts_in_a_batch_have_the_text_that_each_has_alone(engine: Scribe) -> None:
    prompts = [None, "Shabata", "an apple", None, "an Apple, and one more thing"]
    items = ready(engine, *(Recording(f"{n}.wav", hum(2, n), prompt=prompt) for n, prompt in enumerate(prompts)))
    together = engine.run(items)
    assert together == [engine.run([item])[0] for item in items]
    plain = engine.run(ready(engine, *(Recording(f"{n}.wav", hum(2, n)) for n in range(5))))
    same = [one == other for one, other in zip(together, plain, strict=True)]
    assert [same[0], same[3]] == [True, True], "what has no prompt is what it was"
    assert not all(same), "a prompt has an effect"


def test_only_the_first_window_has_the_prompt_as_with_openai_whisper(
    engine: Scribe, decoded: list[dict[str, Any]]
) -> None:
    engine.run(ready(engine, Recording("a.wav", hum(65), prompt="Shabata")))
    windows = [
        (seed, bool(before)) for one in decoded for seed, before in zip(one["seeds"], one["previous"], strict=True)
    ]
    assert {seed for seed, before in windows if before} == {0}
    assert {seed for seed, before in windows if not before} - {0}


def test_a_prompt_has_two_timestamps_where_the_window_has_timestamps(
    engine: Scribe, decoded: list[dict[str, Any]]
) -> None:
    for seconds in (2, 65):
        engine.run(ready(engine, Recording("a.wav", hum(seconds), prompt="Shabata")))
    zero, plain = engine.specials.first_time, ready(engine, Recording("a.wav", hum(2), prompt="Shabata"))[0].previous
    found = {(one["timestamps"], before) for one in decoded for before in one["previous"] if before}
    end = zero + round(50 * len(plain) / 4)  # a step is 0.02 s, and speech has four tokens per second
    assert found == {(False, plain), (True, (zero, *plain, end))}


def test_a_long_prompt_counts_with_its_end(engine: Scribe) -> None:
    [item] = ready(engine, Recording("a.wav", hum(1), prompt="the beginning " * 50 + "the end"))
    most = engine.weights.config.max_target_positions // 2 - 3
    assert len(item.previous) == most
    assert engine.transcriber.words(item.previous).endswith("theend")  # this tokenizer drops blanks
    engine.run([item])


@pytest.mark.parametrize("prompt", ["", "  ", "<|endoftext|>", "<|startoftranscript|> <|notimestamps|>"])
def test_control_tokens_in_a_prompt_control_nothing(engine: Scribe, prompt: str) -> None:
    [item] = ready(engine, Recording("a.wav", hum(1), prompt=f"{prompt} Shabata"))
    assert all(token < engine.specials.end for token in item.previous)
    engine.run([item])
    [item] = ready(engine, Recording("a.wav", hum(1), prompt=prompt.split("<")[0]))
    assert item.previous == ()


def test_a_temperature_samples_by_the_seed_alone(engine: Scribe) -> None:
    def said(seed: int, beside: int = 0) -> Any:
        asked = Recording("a.wav", hum(2), temperature=1.0, seed=seed)
        items = ready(engine, asked, *(Recording(f"{n}.wav", hum(2, n + 1)) for n in range(beside)))
        return engine.run(items)[0]

    assert said(1) == said(1) == said(1, beside=3)
    assert len({said(seed).text for seed in range(6)}) > 1
    [plain] = engine.run(ready(engine, Recording("a.wav", hum(2), temperature=0.0, seed=5)))
    assert [plain] == engine.run(ready(engine, Recording("a.wav", hum(2))))


def test_a_record_that_asks_for_a_prompt_and_a_vocabulary_all_the_same_has_its_choice(engine: Scribe) -> None:
    phrases = Vocabulary(phrases=("yes", "no"))
    for seconds in (2, 65):
        asked = Recording("a.wav", hum(seconds), vocabulary=phrases, prompt="Shabata", temperature=0.5)
        [answer] = engine.run(ready(engine, asked))
        assert any(segment.choice for segment in answer.segments)


def test_a_failed_text_is_sampled_again_above_the_temperature_that_was_asked(
    tmp_path: Path, decoded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "LEAST_LOGPROB", 0.0)  # every text fails
    engine = scribe(whisper(tmp_path, multilingual=True), **OFF)
    engine.run(ready(engine, Recording("a.wav", hum(40), temperature=0.5, prompt="Shabata")))
    assert sorted({one["temperature"] for one in decoded}) == [0.5, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("text", "clear_s", "no_speech_prob", "invented"),
    [
        ("The voices of Ilsabe.", 0.1, 0.5, True),
        ("the VOICES, of", 0.1, 0.5, True),
        ("Quirin!", 0.1, 0.5, True),
        ("Hear the voices of Ilsabe and of everyone who is there.", 0.1, 0.5, True),  # with variations
        ("Hear what everyone said of Ilsabe and the others there.", 0.1, 0.5, False),
        ("The voices of Ilsabe.", 1.5, 0.5, False),  # somebody spoke long enough to say it
        ("The voices of Ilsabe.", 0.1, 0.1, False),  # the model is sure of speech
        ("The noises of Ilsabe.", 0.1, 0.5, False),
        ("", 0.1, 0.5, False),
    ],
)
def test_a_prompt_that_the_model_repeats_where_nobody_speaks_is_an_invention(
    text: str, clear_s: float, no_speech_prob: float, invented: bool
) -> None:
    assert guards.is_invented(text, clear_s, no_speech_prob, "Hear the voices of Ilsabe and Quirin.") is invented
    assert not guards.is_invented(text, clear_s, no_speech_prob)
