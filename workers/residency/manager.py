"""The sole owner of device memory: `with residency.use("scribe") as engine`.

    unloaded --use--> resident --evicted | idle | after-use | out-of-memory | changed | proof | stop--> unloaded

A lock is held while a stage is in use, so its model cannot be unloaded meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from golem_chain.shared.errors import BadRequest, ModelAboveBudget, OutOfMemory
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.faults import is_out_of_memory
from golem_chain.workers.devices.memory import Memory, Reading
from golem_chain.workers.residency import eviction
from golem_chain.workers.residency.events import Event
from golem_chain.workers.residency.working_memory import Peaks
from golem_chain.workers.stages.engine import AnyEngine, Prefetching

logger = logging.getLogger(__name__)

#: Memory that may remain in use after the last unload without being reported as missing, as a share of the weights.
TOLERANCE = 0.05


def precision_in(model: str) -> str:
    """The form in a model's name, as `Residency.model` returns it: `float32` of `whisper-tiny.en@1a2b float32`."""
    return model.partition("@")[2].partition(" ")[2]


class Residency:
    """Loads and unloads engines within a budget.

    `mode` is GOLEM_RESIDENT: `1` keeps one model, `0` unloads after every use, `auto` keeps as many as fit.
    `models` names each stage's checkpoint with revision and dtype; events and learnt peaks carry that name.
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
        self._last_used: dict[str, float] = {}  # resident stage → time of last use, the eviction order
        self._baseline: int | None = None  # memory in use with no model loaded
        self._settled: set[str] = set()  # stages whose permanent memory is included in the baseline
        self._lock = threading.RLock()
        self._in_use: str | None = None
        self._prefetching = threading.Thread()  # not started: no prefetch is running
        self.last_load_s = 0.0  # time that the latest `use` spent on evicting and loading
        memory.limit(self.budget_bytes)

    @property
    def resident(self) -> tuple[str, ...]:
        """The stages whose weights are in device memory, least recently used first."""
        return tuple(sorted(self._last_used, key=self._last_used.__getitem__))

    def model(self, stage: str) -> str:
        """A stage's checkpoint with revision and dtype; empty if not known."""
        return self._models.get(stage, "")

    @property
    def room_bytes(self) -> int:
        """The budget without the driver's context: what weights and working memory share."""
        return self.budget_bytes - self.memory.read().context

    def working_bytes(self, stage: str, batch: int) -> int:
        """Expected working memory of a batch of that size: measured if known, otherwise the engine's estimate."""
        return self.peaks.expect(self._key(stage), batch, self.engines[stage].working_bytes(batch))

    def batch_limit(self, stage: str, asked: int) -> int:
        """The largest size of a batch, at most `asked`, that fits into the budget beside the stage's own weights."""
        free = self.room_bytes - self.engines[stage].weights_bytes
        return eviction.largest_batch(asked, free, lambda n: self.working_bytes(stage, n))

    @contextmanager
    def use(self, stage: str, batch: int = 1) -> Iterator[AnyEngine]:
        """Keep a stage's engine resident for the duration of the block.

        `batch` is the size of what will run at once. Raises ModelAboveBudget before anything is unloaded or
        loaded, OutOfMemory if the device has less memory than the budget allows, and BadRequest if a stage is in use.
        """
        with self._lock:
            if self._in_use:
                raise BadRequest(f"{stage} was requested while {self._in_use} is in use: one stage runs at a time.")
            self._in_use = stage
            try:
                self._make_resident(stage, batch)
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
        """Unload every model. Raises BadRequest while a stage is in use."""
        with self._lock:
            if self._in_use:
                raise BadRequest(f"{self._in_use} is in use and cannot be unloaded.")
            for stage in self.resident:
                self._drop(stage, reason)

    def unload_idle(self, idle_s: float) -> None:
        """Unload models that were not used for `idle_s` seconds. Does nothing while a stage is in use."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._in_use is None:
                for stage in self.resident:
                    if self._clock() - self._last_used[stage] >= idle_s:
                        self._drop(stage, "idle")
        finally:
            self._lock.release()

    @contextmanager
    def lent(self, reason: str) -> Iterator[None]:
        """Keep the device free of models for the duration of the block, for work that loads its own and unloads it.
        Whoever asks for a stage meanwhile waits. Raises BadRequest while a stage is in use, whatever thread uses it."""
        if not self._lock.acquire(blocking=False):
            raise BadRequest("A stage is in use: its memory cannot be lent.")
        try:
            self.unload_all(reason)
            try:
                yield
            finally:
                self.memory.give_back()
                if self._baseline is not None:  # libraries and kernels that the work has needed stay in memory
                    self._baseline = max(self._baseline, self.memory.read().models)
        finally:
            self._lock.release()

    def ran_out(self, stage: str, batch: int) -> None:
        """Handle an out-of-memory while a batch ran: unload everything and expect more memory for that batch size, or
        nothing else if the size is 1: what cannot be made smaller must not block the stage."""
        before = self.memory.read()
        self.unload_all("out-of-memory")
        free = self.room_bytes - self.engines[stage].weights_bytes
        self.peaks.doubt(self._key(stage), batch, max(free, self.working_bytes(stage, batch)) + 1)
        self._emit("oom", stage, "out-of-memory", 0.0, before)

    def prefetch(self, stage: str) -> bool:
        """Prefetch a stage's weights in the background while another stage computes; return whether it started.

        Takes no lock, so it never blocks a caller, and touches no device memory. One prefetch runs at a time; a stage
        that is resident, unknown or cannot prefetch is skipped. Failures are only logged: the load that follows
        reports them.
        """
        engine: object = self.engines.get(stage)
        if not isinstance(engine, Prefetching) or stage in self._last_used or self._prefetching.is_alive():
            return False

        def work() -> None:
            try:
                engine.prefetch()
            except Exception as exc:  # noqa: BLE001 - the load that follows reports the same error
                logger.warning("Prefetching the weights of the %s failed: %s", stage, exc)

        self._prefetching = threading.Thread(target=work, daemon=True, name=f"prefetch {stage}")
        self._prefetching.start()
        return True

    # -- the only methods that change what is resident

    def _make_resident(self, stage: str, batch: int) -> None:
        engine, started = self.engines[stage], time.perf_counter()
        held = [eviction.Held(s, self.engines[s].weights_bytes, used) for s, used in self._last_used.items()]
        working = self.working_bytes(stage, batch)
        room = self.room_bytes
        plan = eviction.evict(stage, engine.weights_bytes, working, held, room, self.mode)
        if not plan.fits:
            driver = self.budget_bytes - room
            less = f", of which the driver takes {format_bytes(driver)}" if driver else ""
            smaller = ", or send a request that asks for less, such as fewer new tokens" if batch > 1 else ""
            raise ModelAboveBudget(
                f"{stage} needs {format_bytes(plan.need_bytes)} (weights {format_bytes(engine.weights_bytes)}, working "
                f"memory {format_bytes(working)}) but the budget is {format_bytes(self.budget_bytes)}{less}: raise "
                f"GOLEM_MEMORY_BUDGET, or choose a smaller model with GOLEM_{stage.upper()}_MODEL or a smaller dtype "
                f"with GOLEM_DTYPE{smaller}."
            )
        for other in plan.evict:
            self._drop(other, "evicted")
        if stage not in self._last_used:
            self._load(stage)
        self._last_used[stage] = self._clock()
        self.last_load_s = time.perf_counter() - started

    def _load(self, stage: str) -> None:
        """Load a stage; if memory runs out, unload everything else and try again. Raises OutOfMemory."""
        before, started = self.memory.read(), time.perf_counter()
        if self._baseline is None:
            self._baseline = before.models
        if not self._try_load(stage):
            self._emit("oom", stage, "load", time.perf_counter() - started, before)
            for other in self.resident:
                self._drop(other, "out-of-memory")
            if not self._try_load(stage):
                raise OutOfMemory(self.no_room(stage))
        self._last_used[stage] = self._clock()
        self._emit("load", stage, "wanted", time.perf_counter() - started, before)

    def _try_load(self, stage: str) -> bool:
        """Load the engine; False if memory ran out, with nothing left on the device.

        Returns a bool because an exception's traceback would keep alive the tensors loaded so far.
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
        if not self._last_used and self._baseline is not None:
            left = self.memory.read().models - self._baseline
            if stage not in self._settled:  # first unload: modules, tokenizer and libraries stay in memory for good
                self._settled.add(stage)
                self._baseline += max(left, 0)
            elif left > TOLERANCE * self.engines[stage].weights_bytes:
                missing = left
        self._emit("unload", stage, reason, seconds, before, missing)

    # -- events and measurements

    def _learn(self, stage: str, batch: int) -> None:
        """Record the working memory: the peak minus the baseline and the weights of all residents."""
        weights = sum(self.engines[s].weights_bytes for s in self._last_used)
        now = self.memory.read()
        working = now.peak - now.context - (self._baseline or 0) - weights
        if working > 0:
            self.peaks.learn(self._key(stage), batch, working)

    def _emit(
        self, kind: str, stage: str, reason: str, seconds: float, before: Reading, missing_bytes: int = 0
    ) -> None:
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

    def no_room(self, stage: str, batch: int = 1) -> str:
        """The error message for a stage that the device has no memory for, with a batch of that size."""
        need = self.engines[stage].weights_bytes + self.working_bytes(stage, batch)
        return (
            f"{stage} needs about {format_bytes(need)} but the device has {format_bytes(self.memory.read().free)} "
            f"free of a budget of {format_bytes(self.budget_bytes)}: close other programs that use it, lower "
            f"GOLEM_BATCH, or choose a smaller model with GOLEM_{stage.upper()}_MODEL."
        )
