"""The Python API: submit audio, ask for outcomes, wait for them, cancel.

from golem_chain import Pipeline

with Pipeline() as pipeline:
    job = pipeline.submit("clip.wav", labels="lights_on,music_stop")
    for outcome in pipeline.wait([job]):
        print(outcome.transcript.text, outcome.intent.label, outcome.reply.text)
"""

import hashlib
import json
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from golem_chain.broker.connection import connect, reaching
from golem_chain.broker.jobs.outcomes import Outcomes, unknown
from golem_chain.broker.jobs.records import INLINE_BYTES, Jobs
from golem_chain.broker.jobs.vault import Vault, about_s, read_file, within
from golem_chain.broker.queues import STAGES, task_id, task_name
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadRequest, BrokerAway
from golem_chain.shared.labels import check_labels, load_labels, parse_labels
from golem_chain.shared.records import (
    AudioRef,
    Failure,
    Handover,
    Job,
    LabelSet,
    OracleParams,
    Outcome,
    Task,
    Vocabulary,
)
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import storable, visible
from golem_chain.shared.vocabulary import check_vocabulary, parse_vocabulary, with_labels

if TYPE_CHECKING:
    from celery import Celery

_HEAD_BYTES = 4096  # of a file that is not read by the producer: enough for a WAVE header
_NAME_IN_MESSAGES = 100  # characters; the Outcome has the name in full
#: Celery's own tries to publish, beyond the first: about a second in all.
_RETRY_POLICY = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


