"""The Python API: submit audio or text, read Outcomes, wait for them, cancel jobs.

from golem_chain import Pipeline

with Pipeline() as pipeline:
    job = pipeline.submit("clip.wav", labels="lights_on,music_stop")
    for outcome in pipeline.wait([job]):
        print(outcome.transcript.text, outcome.intent.label, outcome.reply.text)
"""

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.jobs.outcomes import Outcomes, unknown
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.submission import Asked, Submitter, job_options
from golem_chain.shared.errors import Cancelled
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
        self._client = connect(self.settings)
        self._jobs = Jobs(self._client, Keys(self.settings.prefix))
        self._submitter = Submitter(self.settings, self._client, self._jobs, Vault(self.settings, self._client))
        self._outcomes = Outcomes(self.settings, self._client)

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
        lane: Lane = "bulk",
        expires_s: float | None = None,
        group: str | None = None,
        webhook: str | None = None,
        id: str | None = None,
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
        text that the Scribe is to continue, such as names in their spelling.
        An `interactive` job goes before bulk ones. A job that has not ended after `expires_s` seconds ends as
        `expired`. Jobs of a `group` are counted together. `webhook` is a URL that is told of the end.
        With an `id` of your own, submitting twice is safe: the job runs once. `wait_s` is how long to wait for space
        in a full vault, seconds.
        Raises AudioMissing, AudioAboveLimit, BadLabels, BadVocabulary, BadRequest, VaultFull.
        """
        options = job_options(
            labels=labels,
            vocabulary=vocabulary,
            language=language,
            task=task,
            word_times=word_times,
            oracle=oracle,
            stop=stop,
            initial_prompt=initial_prompt,
            scribe_temperature=scribe_temperature,
            lane=lane,
            expires_s=expires_s,
            group=group,
            webhook=webhook,
        )
        return self.submit_with(audio, options, text=text, intent=intent, id=id, name=name, wait_s=wait_s)

    def submit_with(
        self,
        audio: str | Path | bytes | None,
        options: JobOptions,
        *,
        text: str | None = None,
        intent: str | None = None,
        id: str | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
    ) -> str:
        """Like `submit`, with prepared options that several jobs can share. `audio` is None for a text."""
        return self._submitter.submit(Asked(audio, text, intent), options, id or uuid.uuid4().hex, name, wait_s)

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
