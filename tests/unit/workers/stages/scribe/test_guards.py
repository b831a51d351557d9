"""The Scribe's guards, as tables of cases."""

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.audio.speech import Span
from tests.support.paragraphs import FAST_S, PARAGRAPHS


def frames(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("peak", "silent"), [(0.0, True), (3 / 32768, True), (5 / 32768, False), (0.006, False), (1.0, False)]
)
def test_only_what_no_recorder_could_mean_is_silence(peak: float, silent: bool) -> None:
    assert speech.is_silent(peak) is silent


@pytest.mark.parametrize(("loudness", "gain"), [(0.0, 1), (1.0, 1), (0.5, 1), (0.25, 2), (0.005, 100), (0.0001, 100)])
def test_a_quiet_recording_is_lifted_by_40_db_at_most(loudness: float, gain: float) -> None:
    assert speech.gain(loudness) == pytest.approx(gain)


def test_no_sample_is_lifted_beyond_full_scale() -> None:
    quiet = np.array([0.001, -0.5, 0.0], np.float32)
    assert speech.amplified(quiet, 10.0).tolist() == pytest.approx([0.01, -1.0, 0.0])
    assert speech.amplified(3 * quiet, 1.0).tolist() == (3 * quiet).tolist(), "without a gain nothing changes"


def test_a_short_pause_does_not_end_a_span() -> None:
    gap = [0.0] * 9  # 0.288 s
    assert len(speech.voiced(frames(0.9, *gap, 0.9), 0.5)) == 1
    assert len(speech.voiced(frames(0.9, *gap, 0.0, 0.9), 0.5)) == 2


def test_spans_stand_where_the_voiced_frames_are() -> None:
    (span,) = speech.voiced(frames(0.1, 0.6, 0.7, 0.1), 0.5)
    assert (span.start_s, span.end_s) == pytest.approx((0.032, 0.096))


@pytest.mark.parametrize(
    ("best", "spans", "shift"), [(0.7, 1, 0.0), (0.5, 1, 0.0), (0.49, 1, -0.1), (0.43, 1, -0.1), (0.2, 0, -0.1)]
)
def test_a_voice_near_the_threshold_is_doubtful_and_none_far_below_it(best: float, spans: int, shift: float) -> None:
    found, limit = speech.voice(frames(0.01, best, 0.02), 0.5)
    assert (len(found), limit) == (spans, shift)


def test_a_long_clear_voice_is_believed_more_easily() -> None:
    assert speech.voice(frames(*[0.9] * 8), 0.5)[1] == speech.SURE_LIMIT
    assert speech.voice(frames(*[0.9] * 4), 0.5)[1] == pytest.approx(speech.SURE_LIMIT * 0.128 / 0.25)


@pytest.mark.parametrize(("loudness", "gain"), [(1.0, 1), (0.3, 1), (0.15, 1), (0.1, 5.0), (0.001, 100), (0.0, 1)])
def test_the_model_hears_only_very_quiet_recordings_lifted(loudness: float, gain: float) -> None:
    assert speech.model_gain(loudness) == pytest.approx(gain)


