"""The endpointer: where utterances begin and end, whatever the detector says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.listening.endpoint import FRAME_S, Began, Bounds, Ended, Endpointer, Paused, Resumed

VOICE, QUIET = 0.9, 0.05
chances = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([VOICE, QUIET])).flatmap(
        lambda chance: st.integers(1, 60).map(lambda n: [chance] * n)
    ),
    max_size=60,
).map(lambda runs: [chance for run in runs for chance in run])


def frames(seconds):
    return round(seconds / FRAME_S)


def events(chances, bounds=None):
    """Return (frame, event) for each event, and those at the end of the stream."""
    endpointer = Endpointer(bounds)
    found = [(n, event) for n, chance in enumerate(chances, 1) for event in endpointer.feed(chance)]
    return found + [(len(chances), event) for event in endpointer.finish()]


def test_an_utterance_begins_before_its_voice_and_ends_early_in_the_silence():
    said = [QUIET] * 40 + [VOICE] * 50 + [QUIET] * 40
    [(_, began), (paused_at, paused), (ended_at, ended)] = events(said)
    assert began == Began(40 - frames(0.3))
    assert paused == Paused(90 + frames(0.16))
    assert paused_at == paused.at
    assert ended == Ended(paused.at)
    assert ended_at == 90 + frames(0.5)


def test_voice_after_a_short_pause_goes_on_with_the_utterance():
    said = [VOICE] * 30 + [QUIET] * 10 + [VOICE] * 30 + [QUIET] * 20
    kinds = [type(event) for _, event in events(said)]
    assert kinds == [Began, Paused, Resumed, Paused, Ended]


@pytest.mark.parametrize("voiced", [1, 2])
def test_a_click_is_no_utterance(voiced):
    assert events([QUIET] * 30 + [VOICE] * voiced + [QUIET] * 30) == []


def test_doubtful_frames_do_not_end_an_utterance_and_do_not_begin_one():
    assert events([0.4] * 100) == []
    assert [type(event) for _, event in events([VOICE] * 10 + [0.4] * 50)] == [Began, Ended]


def test_what_ends_with_the_stream_is_kept():
    assert [event for _, event in events([VOICE] * 20)] == [Began(0), Ended(20)]


def test_a_long_utterance_ends_at_a_short_pause():
    said = [VOICE] * frames(21) + [QUIET] * frames(0.2) + [VOICE] * 50
    assert [type(event) for _, event in events(said)] == [Began, Paused, Ended, Began, Ended]


def test_speech_without_a_pause_is_cut_where_it_sounds_least_like_speech():
    said = [VOICE] * frames(27) + [0.5] + [VOICE] * frames(10)
    found = [event for _, event in events(said)]
    cut = frames(27) + 1
    assert found == [Began(0), Ended(cut), Began(cut), Ended(len(said))]


@given(chances, st.sampled_from([0.2, 0.5, 1.0]))
def test_utterances_are_in_order_within_the_stream_and_never_too_long(chances, pause_s):
    bounds = Bounds(pause_s=pause_s)
    free, start, paused = 0, None, None
    for seen, event in events(chances, bounds):
        match event:
            case Began(at):
                assert start is None
                assert free <= at < seen
                start = at
            case Paused(at):
                assert start is not None
                assert paused is None
                assert at == seen
                paused = at
            case Resumed():
                assert paused is not None
                paused = None
            case Ended(at):
                assert start is not None
                assert start < at <= seen
                assert paused in (None, at)
                assert (at - start) * FRAME_S <= bounds.most_s + 0.001
                free, start, paused = at, None, None
    assert start is None


@given(chances)
def test_every_frame_of_lasting_voice_belongs_to_an_utterance(chances):
    covered, start = set(), 0
    for _, event in events(chances):
        if isinstance(event, Began):
            start = event.at
        elif isinstance(event, Ended):
            covered |= set(range(start, event.at))
    voiced = 0
    for n, chance in enumerate([*chances, QUIET]):
        if chance < 0.5:
            if voiced >= frames(0.096):
                assert covered >= set(range(n - voiced, n))
            voiced = 0
        else:
            voiced += 1
