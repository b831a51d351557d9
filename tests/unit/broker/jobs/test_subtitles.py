"""Outcomes as text and subtitles."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.jobs import subtitles
from golem_chain.shared.records import Outcome, Segment, Transcript, Word


def segment(start_s, end_s, text, words=()):
    return Segment(
        start_s=start_s, end_s=end_s, text=text, avg_logprob=-0.2, no_speech_prob=0.1, compression_ratio=1, words=words
    )


def outcome(*segments, name="clip.wav", state="done", **more):
    text = " ".join(one.text for one in segments)
    return Outcome(job=name, name=name, state=state, transcript=Transcript(text=text, segments=segments), **more)


TWO = outcome(segment(0.5, 2.25, "Turn on the lights."), segment(3723.4, 3725, "Now & then, 3 < 4 --> yes."))


def test_txt_is_the_words_and_nothing_else():
    assert subtitles.render(TWO, "txt") == "Turn on the lights.\nNow & then, 3 < 4 --> yes.\n"


def test_srt_counts_its_cues_and_passes_the_hour():
    assert subtitles.render(TWO, "srt") == (
        "1\n00:00:00,500 --> 00:00:02,250\nTurn on the lights.\n\n"
        "2\n01:02:03,400 --> 01:02:05,000\nNow & then, 3 < 4 -> yes.\n\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert subtitles.render(TWO, "vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nTurn on the lights.\n\n"
        "01:02:03.400 --> 01:02:05.000\nNow &amp; then, 3 &lt; 4 --&gt; yes.\n"
    )


def test_tsv_is_in_milliseconds_on_one_line_each():
    rows = subtitles.render(outcome(segment(0.5, 2.25, "a\tb\nc")), "tsv").splitlines()
    assert rows == ["start\tend\ttext", "500\t2250\ta b c"]


def test_json_is_the_whole_outcome():
    assert Outcome.model_validate(json.loads(subtitles.render(TWO, "json"))) == TWO


@pytest.mark.parametrize("form", subtitles.FORMATS)
@pytest.mark.parametrize("quiet", [outcome(), Outcome(job="a", name="a", state="done")])
def test_silence_gives_a_file_without_words(quiet, form):
    text = subtitles.render(quiet, form)
    assert text == {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}.get(form, text)


def test_every_word_of_a_vtt_cue_carries_its_time():
    words = tuple(
        Word(word=w, start_s=s, end_s=s + 0.4, prob=1) for w, s in (("Turn", 0.5), ("it", 1.0), ("<off>", 1.5))
    )
    text = subtitles.render(outcome(segment(0.5, 1.9, "Turn it <off>", words)), "vtt")
    assert "\nTurn <00:00:01.000>it <00:00:01.500>&lt;off&gt;\n" in text


def test_a_long_segment_becomes_cues_of_two_lines_at_the_times_of_its_words():
    said = [f"word{n}" for n in range(40)]
    words = tuple(Word(word=w, start_s=n, end_s=n + 0.5, prob=1) for n, w in enumerate(said))
    found = list(subtitles.cues([segment(0, 39.5, " ".join(said), words)]))
    assert [word for cue in found for line in cue.lines for word in line.split()] == said
    for cue in found:
        assert len(cue.lines) <= 2
        first, last = cue.lines[0].split()[0], cue.lines[-1].split()[-1]
        assert (cue.start_s, cue.end_s) == (said.index(first), said.index(last) + 0.5)


@given(st.lists(st.text("ab -\n", min_size=1, max_size=200), max_size=4))
def test_cues_keep_every_word_in_order_and_time_never_runs_back(texts):
    segments = [segment(10 * n, 10 * n + 9, text) for n, text in enumerate(texts)]
    found = list(subtitles.cues(segments))
    assert " ".join(line for cue in found for line in cue.lines).split() == " ".join(texts).split()
    assert all(cue.start_s < cue.end_s and max(map(len, cue.lines)) <= 42 for cue in found)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(found))


def test_a_text_that_was_given_is_its_own_transcript():
    asked = Outcome(job="j", name="text", state="done", transcript=Transcript(text="turn it on"))
    assert subtitles.render(asked, "txt") == "turn it on\n"
