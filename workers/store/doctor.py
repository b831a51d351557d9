"""Checks of the store: the models of every stage, and the space for them."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from golem_chain.shared.errors import GolemError
from golem_chain.shared.finding import Finding
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.card import Card
from golem_chain.workers.store.catalog import STAGES
from golem_chain.workers.store.chosen import form_of
from golem_chain.workers.store.manifest import Checkpoint, find

#: Free space below which there is a warning: a pull needs its download and the converted weights at the same time.
LEAST_FREE_BYTES = 2_000_000_000

Found = Mapping[str, Checkpoint | GolemError]


def read(settings: Settings) -> Found:
    """Return each stage's checkpoint, or why it cannot be used."""
    found: dict[str, Checkpoint | GolemError] = {}
    for stage in STAGES:
        try:
            found[stage] = find(settings, stage)
        except GolemError as exc:
            found[stage] = exc
    return found


def check(found: Found) -> list[Finding]:
    """Return one finding for each stage."""
    return [_model(stage, one) for stage, one in found.items()]


def needs(settings: Settings, found: Found, card: Card | None) -> dict[str, int]:
    """Return the bytes of each usable checkpoint's weights in memory, in the form that runs there. `card`: None for a
    CPU."""
    from golem_chain.workers.store.making import make_of
    from golem_chain.workers.store.opened import weights_of

    sizes: dict[str, int] = {}
    for stage, one in found.items():
        if isinstance(one, Checkpoint):
            form = form_of(settings, one, card)
            with suppress(GolemError):  # the file is damaged: the load says so
                sizes[stage] = weights_of(one, lambda config: make_of(config)(config), torch.device("cpu"), form).nbytes
    return sizes


def disk(settings: Settings) -> Finding:
    """The store's disk has room for another model."""
    folder = next(path for path in (settings.store, *settings.store.absolute().parents) if path.exists())
    return space(shutil.disk_usage(folder).free, settings.store)


def space(free_bytes: int, store: Path) -> Finding:
    """Return the finding for this much free space."""
    told = f"{format_bytes(free_bytes)} are free at {store}"
    if free_bytes < LEAST_FREE_BYTES:
        return Finding("disk", "warning", told, "free space, or set GOLEM_STORE to another disk")
    return Finding("disk", "ok", told)


def _model(stage: str, found: Checkpoint | GolemError) -> Finding:
    if isinstance(found, Checkpoint):
        told = f"The {stage}'s model {found.id} is in the store ({format_bytes(found.size_bytes)})"
        return Finding(f"model-{stage}", "ok", told)
    return Finding.of_error(f"model-{stage}", found)
