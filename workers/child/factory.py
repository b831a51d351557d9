"""Builds the child's residency: device, memory, and the three engines with their checkpoints.

Importing this module imports the model libraries, which takes seconds. The parent may import it; only the child builds.
"""

import json
import logging
import os
from collections.abc import Callable
from functools import cache, partial

import torch
import transformers

from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.child.device import form_of
from golem_chain.workers.child.fitting import fitting
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.dtype import packed
from golem_chain.workers.devices.identity import card_name
from golem_chain.workers.devices.memory import (
    ALLOCATOR_NAMES,
    allocator_environment,
    budget_bytes,
    on_tegra,
    open_memory,
)
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.devices.selection import card_of, pick_device
from golem_chain.workers.devices.threads import set_threads
from golem_chain.workers.residency.events import Event
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.working_memory import Peaks
from golem_chain.workers.stages.engine import AnyEngine
from golem_chain.workers.stages.engines import ENGINES
from golem_chain.workers.store import find, verdicts
from golem_chain.workers.store.hostcache import HostCache, pinned_bytes
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.opened import weights_of

logger = logging.getLogger(__name__)


def preload(settings: Settings) -> None:
    """Import what the first loads need before the child is forked: transformers imports a model's module when its class
    is first accessed, which takes seconds. Creates no tensor and skips missing checkpoints."""
    for stage in STAGES:
        try:
            config = json.loads((find(settings, stage).folder / "config.json").read_text(encoding="utf-8"))
            names = config.get("architectures") or []
        except (GolemError, OSError, ValueError):
            continue  # the first use of the model reports the error
        for name in (*names, *_ALWAYS):
            getattr(transformers, str(name), None)


#: Classes that every engine needs.
_ALWAYS = ("AutoConfig", "AutoTokenizer", "GenerationConfig", "WhisperFeatureExtractor")


def build_residency(settings: Settings, on_event: Callable[[Event], None] | None = None) -> Residency:
    """Return the residency with nothing loaded. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    set_threads(settings.threads)
    # before the first use of a card
    os.environ.update(allocator_environment(os.environ, torch.__version__, tegra=on_tegra()))
    device = pick_device(settings)
    card = card_of(device)
    engines: dict[str, AnyEngine] = {}
    models: dict[str, str] = {}
    pinned = partial(pinned_bytes, options=",".join(os.environ.get(name, "") for name in ALLOCATOR_NAMES))
    host = None if card is None or card.integrated else HostCache(settings.host_cache, pinned)
    memory = open_memory(device)
    budget = budget_bytes(settings.memory_budget, memory.read().total)
    for stage in STAGES:
        checkpoint = find(settings, stage)
        # the engine whose needs were asked is the one that runs
        opened = cache(partial(_engine, settings, checkpoint, device, host))
        form = form_of(settings, checkpoint, card)
        if settings.bits == "auto" and settings.agree != "exact":  # boxes have agreed on a form, their budgets differ
            form = _packed_to_fit(form, settings.dtype, checkpoint, card, budget - memory.read().context, opened)
        engines[stage] = opened(form)
        models[stage] = f"{checkpoint.id}@{checkpoint.revision} {form.name}"
    return Residency(
        engines,
        memory,
        settings.resident,
        budget,
        peaks=Peaks(settings.store / "peaks.json", card_name(device)),
        models=models,
        on_event=on_event,
    )


def _engine(
    settings: Settings, checkpoint: Checkpoint, device: torch.device, host: HostCache | None, form: Precision
) -> AnyEngine:
    engine_of, make = ENGINES[checkpoint.stage]
    engine: AnyEngine = engine_of(weights_of(checkpoint, make, device, form, host), settings)
    return engine


def _packed_to_fit(
    form: Precision,
    asked: str,
    checkpoint: Checkpoint,
    card: Card | None,
    room_bytes: int,
    opened: Callable[[Precision], AnyEngine],
) -> Precision:
    """The form, packed if the budget would not hold the model otherwise; said in the log. `asked`: GOLEM_DTYPE."""
    verdict = verdicts.find(checkpoint, verdicts.binding_of(checkpoint, card))

    def need(one: Precision) -> int:
        engine = opened(one)
        return engine.weights_bytes + engine.working_bytes(1)

    def fails(one: Precision) -> bool:
        tried = verdict.of(one) if verdict else None
        return tried is not None and not tried.passed

    def pack(one: Precision, bits: int) -> Precision:
        return packed(one, bits, asked, card, checkpoint.stage)

    try:
        chosen = fitting(form, room_bytes, need, fails, pack)
    except GolemError:
        return form  # the first use of the model reports the error
    if chosen != form:
        logger.warning(
            "The %s's model %s runs with packed weights, %s: otherwise it needs %s with working memory, and the budget "
            "has %s (GOLEM_MEMORY_BUDGET, GOLEM_BITS)",
            checkpoint.stage, checkpoint.id, chosen.name, format_bytes(need(form)), format_bytes(max(0, room_bytes)),
        )  # fmt: skip
    return chosen
