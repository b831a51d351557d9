"""What a worker knows of the child's device before there is a child. Touches none: a process of its own is asked."""

import logging

from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.dtype import computes_as
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.devices.probe import ask
from golem_chain.workers.store import chosen
from golem_chain.workers.store.manifest import Checkpoint

logger = logging.getLogger(__name__)

#: The forms that a worker with GOLEM_AGREE=exact has registered, by stage and fingerprint: no proof changes them while
#: it lives. The parent asks first, and every child inherits its answer.
_registered: dict[tuple[str, str], Precision] = {}


def settle(settings: Settings) -> Settings:
    """Return the settings with the device that `auto` means here, so that no child that starts after a card was lost
    turns to the CPU. Warns if it is not the device that the user would expect. Raises DeviceRefused."""
    found = ask(settings.device)
    if found.warning:
        logger.warning("%s; install a torch build for it, or set GOLEM_DEVICE=cpu", found.warning)
    return settings.model_copy(update={"device": found.device})


def form_of(settings: Settings, checkpoint: Checkpoint, card: Card | None) -> Precision:
    """Return the form that a stage runs in on this box (`store.chosen.form_of`); with GOLEM_AGREE=exact the one that
    was returned first. `card`: None for a CPU."""
    if settings.agree != "exact":
        return chosen.form_of(settings, checkpoint, card)
    key = checkpoint.stage, checkpoint.fingerprint
    if key not in _registered:
        _registered[key] = chosen.form_of(settings, checkpoint, card)
    return _registered[key]


def precision_of(settings: Settings, checkpoint: Checkpoint) -> str:
    """Return what decides the results of a stage on this box: the form that runs, and what else rounds the weights
    (`computes_as`). Raises DeviceRefused."""
    return computes_as(checkpoint.dtype, form_of(settings, checkpoint, ask(settings.device).card).name)
