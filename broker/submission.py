"""Submits jobs: validates the input, stores or references the audio, publishes the first message."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import redis

from golem_chain.broker.address import masked
from golem_chain.broker.connection import reaching
from golem_chain.broker.content_id import UNNAMED, ContentIds
from golem_chain.broker.jobs.options import validated
from golem_chain.broker.jobs.publisher import Publisher
from golem_chain.broker.jobs.records import INLINE_BYTES, Jobs, digest
from golem_chain.broker.jobs.uploads import Uploaded, Uploads
from golem_chain.broker.jobs.vault import Vault, read_file, within
from golem_chain.broker.keys import Keys
from golem_chain.broker.owner import owner_of
from golem_chain.broker.webhooks.outbox import Outbox
from golem_chain.shared.errors import AudioAboveLimit, AudioMissing, BadRequest, BrokerAway, GolemError, VaultFull
from golem_chain.shared.records import AudioRef, Job, JobOptions, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.shared.text import storable, visible
from golem_chain.shared.vocabulary import with_labels

#: How long replicas may take to confirm a submit.
REPLICAS_S = 1.0
#: Jobs of one round trip: at about 2 KB each the server is held for a few milliseconds.
AT_ONCE = 200


class Asked(NamedTuple):
    """What a job begins with: audio, or a text, which may have its intent."""

    audio: str | Path | bytes | Uploaded | None = None
    text: str | None = None
    intent: str | None = None


class Request(NamedTuple):
    """One of many jobs to submit."""

    asked: Asked
    id: str | None  # None: derived from the content
    name: str | None = None


class Submitted(NamedTuple):
    """One of many jobs that were submitted."""

    id: str
    error: GolemError | None = None  # why it was not submitted
    before: bool = False  # it was submitted before, perhaps in another group: nothing was changed


def check_used(job: Job) -> None:
    """Raise BadRequest for an option that no stage of the job would use, and for an intent that its labels lack."""
    heard = {"a vocabulary": job.vocabulary, "word times": job.word_times, "a translation": job.task == "translate"}
    for what in (what for what, given in heard.items() if given and "scribe" not in job.wanted):
        raise BadRequest(f"The Scribe makes {what} from audio, and this job begins with a text: leave it out.")
    scribes = {
        "A prompt of the Scribe": job.initial_prompt,
        "A temperature of the Scribe": job.scribe_temperature,
        "A list of hotwords": job.hotwords,
    }
    for what in (what for what, given in scribes.items() if given is not None):
        if "scribe" not in job.wanted:
            raise BadRequest(f"{what} has no effect on a job that begins with a text: leave it out.")
        if job.vocabulary is not None:
            raise BadRequest(f"{what} cannot be combined with a vocabulary: leave one of them out.")
    if job.oracle != OracleParams() and "oracle" not in job.wanted:
        raise BadRequest(
            f"Parameters of the reply have no effect on a job that stops at the {job.stop}: leave them out."
        )
    choosing = job.vocabulary is not None and job.vocabulary.from_labels
    if job.labels and job.wanted == ("scribe",) and not choosing:
        raise BadRequest("Labels have no effect on a job that stops at the scribe: leave them out, or stop later.")
    names = [label.name for label in job.labels.labels] if job.labels else []
    if job.intent is not None and names and job.intent not in (*names, "unknown"):
        shown = visible(", ".join(names), 200)
        raise BadRequest(f"The intent {visible(job.intent, 80)} is none of the labels: choose one of {shown}, unknown.")


def check_options(options: JobOptions) -> None:
    """Raise what every job of audio with these options would raise: BadRequest, BadVocabulary."""
    if options.vocabulary and options.labels:
        with_labels(options.vocabulary, options.labels)
    check_used(Job(id="any", name="any", audio=AudioRef(key="vault:any", size_bytes=0), **dict(options)))


#: A job and the bytes for the vault, or the upload that has them (None: no audio, or a `file:` reference).
Described: TypeAlias = tuple[Job, bytes | Uploaded | None]


class Submitter:
    """Submits jobs. Every method raises BrokerAway if Redis fails. `apart` does what reads files and no Redis."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        jobs: Jobs,
        vault: Vault,
        uploads: Uploads,
        apart: Callable[[Callable[[], Described]], Described] = lambda describe: describe(),
    ) -> None:
        self._settings, self._client, self._jobs, self._vault = settings, client, jobs, vault
        self._apart, self._uploads = apart, uploads
        self._publisher = Publisher(client, Keys(settings.prefix), owner_of(settings))
        self._content_ids = ContentIds(settings, client)

    def submit(
        self,
        asked: Asked,
        options: JobOptions,
        id: str | None,
        name: str | None,
        wait_s: float,
        again: str | None = None,
        owner: str | None = None,
    ) -> str:
        """See `Pipeline.submit_with`. Without an `id`, it is derived from the content."""
        job, data = self.describe(asked, options, id, name, again)
        replicas = self._settings.redis_wait
        self._check_webhook(job.webhook)
        with reaching(self._settings), confirmed_by_replicas(self._client, replicas, self._settings, [job.id]):
            if data is not None and not self._registered(job, data):
                return job.id
            self._store(job, data, options, wait_s)
            # if its answer is lost, the job may run: what it needs is kept for an hour
            self._publisher.submit(job, owner)
        return job.id

    def _check_webhook(self, url: str | None) -> None:
        if url is not None:
            with reaching(self._settings):
                Outbox(self._client, Keys(self._settings.prefix)).check(url)

    def submit_many(self, requests: Iterable[Request], options: JobOptions, wait_s: float) -> Iterator[Submitted]:
        """Submit jobs with the same options, AT_ONCE of them in one round trip, and yield each in its order. An error
        of one job takes its place, except BrokerAway. Audio that has to be stored costs a round trip of its own."""
        self._check_webhook(options.webhook)
        requests = iter(requests)
        while part := list(islice(requests, AT_ONCE)):
            yield from self._submit_part(part, options, wait_s)

    def _registered(self, job: Job, data: bytes | Uploaded) -> bool:
        """Store the record of a job with audio; return False if it was submitted before, and drop an upload of it."""
        fresh = self._jobs.register(job)
        if not fresh and isinstance(data, Uploaded):
            self._uploads.discard(data.upload)
        return fresh

    def _submit_part(self, part: Sequence[Request], options: JobOptions, wait_s: float) -> Iterator[Submitted]:
        """Audio takes space until its job has ended: before a job waits for some, those before it are published. Once
        one has waited in vain, the others of the part do not."""
        done: dict[int, bool | GolemError] = {}
        ready: dict[int, Job] = {}
        ids = [one.id or "" for one in part]
        replicas = self._settings.redis_wait

        def publish() -> None:
            done.update(zip(ready, self._publisher.submit_all(list(ready.values())), strict=True))
            ready.clear()

        with reaching(self._settings), confirmed_by_replicas(self._client, replicas, self._settings, ids):
            for place, (asked, id, name) in enumerate(part):
                try:
                    job, data = self.describe(asked, options, id, name)
                    ids[place] = job.id
                    if data is not None and not self._registered(job, data):
                        done[place] = False
                        continue
                    try:
                        self._store(job, data, options, 0 if ready else wait_s)
                    except VaultFull:
                        if not ready:
                            raise
                        publish()
                        self._jobs.register(job)
                        self._store(job, data, options, wait_s)
                    ready[place] = job
                except BrokerAway:
                    raise
                except GolemError as exc:
                    done[place] = exc
                    wait_s = 0 if isinstance(exc, VaultFull) else wait_s
            publish()
        for place, id in enumerate(ids):
            answer = done[place]
            yield Submitted(id, answer if isinstance(answer, GolemError) else None, before=answer is False)

    def promote(self, id: str) -> bool:
        """See `Pipeline.promote`."""
        with reaching(self._settings):
            return self._publisher.promote(id)

    # -- ids

    def digest(self, asked: Asked, options: JobOptions) -> str:
        """Return a hash of what is asked: of the audio's bytes or the text, and all options that change the answers.
        Reads the audio if it is a file. Raises what `describe` raises, but for Redis."""
        return digest(self._read(asked, options, None, None)[0])

    def salt(self) -> bytes:
        """Return the secret of the system's derived ids. Raises BrokerAway."""
        return self._content_ids.salt()

    # -- building the job

    def describe(
        self, asked: Asked, options: JobOptions, id: str | None, name: str | None, again: str | None = None
    ) -> Described:
        """Return the job and the bytes for the vault."""
        read = partial(self._read, asked, options, id, name)
        reads_bytes = isinstance(asked.audio, str | Path | bytes)
        job, data = self._apart(read) if reads_bytes else read()
        return self._light(self._content_ids.named(job, again) if id is None else job), data

    def _read(self, asked: Asked, options: JobOptions, id: str | None, name: str | None) -> Described:
        from_content, id = id is None, id or UNNAMED
        if options.vocabulary and options.labels:
            with_labels(options.vocabulary, options.labels)  # fail here rather than in the worker
        audio: str | Path | bytes | Uploaded | None = asked.audio
        data: bytes | Uploaded | None = audio if isinstance(audio, Uploaded) else None
        ref = self._file(Path(audio), hashed=from_content) if isinstance(audio, str | Path) else None
        if isinstance(audio, Uploaded):
            ref = AudioRef(key=f"vault:{id}", size_bytes=audio.size_bytes, sha256=audio.sha256)
        elif audio is not None and ref is None:
            data = audio if isinstance(audio, bytes) else read_file(Path(audio), self._settings.audio_max_bytes)
            ref = self._bytes(id, data)
        shown = "text" if audio is None else str(audio) if isinstance(audio, str | Path) else "audio"
        name = storable(shown if name is None else name)
        with validated():
            wanted = {field: getattr(options, field) for field in JobOptions.model_fields}
            job = Job(
                id=id, name=name, audio=ref, text=asked.text, intent=asked.intent, submitted_at=time.time(), **wanted
            )
        check_used(job)
        return job, data

    def _light(self, job: Job) -> Job:
        """Return the job, its label set and vocabulary replaced by keys where they are too large for a record."""
        asked, spoken = job.labels, job.vocabulary
        labels_bytes, vocabulary_bytes = (len(json.dumps(one.wire())) if one else 0 for one in (asked, spoken))
        if spoken and vocabulary_bytes > INLINE_BYTES - min(labels_bytes, INLINE_BYTES // 2):
            vocabulary_bytes = 0
            job = job.model_copy(update={"vocabulary": None, "vocabulary_key": self._vault.vocabulary_key(spoken)})
        if asked and labels_bytes > INLINE_BYTES - vocabulary_bytes:
            job = job.model_copy(update={"labels": None, "labels_key": self._vault.labels_key(asked)})
        return job

    def _bytes(self, id: str, data: bytes) -> AudioRef:
        most = self._settings.audio_max_bytes
        if len(data) > most:
            raise AudioAboveLimit(
                f"The audio is {format_bytes(len(data))}, above the limit of {format_bytes(most)}: "
                "shorten it, or raise GOLEM_AUDIO_MAX_BYTES."
            )
        return AudioRef(
            key=f"vault:{id}",
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def _file(self, path: Path, *, hashed: bool) -> AudioRef | None:
        """Return a reference to a file under GOLEM_AUDIO_ROOT, with the hash of its bytes if asked for; None for any
        other file."""
        if not self._settings.audio_root:
            return None
        try:
            real = within(path, self._settings.audio_root)
            found = real.stat()
        except (AudioMissing, OSError):
            return None  # the caller reads it: into the vault, or with an error that says why not
        if not stat.S_ISREG(found.st_mode) or found.st_size > self._settings.audio_max_bytes:
            return None  # likewise
        if not os.access(real, os.R_OK) or storable(str(real)) != str(real):
            return None  # likewise; JSON cannot hold a path that is not UTF-8
        if not hashed:
            return AudioRef(key=f"file:{real}", size_bytes=found.st_size)
        try:
            with real.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                return AudioRef(key=f"file:{real}", size_bytes=file.tell(), sha256=sha256)
        except OSError:
            return None  # likewise

    # -- storing what the job brings along

    def _store(self, job: Job, data: bytes | Uploaded | None, options: JobOptions, wait_s: float) -> None:
        """Put audio, label set and vocabulary into the vault. If that fails, delete audio and record as far as
        possible; the rest expires. The label set comes last: another job's end shortens the time that one is kept."""
        try:
            if isinstance(data, Uploaded):
                self._uploads.claim(job.id, data)
            elif data is not None and job.audio:
                self._vault.put(job.id, data, job.audio, wait_s)
            if options.labels and job.labels_key:
                self._vault.put_labels(options.labels, wait_s)
            if options.vocabulary and job.vocabulary_key:
                self._vault.put_vocabulary(options.vocabulary, wait_s)
        except BaseException:
            with suppress(redis.RedisError):
                self._jobs.forget(job.id)
            raise


@contextmanager
def confirmed_by_replicas(client: redis.Redis, n: int, settings: Settings, jobs: Sequence[str]) -> Iterator[None]:
    """Raise BrokerAway unless `n` replicas have what the block wrote for the jobs; do nothing if `n` is 0.

    WAIT counts the writes of its own connection, and returns at once where there are none. Replication is ordered, so
    one write after the block stands for all of the block's, whichever connection they used, as long as the primary and
    its history are the same.
    """
    if not n:
        yield
        return
    noun = "job" if len(jobs) == 1 else "jobs"
    keys, before = Keys(settings.prefix), client.info("replication")["master_replid"]
    yield
    with client.pipeline(transaction=False) as pipe:
        pipe.set(keys.replicated, "", ex=1)
        pipe.execute_command("WAIT", n, round(REPLICAS_S * 1000))
        pipe.info("replication")
        _, confirmed, after = pipe.execute()
    if after["master_replid"] != before:
        for job in filter(None, jobs):
            client.hdel(keys.job(job), "queued")  # the message may be lost: the next submit publishes it again
        why = "changed its primary during the submit"
    elif confirmed < n:
        why = f"had the {noun} on {confirmed} of {n} replicas after {REPLICAS_S:g} s (GOLEM_REDIS_WAIT)"
    else:
        return
    again = f"job again with the id {jobs[0]}, it" if len(jobs) == 1 else "jobs again with the same ids, each"
    raise BrokerAway(f"Redis at {masked(settings.redis_url)} {why}: submit the {again} then runs once.")
