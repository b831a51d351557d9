"""Exported files: their contents and their paths."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.cli import export
from golem_chain.broker.cli.export import Files, places
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Failure, Outcome, Segment, Transcript, Word


def segment(start_s, end_s, text, words=()):
    return Segment(
        start_s=start_s, end_s=end_s, text=text, avg_logprob=-0.2, no_speech_prob=0.1, compression_ratio=1, words=words
    )


def outcome(*segments, name="clip.wav", state="done", **more):
    text = " ".join(one.text for one in segments)
    return Outcome(job=name, name=name, state=state, transcript=Transcript(text=text, segments=segments), **more)


TWO = outcome(segment(0.5, 2.25, "Turn on the lights."), segment(3723.4, 3725, "Now & then, 3 < 4 --> yes."))


def test_txt_is_the_words_and_nothing_else():
    assert export.render(TWO, "txt") == "Turn on the lights.\nNow & then, 3 < 4 --> yes.\n"


def test_srt_counts_its_cues_and_passes_the_hour():
    assert export.render(TWO, "srt") == (
        "1\n00:00:00,500 --> 00:00:02,250\nTurn on the lights.\n\n"
        "2\n01:02:03,400 --> 01:02:05,000\nNow & then, 3 < 4 -> yes.\n\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert export.render(TWO, "vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nTurn on the lights.\n\n"
        "01:02:03.400 --> 01:02:05.000\nNow &amp; then, 3 &lt; 4 --&gt; yes.\n"
    )


def test_tsv_is_in_milliseconds_on_one_line_each():
    rows = export.render(outcome(segment(0.5, 2.25, "a\tb\nc")), "tsv").splitlines()
    assert rows == ["start\tend\ttext", "500\t2250\ta b c"]


def test_json_is_the_whole_outcome():
    assert Outcome.model_validate(json.loads(export.render(TWO, "json"))) == TWO


@pytest.mark.parametrize("form", export.FORMATS)
@pytest.mark.parametrize("quiet", [outcome(), Outcome(job="a", name="a", state="done")])
def test_silence_gives_a_file_without_words(quiet, form):
    text = export.render(quiet, form)
    assert text == {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}.get(form, text)


def test_every_word_of_a_vtt_cue_carries_its_time():
    words = tuple(
        Word(word=w, start_s=s, end_s=s + 0.4, prob=1) for w, s in (("Turn", 0.5), ("it", 1.0), ("<off>", 1.5))
    )
    text = export.render(outcome(segment(0.5, 1.9, "Turn it <off>", words)), "vtt")
    assert "\nTurn <00:00:01.000>it <00:00:01.500>&lt;off&gt;\n" in text


def test_a_long_segment_becomes_cues_of_two_lines_at_the_times_of_its_words():
    said = [f"word{n}" for n in range(40)]
    words = tuple(Word(word=w, start_s=n, end_s=n + 0.5, prob=1) for n, w in enumerate(said))
    found = list(export.cues([segment(0, 39.5, " ".join(said), words)]))
    assert [word for cue in found for line in cue.lines for word in line.split()] == said
    for cue in found:
        assert len(cue.lines) <= 2
        first, last = cue.lines[0].split()[0], cue.lines[-1].split()[-1]
        assert (cue.start_s, cue.end_s) == (said.index(first), said.index(last) + 0.5)


@given(st.lists(st.text("ab -\n", min_size=1, max_size=200), max_size=4))
def test_cues_keep_every_word_in_order_and_time_never_runs_back(texts):
    segments = [segment(10 * n, 10 * n + 9, text) for n, text in enumerate(texts)]
    found = list(export.cues(segments))
    assert " ".join(line for cue in found for line in cue.lines).split() == " ".join(texts).split()
    assert all(cue.start_s < cue.end_s and max(map(len, cue.lines)) <= 42 for cue in found)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["a.wav", "in/b.mp3"], ["a.srt", "in/b.srt"]),
        (["a.wav", "a.mp3"], ["a.wav.srt", "a.mp3.srt"]),
        (["a.wav", "A.mp3"], ["a.wav.srt", "A.mp3.srt"]),  # the same file on a case-insensitive file system
        (["a.wav", "a.wav"], ["a.srt", "a.srt"]),
        (["a.srt"], ["a.srt.srt"]),  # a recording is never overwritten, whatever its name
        (["a.wav", "a.mp3", "a.wav.flac"], ["a.wav-2.srt", "a.mp3.srt", "a.wav.srt"]),
    ],
)
def test_no_two_recordings_share_a_file(names, files):
    assert [str(places(names, "srt", None)[name]) for name in names] == files


def test_recordings_of_two_folders_do_not_meet_in_one(tmp_path):
    found = places(["x/a.wav", "y/a.wav"], "txt", tmp_path)
    assert [path.name for path in found.values()] == ["a.wav.txt", "a.wav-2.txt"]


def test_files_are_written_and_replaced_but_not_for_a_job_that_failed(tmp_path):
    names = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    kept = Files(names, "txt", None)
    (tmp_path / "a.txt").write_text("old")
    failed = outcome(name=names[1], state="failed", error=Failure(code="bad-audio", message="no"))
    kept.write([outcome(segment(0, 1, "new"), name=names[0]), failed])
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new\n"
    assert kept.summary() == f"Wrote {tmp_path / 'a.txt'}."


def test_a_folder_that_is_missing_is_made_where_it_was_named_and_refused_where_not(tmp_path):
    Files(["a.wav"], "txt", tmp_path / "x" / "y").write([outcome(name="a.wav")])
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == ""
    with pytest.raises(BadRequest, match=r"Cannot write .*gone .*--out"):
        Files([str(tmp_path / "gone" / "a.wav")], "txt", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match=r"Cannot write .*file .*--out"):
        Files(["a.wav"], "txt", tmp_path / "file")


def test_a_text_that_was_given_is_its_own_transcript():
    asked = Outcome(job="j", name="text", state="done", transcript=Transcript(text="turn it on"))
    assert export.render(asked, "txt") == "turn it on\n"
