"""The loop of a watch on a folder of real files, with a pipeline and a clock that the test moves."""

import errno
import hashlib
import os
import shutil
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from golem_chain.broker.watching import watcher as module
from golem_chain.broker.watching.journal import Journal
from golem_chain.broker.watching.results import Results
from golem_chain.broker.watching.tree import Tree
from golem_chain.broker.watching.watcher import IN_FLIGHT, Task, Watcher
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadRequest, BrokerAway, VaultFull
from golem_chain.shared.records import Failure, JobOptions, Outcome, Transcript

DAY_S = 86_400


class FakePipeline:
    """Ids from content as the real one gives them; `run` ends what was submitted."""

    def __init__(self, world):
        self.world, self.ended, self.refuse = world, {}, None
        self.submitted: Counter[bytes] = Counter()
        self.names, self.content = {}, {}

    def submit_with(self, path, options, *, id_from, again, name, wait_s):
        if self.refuse:
            raise self.refuse
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise AudioMissing(f"{path} cannot be opened ({exc.strerror}).") from None
        job = hashlib.sha256(data + str(again).encode()).hexdigest()[:40]
        if job not in self.names:
            self.submitted[data] += 1
            self.names[job], self.content[job] = name, data
        return job

    def run(self, state="done", code="bad-audio"):
        for job in self.names.keys() - self.ended.keys():
            name = self.names[job]
            text = self.content[job].decode()
            error = None if state == "done" else Failure(code=code, message=f"{name} is not good.")
            self.ended[job] = Outcome(job=job, name=name, state=state, error=error, transcript=Transcript(text=text))

    def watch(self, jobs, tick_s):
        for job in jobs:
            if job not in self.names:
                raise BadRequest("There is no job.")
            if job in self.ended:
                yield self.ended[job]
        self.world.now += tick_s
        yield None

    def outcome(self, job):
        if job not in self.names:
            raise BadRequest("There is no job.")
        return self.ended.get(job)


class FakeChanges:
    """Tells of every file each time, as a system that reports too much; `deaf`: of none."""

    def __init__(self, world):
        self.world, self.broken, self.deaf, self.starts = world, None, False, 0

    def start(self):
        self.starts += 1

    def close(self):
        pass

    def wait(self, timeout_s):
        self.world.now += timeout_s

    def take(self):
        return set() if self.deaf else {str(path) for path in self.world.folder.rglob("*")} | self.world.deleted


class World:
    def __init__(self, folder, out):
        folder.mkdir()
        self.folder, self.out, self.now, self.told, self.shown = folder, out, 0.0, [], []
        self.pipeline, self.changes, self.deleted = FakePipeline(self), FakeChanges(self), set()

    def render(self, outcome, form):
        return f"{form}: {outcome.transcript.text}"

    def tell(self, sentence):
        self.told.append(sentence)

    def done(self, outcome, paths):
        self.shown += [outcome.name, *paths]

    def put(self, file, data="hello", mtime_s=None):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
        if mtime_s is not None:
            os.utime(path, (mtime_s, mtime_s))

    def start(self, *forms, once=False, beside=False, digest="asked"):
        pipeline: Any = self.pipeline
        changes: Any = None if once else self.changes
        tree = Tree(self.folder, None if beside else self.out, self.tell)
        folder = tree.root if beside else self.out
        results = Results(folder, shown=folder, create=True)
        self.watcher = Watcher(
            tree, results, Journal(folder), Task(JobOptions(), digest, forms or ("txt",)), self,
            settle_s=2, changes=changes, clock=lambda: self.now,
        )  # fmt: skip
        self.watcher.begin()
        self.watcher.join(pipeline)
        return self.watcher

    def turns(self, number=8):
        for _ in range(number):
            self.watcher.turn()

    def process(self, **how):
        """Let all that is there be taken and end."""
        self.turns()
        self.pipeline.run(**how)
        self.turns()

    def results(self, folder=None):
        top = folder or self.out
        return {str(one.relative_to(top)): one.read_text() for one in top.rglob("*.txt")}


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=made.changes.wait, monotonic=None))
    return made


