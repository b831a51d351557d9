"""The Scribe's guards, as tables of cases."""

import numpy as np
import pytest

from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.audio.speech import Span


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
        ("stop stop stop stop stop stop stop stop stop stop stop", 12, 0.3, True),
        ("10 of clubs 10 of clubs 10 of clubs 10 of clubs 10 of clubs", 16, 1.0, True),
        ("and then he said " * 30, 120, 20.0, True),  # compression ratio
        ("a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb", 40, 1.0, True),  # speech rate
        ("", 0, 0.0, False),
    ],
)
def test_a_loop_is_told_from_somebody_who_repeats_himself(text: str, tokens: int, voiced_s: float, loop: bool) -> None:
    assert guards.loops(text, tokens, voiced_s) is loop


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("(applause)", True),
        ("[Music]", True),
        ("♪ ♪", True),
        ("[ Silence ] ...", True),
        ("Thank you.", False),
        ("(laughs) Come in.", False),
        ("", False),
    ],
)
def test_only_a_text_that_is_all_annotation_is_rejected(text: str, annotation: bool) -> None:
    assert guards.is_annotation(text) is annotation


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
