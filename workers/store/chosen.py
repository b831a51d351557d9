"""Chooses the form in which a checkpoint runs on a device: by the settings, and by the verdict beside it."""

import json
from pathlib import Path

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.dtype import choose
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store import verdicts
from golem_chain.workers.store.manifest import Checkpoint


def form_of(settings: Settings, checkpoint: Checkpoint, card: Card | None) -> Precision:
    """The form that a checkpoint runs in: as `choose` decides, given what was proved here. `card`: None for a CPU."""
    return choose(
        settings.dtype,
        settings.bits,
        card,
        checkpoint.stage,
        proved=proved(settings, checkpoint, card),
        cross_encoder=settings.dtype == "fast" and checkpoint.stage == "interpreter" and classifies(checkpoint.folder),
    )


def proved(settings: Settings, checkpoint: Checkpoint, card: Card | None) -> Precision | None:
    """The fastest form that was proved here, packed as GOLEM_BITS asks; None if there is none, or if none is asked
    for."""
    if settings.dtype != "auto":
        return None
    verdict = verdicts.find(checkpoint, verdicts.binding_of(checkpoint, card))
    return verdict.fastest(int(settings.bits) if settings.bits in ("8", "4") else None) if verdict else None


def classifies(folder: Path) -> bool:
    """Whether a checkpoint's config names a classifier; False if it cannot be read, which the load reports."""
    try:
        kinds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ()
    except (OSError, ValueError, AttributeError):
        return False
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
