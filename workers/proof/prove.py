"""Proves which forms of a checkpoint answer like float32 on a device, with the engines that serve jobs.

    products timed ─► candidates ─► batches timed, interleaved ─► float32 asked ─► candidates asked, the fastest first
                                    a form that is not faster ends here            the first that passes ends the proof

One model is in memory at a time. A proof can be left between any two items and gone on with later.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

import torch

from golem_chain.shared.errors import GolemError, OutOfMemory
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.faults import Fault, fault_of, first_line
from golem_chain.workers.devices.memory import Memory
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.proof.candidates import (
    FASTER,
    REFERENCE,
    candidates,
    fast_dtypes,
    now_s,
    shape_of,
    time_products,
    worth_it,
)
from golem_chain.workers.proof.criteria import Judgement
from golem_chain.workers.proof.own import Set
from golem_chain.workers.proof.replies import OracleTrial
from golem_chain.workers.proof.trials import InterpreterTrial, ScribeTrial, Trial
from golem_chain.workers.stages.engine import AnyEngine
from golem_chain.workers.stages.engines import ENGINES
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.scribe import engine as scribe
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.opened import weights_of
from golem_chain.workers.store.verdicts import NOT_ASKED, Tried, Verdict, binding_of, device_name

#: How often each form's batch is timed; in each round its model is loaded anew.
ROUNDS = 2
#: A batch that takes less is repeated until it takes as long, seconds.
_LEAST_S = 0.1


@dataclass(frozen=True)
class Device:
    """Where a proof runs."""

    device: torch.device
    card: Card | None  # None: a CPU
    memory: Memory
    budget_bytes: int


class Proof:
    """The proof of one stage's checkpoint. `step(done, all)` is called after each item."""

    def __init__(
        self,
        settings: Settings,
        checkpoint: Checkpoint,
        on: Device,
        material: Set,
        step: Callable[[int, int], None] = lambda done, count: None,  # noqa: ARG005
    ) -> None:
        self.checkpoint, self._on, self._step = checkpoint, on, step
        # a cached answer would be compared with itself, and takes no time
        self._settings = settings.model_copy(update={"interpreter_cache": 0})
        self._bits = int(settings.bits) if settings.bits in ("8", "4") else None
        self._engines: dict[Precision, AnyEngine] = {}
        self._loaded: Precision | None = None
        self._trial = self._make_trial(material)
        self._forms: list[Precision] | None = None
        self._times_s: dict[Precision, list[float]] = {}
        self._answers: dict[Precision, list[list[Any]]] = {}  # by item
        self._failed: dict[Precision, str] = {}
        self._spent_s, self._done = 0.0, 0

    def run(self, go_on: Callable[[], bool] = lambda: True) -> Verdict | None:
        """Go on with the proof and return its verdict; None if `go_on`, which is asked between items, has said no: a
        later call goes on where this one stopped. Nothing is loaded on return. Raises GolemError if float32 cannot be
        run, or if its answers are errors."""
        started = time.perf_counter()
        try:
            for _ in self._work():
                if not go_on():
                    return None
            self._spent_s += time.perf_counter() - started
            return self._verdict()
        except (RuntimeError, MemoryError) as exc:
            if fault_of(exc) is not Fault.MEMORY:
                raise
            raise OutOfMemory(
                f"The {self.checkpoint.stage}'s proof ran out of memory ({first_line(exc)}): close other programs that "
                "use the device, or set GOLEM_PROVE=off."
            ) from None
        finally:
            self._close()

    def _work(self) -> Iterator[None]:
        """Do what is left, yielding where it may be interrupted."""
        if self._forms is None:
            self._forms = self._candidates()
            yield
        yield from self._measure()
        wanted = [form for form in self._by_speed() if form not in self._failed]
        if not wanted:
            return
        yield from self._ask(REFERENCE)
        for form in wanted:
            yield from self._ask(form)
            if form not in self._failed:
                return  # all others are slower

    def _make_trial(self, material: Set) -> Trial:
        engine = self._engine(REFERENCE)
        if isinstance(engine, scribe.Scribe):
            return ScribeTrial(material, multilingual=bool(engine.specials.languages))
        if isinstance(engine, interpreter.Interpreter):
            return InterpreterTrial(material, engine.method)
        return OracleTrial(material)

    def _candidates(self) -> list[Precision]:
        """The forms to try; one that would not fit into the budget is not among them."""
        weights: Weights = self._engine(REFERENCE).weights
        fast = fast_dtypes(time_products(shape_of(self.checkpoint.stage, weights.config), self._on.device))
        forms = candidates(self.checkpoint.stage, self._on.device.type, fast, self._bits)
        return [form for form in forms if self._need_bytes(form) <= self._on.budget_bytes]

    def _need_bytes(self, form: Precision) -> int:
        engine = self._engine(form)
        return int(engine.weights_bytes + engine.working_bytes(1))

    # -- speed

    def _measure(self) -> Iterator[None]:
        """Time a batch of each form in turn, some rounds of it."""
        forms = [form for form in (REFERENCE, *(self._forms or ())) if form not in self._failed]
        for number in range(ROUNDS):
            for form in forms:
                if form in self._failed or len(self._times_s.setdefault(form, [])) > number:
                    continue
                self._guard(form, partial(self._time, form))
                yield
        for form in forms[1:]:
            speed = self._speed(form)
            if form not in self._failed and speed is not None and not worth_it(form, speed):
                self._failed[form] = f"it is {speed:.2f} times as fast, less than {FASTER}"

    def _time(self, form: Precision) -> None:
        """Note the seconds of CPU time that a batch takes, of wall time on a card."""
        engine = self._open(form)
        self._trial.batch(engine, 1)()  # pages, kernels
        batch = self._trial.batch(engine, self._settings.batch_of(self.checkpoint.stage))
        times, started = 0, now_s(self._on.device)
        while not times or now_s(self._on.device) - started < _LEAST_S:
            batch()
            times += 1
        self._times_s[form].append((now_s(self._on.device) - started) / times)

    def _speed(self, form: Precision) -> float | None:
        """How many times as fast as float32; None if it was not measured."""
        times = self._times_s.get(form)
        return min(self._times_s[REFERENCE]) / max(min(times), 1e-9) if times else None

    def _by_speed(self) -> list[Precision]:
        return sorted(self._forms or (), key=lambda form: -(self._speed(form) or 0.0))

    # -- answers

    def _ask(self, form: Precision) -> Iterator[None]:
        """Ask a form all items; a candidate that fails is asked no more."""
        answers = self._answers.setdefault(form, [])
        while len(answers) < len(self._trial.items) and form not in self._failed:
            self._guard(form, partial(self._next, form, answers))
            judged = "" if form == REFERENCE or form in self._failed else self._judge(form).failed
            if judged:
                self._failed[form] = judged
            self._done += 1
            self._step(self._done, len(self._trial.items) * (1 + len(self._forms or ())))
            yield

    def _next(self, form: Precision, answers: list[list[Any]]) -> None:
        place = len(answers)
        there = None if form == REFERENCE else self._answers[REFERENCE][place]
        answers.append(self._trial.ask(self._open(form), self._trial.items[place], there))

    def _judge(self, form: Precision) -> Judgement:
        return self._trial.judge(list(chain(*self._answers[REFERENCE])), list(chain(*self._answers[form])))

    def _guard(self, form: Precision, work: Callable[[], object]) -> None:
        """Do it; what a candidate raises counts against it, unless the device itself is broken."""
        try:
            work()
        except Exception as exc:
            if form == REFERENCE or fault_of(exc) is Fault.CONTEXT:
                raise
            self._failed[form] = exc.message if isinstance(exc, GolemError) else f"it cannot run ({first_line(exc)})"
            self._close()

    # -- the one model in memory

    def _engine(self, form: Precision) -> Any:
        if form not in self._engines:
            engine_of, make = ENGINES[self.checkpoint.stage]
            weights = weights_of(self.checkpoint, make, self._on.device, form)
            self._engines[form] = engine_of(weights, self._settings)
        return self._engines[form]

    def _open(self, form: Precision) -> Any:
        engine = self._engine(form)
        if self._loaded != form:
            self._close()
            self._loaded = form
            engine.load()
        return engine

    def _close(self) -> None:
        self._trial.let_go()
        if self._loaded is not None:
            self._engines[self._loaded].unload()
            self._loaded = None
            with suppress(RuntimeError):  # a broken card: what it says is known already
                self._on.memory.give_back()

    # -- the verdict

    def _verdict(self) -> Verdict:
        tried = [self._tried(form) for form in self._by_speed()]
        need = self._need_bytes(REFERENCE)
        fits = need <= self._on.budget_bytes
        told = f"it needs {format_bytes(need)} of a budget of {format_bytes(self._on.budget_bytes)}"
        tried.append(Tried(REFERENCE.name, fits, 1.0, {}, "" if fits else told))
        return Verdict(
            binding_of(self.checkpoint, self._on.card),
            items=sum(map(len, self._answers.get(REFERENCE, ()))),
            own_items=self._trial.own_items if REFERENCE in self._answers else 0,
            tried=tuple(tried),
            device_name=device_name(self._on.card),
            seconds=round(self._spent_s, 1),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _tried(self, form: Precision) -> Tried:
        asked = self._answers.get(form)
        judged = self._judge(form) if asked else None
        why = self._failed.get(form, "" if asked else NOT_ASKED)
        speed = self._speed(form)
        figures = {} if judged is None else {name: round(value, 6) for name, value in judged.figures.items()}
        return Tried(form.name, not why and bool(asked), None if speed is None else round(speed, 2), figures, why)
