"""Exported files: their paths, and what is written."""

import pytest

from golem_chain.broker.cli.export import Files, places
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Failure, Outcome, Segment, Transcript


def outcome(*texts, name="clip.wav", state="done", **more):
    segments = tuple(
        Segment(start_s=0, end_s=1, text=text, avg_logprob=-0.2, no_speech_prob=0.1, compression_ratio=1)
        for text in texts
    )
    transcript = Transcript(text=" ".join(texts), segments=segments)
    return Outcome(job=name, name=name, state=state, transcript=transcript, **more)


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
    kept.write([outcome("new", name=names[0]), failed])
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
