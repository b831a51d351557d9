"""The text of the window before: which text is given, which window gets it, and that nothing changes without it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golem_chain.shared.records import Vocabulary
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.heard import Key
from golem_chain.workers.stages.scribe.previous import Text, given, is_dropped, next_of
from golem_chain.workers.stages.scribe.transcribe import Work
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe, whisper

SAID = Text((9, 1, 2, 3, 9), "one two three", "en")


def test_the_end_of_the_text_is_given() -> None:
    assert given(SAID, 223, temperature=0.0, doubted=False) == SAID
    assert given(SAID, 2, temperature=0.5, doubted=False) == Text((3, 9), "one two three", "en")


@pytest.mark.parametrize(
    ("said", "most", "temperature", "doubted"),
    [(SAID, 223, 0.6, False), (SAID, 223, 0.0, True), (SAID, 0, 0.0, False), (Text((9, 9), "", "en"), 223, 0.0, False)],
    ids=["sampled warm", "doubted", "off", "nothing said"],
)
def test_text_that_may_be_wrong_is_not_given(said: Text, most: int, temperature: float, doubted: bool) -> None:
    assert given(said, most, temperature=temperature, doubted=doubted) is None


def test_a_window_that_fails_or_is_in_another_language_is_decoded_without_the_text() -> None:
    assert not is_dropped(SAID, "en", fails=False)
    assert is_dropped(SAID, "en", fails=True)
    assert is_dropped(SAID, "de", fails=False)


def test_of_a_recording_that_is_decoded_in_order_one_window_is_next_and_of_others_all_are() -> None:
    one, other, plain = object(), object(), object()
    pending = [(one, True), (one, True), (plain, False), (other, True), (plain, False), (other, True)]
    assert next_of(pending) == [0, 2, 3, 4]
    assert next_of([]) == []


def test_a_decoding_is_remembered_under_the_text_before_it() -> None:
    def key(*before: int) -> Key:
        return Key.of(Window(0.0, 30.0), True, 0.0, 30.0, None, before)

    assert key() == Key.of(Window(0.0, 30.0), True, 0.0, 30.0)
    assert len({key(), key(1, 2), key(12), key(2, 1)}) == 4


class Script:
    """Stands for the model: what it says to a window of 20 s depends on its start. Records what stands before each."""

    def __init__(self, engine: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.first_time = engine, engine.specials.first_time
        self.before: list[tuple[int, tuple[int, ...]]] = []  # second, tokens before it
        self.batches: list[int] = []
        self.differs: dict[int, Callable[[Work, float], dict[str, Any]]] = {}  # by second; takes the temperature

        def compute(model: Any, work: Sequence[Work], timestamps: bool, temperature: float, *options: Any) -> None:
            self.batches.append(len(work))
            for item in work:
                start = round(item.window.start_s)
                self.before.append((start, engine.transcriber._before(item, timestamps)))
                differs = self.differs[start](item, temperature) if start in self.differs else {}
                item.said = replace(Decoded(self.said(start), -0.2, 0.0, None), **differs)

        def words(tokens: Sequence[int]) -> str:
            return " ".join(f"w{one}" for one in tokens if one < self.first_time)

        monkeypatch.setattr(engine.transcriber, "_compute", compute)
        monkeypatch.setattr(engine.transcriber, "words", words)

    def at(self, seconds: float) -> int:
        """The timestamp token of a time within a window."""
        return self.first_time + round(seconds / 0.02)

    def said(self, start: int) -> tuple[int, ...]:
        return (self.at(0), 100 + start, 200 + start, self.at(20))

    def hear(self, recordings: int = 1, windows: int = 3, **options: Any) -> list[Work]:
        asks = [Recording(f"{n}.wav", hum(20 * windows, n), **options) for n in range(recordings)]
        cut = [Window(20.0 * n, 20.0 * n + 20) for n in range(windows)]
        items = [replace(item, windows=cut) for item in ready(self.engine, *asks)]
        return self.engine.transcriber.hear(None, [Work(item, one, True) for item in items for one in cut])


Make = Callable[..., Script]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(scribe_previous: str = "on", *, multilingual: bool = False) -> Script:
        held = whisper(tmp_path, multilingual=multilingual)
        return Script(scribe(held, scribe_previous=scribe_previous, **OFF), monkeypatch)

    return make


def test_each_window_is_decoded_after_the_text_of_the_one_before(script: Make) -> None:
    model = script()
    model.hear()
    assert model.before == [(0, ()), (20, model.said(0)), (40, model.said(20))]


def test_off_no_window_has_a_text_before_it_and_all_run_at_once(script: Make) -> None:
    model = script("off")
    model.hear()
    assert model.before == [(0, ()), (20, ()), (40, ())]
    assert model.batches == [3]


def test_recordings_are_decoded_side_by_side_and_each_after_its_own_text(script: Make) -> None:
    model = script()
    work = model.hear(recordings=2)
    assert model.batches == [2, 2, 2]
    assert [(item.sound, item.window.start_s) for item in work] == [
        (sound, start) for sound in (work[0].sound, work[3].sound) for start in (0.0, 20.0, 40.0)
    ]


def test_the_prompt_precedes_the_first_window_and_its_text_the_second(script: Make) -> None:
    model = script()
    model.hear(prompt="Shabata")
    (_, prompt), *others = model.before
    assert prompt
    assert others == [(20, model.said(0)), (40, model.said(20))]


@pytest.mark.parametrize(
    "differs",
    [
        lambda _, temperature: {} if temperature > 0.5 else {"avg_logprob": -2.0},
        lambda *_: {"avg_logprob": -2.0},
        lambda *_: {"no_speech_prob": 1.1},
        lambda *_: {"tokens": ()},
    ],
    ids=["sampled warm", "failed", "silent", "empty"],
)
def test_after_a_text_that_may_be_wrong_a_window_is_decoded_alone(script: Make, differs: Any) -> None:
    model = script()
    model.differs[20] = differs
    model.hear()
    assert {before for start, before in model.before if start == 40} == {()}


def test_a_text_that_was_sampled_cool_is_given(script: Make) -> None:
    model = script()
    model.differs[20] = lambda _, temperature: {} if temperature > 0 else {"avg_logprob": -2.0}
    model.hear()
    assert model.before[-1] == (40, model.said(20))


def test_a_window_that_fails_after_a_text_is_decoded_without_it_before_it_is_sampled(script: Make) -> None:
    model = script()
    model.differs[20] = lambda item, _: {"avg_logprob": -2.0} if item.before else {}
    [_, item, _] = model.hear()
    assert model.before[1:3] == [(20, model.said(0)), (20, ())]
    assert (item.heard.avg_logprob, item.temperature) == (-0.2, 0.0)


def test_a_window_in_another_language_is_decoded_without_the_text_before_it(script: Make) -> None:
    model = script(multilingual=True)
    codes = list(model.engine.specials.languages)
    for start, code in ((0, "en"), (20, "de"), (40, "de")):
        sure = tuple(0.0 if one == code else -9.0 for one in codes)
        model.differs[start] = lambda *_, code=code, sure=sure: {"language": code, "language_logprobs": sure}
    model.hear()
    assert model.before == [(0, ()), (20, model.said(0)), (20, ()), (40, model.said(20))]


def test_a_window_that_is_unsure_of_its_language_takes_that_of_the_windows_before_and_keeps_their_text(
    script: Make,
) -> None:
    model = script(multilingual=True)
    codes = list(model.engine.specials.languages)

    def detected(item: Work, found: str, surely: bool) -> dict[str, Any]:
        logprobs = tuple(0.0 if one == found else -9.0 if surely else -0.5 for one in codes)
        return {"language": item.language or found, "language_logprobs": logprobs}

    model.differs |= {start: lambda item, _: detected(item, "en", surely=True) for start in (0, 40)}
    model.differs[20] = lambda item, _: detected(item, "de", surely=False)
    work = model.hear()
    assert [item.heard.language for item in work] == ["en", "en", "en"]
    assert model.before == [(0, ()), (20, model.said(0)), (20, model.said(0)), (40, model.said(20))]


@pytest.mark.parametrize("text", ["(applause)", "Thank you."])
def test_a_text_that_only_names_a_sound_or_is_often_invented_is_not_given(
    script: Make, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    model = script()
    monkeypatch.setattr(model.engine.transcriber, "words", lambda tokens: text)
    model.hear()
    assert model.before == [(0, ()), (20, ()), (40, ())]


def test_a_prompt_and_a_text_of_equal_length_share_no_batch_because_the_prompt_gets_timestamps(script: Make) -> None:
    model = script()
    [asked, plain] = ready(
        model.engine, Recording("a.wav", hum(40), prompt="Shabata"), Recording("b.wav", hum(40, 1))
    )  # fmt: skip
    carried = Text(tuple(range(len(asked.previous))), "", None)
    work = [Work(asked, asked.windows[0], True), Work(plain, plain.windows[-1], True, before=carried)]
    model.engine.transcriber._batches(None, work, None)
    assert model.batches == [1, 1]


def test_what_is_left_of_a_window_is_decoded_after_what_was_heard_of_it(script: Make) -> None:
    model = script()
    part = (model.at(0), 7, model.at(10), model.at(10))
    model.differs[0] = lambda *_: {"tokens": part}
    model.differs[10] = lambda *_: {"tokens": (model.at(0), 8, model.at(10))}
    model.hear(windows=2)
    assert model.before == [(0, ()), (10, part[:3]), (20, (model.at(0), 8, model.at(10)))]


def test_a_vocabulary_and_a_short_recording_have_no_text_of_a_window_before(tmp_path: Path) -> None:
    engine = scribe(whisper(tmp_path, multilingual=False), scribe_previous="on", **OFF)
    phrases = Vocabulary(phrases=("yes", "no"))
    asks = [Recording("a.wav", hum(65)), Recording("b.wav", hum(65), vocabulary=phrases), Recording("c.wav", hum(2))]
    assert [item.carried for item in ready(engine, *asks)] == [31, 0, 0]


def test_recordings_that_share_batches_have_the_text_that_each_has_alone(tmp_path: Path) -> None:
    engine = scribe(whisper(tmp_path, multilingual=True), scribe_previous="on", **OFF)
    prompts = [None, "an Apple, and one more thing", None]
    asks = [Recording(f"{n}.wav", hum(65 - 20 * n, n), prompt=prompt) for n, prompt in enumerate(prompts)]
    items = ready(engine, *asks)
    assert engine.run(items) == [engine.run([item])[0] for item in items]
