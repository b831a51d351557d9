"""Checks of the device: whether torch can use the card, and whether the models fit into its memory."""

from collections.abc import Mapping
from pathlib import Path

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.finding import Finding
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes
from golem_chain.workers.devices.memory import budget_bytes, open_memory
from golem_chain.workers.devices.selection import pick_device, pick_dtype, unsupported_card

#: Exists where NVIDIA's driver is loaded, whatever torch can use.
DRIVER = Path("/proc/driver/nvidia/version")


def check(settings: Settings, weights: Mapping[str, tuple[int, str]]) -> list[Finding]:
    """Return the findings. `weights`: each stage's bytes on disk and their dtype."""
    try:
        device = pick_device(settings)
    except DeviceRefused as exc:
        return [Finding.of_error("device", exc, "; ")]
    seen = open_memory(device).read()
    needs = {stage: _in_memory(settings, device, stage, *one) for stage, one in weights.items()}
    return [
        chosen(settings, device),
        room(budget_bytes(settings.memory_budget, seen.total), seen.total, seen.free, needs),
    ]


def chosen(settings: Settings, device: torch.device) -> Finding:
    """The device is the one that the user would expect."""
    told = f"Models run on {device} (torch {torch.__version__})"
    if device.type == "cpu" and settings.device == "auto":
        if torch.cuda.is_available():
            why = unsupported_card(torch.cuda.get_device_capability(0), torch.cuda.get_arch_list())
            return Finding("device", "warning", f"{told}, not on the card: {why}", "install a torch build for it")
        if DRIVER.exists():
            why = "finds no device" if torch.version.cuda else "was built without CUDA"
            return Finding(
                "device", "warning", f"{told}, though NVIDIA's driver is loaded: torch {why}",
                "install a CUDA build of torch, or set GOLEM_DEVICE=cpu",
            )  # fmt: skip
    return Finding("device", "ok", told)


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


def _in_memory(settings: Settings, device: torch.device, stage: str, size_bytes: int, dtype: str) -> int:
    """Return the bytes of weights on the device, whose dtype may differ from that on disk."""
    stored: torch.dtype = getattr(torch, dtype, torch.float32)
    return size_bytes * pick_dtype(settings, device, stage).itemsize // stored.itemsize
