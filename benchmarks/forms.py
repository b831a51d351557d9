"""Puts weights into the store in the form that a setting runs them in, as `golem models pull --bits` does, so that a
measured load converts nothing."""

from golem_chain.broker.queues import STAGES
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.selection import card_of, pick_device
from golem_chain.workers.store.chosen import form_of
from golem_chain.workers.store.making import make_variant
from golem_chain.workers.store.manifest import find


def ready(settings: Settings) -> None:
    """Make what is missing. Raises BadSetting if the store cannot be written, ModelMissing, ModelCorrupt."""
    card = card_of(pick_device(settings))
    for stage in STAGES:
        checkpoint = find(settings, stage)
        make_variant(checkpoint, form_of(settings, checkpoint, card))
