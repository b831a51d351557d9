"""What a worker knows of the child's device before there is a child. Touches none: a process of its own is asked."""

import json
import logging
from pathlib import Path

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.dtype import computes_as, dtype_name
from golem_chain.workers.devices.probe import ask
from golem_chain.workers.store.manifest import Checkpoint

logger = logging.getLogger(__name__)


def settle(settings: Settings) -> Settings:
    """Return the settings with the device that `auto` means here, so that no child that starts after a card was lost
    turns to the CPU. Warns if it is not the device that the user would expect. Raises DeviceRefused."""
    found = ask(settings.device)
    if found.warning:
        logger.warning("%s; install a torch build for it, or set GOLEM_DEVICE=cpu", found.warning)
    return settings.model_copy(update={"device": found.device})


def dtype_of(settings: Settings, stage: str, checkpoint: Checkpoint) -> str:
    """Return what decides the results of a stage on this box: the dtype that runs, and what else rounds the weights
    (`computes_as`). Raises DeviceRefused."""
    nli = settings.dtype == "fast" and stage == "interpreter" and _classifies(checkpoint.folder)
    running = dtype_name(settings.dtype, ask(settings.device).card, stage, cross_encoder=nli)
    return computes_as(checkpoint.dtype, running)


def _classifies(folder: Path) -> bool:
    """Return whether a checkpoint's config names a classifier; False if it cannot be read, which the load reports."""
    try:
        kinds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ()
    except (OSError, ValueError, AttributeError):
        return False
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