def test_files_that_are_there_and_files_that_come_have_results_in_a_tree_like_theirs(world):
    world.put("a.wav", "one")
    world.start()
    world.put("sub/b.mp3", "two")
    world.process()
    assert world.results() == {"a.txt": "txt: one", "sub/b.txt": "txt: two"}
    assert world.watcher.done == 2
    assert world.watcher.idle


def test_each_version_is_processed_once_across_restarts(world):
    world.put("a.wav", "one")
    world.start()
    world.process()
    world.start()
    world.process()
    assert world.pipeline.submitted == {b"one": 1}
    assert world.watcher.kept == 1
    world.put("a.wav", "two", mtime_s=1)  # rsync keeps the time of what it copies
    world.process()
    assert world.results() == {"a.txt": "txt: two"}
    assert world.pipeline.submitted == {b"one": 1, b"two": 1}


def test_results_that_another_program_has_taken_away_are_not_made_again(world):
    world.put("a.wav")
    world.start()
    world.process()
    (world.out / "a.txt").unlink()
    world.process()
    world.start()
    world.process()
    assert (world.results(), world.pipeline.submitted) == ({}, {b"hello": 1})


def test_without_a_journal_a_newer_result_counts_and_an_older_one_does_not(world):
    for name in ("new.wav", "old.wav"):
        world.put(name, name, mtime_s=1000)
    world.out.mkdir()
    for name, when in (("new.txt", 2000), ("old.txt", 500)):
        (world.out / name).write_text("mine")
        os.utime(world.out / name, (when, when))
    world.start()
    world.process()
    assert world.results() == {"new.txt": "mine", "old.txt": "txt: old.wav"}
    world.put("new.wav", "changed", mtime_s=900)  # replaced by an older file
    world.process()
    assert world.results()["new.txt"] == "txt: changed"


def test_a_time_in_the_future_is_a_version_like_any_other(world):
    world.put("a.wav", mtime_s=world.now + 4_000_000_000)
    for _ in range(3):
        world.start()
        world.process()
    assert world.pipeline.submitted == {b"hello": 1}
    assert world.results() == {"a.txt": "txt: hello"}


def test_other_options_and_another_format_are_new_work_and_fewer_formats_are_not(world):
    world.put("a.wav")
    world.start("txt")
    world.process()
    world.start("txt", "srt")
    world.process()
    assert (world.out / "a.srt").exists()
    assert world.watcher.done == 1
    world.start("srt")
    world.process()
    assert world.watcher.done == 0
    world.start("srt", digest="others")
    world.process()
    assert world.watcher.done == 1


def test_a_growing_file_is_taken_when_it_is_whole(world):
    world.start()
    for n in range(10):
        world.put("a.wav", "x" * (n + 1), mtime_s=n + 1)
        world.turns(2)  # a second
    assert not world.pipeline.submitted
    world.process()
    assert world.pipeline.submitted == {b"x" * 10: 1}


def test_a_file_that_changed_while_its_job_ran_has_the_result_of_what_it_is(world):
    world.put("a.wav", "one")
    world.start()
    world.turns()
    world.put("a.wav", "two", mtime_s=1)
    world.turns(1)
    world.pipeline.run()
    world.turns(1)
    assert world.results() == {}
    world.process()
    assert world.results() == {"a.txt": "txt: two"}
    assert world.watcher.done == 1


def test_a_crash_between_submit_and_journal_runs_nothing_twice(world):
    world.put("a.wav")
    world.start()
    world.turns()
    assert world.watcher.running == 1
    world.start()  # the first one was killed
    world.turns()
    world.pipeline.run()
    world.turns()
    assert world.pipeline.submitted == {b"hello": 1}
    assert world.results() == {"a.txt": "txt: hello"}


def test_two_watchers_of_a_folder_process_each_file_once(world):
    world.put("a.wav")
    first = world.start()
    second = world.start()
    for _ in range(8):
        first.turn()
        second.turn()
    world.pipeline.run()
    for _ in range(8):
        second.turn()
        first.turn()
    assert world.pipeline.submitted == {b"hello": 1}
    assert world.results() == {"a.txt": "txt: hello"}


