"""Evaluation data: manifests, folders of words, utterances, and one-sentence errors for bad data."""

import json
from collections import Counter
from pathlib import Path

import pytest

from golem_chain.shared.errors import BadRequest
from golem_chain.workers.evaluation.datasets import read_clips, read_utterances, some


def lines(file: Path, *rows: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return file


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_a_manifest_names_recordings_from_its_own_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "2.wav", "3.wav")
    rows = (
        {"path": "a/1.wav", "text": "yes", "language": "en"},
        {"path": "2.wav", "text": ""},
        {"path": "3.wav", "label": "x"},
    )
    manifest = lines(tmp_path / "manifest.jsonl", *rows)
    by_folder, by_file = read_clips([tmp_path]), read_clips([manifest])
    assert by_folder == by_file
    assert [clip.path for clip in by_folder] == [tmp_path / "a/1.wav", tmp_path / "2.wav", tmp_path / "3.wav"]
    assert [clip.silent for clip in by_folder] == [False, True, False]


def test_without_a_manifest_folders_are_classes_and_some_are_silence(tmp_path: Path) -> None:
    touch(
        tmp_path, "yes/1.wav", "yes/2.FLAC", "no/1.wav", "_background_noise_/a.wav", "_silence_/b.wav", "yes/notes.txt"
    )
    clips = read_clips([tmp_path])
    assert Counter(clip.label for clip in clips) == {"yes": 2, "no": 1, "_background_noise_": 1, "_silence_": 1}
    assert {clip.label for clip in clips if clip.silent} == {"_background_noise_", "_silence_"}


def test_a_folder_called_nonspeech_holds_silence(tmp_path: Path) -> None:
    assert [clip.silent for clip in read_clips([touch(tmp_path / "nonspeech", "a.wav")])] == [True]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "is empty"),
        (["not json"], "line 1: this is not a JSON object"),
        (["[1]"], "line 1: this is not a JSON object"),
        ([{"path": "1.wav", "words": "x"}], "neither a text nor a label, it has path, words"),
        ([{"text": "x"}], "line 1: there is no path"),
        ([{"path": "1.wav", "text": 3}], "text is not a text"),
        ([{"path": "1.wav", "text": "x"}, {"path": "gone.wav", "text": "y"}], "1 of 2 recordings are not there"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_before_any_model_is_asked(
    tmp_path: Path, rows: list[object], says: str
) -> None:
    touch(tmp_path, "1.wav")
    with pytest.raises(BadRequest, match=says):
        read_clips([lines(tmp_path / "manifest.jsonl", *rows)])


def test_what_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    for read in (lambda place: read_clips([place]), read_utterances):
        with pytest.raises(BadRequest, match=r"There is no file or folder .*gone"):
            read(tmp_path / "gone")
    with pytest.raises(BadRequest, match=r"neither a manifest\.jsonl nor a recording"):
        read_clips([tmp_path])
    with pytest.raises(BadRequest, match="no file of utterances"):
        read_utterances(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="not UTF-8"):
        read_clips([tmp_path])


def test_utterances_are_read_by_file_and_a_manifest_beside_them_is_none(tmp_path: Path) -> None:
    lines(tmp_path / "b.jsonl", {"text": "hi", "intent": "greet"}, "", {"text": "?", "intent": "oos", "language": "de"})
    lines(tmp_path / "a.jsonl", {"text": "go", "intent": "move"})
    lines(tmp_path / "manifest.jsonl", {"path": "b.jsonl", "text": "hi", "intent": "greet"})
    found = read_utterances(tmp_path)
    assert list(found) == ["a", "b"]
    assert [(one.text, one.intent, one.language) for one in found["b"]] == [("hi", "greet", None), ("?", "oos", "de")]
    with pytest.raises(BadRequest, match="needs a text and an intent, it has path"):
        read_utterances(lines(tmp_path / "c.jsonl", {"path": "x"}))


def test_a_limit_takes_evenly_out_of_all_classes() -> None:
    items = ["yes"] * 50 + ["no"] * 50 + ["stop"] * 100
    assert Counter(some(items, 20)) == {"yes": 5, "no": 5, "stop": 10}
    assert some(items, 1000) == some(items, None) == items