class Pipeline:
    """A producer's hold of the system. May be used by several threads. Every method raises BrokerAway."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.read()
        self._client = connect(self.settings)
        self._jobs = Jobs(self._client)
        self._vault = Vault(self.settings, self._client)
        self._outcomes = Outcomes(self.settings, self._client)

    def submit(
        self,
        audio: str | Path | bytes,
        *,
        labels: str | Path | LabelSet | None = None,
        vocabulary: str | Vocabulary | None = None,
        language: str | None = None,
        task: Task = "transcribe",
        word_times: bool = False,
        oracle: OracleParams | None = None,
        id: str | None = None,
        name: str | None = None,
        wait_s: float = 60.0,
    ) -> str:
        """Hand in one job and return its id.

        `audio` is a path or the bytes of a file. `labels` is a text as in `--labels` (`a,b="says|means"`, `@a.toml`), a
        label file, a set, or None for the worker's own. `vocabulary` holds the phrases that may be said: a text as in
        `--vocabulary` (`yes,no`, `@phrases.txt`, `from-labels`), or a record, which has fillers too. With an `id` of
        yours, submitting again is harmless: the job runs once. `wait_s` is how long to wait while the vault is above
        its limit. Raises AudioMissing, AudioAboveLimit, BadLabels, BadVocabulary, BadRequest, VaultFull.
        """
        id = id or uuid.uuid4().hex
        job, data = self._describe(audio, labels, vocabulary, language, task, word_times, oracle, id, name)
        with reaching(self.settings):
            if not self._jobs.register(job):
                return job.id
            try:
                if data is not None:
                    self._vault.put(job.id, data, job.audio, wait_s)
                self._send(job)
            except BaseException:
                self._undo(job)
                raise
            self._jobs.claim(job)
        return job.id

    def outcome(self, job: str) -> Outcome | None:
        """The Outcome of a job; None while it is under way. Raises BadRequest for a job that Redis does not know."""
        with reaching(self.settings):
            if found := self._outcomes.get(job):
                return found
            if not self._jobs.finished([job])[0].known:
                raise unknown(job, self.settings.keep_s)
        return None

    def wait(self, jobs: Iterable[str], timeout_s: float | None = None) -> Iterator[Outcome]:
        """Outcomes as jobs end, each job once; ends early after `timeout_s` seconds (None: never).

        Rides out a restart of Redis. Raises BadRequest for a job that Redis does not know.
        """
        with reaching(self.settings):
            yield from self._outcomes.wait(jobs, timeout_s)

    def progress(self, jobs: Iterable[str]) -> dict[str, int]:
        """How many of these jobs have passed each stage, or ended before it."""
        with reaching(self.settings):
            return self._jobs.progress(list(jobs))

    def heard(self, jobs: Iterable[str]) -> tuple[float, float]:
        """Seconds heard, and of how many, of the long recordings among these jobs that are being heard."""
        with reaching(self.settings):
            return self._jobs.heard(list(jobs))

    def status(self) -> dict[str, Any]:
        """Queues, boxes and dead letters, as `golem status --json` prints them: see `broker.monitoring.status.read`."""
        from golem_chain.broker.monitoring import status  # what only status needs

        return status.read(self.settings)

    def cancel(self, job: str) -> Outcome:
        """End a job as `cancelled` and return its Outcome, or the one that it had already.

        A stage that is queued will not run; what a running one still gives is dropped. Raises BadRequest.
        """
        with reaching(self.settings):
            if not (found := self._outcomes.get(job)):
                if not self._jobs.finished([job])[0].known:
                    raise unknown(job, self.settings.keep_s)
                self._outcomes.end(job, "cancelled", Failure(code="cancelled", message="The job was cancelled."))
                found = self._outcomes.get(job)
        if not found:
            raise unknown(job, self.settings.keep_s)
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
        if "_app" in vars(self):
            self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- what is asked for

    def _describe(
        self,
        audio: str | Path | bytes,
        labels: str | Path | LabelSet | None,
        vocabulary: str | Vocabulary | None,
        language: str | None,
        task: Task,
        word_times: bool,
        oracle: OracleParams | None,
        id: str,
        name: str | None,
    ) -> tuple[Job, bytes | None]:
        """The job, and the bytes for the vault (None: it travels as a `file:` reference)."""
        asked, spoken = _labels(labels), _vocabulary(vocabulary)
        if spoken and asked:
            with_labels(spoken, asked)  # says now what else the worker would say
        if isinstance(audio, bytes):
            data: bytes | None = audio
            shown = "audio" if name is None else name
        else:
            data, shown = None, str(audio) if name is None else name
        ref = self._file(Path(audio)) if not isinstance(audio, bytes) else None
        if ref is None:
            data = data if data is not None else read_file(Path(str(audio)), self.settings.audio_max_bytes)
            ref = self._bytes(id, data)
        try:
            job = Job(
                id=id,
                name=storable(shown),
                audio=ref,
                labels=asked,
                vocabulary=spoken,
                language=language,
                task=task,
                word_times=word_times,
                oracle=oracle or OracleParams(),
                submitted_at=time.time(),
            )
        except ValidationError as exc:
            first = exc.errors()[0]
            what = ".".join(map(str, first["loc"]))
            raise BadRequest(f"{what}={str(first['input'])[:80]!a}: {first['msg']}.") from None
        return self._stored(job), data

    def _stored(self, job: Job) -> Job:
        """The job with its label set and vocabulary stored by hash as far as they are too large to travel with it."""
        asked, spoken = job.labels, job.vocabulary
        labels_bytes, vocabulary_bytes = (len(json.dumps(one.wire())) if one else 0 for one in (asked, spoken))
        with reaching(self.settings):
            if spoken and vocabulary_bytes > INLINE_BYTES - min(labels_bytes, INLINE_BYTES // 2):
                vocabulary_bytes = 0
                job = job.model_copy(update={"vocabulary": None, "vocabulary_key": self._jobs.put_vocabulary(spoken)})
            if asked and labels_bytes > INLINE_BYTES - vocabulary_bytes:
                job = job.model_copy(update={"labels": None, "labels_key": self._jobs.put_labels(asked)})
        return job

    def _bytes(self, id: str, data: bytes) -> AudioRef:
        most = self.settings.audio_max_bytes
        if len(data) > most:
            raise AudioAboveLimit(
                f"The audio has {format_bytes(len(data))}, at most {format_bytes(most)} are accepted: "
                "cut it, or raise GOLEM_AUDIO_MAX_BYTES."
            )
        return AudioRef(
            key=f"vault:{id}",
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            about_s=about_s(data[:_HEAD_BYTES], len(data), self.settings.audio_max_s),
        )

    def _file(self, path: Path) -> AudioRef | None:
        """A reference to a file under GOLEM_AUDIO_ROOT; None for one that lies elsewhere."""
        if not self.settings.audio_root:
            return None
        try:
            real = within(path, self.settings.audio_root)
            found = real.stat()
        except (AudioMissing, OSError):
            return None  # reading it says why it cannot be read, or puts it into the vault
        if not stat.S_ISREG(found.st_mode) or found.st_size > self.settings.audio_max_bytes:
            return None  # likewise
        if not os.access(real, os.R_OK) or storable(str(real)) != str(real):
            return None  # likewise; JSON cannot carry a path that is not UTF-8
        with real.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return AudioRef(
            key=f"file:{real}",
            size_bytes=found.st_size,
            about_s=about_s(head, found.st_size, self.settings.audio_max_s),
        )

    # -- what is sent

    @cached_property
    def _app(self) -> "Celery":
        from golem_chain.broker.app import make_app

        return make_app(self.settings)

    def _send(self, job: Job) -> None:
        """Publish the chain: one message now, the rest of it inside."""
        from celery import chain

        limit_s = self.settings.time_limit_s + self.settings.time_limit_per_audio_s * job.audio.about_s
        options: dict[str, dict[str, Any]] = {"scribe": {"time_limit": limit_s}}
        brief = Handover(job=job.model_copy(update={"name": visible(job.name, _NAME_IN_MESSAGES)}))
        steps = [
            self._app.signature(
                task_name(stage),
                args=(brief.wire(),) if stage == STAGES[0] else (),
                options={
                    "task_id": task_id(job.id, stage),
                    "argsrepr": "…",
                    "kwargsrepr": "…",
                    **options.get(stage, {}),
                },
            )
            for stage in STAGES
        ]
        chain(*steps, app=self._app).apply_async(retry=True, retry_policy=_RETRY_POLICY)

    def _undo(self, job: Job) -> None:
        """Best effort: what is left expires by itself."""
        try:
            with reaching(self.settings):
                self._vault.drop(job.id)
                self._jobs.forget(job.id)
        except BrokerAway:
            return


def _labels(labels: str | Path | LabelSet | None) -> LabelSet | None:
    """A checked set. Raises BadLabels."""
    if labels is None:
        return None
    if isinstance(labels, LabelSet):
        return check_labels(labels)
    return parse_labels(labels) if isinstance(labels, str) else load_labels(labels)


def _vocabulary(vocabulary: str | Vocabulary | None) -> Vocabulary | None:
    """A checked vocabulary. Raises BadVocabulary."""
    return check_vocabulary(vocabulary) if isinstance(vocabulary, Vocabulary) else parse_vocabulary(vocabulary)
