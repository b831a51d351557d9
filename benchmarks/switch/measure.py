"""`golem bench switch`: times loads (cold and warm) and unloads against the memcpy floor and against from_pretrained +
del + gc + empty_cache, in one run."""

import gc
import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
from torch import nn

from golem_chain.benchmarks.clock import Floor, drop_page_cache, medians, seconds, touch
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.memory import allocator_environment, open_memory
from golem_chain.workers.devices.selection import card_of, pick_device, pick_dtype
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.store.hostcache import HostCache
from golem_chain.workers.store.load import Weights, read_config
from golem_chain.workers.store.manifest import Checkpoint


def model_class(checkpoint: Checkpoint) -> Any:
    """Return the transformers class for a checkpoint, from the architecture in its config."""
    config = read_config(checkpoint.folder)
    named = (config.architectures or ["AutoModel"])[0]
    return getattr(transformers, named)


class Held:
    """A minimal engine: weights only."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name, self.weights, self.weights_bytes = name, weights, weights.nbytes
        self.model: nn.Module | None = None

    def working_bytes(self, batch: int) -> int:
        return 0 * batch

    def load(self) -> None:
        self.model = self.weights.load()

    def unload(self) -> None:
        self.model = None
        self.weights.unload()

    def prepare(self, ask: object) -> object:
        return ask

    def run(self, batch: Sequence[object]) -> list[object]:
        assert self.model is not None
        touch(self.model)
        return list(batch)


@dataclass(frozen=True)
class Row:
    """The times of one model: medians, milliseconds."""

    stage: str
    model: str
    dtype: str
    megabytes: float
    floor_ms: float
    warm_ms: float  # load from a warm page cache, all pages touched; to a card from pinned memory
    cold_ms: float
    unload_ms: float
    peer_load_ms: float
    peer_unload_ms: float

    @property
    def of_floor(self) -> float:
        """Warm load as a multiple of the floor."""
        return self.warm_ms / self.floor_ms


@dataclass(frozen=True)
class Pair:
    """The times of a switch from one model to another: medians, milliseconds."""

    out: str
    into: str
    ours_ms: float
    peer_ms: float

    @property
    def faster(self) -> float:
        """Speed-up over the peer."""
        return self.peer_ms / self.ours_ms


@dataclass(frozen=True)
class Drift:
    """Memory over many switches, in MB: the resident set with mapped pages, or the card's memory."""

    switches: int
    base_mb: float  # after the first full round, nothing loaded
    end_mb: float
    worst_left_mb: float  # above the baseline after an unload
    worst_left_share: float  # the same as a share of the unloaded model's bytes


