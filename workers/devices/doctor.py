"""Checks of the device: whether torch can use the card, and whether the models fit into its memory."""

from collections.abc import Callable, Mapping

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.finding import Finding
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.card import Card
from golem_chain.workers.devices.faults import Fault, fault_of, first_line
from golem_chain.workers.devices.memory import budget_bytes, open_memory
from golem_chain.workers.devices.selection import Choice, card_of, choice


def check(settings: Settings, needs_on: Callable[[Card | None], Mapping[str, int]]) -> list[Finding]:
    """Return the findings. `needs_on(card)`: the bytes of each stage's weights in memory there; None: a CPU."""
    try:
        chosen = choice(settings)
    except DeviceRefused as exc:
        return [Finding.of_error("device", exc, "; ")]
    try:
        seen, card = open_memory(chosen.device).read(), card_of(chosen.device)
    except RuntimeError as exc:
        if fault_of(exc) is None:
            raise
        return [failing(chosen, exc)]
    return [
        device(chosen),
        room(budget_bytes(settings.memory_budget, seen.total), seen.total, seen.free, needs_on(card)),
    ]


def device(chosen: Choice) -> Finding:
    """The device is the one that the user would expect."""
    told = f"Models run on {chosen.device} (torch {torch.__version__})"
    if chosen.warning:
        told = f"{chosen.warning} (torch {torch.__version__})"
        return Finding("device", "warning", told, "install a torch build for it, or set GOLEM_DEVICE=cpu")
    return Finding("device", "ok", told)


def failing(chosen: Choice, exc: RuntimeError) -> Finding:
    """A first computation on the device fails."""
    full = fault_of(exc) is Fault.MEMORY
    remedy = "stop other programs that use it" if full else "look for the driver's messages in dmesg"
    return Finding("device", "wrong", f"{chosen.device} does not compute: {first_line(exc)}", remedy)


def room(budget: int, total: int, free: int, needs: Mapping[str, int]) -> Finding:
    """The largest model fits into the budget, and into what is free now. All in bytes."""
    if budget > total:
        told = f"The memory budget {format_bytes(budget)} is above the device's {format_bytes(total)}"
        return Finding("memory-budget", "warning", told, "lower GOLEM_MEMORY_BUDGET")
    stage = max(needs, key=needs.__getitem__, default="")
    told = f"The memory budget is {format_bytes(budget)} of {format_bytes(total)}"
    if not stage:
        return Finding("memory-budget", "ok", told)
    largest = f"the largest model (the {stage}'s) takes {format_bytes(needs[stage])}"
    if needs[stage] > budget:
        remedy = f"raise GOLEM_MEMORY_BUDGET, or set GOLEM_{stage.upper()}_MODEL to a smaller model"
        return Finding("memory-budget", "wrong", f"{told}, but {largest}", remedy)
    if needs[stage] > free:
        told = f"{format_bytes(free)} of memory are free, but {largest}"
        return Finding(
            "memory-budget", "warning", told, "stop other programs, unless a worker holds its models already"
        )
    return Finding("memory-budget", "ok", f"{told}; {largest}")
