"""Small models in a store, to be run packed, and the same models with the weights that their packed ones stand for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.settings import Settings
from golem_chain.workers.store import find
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.packed import modules
from golem_chain.workers.store.packed.dense import dense
from golem_chain.workers.store.sources.progress import Show
from golem_chain.workers.store.sources.pull import pull


def pack_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack small matrices too: those of test models have fewer weights than are worth it."""
    monkeypatch.setattr(modules, "LEAST_WEIGHTS", 1)


def stored(stage: str, held: Any, store: Path, **given: Any) -> Checkpoint:
    """Put a model of `text_models` or `whisper_models` into a store and return its checkpoint."""
    held.model.save_pretrained(held.folder)
    chosen = Settings.read(_env_file=None, store=store, device="cpu", **{f"{stage}_model": str(held.folder), **given})
    pull(chosen, stages=(stage,), show=Show(quiet=True))
    return find(chosen, stage)


def unpacked(weights: Weights, held: Any) -> Any:
    """Give a plain model the weights that the packed ones stand for, and return it."""
    packed: Any = weights.build()
    with torch.no_grad():
        for place in packed.places:
            matrix = dense(place.modules[0], torch.float32)
            held.model.get_parameter(place.names[0]).copy_(matrix.t() if place.modules[0].turned else matrix)
    return held
