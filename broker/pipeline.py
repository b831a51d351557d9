"""The Python API: submit audio or text, read Outcomes, wait for them, cancel jobs.

from golem_chain import Pipeline

with Pipeline() as pipeline:
    job = pipeline.submit("clip.wav", labels="lights_on,music_stop")
    for outcome in pipeline.wait([job]):
        print(outcome.transcript.text, outcome.intent.label, outcome.reply.text)
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis

from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.jobs.groups import FIRST, End, Groups, GroupStatus
from golem_chain.broker.jobs.listing import Listed, Listing
from golem_chain.broker.jobs.options import make_options
from golem_chain.broker.jobs.outcomes import Outcomes, unknown
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.uploads import Uploaded, Uploads
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.owner import owner_of
from golem_chain.broker.submission import Asked, Described, Request, Submitted, Submitter
from golem_chain.shared.errors import BadRequest, Cancelled
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import (
    Failure,
    JobOptions,
    LabelSet,
    Lane,
    OracleParams,
    Outcome,
    StageName,
    Task,
    Vocabulary,
)
from golem_chain.shared.settings import Settings


class Pipeline:
    """A producer's client. Thread-safe. Every method raises BrokerAway if Redis fails."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.read()
        self._use(connect(self.settings))

    def _use(
        self,
        client: redis.Redis,
        pause: Callable[[float], object] = time.sleep,
        apart: Callable[[Callable[[], Described]], Described] = lambda describe: describe(),
    ) -> None:
        """Work with this client. `pause`: see Vault; `apart`: see Submitter."""
        keys, vault = Keys(self.settings.prefix), Vault(self.settings, client, pause)
        self._client, self._jobs = client, Jobs(client, keys)
        self.uploads = Uploads(self.settings, client, pause)
        self._submitter = Submitter(self.settings, client, self._jobs, vault, self.uploads, apart)
        self._outcomes = Outcomes(self.settings, client)
        self._groups = Groups(client, keys, self._outcomes)
        self._listing = Listing(client, keys, owner_of(self.settings))

    def submit(
        self,
        audio: str | Path | bytes | None = None,
        *,
        text: str | None = None,
        intent: str | None = None,
        stop: StageName | None = None,
        labels: str | Path | LabelSet | None = None,
        vocabulary: str | Vocabulary | None = None,
        language: str | None = None,
        task: Task = "transcribe",
        word_times: bool = False,
        oracle: OracleParams | None = None,
        initial_prompt: str | None = None,
        scribe_temperature: float | None = None,
        hotwords: str | Sequence[str] | None = None,
        lane: Lane = "bulk",
        expires_s: float | None = None,
        group: str | None = None,
        webhook: str | None = None,
        id: str | None = None,
        id_from: Literal["content"] | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
    ) -> str:
        """Submit one job and return its id.

        `audio` is a path or the bytes of a file. Instead of it, `text` is what was said, at most 20,000 characters: the
        job begins at the Interpreter, or with its `intent` at the Oracle. `stop` is the last stage that runs, None the
        last of the chain: `stop="scribe"` gives a transcript alone. What does not run loads no model.
        `labels` is a text as in `--labels` (`a,b="says|means"`, `@a.toml`), the path of a label file, a LabelSet, or
        None for the worker's default. `vocabulary` lists the phrases that may be said: a text as in `--vocabulary`
        (`yes,no`, `@phrases.txt`, `from-labels`), or a Vocabulary, which can also have fillers. `initial_prompt` is
        text that the Scribe is to continue, such as names in their spelling. `hotwords` are names that may be said: a
        text as in `--hotwords` (`Ecobee,Kitchener`, `@names.txt`), or one text each.
        An `interactive` job goes before bulk ones. A job that has not ended after `expires_s` seconds ends as
        `expired`. Jobs of a `group` are counted together. `webhook` is a URL that is told of the end.
        With an `id` of your own, submitting twice is safe: the job runs once. `id_from="content"` derives the id from
        the audio's bytes and what is asked: the same again runs once too, under whatever name. `wait_s` is how long to
        wait for space in a full vault, seconds.
        Raises AudioMissing, AudioAboveLimit, BadLabels, BadVocabulary, BadRequest, VaultFull.
        """
        options = make_options(
            labels=labels,
            vocabulary=vocabulary,
            language=language,
            task=task,
            word_times=word_times,
            oracle=oracle,
            stop=stop,
            initial_prompt=initial_prompt,
            scribe_temperature=scribe_temperature,
            hotwords=hotwords,
            lane=lane,
            expires_s=expires_s,
            group=group,
            webhook=webhook,
        )
        return self.submit_with(
            audio, options, text=text, intent=intent, id=id, id_from=id_from, name=name, wait_s=wait_s
        )

    def submit_with(
        self,
        audio: str | Path | bytes | Uploaded | None,
        options: JobOptions,
        *,
        text: str | None = None,
        intent: str | None = None,
        id: str | None = None,
        id_from: Literal["content"] | None = None,
        again: str | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
        owner: str | None = None,
    ) -> str:
        """Like `submit`, with prepared options that several jobs can share. `audio` is None for a text; Uploaded
        is what came in through `uploads`.

        With `id_from`, `again` is the id of a job of the same content that failed: this one is derived from it too, so
        that the content runs once more, and once only. `owner` is another name than GOLEM_OWNER's under which the job
        is listed, see `broker.owner`.
        """
        if id and id_from:
            raise BadRequest("The id is given, and is to be derived from the content: choose one of the two.")
        wanted = None if id_from else id or uuid.uuid4().hex
        return self._submitter.submit(Asked(audio, text, intent), options, wanted, name, wait_s, again, owner)

    def submit_many(
        self,
        audio: Iterable[str | Path | bytes] = (),
        options: JobOptions | None = None,
        *,
        texts: Iterable[str] = (),
        ids: Iterable[str] | None = None,
        id_from: Literal["content"] | None = None,
        names: Iterable[str] | None = None,
        wait_s: float = 60.0,
    ) -> list[Submitted]:
        """Submit many jobs with the same options, some hundred in one round trip. Returns for each its id, and the
        error if it could not be submitted; the others are. `ids` and `names` are in the order of the jobs; `id_from`
        as in `submit`.

        A group makes them cheap to follow: `JobOptions(group="night")`, then `group("night")`.
        Raises BadLabels, BadVocabulary, BadRequest for options that no job could have.
        """
        asked = [*(Asked(one) for one in audio), *(Asked(None, one) for one in texts)]
        if ids is not None and id_from:
            raise BadRequest("Ids are given, and are to be derived from the content: choose one of the two.")
        given: list[str | None] = (
            list(ids) if ids is not None else [None if id_from else uuid.uuid4().hex for _ in asked]
        )
        shown: list[str | None] = list(names) if names is not None else [None] * len(asked)
        if not len(asked) == len(given) == len(shown):
            raise BadRequest(f"{len(asked)} jobs have {len(given)} ids and {len(shown)} names: give one for each.")
        requests = (Request(*one) for one in zip(asked, given, shown, strict=True))
        return list(self._submitter.submit_many(requests, options or JobOptions(), wait_s))

    def stream_many(
        self, requests: Iterable[Request], options: JobOptions, wait_s: float = 60.0
    ) -> Iterator[Submitted]:
        """As `submit_many`, but lazily: requests are read, and results given, as the jobs are submitted."""
        return self._submitter.submit_many(requests, options, wait_s)

    def promote(self, job: str) -> bool:
        """Move a waiting job before all others; its later stages are interactive too. Return False if it has ended.

        Raises BadRequest if Redis does not know the job.
        """
        return self._submitter.promote(job) or (self.outcome(job) is None and self._submitter.promote(job))

    def mine(self, first: int = 0, most: int = 50) -> list[Listed]:
        """Return the jobs that this owner has submitted (GOLEM_OWNER), newest first, without those that have expired:
        `most` of them from place `first` on."""
        with reaching(self.settings):
            return self._listing.page(first, most)

    def group(self, name: str) -> "Group":
        """Return a group of jobs. Costs nothing and does not fail if there is none."""
        return Group(name, self._groups, self.settings)

    def outcome(self, job: str) -> Outcome | None:
        """Return a job's Outcome, None while it is unfinished. Raises BadRequest if Redis does not know the job."""
        with reaching(self.settings):
            if found := self._outcomes.get(job):
                return found
            if not self._jobs.finished([job])[0].known:
                raise unknown(job, self.settings.keep_s)
        return None

    def wait(self, jobs: Iterable[str], timeout_s: float | None = None) -> Iterator[Outcome]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never).

        Survives a restart of Redis. Raises BadRequest if Redis does not know a job.
        """
        with reaching(self.settings):
            yield from self._outcomes.wait(jobs, timeout_s)

    def watch(self, jobs: Iterable[str], tick_s: float) -> Iterator[Outcome | None]:
        """As `wait`, but also yield None about every `tick_s` seconds."""
        with reaching(self.settings):
            yield from self._outcomes.watch(jobs, tick_s=tick_s)

    def progress(self, jobs: Iterable[str]) -> dict[str, int]:
        """Return for each stage how many of these jobs have finished it or have ended."""
        with reaching(self.settings):
            return self._jobs.progress(list(jobs))

    def heard(self, jobs: Iterable[str]) -> tuple[float, float]:
        """Return transcribed and total seconds of the long recordings among these jobs that are being transcribed."""
        with reaching(self.settings):
            return self._jobs.heard(list(jobs))

    def status(self) -> JsonObject:
        """Return queues, boxes and dead letters, as `golem status --json` does: see `broker.monitoring.status.read`."""
        from golem_chain.broker.monitoring import status

        return status.read(self.settings)

    def cancel(self, job: str) -> Outcome:
        """Cancel a job and return its Outcome; a job that has already ended keeps the Outcome that it has.

        A queued stage does not run; the result of a running one is discarded. Raises BadRequest if Redis does not know
        the job.
        """
        if found := self.outcome(job):
            return found
        with reaching(self.settings):
            self._outcomes.end(job, "cancelled", Failure(code=Cancelled.code, message="The job was cancelled."))
            if found := self._outcomes.get(job):
                return found
        raise unknown(job, self.settings.keep_s)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Group:
    """Jobs that were submitted under one group name. Each method costs the same for any number of jobs, and raises
    BadRequest if there is no such group, BrokerAway if Redis fails."""

    def __init__(self, name: str, groups: Groups, settings: Settings) -> None:
        self.name, self._groups, self._settings = name, groups, settings

    def status(self) -> GroupStatus:
        """Return how many jobs were submitted, are at each stage, and have ended in each state."""
        with reaching(self._settings):
            return self._groups.status(self.name)

    def cancel(self) -> GroupStatus:
        """Cancel every unfinished job, and refuse further ones. Running jobs end within a second, waiting ones when a
        worker takes their messages."""
        with reaching(self._settings):
            return self._groups.cancel(self.name)

    def ends(self, since: str = FIRST) -> list[End]:
        """Return the next jobs that have ended since a cursor, at most 200, in the order of their ends."""
        with reaching(self._settings):
            return self._groups.ends(self.name, since)

    def wait(self, since: str = FIRST, timeout_s: float | None = None) -> Iterator[End]:
        """Yield the jobs as they end, until all that were submitted have ended or `timeout_s` have passed (None: no
        limit). `since` goes on after the cursor of an earlier end. Survives a restart of Redis."""
        with reaching(self._settings):
            yield from self._groups.wait(self.name, since, timeout_s)

    def watch(self, since: str = FIRST, tick_s: float = 1.0) -> Iterator[End | None]:
        """As `wait`, but also yield None about every `tick_s` seconds."""
        with reaching(self._settings):
            yield from self._groups.watch(self.name, since, tick_s=tick_s)

    def now(self) -> str:
        """Return a cursor before every end that follows, for a group that has older ends. Does not fail if there is no
        such group."""
        with reaching(self._settings):
            return self._groups.now()