def test_voice_between_two_times_counts_the_overlap() -> None:
    spans = [Span(1.0, 2.0), Span(3.0, 5.0)]
    assert speech.voiced_between(spans, 1.5, 4.0) == pytest.approx(1.5)
    assert speech.speech_s(spans) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("text", "tokens", "voiced_s", "loop"),
    [
        ("What's the weather like?", 6, 1.0, False),
        ("Stop, stop, stop, stop, stop.", 10, 2.0, False),  # urgent speech
        ("no no no no no no", 7, 0.3, False),
        ("one one one one one one one one one one", 11, 3.0, False),  # counting
        ("straight straight straight straight straight straight", 7, 1.6, False),
        ("My number is 555 555 5555, I repeat, 555 555 5555.", 24, 6.0, False),
        ("ja ja ja ja ja ja", 7, 0.6, False),  # laughter, or agreement
        ("test, one two three, " * 8, 56, 20.0, False),
        ("no, no, no, no, I said that we should never have gone there", 18, 3.0, False),
        ("stop stop stop stop stop stop stop stop stop stop stop", 12, 0.3, True),
        ("10 of clubs 10 of clubs 10 of clubs 10 of clubs 10 of clubs", 16, 1.0, True),
        ("and then he said " * 30, 120, 15.0, True),
        ("I will see you in the next video, goodbye. " * 3, 36, 3.0, True),  # a sentence
        ("I will see you in the next video, goodbye. " * 3, 36, 9.0, False),  # for which there was time
        ("the quick brown fox jumps over the lazy dog and runs away", 40, 0.1, False),  # fast, but no repeat
        ("", 0, 0.0, False),
    ],
)
def test_a_loop_is_told_from_somebody_who_repeats_himself(text: str, tokens: int, voiced_s: float, loop: bool) -> None:
    assert guards.loops(text, tokens, voiced_s) is loop


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_fast_speech_is_no_loop_in_any_script(language: str) -> None:
    text = PARAGRAPHS[language]
    tokens = len(text.encode())  # Whisper never has more
    assert not guards.loops(text, tokens, FAST_S)
    assert not guards.loops(text, tokens, FAST_S, full=True)
    assert not guards.is_suspicious(text, tokens, FAST_S), "nor is it decoded again"


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_phrase_said_eight_times_too_fast_is_a_loop_in_any_script(language: str) -> None:
    phrase = PARAGRAPHS[language][: len(PARAGRAPHS[language]) // 6]
    looping, tokens = " ".join([phrase] * 8), 12 * 8
    assert guards.loops(looping, tokens, FAST_S / 6)
    assert guards.loops("".join([phrase] * 8), tokens, FAST_S / 6), "without spaces"
    assert guards.is_suspicious(looping, tokens, FAST_S / 6)
    assert not guards.loops(looping, tokens, FAST_S * 1.25 * 8 / 6), "in a chant it is none"


def test_a_repeat_that_never_ended_is_a_loop_however_much_voice_there_is() -> None:
    assert guards.loops("so " * 200, 200, 29.0, full=True)
    assert not guards.loops("so " * 200, 200, 29.0)
    assert not guards.loops("no no no no, " + PARAGRAPHS["en"], 224, 29.0, full=True), "it is but a part of the text"


@pytest.mark.models
@pytest.mark.parametrize("language", PARAGRAPHS)
def test_fast_speech_is_no_loop_with_the_tokens_of_whisper(language: str, multilingual_tokens: Any) -> None:
    text = PARAGRAPHS[language]
    assert not guards.loops(text, multilingual_tokens(text), FAST_S)
    phrase = text[: len(text) // 6]
    assert guards.loops(" ".join([phrase] * 8), multilingual_tokens(" ".join([phrase] * 8)), FAST_S / 6)


@pytest.fixture(scope="module")
def multilingual_tokens() -> Any:
    """Counts the tokens of a text in the multilingual profile's Scribe; skips if the store lacks it."""
    from golem_chain.shared.errors import GolemError
    from golem_chain.shared.settings import Settings
    from golem_chain.workers.stages.tokenizer import load_tokenizer
    from golem_chain.workers.store.manifest import find

    try:
        folder = find(Settings.read(_env_file=None, models="multilingual"), "scribe").folder
    except GolemError as exc:
        pytest.skip(f"{exc.message} (GOLEM_MODELS=multilingual)")
    tokenizer = load_tokenizer(folder)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("(applause)", True),
        ("[Music]", True),
        ("♪ ♪", True),
        ("[ Silence ] ...", True),
        ("Thank you.", False),
        ("(laughs) Come in.", False),
        ("♪ la la la ♪", True),
        ("♪ la la la", False),
        ("", False),
        (" ", False),
    ],
)
def test_only_a_text_that_is_all_annotation_is_rejected(text: str, annotation: bool) -> None:
    assert guards.is_annotation(text) is annotation


@given(st.text(alphabet="[]()♪.a ", max_size=12))
def test_every_reading_of_the_notes_is_tried(text: str) -> None:
    grammar = re.compile(r"(?:[\[(*♪♫{<][^\])*♪♫}>]*[\])*♪♫}>]|[\s.,!?…♪♫-])+")
    assert guards.is_annotation(text) is (bool(text.strip()) and grammar.fullmatch(text) is not None)


def test_hostile_text_is_judged_in_linear_time() -> None:
    """In a process of its own, since a regular expression cannot be stopped; the old one took years for 60 notes."""
    judged = """
from golem_chain.workers.stages.scribe import guards
for text in ("♪" * 100_000 + " x", "♪ " * 50_000 + "love", "(" * 100_000 + " x", "♪)" * 50_000 + "x"):
    assert not guards.is_annotation(text)
"""
    subprocess.run([sys.executable, "-c", judged], check=True, timeout=120)


def test_the_compression_ratio_is_bytes_by_compressed_bytes() -> None:
    assert guards.compression_ratio("") == 0.0
    assert guards.compression_ratio("hello") < 1
    assert guards.compression_ratio("hello " * 50) > 10


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        (" What's  the\nweather ", "What's the weather"),
        ("so\ufffd", "so"),
        ("a\u00a0b\u200bc\x00d", "a bcd"),
        (" \t", ""),
    ],
)
def test_the_text_is_one_line_without_empty_characters(raw: str, tidy: str) -> None:
    assert guards.tidy(raw) == tidy
