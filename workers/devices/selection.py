"""Chooses the device and dtype of a stage from the settings and the card's capabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card, driver_loaded, unsupported_card
from golem_chain.workers.devices.dtype import dtype_name


@dataclass(frozen=True)
class Choice:
    """The device that models run on."""

    device: torch.device
    warning: str = ""  # why it is not the one that a user would expect; a sentence without its full stop


def pick_device(settings: Settings) -> torch.device:
    """The device that GOLEM_DEVICE names, as `choose_device` decides. Raises DeviceRefused."""
    return choice(settings).device


def choice(settings: Settings) -> Choice:
    """As `pick_device`, with the warning. Raises DeviceRefused."""
    if settings.device == "cpu" or not torch.cuda.is_available():
        found = choose_device(settings.device, [], [])
        if settings.device != "auto" or not driver_loaded():
            return found
        why = "finds no device" if torch.version.cuda else "was built without CUDA"
        return Choice(found.device, f"Models run on the CPU, though NVIDIA's driver is loaded: torch {why}")
    cards = [read_card(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]
    return choose_device(settings.device, cards, torch.cuda.get_arch_list())


def choose_device(wanted: str, cards: Sequence[Card], built_for: Sequence[str]) -> Choice:
    """The device for GOLEM_DEVICE=`wanted`, given the cards that torch sees and the architectures it was built for.

    `auto` is the first card if this torch build supports it, otherwise the CPU: with a warning if there is a card. A
    card that is named is never replaced. Raises DeviceRefused if it does not exist or cannot be used.
    """
    cpu = torch.device("cpu")
    if wanted == "cpu" or (wanted == "auto" and not cards):
        return Choice(cpu)
    try:
        device = torch.device("cuda" if wanted == "auto" else wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise DeviceRefused(f"GOLEM_DEVICE={wanted!r} is not a known device: use auto, cpu, cuda or cuda:1.")
    if device.type == "cpu":
        return Choice(device)
    if not cards:
        raise DeviceRefused(
            f"GOLEM_DEVICE={wanted}: this torch build finds no CUDA device; set GOLEM_DEVICE=cpu, or install the "
            "driver and a CUDA build of torch."
        )
    index = device.index or 0
    if index >= len(cards):
        raise DeviceRefused(f"GOLEM_DEVICE={wanted}: this machine has {len(cards)} cards, from cuda:0.")
    refusal = unsupported_card(cards[index], built_for)
    if not refusal:
        return Choice(torch.device("cuda", index))
    if wanted == "auto":
        return Choice(cpu, f"Models run on the CPU, not on the {cards[index].name}: {refusal}")
    raise DeviceRefused(f"{cards[index].name}: {refusal}; install a torch build for it, or set GOLEM_DEVICE=cpu.")


def read_card(device: torch.device) -> Card:
    """Describe a card. Initialises CUDA, after which a process cannot fork children that use a card."""
    found = torch.cuda.get_device_properties(device)
    return Card(
        found.name, (found.major, found.minor), found.total_memory, integrated=bool(getattr(found, "is_integrated", 0))
    )


def card_of(device: torch.device) -> Card | None:
    """The card behind a device, None for a CPU."""
    return read_card(device) if device.type == "cuda" else None


def pick_dtype(
    settings: Settings,
    card: Card | None,
    stage: str,
    *,
    cross_encoder: bool = False,
    flags: frozenset[str] | None = None,
) -> torch.dtype:
    """The dtype of a stage's weights in memory, as `dtype_name` decides. `card`: None for a CPU."""
    name = dtype_name(settings.dtype, card, stage, cross_encoder=cross_encoder, flags=flags)
    chosen: torch.dtype = getattr(torch, name)
    return chosen
