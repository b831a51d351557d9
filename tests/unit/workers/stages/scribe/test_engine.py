"""The Scribe's engine: answers that need no model, order of answers, and errors."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golem_chain.shared.errors import BadAudio, LanguageRefused, ModelCorrupt
from golem_chain.shared.records import Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.scribe import guards, transcribe
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.stages.scribe.judging import Judge
from golem_chain.workers.stages.scribe.transcribe import Transcriber, Work
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded, decode_tokens
from tests.support.sounds import hum, wav
from tests.support.whisper_models import OFF, HeldWhisper, ready, scribe, whisper


def judge(engine: Scribe) -> Judge:
    return Judge(engine.transcriber, engine.settings, engine.model)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], HeldWhisper]:
    folder = tmp_path_factory.mktemp("whisper")
    made = {kind: whisper(folder / str(kind), multilingual=kind) for kind in (False, True)}
    return made.__getitem__


@pytest.mark.parametrize(
    ("sound", "guard"),
    [
        (np.zeros(0), "level"),
        (np.zeros(31 * 16_000), "level"),
        (0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000), "vad"),
        (np.random.default_rng(3).normal(0, 0.02, 48_000), "vad"),
    ],
)
def test_silence_is_answered_without_the_model(held: Any, sound: np.ndarray, guard: str) -> None:
    engine = Scribe(held(False), Settings.read(_env_file=None))
    answer = engine.prepare(Recording("quiet.wav", wav(sound)))
    assert answer == Transcript(duration_s=round(len(sound) / 16_000, 3), guards=(guard,))


def test_garbage_is_refused_before_the_model(held: Any) -> None:
    with pytest.raises(BadAudio, match=r"page\.mp3"):
        scribe(held(False)).prepare(Recording("page.mp3", b"<html>"))


@pytest.mark.parametrize(("language", "task"), [("de", "transcribe"), ("en", "translate"), (None, "translate")])
def test_an_english_only_checkpoint_refuses_and_names_a_multilingual_one(
    held: Any, language: str | None, task: Any
) -> None:
    with pytest.raises(LanguageRefused, match=r"GOLEM_SCRIBE_MODEL.*openai/whisper-tiny"):
        scribe(held(False)).prepare(Recording("a.wav", hum(1), language, task))


def test_a_multilingual_checkpoint_refuses_only_what_it_does_not_know(held: Any) -> None:
    engine = scribe(held(True), **OFF)
    assert isinstance(engine.prepare(Recording("a.wav", hum(1), "ru", "translate")), Ready)
    with pytest.raises(LanguageRefused, match="'xx'"):
        engine.prepare(Recording("a.wav", hum(1), "xx"))


@pytest.mark.parametrize("kind", [False, True])
def test_a_batch_answers_in_order_what_each_alone_would_answer(held: Any, kind: bool) -> None:
    engine = scribe(held(kind), **OFF)
    items = ready(engine, *(Recording(f"{n}.wav", hum(1 + n, n)) for n in range(4)), Recording("long.wav", hum(40)))
    together = engine.run(items)
    alone = [engine.run([item])[0] for item in items]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert [answer.duration_s for answer in together] == [1, 2, 3, 4, 40]


def test_a_transcript_says_where_and_how_sure(held: Any) -> None:
    engine = scribe(held(True), **OFF)
    (answer,) = engine.run(ready(engine, Recording("a.wav", hum(2), "ru")))
    if answer.text:
        assert answer.language == "ru"
        assert answer.text == " ".join(segment.text for segment in answer.segments)
        assert all(0 <= s.start_s <= s.end_s <= 2 and s.avg_logprob < 0 < s.no_speech_prob for s in answer.segments)
    else:
        assert answer.guards
    assert answer.speech_s == 2


def test_a_guard_that_fires_is_named_and_takes_the_text(held: Any) -> None:
    engine = scribe(held(False), vad_threshold=0, no_speech_threshold=0)
    (answer,) = engine.run(ready(engine, Recording("a.wav", hum(2))))
    assert (answer.text, answer.segments, answer.language) == ("", (), None)
    assert answer.guards == ("no_speech",)


def test_a_loop_is_heard_once_more_in_the_other_mode(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scribe(held(False), **OFF)
    modes: list[bool] = []
    hear = engine.transcriber.hear

    def watched(model: Any, work: Any, meter: Any = None) -> Any:
        modes.extend(item.timestamps for item in work)
        return hear(model, work, meter)

    monkeypatch.setattr(engine.transcriber, "hear", watched)
    monkeypatch.setattr(guards, "is_annotation", lambda text: False)
    monkeypatch.setattr(guards, "loops", lambda text, tokens, voiced_s, full: True)
    (answer,) = engine.run(ready(engine, Recording("a.wav", hum(2))))
    assert modes == [False, True]
    assert answer.guards == ("loop",)
    assert not answer.text


@pytest.mark.parametrize(("likelier", "kept"), [(True, "again"), (False, "first")])
def test_a_text_too_fast_to_be_said_stays_unless_the_other_mode_has_a_likelier_one(
    held: Any, monkeypatch: pytest.MonkeyPatch, likelier: bool, kept: str
) -> None:
    engine = scribe(held(False), **OFF)
    first = "".join(chr(ord("a") + n * n % 26) for n in range(200)) + " first"  # 200 letters in 2 s, without timestamps
    texts = {False: first, True: "again"}

    def hear(model: Any, work: Any, meter: Any = None) -> Any:
        for item in work:
            item.said = Decoded((1, 2), -0.1 if item.timestamps is likelier else -0.5, 0.0, None)
            item.text = texts[item.timestamps]
        return work

    monkeypatch.setattr(engine.transcriber, "hear", hear)
    monkeypatch.setattr(engine.transcriber, "doubts", lambda item: not item.timestamps)
    (sound,) = ready(engine, Recording("a.wav", hum(2)))
    (item,) = [
        one for first in hear(None, [Work(sound, sound.windows[0], False)]) for one in judge(engine).guarded(first)
    ]
    assert item.text.endswith(kept)
    assert not item.guards


def test_a_text_that_repeats_a_sentence_in_the_time_it_takes_is_not_decoded_again(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = scribe(held(False), **OFF)
    (sound,) = ready(engine, Recording("a.wav", hum(24)))
    item = Work(sound, sound.windows[0], False, said=Decoded((1,) * 80, -0.1, 0.0, None))
    item.text = "Advertising gives a wrong impression of it. " * 6
    monkeypatch.setattr(engine.transcriber, "words", lambda tokens: item.text)
    monkeypatch.setattr(engine.transcriber, "hear", None)
    assert engine.transcriber.doubts(item)
    assert judge(engine).guarded(item) == [item]
    assert not item.guards


def test_weights_come_and_go_but_the_tokenizer_stays(held: Any) -> None:
    engine = scribe(held(False))
    assert engine.weights_bytes > 0
    engine.unload()
    engine.unload()
    assert engine.model is None
    assert isinstance(engine.prepare(Recording("a.wav", wav(np.zeros(16_000)))), Transcript)


def test_a_folder_without_its_files_is_a_corrupt_model(tmp_path: Path) -> None:
    broken = whisper(tmp_path, multilingual=False)
    (tmp_path / "generation_config.json").unlink()
    with pytest.raises(ModelCorrupt, match="golem models pull"):
        Scribe(broken, Settings.read(_env_file=None))


def test_working_memory_grows_with_the_batch_up_to_the_windows_at_once(held: Any) -> None:
    engine = scribe(held(False))
    assert engine.working_bytes(1) < engine.working_bytes(8) == engine.working_bytes(80)


def test_working_memory_grows_with_the_beams(held: Any) -> None:
    sizes = [scribe(held(False), scribe_beam=beams).working_bytes(8) for beams in (1, 5, 10)]
    assert sizes == sorted(set(sizes))
    assert scribe(held(False)).working_bytes(8) == sizes[1]


@pytest.mark.parametrize(
    ("asked", "phrases", "beams"), [("auto", (), 5), (3, (), 3), (1, (), 1), (3, ("yes", "no"), 1)]
)
def test_the_setting_tells_the_beams_but_a_vocabulary_is_heard_greedily(
    held: Any, monkeypatch: pytest.MonkeyPatch, asked: Any, phrases: tuple[str, ...], beams: int
) -> None:
    engine, used = scribe(held(False), scribe_beam=asked, **OFF), []

    def watched(*args: Any, **options: Any) -> Any:
        used.append(options["beams"])
        return decode_tokens(*args, **options)

    monkeypatch.setattr(transcribe, "decode_tokens", watched)
    monkeypatch.setattr(guards, "may_be_invented", lambda *_: False)  # a random model doubts all that it says
    vocabulary = Vocabulary(phrases=phrases) if phrases else None
    engine.run(ready(engine, Recording("a.wav", hum(2), vocabulary=vocabulary)))
    assert {*used} == {beams}


def test_what_was_kept_of_a_recording_is_of_one_beam_size(held: Any) -> None:
    recording = Recording("a.wav", hum(2))
    versions = {scribe(held(False), scribe_beam=beams)._version(recording) for beams in (1, 5, "auto")}
    assert len(versions) == 2, "auto and 5 are the same search"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(tmp_path: Path, dtype: torch.dtype) -> None:
    engine = scribe(whisper(tmp_path, multilingual=False, dtype=dtype), **OFF)
    (answer,) = engine.run(ready(engine, Recording("a.wav", hum(1))))
    assert answer.text or answer.guards


@pytest.mark.parametrize("poisoned", ["model.encoder.conv1.bias", "model.decoder.layers.0.fc2.bias"])
@pytest.mark.parametrize(
    ("dtype", "remedy"), [(torch.float32, "models verify"), (torch.float16, "GOLEM_DTYPE=float32")]
)
def test_logits_that_are_not_numbers_are_an_error_and_not_silence(
    tmp_path: Path, poisoned: str, dtype: torch.dtype, remedy: str
) -> None:
    engine = scribe(whisper(tmp_path, multilingual=False, dtype=dtype), **OFF)
    engine.model.get_parameter(poisoned).data[0] = math.nan
    answers = engine.run(ready(engine, Recording("a.wav", hum(1))) * 2)
    for answer in answers:
        assert isinstance(answer, ModelCorrupt)
        assert remedy in answer.message
        assert str(dtype).removeprefix("torch.") in answer.message


def test_a_recording_that_overflows_harms_no_other(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scribe(held(False), **OFF)
    items = [ready(engine, Recording("a.wav", hum(seconds)))[0] for seconds in (1, 2, 3)]
    plain = engine.transcriber.hear

    def hear(model: Any, work: Any, meter: Any = None) -> Any:
        if any(one.sound.samples is items[1].samples for one in work):
            raise NotFinite
        return plain(model, work, meter)

    monkeypatch.setattr(engine.transcriber, "hear", hear)
    assert [type(answer) for answer in engine.run(items)] == [Transcript, ModelCorrupt, Transcript]


def test_clips_cost_about_the_same_and_long_recordings_by_their_length(held: Any) -> None:
    engine = scribe(held(False))
    two, eight, minutes = (engine.cost(Recording("a.wav", hum(seconds))) for seconds in (2, 8, 120))
    assert two < eight < 2 * two, "they share a group, since the encoder computes 30 s for both"
    assert minutes > 10 * two
    assert engine.cost(Recording("page.mp3", b"<html>")) < 2 * two


def test_a_recording_tells_its_length_as_soon_as_it_is_decoded(held: Any) -> None:
    signs: list[float | None] = []
    found = scribe(held(False), **OFF).prepare(Recording("a.wav", hum(5), alive=signs.append))
    assert signs == [None, 5.0]
    assert isinstance(found, Ready)
    assert found.audio_s == 5.0


def test_a_long_recording_can_be_interrupted_between_blocks_of_its_voice_detection(held: Any) -> None:
    class Interrupted(BaseException):
        pass

    signs: list[float | None] = []

    def alive(audio_s: float | None) -> None:
        signs.append(audio_s)
        if signs.count(150.0) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        scribe(held(False)).prepare(Recording("a.wav", hum(150), alive=alive))
    assert signs[-2:] == [150.0, 150.0], "once decoded, and after the first 65 s of voice detection"


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_long_recording_counts_its_windows_and_runs_as_many_at_once_as_it_is_told(
    held: Any, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    engine = scribe(held(False), **OFF)
    long, short = ready(engine, Recording("long.wav", hum(140)), Recording("short.wav", hum(2)))
    assert engine.size([short]) == 1
    assert engine.size([long]) == len(long.windows) > 3
    assert engine.size([long] * 9) == engine.size([short] * 9) == 8
    sizes: list[int] = []

    def computed(self: Any, model: Any, work: Any, *rest: Any) -> None:
        sizes.append(len(work))
        for item in work:
            item.said = Decoded((5,), -0.1, 0.0, None)

    monkeypatch.setattr(Transcriber, "_compute", computed)
    engine.at_once = at_once
    engine.run([long])
    assert max(sizes) == at_once
    assert sum(sizes) >= len(long.windows)
