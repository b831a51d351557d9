"""Windows: where a long recording is cut, and where transcription continues."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.audio.speech import FRAME_S, Span
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, Window, cut, rest
from golem_chain.workers.stages.scribe.whisper import timestamps

ZERO = 1000  # the token <|0.00|>


def at(seconds: float) -> int:
    """Return the timestamp token of a time."""
    return ZERO + round(seconds / 0.02)


@st.composite
def recordings(draw: st.DrawFn) -> np.ndarray:
    """Frame probabilities of speech and pauses, up to five minutes."""
    runs = draw(
        st.lists(st.tuples(st.integers(1, 1500), st.integers(1, 300), st.integers(0, 4)), min_size=1, max_size=8)
    )
    parts = []
    for talk, pause, dips in runs:
        part = np.full(talk, 0.9, np.float32)
        part[draw(st.lists(st.integers(0, talk - 1), min_size=dips, max_size=dips))] = 0.1
        parts += [part, np.zeros(pause, np.float32)]
    return np.concatenate(parts)


@settings(max_examples=150, deadline=None)
@given(recordings())
def test_windows_hold_every_voiced_frame_exactly_once(chances: np.ndarray) -> None:
    duration = len(chances) * FRAME_S
    spans = speech.voiced(chances, 0.5)
    windows = cut(spans, chances, duration)
    middles = (np.flatnonzero(chances >= 0.5) + 0.5) * FRAME_S
    inside = sum(((middles > w.start_s - 1e-9) & (middles < w.end_s + 1e-9)).astype(int) for w in windows)
    assert (np.asarray(inside) == 1).all()
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(windows))
    assert all(0 <= w.start_s < w.end_s <= duration + 1e-9 for w in windows)


@settings(max_examples=100, deadline=None)
@given(recordings())
def test_no_cut_goes_through_a_voiced_frame(chances: np.ndarray) -> None:
    windows = cut(speech.voiced(chances, 0.5), chances, len(chances) * FRAME_S)
    for window in windows[1:]:
        frame = window.start_s / FRAME_S
        assert chances[min(int(frame), len(chances) - 1)] < 0.5 or abs(frame - round(frame)) < 1e-6


def test_a_recording_that_fits_is_one_window_pauses_and_all() -> None:
    assert cut([Span(1, 2), Span(20, 21)], np.zeros(900, np.float32), 28.8) == [Window(0.0, 28.8)]


def test_a_long_recording_is_cut_in_a_pause_as_late_as_possible() -> None:
    spans = [Span(0, 9), Span(10, 19), Span(20, 29), Span(30, 39)]
    windows = cut(spans, np.ones(1300, np.float32), 40.0)
    assert [(w.start_s, w.end_s) for w in windows] == [(0, 29.25), (29.75, 39.25)]


def test_voice_without_a_pause_is_cut_where_it_dips() -> None:
    chances = np.full(1300, 0.9, np.float32)
    chances[800] = 0.1  # 25.6 s
    windows = cut([Span(0, 41.6)], chances, 41.6)
    assert [round(w.end_s, 1) for w in windows] == [25.6, 41.6]


def test_voice_that_never_dips_stays_whole_and_the_model_says_where_to_go_on() -> None:
    spans = [Span(0, 41.6)]
    (whole,) = cut(spans, np.full(1300, 0.9, np.float32), 41.6)
    assert whole.heard_s == WINDOW_S
    assert rest(whole, 27.4, 27.4, spans) == Window(27.4, whole.end_s)
    assert rest(whole, None, None, spans) == Window(30.0, whole.end_s)  # no timestamp: continue after the window


SPANS = [Span(0.5, 10.0), Span(12.0, 20.0)]


@pytest.mark.parametrize(
    ("resume_s", "last_s", "start_s"),
    [
        (11.0, 11.0, 11.0),  # the text stops early, and voice follows
        (19.8, 19.8, None),  # the tail of a word
        (0.0, 0.0, None),  # no progress: would loop forever
        (None, 20.0, None),  # all transcribed
        (None, 11.0, 11.0),  # the model considers itself done but skipped eight seconds
        (None, 19.0, None),
        (None, None, None),
    ],
)
def test_listening_goes_on_only_where_voice_is_left(
    resume_s: float | None, last_s: float | None, start_s: float | None
) -> None:
    found = rest(Window(0.0, 22.0), resume_s, last_s, SPANS)
    assert found == (None if start_s is None else Window(start_s, 22.0))


def test_pairs_of_timestamps_hold_the_pieces() -> None:
    tokens = [at(0), 5, 6, at(2), at(2.5), 7, at(4)]
    found = timestamps.pieces(tokens, ZERO, 10.0)
    assert [(p.start_s, p.end_s, p.tokens) for p in found] == [(0, 2, (5, 6)), (2.5, 4, (7,))]


def test_text_behind_the_last_timestamp_reaches_to_the_end_of_the_window() -> None:
    (piece,) = timestamps.pieces([at(1), 5], ZERO, 10.0)
    assert (piece.start_s, piece.end_s) == (1, 10)


def test_a_time_beyond_the_window_is_its_end() -> None:
    (piece,) = timestamps.pieces([at(0), 5, at(29)], ZERO, 10.0)
    assert piece.end_s == 10


@pytest.mark.parametrize(
    ("tokens", "full", "found"),
    [
        ([at(0), 5, at(2)], False, None),  # a single timestamp at the end: all transcribed
        ([at(0), 5, at(2), at(2)], False, (3, 2.0)),
        ([at(0), 5, at(2), at(2), 6], False, (3, 2.0)),  # text without an end is dropped, and heard again
        ([at(0), 5, at(2), at(2), 6], True, (3, 2.0)),
        ([at(0), 5, at(2), at(2), 6, at(3)], False, None),
        ([at(0), 5, at(2), at(2), 6, at(3)], True, (6, 3.0)),  # stopped by the limit after a whole segment
        ([at(0), 5, 6], True, None),
        ([], False, None),
    ],
)
def test_the_last_pair_of_timestamps_says_where_to_go_on(tokens: list[int], full: bool, found: object) -> None:
    assert timestamps.resume(tokens, ZERO, full) == found


def test_the_last_time_is_not_the_first() -> None:
    assert timestamps.last_time([at(1), 5], ZERO) is None
    assert timestamps.last_time([at(1), 5, at(3), at(3)], ZERO) == pytest.approx(3.0)