def test_files_of_the_same_content_share_a_job_and_have_a_result_each(world):
    for name in ("a.wav", "b.wav", "sub/c.wav"):
        world.put(name)
    world.start()
    world.process()
    assert world.pipeline.submitted == {b"hello": 1}
    assert sorted(world.results()) == ["a.txt", "b.txt", "sub/c.txt"]
    assert world.shown[::2] == [str(world.folder / name) for name in ("a.wav", "b.wav", "sub/c.wav")]


def test_recordings_that_differ_in_their_ending_never_share_a_result(world):
    world.put("a.wav", "one")
    world.start()
    world.process()
    world.put("a.mp3", "two")
    world.put("B.wav", "three")
    world.put("b.ogg", "four")
    world.process()
    expected = {"a.txt": "one", "a.mp3.txt": "two", "B.wav.txt": "three", "b.ogg.txt": "four"}
    assert world.results() == {name: f"txt: {text}" for name, text in expected.items()}
    (world.folder / "a.wav").unlink()
    world.put("a.flac", "five", mtime_s=1)  # older than a.txt, which is not its result
    world.process()
    assert world.results()["a.flac.txt"] == "txt: five"
    assert world.results()["a.txt"] == "txt: one"


def test_a_failure_is_listed_until_the_file_is_replaced_by_a_better_one(world):
    world.put("a.wav", "bad")
    world.start()
    world.process(state="failed")
    assert "is not good" in (world.out / "failures.jsonl").read_text()
    assert world.told == [f"{world.folder}/a.wav is not good."]
    world.process(state="failed")
    assert world.pipeline.submitted == {b"bad": 1}, "not again while nothing changes"
    world.put("a.wav", "good", mtime_s=1)
    world.process()
    assert not (world.out / "failures.jsonl").exists()
    assert world.results() == {"a.txt": "txt: good"}


def test_the_next_start_tries_failures_again_once_even_while_their_outcomes_are_kept(world):
    world.put("a.wav")
    world.put("b.wav")
    for tries in (1, 2, 3):
        world.start()
        world.process(state="cancelled", code="cancelled")
        world.process()
        assert world.pipeline.submitted == {b"hello": tries}, "the same content is tried together"
    world.start()
    world.process()
    assert sorted(world.results()) == ["a.txt", "b.txt"]
    assert not (world.out / "failures.jsonl").exists()


def test_a_failed_file_that_is_deleted_is_no_failure_any_more(world):
    for name in ("a.wav", "b.wav"):
        world.put(name, name)
    world.start()
    world.process(state="failed")
    (world.folder / "a.wav").unlink()
    world.deleted = {str(world.folder / "a.wav")}
    world.turns()
    assert "a.wav" not in (world.out / "failures.jsonl").read_text()
    (world.folder / "b.wav").unlink()
    world.start()
    world.turns()
    assert not (world.out / "failures.jsonl").exists()


def test_a_file_that_is_deleted_before_it_is_taken_is_forgotten(world):
    world.put("a.wav")
    world.start()
    world.turns(2)
    (world.folder / "a.wav").unlink()
    world.process()
    assert (world.pipeline.submitted, world.told, world.watcher.idle) == ({}, [], True)


def test_a_file_that_is_moved_away_after_it_was_taken_has_its_result(world):
    world.put("a.wav")
    world.start()
    world.turns()
    (world.folder / "a.wav").unlink()
    world.deleted = {str(world.folder / "a.wav")}
    world.turns(1)
    world.pipeline.run()
    world.turns()
    assert world.results() == {"a.txt": "txt: hello"}


def test_a_file_whose_twin_was_deleted_under_a_common_job_is_processed_itself(world):
    world.put("a.wav")
    world.put("b.wav")
    world.start()
    world.turns()
    (world.folder / "a.wav").unlink()
    world.pipeline.run(state="failed", code=AudioMissing.code)
    world.turns()
    world.pipeline.run()
    world.turns()
    assert world.results() == {"b.txt": "txt: hello"}
    assert not world.told


