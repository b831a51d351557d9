"""The watch: takes the new files of a folder, hands them in, and writes what comes of them.

    seen ─► settling ─► ready ─► running ─► ended ─► written, in the journal
              ▲           │          └─► failed: in the journal and the list
              └─ changed ─┘

At most IN_FLIGHT files are running or ended; the others are a name each. A crash costs nothing at any moment: a file
that is not in the journal is handed in again, under the id of its content, which runs once.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.watching.changes import Changes
from golem_chain.broker.watching.files import Entry, Signature, is_new
from golem_chain.broker.watching.inventory import Inventory
from golem_chain.broker.watching.journal import Journal
from golem_chain.broker.watching.results import Results, passes
from golem_chain.broker.watching.settling import Settling
from golem_chain.broker.watching.tree import Tree
from golem_chain.shared.errors import AudioMissing, BadAudio, BadRequest, BrokerAway, VaultFull
from golem_chain.shared.records import JobOptions, Outcome
from golem_chain.shared.text import storable, visible

IN_FLIGHT = 200  # files
TICK_S = 0.5  # how long one thing is done before the others are looked at
SCAN_S = 60.0  # between two looks at the whole folder, in case that a change was not reported
POLL_S = 5.0  # the same where nothing is reported, and between two tries of what went wrong
SCAN_SHARE = 20  # looking at the whole folder takes at most one part of this many of the time


class Task(NamedTuple):
    """What is asked of each file."""

    options: JobOptions
    digest: str  # of the options
    forms: Sequence[str]


class Taken(NamedTuple):
    """A file that was handed in."""

    file: str
    seen: Signature
    content: str  # the id of its content


class Report(Protocol):
    """Who renders results, and is told what happens."""

    def render(self, outcome: Outcome, form: str) -> str: ...

    def tell(self, sentence: str) -> None: ...

    def done(self, outcome: Outcome, paths: Sequence[str]) -> None: ...


class Watcher:
    """One folder. `begin`, `join` a system, and then `turn` again and again, each for about a second; at last `end`."""

    def __init__(
        self,
        tree: Tree,
        results: Results,
        journal: Journal,
        task: Task,
        report: Report,
        *,
        settle_s: float,
        changes: Changes | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changes`: None to take what is there at the beginning only."""
        self._tree, self._results, self._journal = tree, results, journal
        self._task, self._report, self._changes, self._clock = task, report, changes, clock
        self._check: Callable[[], None] | None = None
        self._inventory = Inventory(journal, task.forms)
        self._settling = Settling(settle_s)
        self._ready: dict[str, Signature] = {}
        self._running: dict[str, list[Taken]] = {}  # by job: files of the same content share one
        self._ended: list[tuple[Outcome, Taken]] = []
        self._retry = set(journal.failed())
        self._bereft: set[str] = set()  # files that are there, though their job found its audio gone
        self._identity = tree.identity()
        self._scanned_at = self._scan_s = self._hand_in_at = self._write_at = 0.0
        self._deaf = False  # until the next look at the whole folder: what came before we listened was not reported
        self._troubles: dict[str, float] = {}  # those that were told and last, and since when
        self.done = self.failed = self.kept = 0  # files; kept: their results were there before

    @property
    def running(self) -> int:
        """Files whose jobs have not ended."""
        return sum(map(len, self._running.values()))

    @property
    def waiting(self) -> int:
        """Files that are not handed in yet."""
        return len(self._settling) + len(self._ready)

    @property
    def unwritten(self) -> int:
        """Files that are done and whose results could not be written yet."""
        return len(self._ended)

    @property
    def idle(self) -> bool:
        """Whether all is done, but for files that grow and grow."""
        left = self._ready or self._running or self._ended or self._journal.waiting
        return not left and (not self._settling or self._settling.restless(self._clock()))

    @property
    def owns_system(self) -> bool:
        """Whether the jobs end with the watch."""
        return self._check is not None

    @property
    def held_up_s(self) -> float:
        """For how long results could not be written, or nothing be handed in."""
        return self._clock() - min(self._troubles.values(), default=self._clock())

    def begin(self) -> None:
        """Look through the folder for the first time."""
        self._scan()
        self._retry.clear()

    def join(self, pipeline: Pipeline, check: Callable[[], None] | None = None) -> None:
        """Take the system that does the work. `check` may raise to abort: the system is ours, and does not come back
        if it is away."""
        self._pipeline, self._check = pipeline, check
        self._listen()

    def _listen(self) -> None:
        if self._changes:
            self._changes.start()
            self._deaf = True

    def turn(self) -> None:
        """Do what is due, and wait for TICK_S if nothing is. Raises BrokerAway if there is no sense in waiting."""
        if self._check:
            self._check()
        try:
            if self._present():
                self._notice()
                self._settle()
                self._hand_in()
            self._write()
            self._collect()
            self._write()
            self._well("redis")
        except BrokerAway as exc:
            if self._check or not self._changes:
                raise
            self._trouble("redis", exc.message)
            time.sleep(TICK_S)

    def end(self) -> None:
        """Write what is there to be written, before the watch ends."""
        self._write_at = 0.0
        self._write()

    def _trouble(self, what: str, sentence: str) -> None:
        """Tell what holds up the work, once for as long as it lasts."""
        if what not in self._troubles:
            self._troubles[what] = self._clock()
            self._report.tell(sentence)

    def _well(self, what: str, sentence: str = "") -> None:
        if what in self._troubles:
            del self._troubles[what]
            if sentence:
                self._report.tell(sentence)

    # -- the folder

    def _present(self) -> bool:
        """Return whether the folder is there; if it was away, look through it again. Raises BadRequest."""
        found, shown = self._tree.identity(), visible(str(self._tree.folder), 200)
        if found is None:
            if not self._changes:
                raise BadRequest(f"The folder {shown} is gone: run the same command when it is back.")
            self._trouble("folder", f"The folder {shown} is gone: waiting for it to come back.")
            return False
        if "folder" in self._troubles or found != self._identity:
            self._well("folder", f"The folder {shown} is back.")
            self._identity = found
            self._listen()
            self._scan()
        return True

    def _notice(self) -> None:
        """Look at what has changed, and at the whole folder from time to time."""
        if not self._changes:
            return
        changed, broken = self._changes.take(), self._changes.broken
        if broken:
            self._trouble(
                "changes",
                f"Changes are not reported ({visible(broken, 120)}): the folder is looked through every {POLL_S:g} s. "
                "If the system watches too much, raise fs.inotify.max_user_watches or max_user_instances.",
            )
        every_s = max(POLL_S if broken or self._deaf else SCAN_S, SCAN_SHARE * self._scan_s)
        if changed is None or self._clock() >= self._scanned_at + every_s:
            self._scan()
            self._deaf = False
        for path in changed or ():
            for file, seen in self._tree.look(path):
                if seen:
                    self._see(file, seen)
                else:
                    self._forget(file)

    def _scan(self) -> None:
        begun = self._clock()
        found = dict(self._tree.scan())
        self._scanned_at = self._clock()
        self._scan_s = self._scanned_at - begun
        if self._tree.identity() != self._identity:
            return  # it went away meanwhile: what was not found is not gone
        for file in {*self._inventory, *self._journal.failed()} - found.keys():
            self._forget(file)
        for file in found:
            self._inventory.meet(file)  # all names first: those of the results depend on them
        for file, seen in found.items():
            self._see(file, seen)

    def _see(self, file: str, seen: Signature) -> None:
        """Note a file as it is now; begin with it if it is new."""
        before = self._inventory.get(file)
        if before == seen:
            return
        self._inventory.see(file, seen)
        self._ready.pop(file, None)
        entry = self._journal.get(file)
        unknown = entry is None or entry.state == "found"
        have = unknown and self._results.newer(self._inventory.places(file, entry), seen)
        if is_new(seen, entry, self._task.digest, self._task.forms, have_results=have, retry=file in self._retry):
            self._settling.see(file, seen, self._clock())
            return
        self._settling.forget(file)
        self.kept += before is None
        if entry is None:
            self._journal.note(file, Entry(seen, "found"))

    def _forget(self, file: str) -> None:
        """Drop a file that is gone; its job, if there is one, goes on."""
        self._inventory.forget(file)
        self._settling.forget(file)
        self._ready.pop(file, None)
        entry = self._journal.get(file)
        if entry and entry.state == "failed":
            self._journal.drop(file)

    def _look_again(self, file: str) -> None:
        seen = self._tree.signature(file)
        if seen:
            self._inventory.see(file, seen)
            self._settling.see(file, seen, self._clock())
        else:
            self._forget(file)

    # -- settling and ready

    def _settle(self) -> None:
        for file in self._settling:
            self._look_again(file)
        self._ready |= self._settling.take(self._clock())

    def _can_hand_in(self) -> bool:
        room = self.running + len(self._ended) < IN_FLIGHT
        return bool(self._ready) and room and self._clock() >= self._hand_in_at and "folder" not in self._troubles

    def _hand_in(self) -> None:
        """Submit what is ready, for as long as there is room and time."""
        end = self._clock() + TICK_S
        while self._can_hand_in() and self._clock() < end:
            file, seen = next(iter(self._ready.items()))
            try:
                job, content = self._submit(file)
            except VaultFull as exc:
                if not self._running:  # those that run make room
                    self._trouble("vault", exc.message)
                self._hand_in_at = self._clock() + POLL_S
                return
            except (BadAudio, BadRequest) as exc:
                del self._ready[file]
                if self._tree.signature(file) == seen:
                    self._fail(file, Entry(seen, "failed", code=exc.code, message=exc.message))
                else:
                    self._look_again(file)
                continue
            self._well("vault")
            del self._ready[file]
            if self._tree.signature(file) == seen:
                self._running.setdefault(job, []).append(Taken(file, seen, content))
            else:
                self._look_again(file)  # what was handed in is no whole file; nobody waits for it

    def _submit(self, file: str) -> tuple[str, str]:
        """Submit a file; once more if its content has failed before. Return the job's id and that of its content."""
        entry, path, name = self._journal.get(file), self._tree.path(file), storable(self._tree.name(file))

        def submit(again: str | None) -> str:
            options = self._task.options
            return self._pipeline.submit_with(path, options, id_from="content", again=again, name=name, wait_s=0)

        content = submit(None)
        if entry and entry.state == "failed" and entry.content == content:
            return submit(entry.job), content
        return submit(content) if file in self._bereft else content, content

    # -- running

    def _collect(self) -> None:
        """Wait for ends: for TICK_S, or until there is room for many more."""
        if not self._running:
            if not self._can_hand_in():
                self._pause()
            return
        end = self._clock() + TICK_S
        try:
            for outcome in self._pipeline.watch(tuple(self._running), tick_s=TICK_S):
                if outcome:
                    self._end(outcome)
                if not outcome or self._clock() >= end or (self.running < IN_FLIGHT // 2 and self._can_hand_in()):
                    return
        except BadRequest:  # a job that ended longer ago than Outcomes are kept: this machine was asleep
            self._find_unknown()

    def _pause(self) -> None:
        if self._changes:
            self._changes.wait(TICK_S)
        else:
            time.sleep(TICK_S)

    def _find_unknown(self) -> None:
        for job in tuple(self._running):
            try:
                outcome = self._pipeline.outcome(job)
            except BadRequest:
                for taken in self._running.pop(job):
                    self._look_again(taken.file)
            else:
                if outcome:
                    self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        for taken in self._running.pop(outcome.job, ()):
            file, current = taken.file, self._inventory.get(taken.file)
            gone = outcome.error and outcome.error.code == AudioMissing.code
            if current is not None and current != taken.seen:
                pass  # another version of it is on its way
            elif outcome.state == "done":
                self._ended.append((outcome, taken))  # also if the file was moved away meanwhile
            elif self._tree.signature(file) != taken.seen:
                self._look_again(file)
            elif gone and file not in self._bereft:  # the file of the same content that the job began with
                self._bereft.add(file)
                self._look_again(file)
            else:
                code = outcome.error.code if outcome.error else outcome.state
                why = outcome.error.message if outcome.error else f"Its job ended as {outcome.state}."
                entry = Entry(taken.seen, "failed", self._task.digest, job=outcome.job, content=taken.content)
                self._fail(file, entry._replace(code=code, message=why))

    def _fail(self, file: str, entry: Entry) -> None:
        name = storable(self._tree.name(file))
        message = entry.message.replace(storable(str(self._tree.path(file))), name)
        self._report.tell(message if name in message else f"{name}: {message}")
        self._journal.note(file, entry._replace(message=message))
        self.failed += 1

    # -- ended

    def _write(self) -> None:
        """Write the results and the journal. What cannot be written now stays, and no more is taken meanwhile."""
        if self._clock() < self._write_at:
            return
        place = self._journal.failures.name
        try:
            while self._ended:
                outcome, taken = self._ended[0]
                places = self._inventory.places(taken.file, self._journal.get(taken.file))
                try:
                    for place, form in zip(places, self._task.forms, strict=True):
                        self._results.write(place, self._report.render(outcome, form))
                except OSError as exc:
                    if passes(exc):
                        raise
                    why = f"Cannot write {visible(str(self._results.shown / place), 200)} ({exc.strerror})."
                    self._fail(taken.file, Entry(taken.seen, "failed", code=BadRequest.code, message=why))
                else:
                    self._keep(outcome, taken, places)
                del self._ended[0]
            self._journal.flush()
            self._well("disk")
        except OSError as exc:
            shown = visible(str(self._results.shown / place), 200)
            self._trouble("disk", f"Cannot write {shown} ({exc.strerror}): it is tried again every {POLL_S:g} s.")
            self._write_at = self._clock() + POLL_S

    def _keep(self, outcome: Outcome, taken: Taken, places: list[str]) -> None:
        entry = Entry(taken.seen, "done", self._task.digest, tuple(places), outcome.job, taken.content)
        self._journal.note(taken.file, entry)
        self._bereft.discard(taken.file)
        self.done += 1
        name = storable(self._tree.name(taken.file))
        shown = [str(self._results.shown / place) for place in places]
        self._report.done(outcome.model_copy(update={"name": name}), shown)
