"""Proves in a thread, while the child has nothing to do, which forms of its models answer like float32 on its device.

    busy --rest--> idle --IDLE_S--> proving --pause--> busy        a proof goes on where it was interrupted
                                       └─ verdict --> beside the model; adopted with the next batch;
                                                          the weights are put beside it in the form that passed

Nothing waits for a proof but the job that comes while one of its items runs, and that for no longer than this item.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings

if TYPE_CHECKING:
    from golem_chain.workers.proof.prove import Device, Proof
    from golem_chain.workers.residency.manager import Residency
    from golem_chain.workers.store.manifest import Checkpoint
    from golem_chain.workers.store.verdicts import Verdict

logger = logging.getLogger(__name__)

#: How long a child must have had nothing to do before a proof begins or goes on, seconds: longer than the pauses
#: between a speaker's sentences or a client's requests.
IDLE_S = 30.0
#: Pause before a proof is tried again that found a stage in use, seconds.
_AGAIN_S = 0.2


class Proving:
    """The proofs of one child. `on_error` gets what the thread cannot handle: a broken device."""

    def __init__(
        self, settings: Settings, on_error: Callable[[BaseException], None], idle_s: float | None = None
    ) -> None:
        # with GOLEM_AGREE=exact every box must run what it has registered
        self._off = settings.prove == "off" or settings.dtype != "auto" or settings.agree == "exact"
        self._settings, self._on_error = settings, on_error
        self._idle_s = IDLE_S if idle_s is None else idle_s
        self._wake = threading.Condition()
        self._idle_since: float | None = None  # monotonic; None: busy, or nothing has run yet
        self._residency: Residency | None = None
        self._stages: Sequence[str] = ()
        self._found = False  # a verdict chooses another form than the one that runs
        self._thread: threading.Thread | None = None
        self._proofs: dict[str, Proof] = {}  # begun and interrupted, by stage
        self._adopted: dict[str, Verdict] = {}

    def pause(self) -> None:
        """A batch begins: a proof that runs stops after its item."""
        with self._wake:
            self._idle_since = None

    def rest(self, residency: "Residency", stages: Sequence[str]) -> None:
        """A batch has ended on this residency, and the child may be idle from now on. `stages`: what it serves."""
        if self._off:
            return
        with self._wake:
            self._residency, self._stages, self._idle_since = residency, stages, time.monotonic()
            self._wake.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True, name="proving")
                self._thread.start()

    def found(self) -> bool:
        """Whether the engines must be made anew, for a form that was proved since; asked once for each."""
        with self._wake:
            found, self._found = self._found, False
            return found

    def _watch(self) -> None:
        """Prove what has no verdict, whenever the child is idle, until all of it has one or cannot be proved."""
        from golem_chain.workers.devices.threads import set_threads

        set_threads(self._settings.threads)  # each thread has its own number
        over: set[str] = set()
        while True:
            with self._wake:
                while (left := self._left_s()) is None or left > 0:
                    self._wake.wait(left)
                left_over = [stage for stage in self._stages if stage not in over]
                residency = self._residency
            if not left_over or residency is None:
                return
            try:
                over |= {stage for stage in left_over if self._prove(residency, stage)}
            except GolemError as exc:  # a stage came into use between the two
                logger.debug("The proof waits: %s", exc.message)
                time.sleep(_AGAIN_S)
            except Exception as exc:  # noqa: BLE001 - what is wrong with a proof must harm no job
                self._on_error(exc)
                logger.warning("The proofs of this worker have ended: %r", exc)
                return

    def _left_s(self) -> float | None:
        """Return the seconds until the child counts as idle; None while it is busy."""
        if self._idle_since is None:
            return None
        return self._idle_since + self._idle_s - time.monotonic()

    def _prove(self, residency: "Residency", stage: str) -> bool:
        """Prove a stage if it has no verdict; return whether there is no more to do for it."""
        from golem_chain.workers.store import verdicts
        from golem_chain.workers.store.manifest import find

        try:
            checkpoint = find(self._settings, stage)
        except GolemError:
            return True  # the load reports it
        on = self._device(residency)
        binding = verdicts.binding_of(checkpoint, on.card)
        verdict = verdicts.find(checkpoint, binding)
        if verdict is None:
            with residency.lent("proof"):
                try:
                    verdict = self._proof(checkpoint, on).run(self._may_go_on)
                except GolemError as exc:
                    logger.warning("The %s was not proved: %s", stage, exc.message)
                    self._proofs.pop(stage, None)
                    return True
            if verdict is None:
                return False
            self._proofs.pop(stage, None)
            verdicts.write(checkpoint, verdict)
        if self._adopted.get(stage) != verdict:
            self._adopt(residency, checkpoint, on, verdict)
            self._adopted[stage] = verdict
        return self._keep_ready(checkpoint, on, verdict)

    def _keep_ready(self, checkpoint: "Checkpoint", on: "Device", verdict: "Verdict") -> bool:
        """Put the weights into the form that was proved, so that loads need not convert; a batch interrupts it. Returns
        whether there is no more to do for it."""
        from golem_chain.workers.store.chosen import form_of
        from golem_chain.workers.store.making import keep_ready

        form = form_of(self._settings, checkpoint, on.card)
        tried = verdict.of(form)
        return not (tried and tried.passed) or keep_ready(checkpoint, form, self._may_go_on)

    def _may_go_on(self) -> bool:
        with self._wake:
            return self._idle_since is not None

    def _device(self, residency: "Residency") -> "Device":
        import torch

        from golem_chain.workers.devices.selection import card_of
        from golem_chain.workers.proof.prove import Device

        device = torch.device(residency.memory.device)
        return Device(device, card_of(device), residency.memory, residency.budget_bytes)

    def _proof(self, checkpoint: "Checkpoint", on: "Device") -> "Proof":
        from golem_chain.workers.proof.own import shipped
        from golem_chain.workers.proof.prove import Proof

        stage = checkpoint.stage
        begun = self._proofs.get(stage)
        if begun is None or begun.checkpoint != checkpoint:  # it was pulled again
            begun = self._proofs[stage] = Proof(self._settings, checkpoint, on, shipped())
        return begun

    def _adopt(self, residency: "Residency", checkpoint: "Checkpoint", on: "Device", verdict: "Verdict") -> None:
        """Have the engines made anew if another form is to run from now on."""
        from golem_chain.workers.residency.manager import precision_in
        from golem_chain.workers.store.chosen import form_of

        form = form_of(self._settings, checkpoint, on.card)
        tried = verdict.of(form)
        speed = f", {tried.speed:.1f} times as fast" if tried and tried.speed and form.name != "float32" else ""
        running = _unpacked(precision_in(residency.model(checkpoint.stage))) == _unpacked(form.name)
        logger.info(
            "The %s on %s: %s answers like float32%s; it %s",
            *(checkpoint.stage, verdict.device_name, form.name, speed),
            "runs already" if running else "runs from the next batch on",
        )
        if not running:
            with self._wake:
                self._found = True


def _unpacked(name: str) -> str:
    """A form's name without the bits: what the budget made of it is no reason to make the engines anew."""
    return re.sub(r" \d bit", "", name)