def test_what_cannot_be_handed_in_is_a_failure_with_its_sentence(world):
    world.put("huge.wav")
    world.start()
    world.pipeline.refuse = AudioAboveLimit("The audio is 9 GiB, above the limit.")
    world.turns()
    assert world.told == [f"{world.folder}/huge.wav: The audio is 9 GiB, above the limit."]
    assert '"code": "audio-above-limit"' in (world.out / "failures.jsonl").read_text()
    world.pipeline.refuse = None
    world.start()
    world.process()
    assert world.results() == {"huge.txt": "txt: hello"}


def test_a_full_vault_is_said_once_and_waited_for(world):
    world.put("a.wav")
    world.start()
    world.pipeline.refuse = VaultFull("The vault is full.")
    world.turns(60)
    assert world.told == ["The vault is full."]
    assert world.watcher.held_up_s > 10
    world.pipeline.refuse = None
    world.turns(20)
    world.process()
    assert world.results() == {"a.txt": "txt: hello"}
    assert world.watcher.held_up_s == 0


def test_a_server_that_is_away_is_said_once_and_waited_for(world):
    world.put("a.wav")
    world.start()
    world.pipeline.refuse = BrokerAway("Redis is away.")
    world.turns(20)
    assert world.told == ["Redis is away."]
    world.pipeline.refuse = None
    world.process()
    assert world.results() == {"a.txt": "txt: hello"}


def test_once_does_not_wait_for_a_server_that_is_away(world):
    world.put("a.wav")
    world.start(once=True)
    world.pipeline.refuse = BrokerAway("Redis is away.")
    with pytest.raises(BrokerAway):
        world.turns(20)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.ENODEV])
def test_a_full_disk_keeps_the_outcomes_is_said_once_and_no_more_is_taken(world, monkeypatch, code):
    for n in range(IN_FLIGHT + 20):
        world.put(f"{n:03}.wav", f"{n}")
    world.start()
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(code, os.strerror(code))

        patch.setattr(Results, "write", full)
        world.process()
        world.process()
        assert world.watcher.unwritten == IN_FLIGHT
        assert sum(world.pipeline.submitted.values()) == IN_FLIGHT
        assert world.told == [f"Cannot write {world.out}/000.txt ({os.strerror(code)}): it is tried again every 5 s."]
        assert world.watcher.held_up_s > 0
    world.turns(20)
    world.process()
    assert len(world.results()) == IN_FLIGHT + 20
    assert world.watcher.held_up_s == 0


def test_a_result_that_can_never_be_written_is_a_failure_and_holds_up_nothing(world):
    world.out.mkdir()
    (world.out / "sub").write_text("a file in the place of a folder")
    world.put("sub/a.wav", "one")
    world.put("b.wav", "two")
    world.start()
    world.process()
    assert world.results() == {"b.txt": "txt: two"}
    assert "Cannot write" in (world.out / "failures.jsonl").read_text()


def test_thousands_of_files_at_once_are_a_few_hundred_jobs_at_a_time(world):
    for n in range(2_000):
        world.put(f"{n % 7}/{n:05}.wav", f"{n}")
    world.start()
    world.changes.deaf = True  # all that is there was found at the start
    most = 0
    for _ in range(1000):
        world.watcher.turn()
        most = max(most, world.watcher.running + world.watcher.unwritten)
        world.pipeline.run()
        if world.watcher.idle:
            break
    assert most <= IN_FLIGHT
    assert len(world.results()) == world.watcher.done == 2_000


def test_a_folder_that_vanishes_is_waited_for_and_its_failures_are_kept(world):
    world.put("a.wav", "bad")
    world.start()
    world.process(state="failed")
    world.folder.rename(world.folder.with_name("away"))
    world.turns()
    assert world.told[1:] == [f"The folder {world.folder} is gone: waiting for it to come back."]
    assert (world.out / "failures.jsonl").exists()
    starts = world.changes.starts
    world.folder.with_name("away").rename(world.folder)
    world.put("b.wav", "two")
    world.process()
    assert world.told[2:] == [f"The folder {world.folder} is back."]
    assert world.changes.starts == starts + 1
    assert world.results() == {"b.txt": "txt: two"}


