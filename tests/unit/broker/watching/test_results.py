"""Results are whole or not there, and say why they cannot be."""

import errno
import os
import time
from pathlib import Path

import pytest

from golem_chain.broker.watching.files import Signature
from golem_chain.broker.watching.results import Results, passes
from golem_chain.shared.errors import BadRequest


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "out", shown=Path("out"), create=True)


def everything(results):
    return sorted(str(path.relative_to(results.folder)) for path in results.folder.rglob("*") if path.is_file())


def test_a_result_is_written_below_the_folder_and_replaced(results):
    for text in ("one\n", "two ü\n"):
        results.write("sub/deep/a.txt", text)
    assert (results.folder / "sub/deep/a.txt").read_text(encoding="utf-8") == "two ü\n"
    assert everything(results) == ["sub/deep/a.txt"]


def test_a_name_as_long_as_a_name_can_be_is_written(results):
    results.write("x" * 251 + ".txt", "text")
    assert everything(results) == ["x" * 251 + ".txt"]


def test_a_full_disk_leaves_the_old_result_and_no_other_file(results, monkeypatch):
    results.write("a.txt", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a.txt", "b.txt"):
        with pytest.raises(OSError, match="No space left"):
            results.write(name, "new")
    assert everything(results) == ["a.txt"]
    assert (results.folder / "a.txt").read_text() == "old"


def test_what_is_not_mounted_is_not_written_to_the_disk_below(results, monkeypatch):
    results._device += 1
    with pytest.raises(OSError, match="another file system") as raised:
        results.write("a.txt", "new")
    assert passes(raised.value)
    results.folder.rmdir()
    with pytest.raises(FileNotFoundError) as gone:
        results.write("a.txt", "new")
    assert passes(gone.value)
    assert not results.folder.exists()


def test_a_file_in_the_place_of_a_folder_does_not_pass(results):
    results.write("sub", "a file")
    with pytest.raises(OSError, match=r"File exists|Not a directory") as raised:
        results.write("sub/a.txt", "new")
    assert not passes(raised.value)


def test_results_count_if_none_is_missing_or_older_than_the_audio(results):
    results.write("a.txt", "")
    os.utime(results.folder / "a.txt", ns=(5000, 5000))
    assert results.newer(["a.txt"], Signature(1, 5000))
    assert not results.newer(["a.txt"], Signature(1, 5001))
    assert not results.newer(["a.txt", "a.srt"], Signature(1, 1))
    assert not results.newer(["\0.txt"], Signature(1, 1))


def test_a_folder_that_cannot_be_written_to_is_said_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadRequest, match=r"Cannot write to out \(.+\): choose a folder with --out"):
            Results(folder, shown=Path("out"), create=True)
    with pytest.raises(BadRequest, match="No such file"):
        Results(tmp_path / "gone", shown=Path("out"), create=False)


def test_what_a_killed_watcher_has_left_half_written_is_deleted_later(results):
    for name, age_s in ((".golem-1-0.part", 3600), (".golem-2-0.part", 1), (".other.part", 3600)):
        (results.folder / name).write_text("half")
        os.utime(results.folder / name, (time.time() - age_s,) * 2)
    results.write("a.txt", "whole")
    assert everything(results) == [".golem-2-0.part", ".other.part", "a.txt"]
