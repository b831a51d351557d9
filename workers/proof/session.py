"""Proves the checkpoints of a store on this machine, stage by stage, and puts each verdict beside its model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.faults import Fault, fault_of, first_line
from golem_chain.workers.devices.memory import budget_bytes, open_memory
from golem_chain.workers.devices.selection import card_of, pick_device
from golem_chain.workers.devices.threads import set_threads
from golem_chain.workers.proof.own import with_folder
from golem_chain.workers.proof.prove import Device, Proof
from golem_chain.workers.store import verdicts
from golem_chain.workers.store.chosen import form_of
from golem_chain.workers.store.making import keep_ready
from golem_chain.workers.store.manifest import Checkpoint, find
from golem_chain.workers.store.verdicts import Verdict

#: Called with a stage before its proof; returns the function that is told of progress, items done and all.
Show = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class Proved:
    """What came of a stage's proof."""

    stage: str
    checkpoint: Checkpoint | None = None
    verdict: Verdict | None = None
    runs: str = ""  # the form that the settings select, now that there is a verdict
    kept: bool = True  # the verdict lies beside the model
    error: str = ""  # why there is no verdict; a sentence

    @property
    def sound(self) -> bool:
        """Whether there is a verdict, and it does not speak against what the settings select."""
        if self.verdict is None:
            return False
        tried = next((one for one in self.verdict.tried if one.form == self.runs), None)
        return self.kept and (tried is None or tried.passed)


def prove(
    settings: Settings, stages: Sequence[str], show: Show, folder: Path | None = None, *, again: bool = True
) -> list[Proved]:
    """Prove the configured checkpoints of these stages; a stage that cannot be proved keeps none of the others from it.
    `again`: also those whose verdict still holds. Raises BadRequest for a folder that cannot be used, DeviceRefused."""
    material = with_folder(folder)
    set_threads(settings.threads)
    device = pick_device(settings)
    card, memory = card_of(device), open_memory(device)
    on = Device(device, card, memory, budget_bytes(settings.memory_budget, memory.read().total))
    found: list[Proved] = []
    for stage in stages:
        try:
            checkpoint = find(settings, stage)
            verdict, kept = verdicts.find(checkpoint, verdicts.binding_of(checkpoint, card)), True
            if verdict is None or again:
                verdict = Proof(settings, checkpoint, on, material, show(stage)).run()
                assert verdict is not None, "nothing interrupts it"
                kept = verdicts.write(checkpoint, verdict)
            form = form_of(settings, checkpoint, card)
            if (tried := verdict.of(form)) and tried.passed:
                keep_ready(checkpoint, form)
            found.append(Proved(stage, checkpoint, verdict, form.name, kept))
        except GolemError as exc:
            found.append(Proved(stage, error=exc.message))
        except Exception as exc:
            if fault_of(exc) is Fault.CONTEXT:
                raise
            why = f"{type(exc).__name__}: {first_line(exc)}"
            found.append(Proved(stage, error=f"The {stage}'s model cannot answer ({why}): choose another one."))
    return found