def test_an_empty_folder_in_its_place_is_looked_at_anew(world):
    world.put("a.wav")
    world.start()
    world.turns(1)
    shutil.rmtree(world.folder)
    world.folder.mkdir()
    world.put("b.wav", "two")
    world.process()
    assert world.results() == {"b.txt": "txt: two"}


def test_once_ends_when_the_folder_is_gone(world):
    world.put("a.wav")
    world.start(once=True)
    shutil.rmtree(world.folder)
    with pytest.raises(BadRequest, match="is gone: run the same command when it is back"):
        world.turns()


def test_an_outcome_that_was_not_kept_until_we_woke_up_is_made_again(world):
    world.put("a.wav", "one")
    world.put("b.wav", "two")
    world.start()
    world.turns()
    world.pipeline.run()
    lost = next(job for job, data in world.pipeline.content.items() if data == b"one")
    for kept in (world.pipeline.names, world.pipeline.ended):
        del kept[lost]
    world.now += DAY_S
    world.process()
    world.process()
    assert world.results() == {"a.txt": "txt: one", "b.txt": "txt: two"}
    assert world.pipeline.submitted == {b"one": 2, b"two": 1}


def test_changes_that_nobody_reports_are_found_by_looking(world):
    world.start()
    world.changes.deaf = True
    world.turns(20)
    world.put("a.wav", "one")
    world.turns(20)
    assert not world.pipeline.submitted, "it is early"
    world.turns(int(module.SCAN_S * 2))
    world.process()
    assert world.results() == {"a.txt": "txt: one"}
    world.changes.broken = "too many watches"
    world.put("b.wav", "two")
    world.turns(20)
    world.process()
    assert sorted(world.results()) == ["a.txt", "b.txt"]
    assert [one for one in world.told if "too many watches" in one] == world.told
    assert "raise fs.inotify.max_user_watches" in world.told[0]


def test_results_beside_the_audio_are_no_audio(world):
    world.put("sub/a.wav")
    world.start(beside=True)
    world.process()
    world.process()
    assert world.results(world.folder) == {"sub/a.txt": "txt: hello"}
    assert world.pipeline.submitted == {b"hello": 1}


def test_names_that_are_not_text_have_results_of_their_own(world):
    odd = os.fsdecode(b"n\xff.wav")
    world.put(odd, "one")
    world.put("two\nlines.wav", "two")
    world.start()
    world.process()
    assert world.results() == {os.fsdecode(b"n\xff.txt"): "txt: one", "two\nlines.txt": "txt: two"}
    assert r"n\xff.wav" in world.shown[0]
    world.start()
    assert world.watcher.kept == 2


def test_once_leaves_what_grows_and_grows(world):
    world.put("a.wav", "one")
    world.put("b.wav", "x")
    world.start(once=True)
    for n in range(200):
        world.put("b.wav", "x" * (n + 2), mtime_s=n + 1)
        world.watcher.turn()
        world.pipeline.run()
        if world.watcher.idle:
            break
    assert world.watcher.idle
    assert world.results() == {"a.txt": "txt: one"}
    assert world.watcher.waiting == 1


def test_what_has_ended_is_written_when_the_watch_ends(world, monkeypatch):
    world.put("a.wav")
    world.start()
    world.turns()
    world.pipeline.run()
    with monkeypatch.context() as patch:
        patch.setattr(world.watcher, "_write", lambda: None)
        world.turns(1)
    assert world.watcher.unwritten == 1
    world.watcher.end()
    assert world.results() == {"a.txt": "txt: hello"}
    world.start()
    assert (world.watcher.kept, world.watcher.waiting) == (1, 0)


def test_what_came_before_we_listened_is_found_soon(world):
    world.start()
    world.changes.deaf = True
    world.put("a.wav")
    world.turns(round(2 * module.POLL_S) + 1)
    world.process()
    assert world.results() == {"a.txt": "txt: hello"}
