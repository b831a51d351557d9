"""The sole owner of what is in device memory: `with residency.use("scribe") as engine`.

    unloaded --use--> resident --evicted | idle | after-use | out-of-memory | stop--> unloaded

One writer: a lock is held while a stage is in use, so nothing is unloaded under it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from golem_chain.shared.errors import BadRequest, ModelAboveBudget, OutOfMemory
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.memory import Memory, Reading, is_out_of_memory
from golem_chain.workers.residency import eviction
from golem_chain.workers.residency.events import Event
from golem_chain.workers.residency.working_memory import Peaks
from golem_chain.workers.stages.engine import AnyEngine, Prefetching

logger = logging.getLogger(__name__)

#: What may stay behind after the last unload before it is called missing, as a share of the model's bytes.
TOLERANCE = 0.05


class Residency:
    """Loads and unloads engines within a budget.

    `mode` is GOLEM_RESIDENT: `1` one model at a time, `0` given back after every use, `auto` as many as fit.
    `models` names the checkpoint behind a stage, with revision and dtype, for what is told and learnt of it.
    """

    def __init__(
        self,
        engines: Mapping[str, AnyEngine],
        memory: Memory,
        mode: str = "1",
        budget_bytes: int | None = None,
        *,
        peaks: Peaks | None = None,
        models: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engines, self.memory, self.mode = dict(engines), memory, mode
        self.budget_bytes = memory.read().total if budget_bytes is None else budget_bytes
        self.peaks = peaks or Peaks()
        self._models = dict(models or {})
        self._tell = on_event
        self._clock = clock
        self._last_used: dict[str, float] = {}  # the resident stages; the values order them for eviction
        self._base_line: int | None = None  # what is taken with nothing loaded
        self._settled: set[str] = set()  # stages whose first round is in the base line
        self._lock = threading.RLock()
        self._in_use: str | None = None
        self._prefetching = threading.Thread()  # one that never ran: nothing is under way
        self.last_load_s = 0.0  # what the newest `use` waited for its model
        memory.limit(self.budget_bytes)

    @property
    def resident(self) -> tuple[str, ...]:
        """The stages whose weights are in device memory, least recently used first."""
        return tuple(sorted(self._last_used, key=self._last_used.__getitem__))

    def model(self, stage: str) -> str:
        """The checkpoint behind a stage, its revision and dtype; empty where that was not told."""
        return self._models.get(stage, "")

    @property
    def room_bytes(self) -> int:
        """The budget less what the driver takes of it: what weights and working memory have to share."""
        return self.budget_bytes - self.memory.read().context

    def working_bytes(self, stage: str, batch: int) -> int:
        """Working memory to expect of a batch: what was seen, else the engine's estimate."""
        return self.peaks.expect(self._key(stage), batch, self.engines[stage].working_bytes(batch))

    def batch_limit(self, stage: str, asked: int) -> int:
        """How many of `asked` items fit into the budget at once beside the stage's own weights."""
        free = self.room_bytes - self.engines[stage].weights_bytes
        return eviction.largest_batch(asked, free, lambda n: self.working_bytes(stage, n))

    @contextmanager
    def use(self, stage: str, batch: int = 1) -> Iterator[AnyEngine]:
        """The engine of a stage, resident for as long as the block lasts.

        `batch` is how many items will be run at once. Raises ModelAboveBudget before anything is unloaded or loaded,
        and OutOfMemory where the device cannot give what the budget promises.
        """
        with self._lock:
            if self._in_use:
                raise BadRequest(f"{stage} was asked for while {self._in_use} is in use: one stage runs at a time.")
            self._in_use = stage
            try:
                self._bring(stage, batch)
                self.memory.reset_peak()
                yield self.engines[stage]
                self._learn(stage, batch)
            finally:
                self._in_use = None
                if stage in self._last_used:
                    self._last_used[stage] = self._clock()
                    if self.mode == "0":
                        self._drop(stage, "after-use")

    def unload_all(self, reason: str) -> None:
        """Give everything back. Raises BadRequest while a stage is in use."""
        with self._lock:
            if self._in_use:
                raise BadRequest(f"{self._in_use} is in use and cannot be unloaded.")
            for stage in self.resident:
                self._drop(stage, reason)

    def unload_idle(self, idle_s: float) -> None:
        """Give back what was not used for `idle_s` seconds; does nothing while a stage is in use."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._in_use is None:
                for stage in self.resident:
                    if self._clock() - self._last_used[stage] >= idle_s:
                        self._drop(stage, "idle")
        finally:
            self._lock.release()

    def ran_out(self, stage: str, batch: int) -> None:
        """Memory ran out while a batch ran: unload everything and expect more of such a batch from now on."""
        before = self.memory.read()
        self.unload_all("out-of-memory")
        free = self.room_bytes - self.engines[stage].weights_bytes
        self.peaks.doubt(self._key(stage), batch, max(free, self.working_bytes(stage, batch)) + 1)
        self._say("oom", stage, "out-of-memory", 0.0, before)

    def prefetch(self, stage: str) -> bool:
        """Bring the weights of a stage near, in the background, while another one computes; whether that was begun.

        Takes no lock, so that nobody waits for it, and touches no device memory. One at a time; nothing for a stage
        that is resident, unknown here or has nothing to bring. What goes wrong is logged and costs only the time that
        it would have saved: the load says it again.
        """
        engine: object = self.engines.get(stage)
        if not isinstance(engine, Prefetching) or stage in self._last_used or self._prefetching.is_alive():
            return False

        def work() -> None:
            try:
                engine.prefetch()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the load that follows meets it too
                logger.warning("The weights of the %s could not be fetched beforehand: %s", stage, exc)

        self._prefetching = threading.Thread(target=work, daemon=True, name=f"prefetch {stage}")
        self._prefetching.start()
        return True

    # -- the only places that change what is resident

    def _bring(self, stage: str, batch: int) -> None:
        engine, started = self.engines[stage], time.perf_counter()
        held = [eviction.Held(s, self.engines[s].weights_bytes, used) for s, used in self._last_used.items()]
        working = self.working_bytes(stage, batch)
        room = self.room_bytes
        plan = eviction.evict(stage, engine.weights_bytes, working, held, room, self.mode)
        if not plan.fits:
            driver = self.budget_bytes - room
            less = f", of which the driver takes {format_bytes(driver)}" if driver else ""
            raise ModelAboveBudget(
                f"{stage} needs {format_bytes(plan.need_bytes)} (weights {format_bytes(engine.weights_bytes)}, working "
                f"memory {format_bytes(working)}) and the budget is {format_bytes(self.budget_bytes)}{less}: raise "
                f"GOLEM_MEMORY_BUDGET, or choose a smaller model with GOLEM_{stage.upper()}_MODEL or a shorter dtype "
                "with GOLEM_DTYPE."
            )
        for other in plan.evict:
            self._drop(other, "evicted")
        if stage not in self._last_used:
            self._load(stage)
        self._last_used[stage] = self._clock()
        self.last_load_s = time.perf_counter() - started

    def _load(self, stage: str) -> None:
        """Load; where the device has no room, once more with everything else unloaded. Raises OutOfMemory."""
        before, started = self.memory.read(), time.perf_counter()
        if self._base_line is None:
            self._base_line = before.models
        if not self._loads(stage):
            self._say("oom", stage, "load", time.perf_counter() - started, before)
            for other in self.resident:
                self._drop(other, "out-of-memory")
            if not self._loads(stage):
                raise OutOfMemory(self.no_room(stage))
        self._last_used[stage] = self._clock()
        self._say("load", stage, "wanted", time.perf_counter() - started, before)

    def _loads(self, stage: str) -> bool:
        """Whether the engine could be loaded; False where memory ran out. Nothing is left behind then.

        It is told by the return and not by an exception, whose traceback would keep what was loaded by then.
        """
        try:
            self.engines[stage].load()
        except BaseException as exc:
            self.engines[stage].unload()
            if not isinstance(exc, OutOfMemory) and not is_out_of_memory(exc):
                self.memory.give_back()
                raise
        else:
            return True
        self.memory.give_back()
        return False

    def _drop(self, stage: str, reason: str) -> None:
        before, started = self.memory.read(), time.perf_counter()
        self.engines[stage].unload()
        del self._last_used[stage]
        self.memory.give_back()
        seconds, missing = time.perf_counter() - started, 0
        if not self._last_used and self._base_line is not None:
            left = self.memory.read().models - self._base_line
            if stage not in self._settled:  # its first round: modules, tokenizer and libraries stay for good
                self._settled.add(stage)
                self._base_line += max(left, 0)
            elif left > TOLERANCE * self.engines[stage].weights_bytes:
                missing = left
        self._say("unload", stage, reason, seconds, before, missing)

    # -- telling and learning

    def _learn(self, stage: str, batch: int) -> None:
        """Working memory = the peak less the base line and the weights of all residents."""
        weights = sum(self.engines[s].weights_bytes for s in self._last_used)
        now = self.memory.read()
        working = now.peak - now.context - (self._base_line or 0) - weights
        if working > 0:
            self.peaks.learn(self._key(stage), batch, working)

    def _say(self, kind: str, stage: str, reason: str, seconds: float, before: Reading, missing_bytes: int = 0) -> None:
        event = Event.of(
            kind,
            stage,
            reason,
            model=self.model(stage),
            weights_bytes=self.engines[stage].weights_bytes,
            seconds=seconds,
            before=before,
            after=self.memory.read(),
            missing_bytes=missing_bytes,
        )
        logger.info("%s", event.sentence())
        if self._tell:
            self._tell(event)

    def _key(self, stage: str) -> str:
        return " ".join(part for part in (stage, self.model(stage), "on", self.memory.device) if part)

    def no_room(self, stage: str) -> str:
        """The sentence for a stage that the device has no memory for."""
        need = self.engines[stage].weights_bytes + self.working_bytes(stage, 1)
        return (
            f"{stage} needs about {format_bytes(need)} and the device has {format_bytes(self.memory.read().free)} "
            f"free of a budget of {format_bytes(self.budget_bytes)}: close what else uses it, lower GOLEM_BATCH, or "
            f"choose a smaller model with GOLEM_{stage.upper()}_MODEL."
        )