class Bench:
    """The engines of one set of checkpoints, and the peer's models."""

    def __init__(self, settings: Settings, checkpoints: dict[str, Checkpoint], rounds: int) -> None:
        os.environ.update(allocator_environment(os.environ, torch.__version__))  # as a worker does
        self.rounds, self.device = rounds, pick_device(settings)
        self.checkpoints = checkpoints
        self.classes = {stage: model_class(c) for stage, c in checkpoints.items()}
        card = card_of(self.device)
        self.dtypes = {stage: pick_dtype(settings, card, stage) for stage in checkpoints}
        self.host = None if card is None or card.integrated else HostCache(settings.host_cache)  # as a worker has one
        self.engines = {
            stage: Held(stage, Weights(c, self.classes[stage], self.device, self.dtypes[stage], self.host))
            for stage, c in checkpoints.items()
        }
        self.residency = Residency(self.engines, open_memory(self.device), "1")
        self.peers: dict[str, nn.Module] = {}

    def ours_in(self, stage: str) -> None:
        """Load as a worker does, evicting the resident model, then touch every page."""
        with self.residency.use(stage) as engine:
            engine.run([])

    def ours_out(self) -> None:
        self.residency.unload_all("stop")

    def peer_in(self, stage: str) -> None:
        """Load with from_pretrained, as is common practice."""
        model = self.classes[stage].from_pretrained(self.checkpoints[stage].folder, dtype=self.dtypes[stage])
        self.peers[stage] = model.to(self.device).eval()
        touch(self.peers[stage])

    def peer_out(self, stage: str) -> None:
        """Unload with del, gc and empty_cache, as is common practice."""
        del self.peers[stage]
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def row(self, stage: str) -> Row:
        engine, checkpoint = self.engines[stage], self.checkpoints[stage]
        floor = Floor(engine.weights_bytes, self.device)
        self.ours_in(stage)  # warm up: a worker builds the skeleton only once
        self.ours_out()
        self.peer_in(stage)
        self.peer_out(stage)
        times = medians(
            self.rounds,
            floor=floor.copy,
            warm=lambda: frozen(lambda: self.ours_in(stage)),
            unload=lambda: frozen(self.ours_out),
            peer_load=lambda: thawed(lambda: self.peer_in(stage)),
            peer_unload=lambda: thawed(lambda: self.peer_out(stage)),
        )
        cold = []
        for _ in range(min(3, self.rounds)):
            drop_page_cache(checkpoint.weight_files)
            if self.host:
                self.host.clear()
            cold.append(seconds(lambda: self.ours_in(stage)))
            self.ours_out()
        ms = {name: round(1000 * value, 2) for name, value in times.items()}
        return Row(
            stage, checkpoint.id.split("/")[-1], str(self.dtypes[stage]).removeprefix("torch."),
            round(engine.weights_bytes / 1e6, 1), ms["floor"], ms["warm"], round(1000 * statistics.median(cold), 1),
            ms["unload"], ms["peer_load"], ms["peer_unload"],
        )  # fmt: skip

    def pair(self, out: str, into: str) -> Pair:
        """Measure a full switch: unload one model, load the next and touch its pages."""

        def ours() -> float:
            self.ours_in(out)
            return seconds(lambda: frozen(lambda: self.ours_in(into)))

        def peer() -> float:
            self.ours_out()
            self.peer_in(out)
            gc.unfreeze()
            took = seconds(lambda: self.peer_out(out)) + seconds(lambda: self.peer_in(into))
            self.peer_out(into)
            return took

        both = [(ours(), peer()) for _ in range(self.rounds)]
        a, b = (statistics.median(times) * 1000 for times in zip(*both, strict=True))
        return Pair(out, into, round(a, 1), round(b, 1))

    def drift(self, switches: int) -> Drift:
        """Measure the memory after each unload of `switches` switches that cycle through the stages."""
        stages = list(self.engines)
        for stage in stages:
            self.ours_in(stage)
            self.ours_out()
        base = self.residency.memory.read().allocated
        left = []
        for _, stage in zip(range(switches), itertools.cycle(stages), strict=False):
            self.ours_in(stage)
            self.ours_out()
            over = self.residency.memory.read().allocated - base
            left.append((over / 1e6, over / self.engines[stage].weights_bytes))
        end = self.residency.memory.read().allocated
        return Drift(
            switches, round(base / 1e6, 1), round(end / 1e6, 1),
            round(max(mb for mb, _ in left), 2), round(max(share for _, share in left), 4),
        )  # fmt: skip


def frozen(call: Callable[[], object]) -> None:
    """Call with imported objects frozen out of garbage collection, as in a worker."""
    gc.freeze()
    call()


def thawed(call: Callable[[], object]) -> None:
    """Call with nothing frozen, as in a program of its own: the peer must not profit from our freeze."""
    gc.unfreeze()
    call()


def measure(settings: Settings, checkpoints: dict[str, Checkpoint], rounds: int, switches: int) -> JsonObject:
    """Measure one set of checkpoints and return the results in JSON types."""
    transformers.utils.logging.disable_progress_bar()
    bench = Bench(settings, checkpoints, rounds)
    rows = [bench.row(stage) for stage in checkpoints]
    pairs = [bench.pair(a, b) for a, b in itertools.permutations(checkpoints, 2)]
    gc.freeze()
    return {
        "models": [asdict(row) | {"of_floor": round(row.of_floor, 2)} for row in rows],
        "pairs": [asdict(pair) | {"faster": round(pair.faster, 1)} for pair in pairs],
        "drift": asdict(bench.drift(switches)),
    }
