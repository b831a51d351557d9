"""The journal survives restarts, torn lines and full disks; the list of failures is what the journal says."""

import json
import os

import pytest

from golem_chain.broker.watching.files import Entry, Signature
from golem_chain.broker.watching.journal import FAILURES, JOURNAL, Journal
from golem_chain.shared.errors import BadRequest

SEEN = Signature(10, 1_795_625_775_108_264_796)
DONE = Entry(SEEN, "done", "asked", ("a.srt", "a.txt"), "job1", "content1")
FAILED = Entry(SEEN, "failed", "asked", job="job2", content="content2", code="bad-audio", message="It is no audio.")


def listed(folder):
    path = folder / FAILURES
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None


def test_what_was_noted_is_known_after_a_restart(tmp_path):
    odd = os.fsdecode(b"n\xff\n.wav")
    one = Journal(tmp_path)
    for file, entry in (("a.wav", DONE), ("b.wav", FAILED), (odd, DONE), ("c.wav", Entry(SEEN, "found"))):
        one.note(file, entry)
    assert one.waiting
    one.flush()
    assert not one.waiting
    two = Journal(tmp_path)
    assert [two.get(file) for file in ("a.wav", "b.wav", odd, "d.wav")] == [DONE, FAILED, DONE, None]
    assert two.get("c.wav") == Entry(SEEN, "found")
    assert list(two.failed()) == ["b.wav"]
    assert two.owner("A.SRT") == odd
    assert two.owner("c.srt") is None


def test_a_failure_is_listed_until_the_file_succeeds_or_is_gone(tmp_path):
    journal = Journal(tmp_path)
    for file in ("b.wav", "a.wav", "two\nlines.wav", os.fsdecode(b"n\xff.wav")):
        journal.note(file, FAILED)
    journal.flush()
    told = {"code": "bad-audio", "message": "It is no audio."}
    names = ["a.wav", "b.wav", r"n\xff.wav", "two\nlines.wav"]
    assert listed(tmp_path) == [{"file": name} | told for name in names]
    journal.note("a.wav", DONE)
    journal.drop("two\nlines.wav")
    journal.drop("never.wav")
    journal.flush()
    assert [one["file"] for one in listed(tmp_path)] == ["b.wav", r"n\xff.wav"]
    again = Journal(tmp_path)
    again.note("b.wav", DONE)
    again.drop(os.fsdecode(b"n\xff.wav"))
    again.flush()
    assert listed(tmp_path) is None
    assert list(Journal(tmp_path).failed()) == []


def test_a_file_of_this_name_that_is_not_ours_stays(tmp_path):
    (tmp_path / FAILURES).write_text("mine")
    journal = Journal(tmp_path)
    journal.note("a.wav", DONE)
    journal.flush()
    assert (tmp_path / FAILURES).read_text() == "mine"


@pytest.mark.parametrize(
    "damage", [b'{"file": "x.wav", "size_by', b"\xff\xfe", b"[]", b"3", b'"x"', b"null", b"{}",
               b'{"file": "x.wav", "state": "done"}', b'{"file": "x.wav", "state": "lost"}',
               b'{"file": "x.wav", "state": "done", "size_bytes": 1, "mtime_ns": 1, "new": 1}']
)  # fmt: skip
def test_a_line_that_cannot_be_read_harms_no_other(tmp_path, damage):
    first = Journal(tmp_path)
    first.note("a.wav", DONE)
    first.flush()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(damage)  # without an end of line: the crash was here
    second = Journal(tmp_path)
    second.note("b.wav", FAILED)
    second.flush()
    third = Journal(tmp_path)
    assert (third.get("a.wav"), third.get("b.wav"), third.get("x.wav")) == (DONE, FAILED, None)


def test_a_full_disk_loses_nothing_that_was_noted(tmp_path):
    journal = Journal(tmp_path)
    journal.note("a.wav", FAILED)
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(OSError, match="directory"):
        journal.flush()
    assert journal.waiting
    (tmp_path / JOURNAL).rmdir()
    journal.flush()
    assert Journal(tmp_path).get("a.wav") == FAILED
    assert listed(tmp_path)


def test_a_long_journal_is_shortened_at_the_next_start(tmp_path):
    journal = Journal(tmp_path)
    for n in range(400):
        journal.note("a.wav", DONE._replace(job=f"job{n}"))
    journal.flush()
    assert Journal(tmp_path).get("a.wav") == DONE._replace(job="job399")
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 1
    assert Journal(tmp_path).get("a.wav") == DONE._replace(job="job399")


def test_a_journal_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(BadRequest, match=r"\.golem-watch\.jsonl cannot be read \(Is a directory\)"):
        Journal(tmp_path)
