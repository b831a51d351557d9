"""Chooses the device and dtype of a stage from the settings and the card's capabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card, unsupported_card
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags


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
        return choose_device(settings.device, [], [])
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
    """The dtype of a stage's weights in memory: GOLEM_DTYPE, or depending on the card (None: a CPU).

    A card uses float16, and bfloat16 for the Oracle if the card computes in it, since language models trained in
    bfloat16 can overflow float16. A CPU uses float32: Whisper entirely in bfloat16 made mistakes (word error rate 0.70;
    the encoder's matrix products alone do not, see `whisper/encoder.py`), and sampled replies depend on the exact
    logits.

    `fast` is the same, except that on a CPU with bfloat16 instructions (`flags`; None: those of this machine) the
    Oracle and an NLI `cross_encoder` interpreter run in bfloat16, both about twice as fast. It is not the default for
    two reasons. A reply then depends on the other jobs in its batch. And it is not shown that intents stay the same:
    no NLI checkpoint was available, so only the architecture with random weights was measured.
    """
    if settings.dtype not in ("auto", "fast"):
        chosen: torch.dtype = getattr(torch, settings.dtype)
        return chosen
    if card is not None:
        return torch.bfloat16 if stage == "oracle" and card.has_bfloat16 else torch.float16
    if settings.dtype == "fast" and (stage == "oracle" or (stage == "interpreter" and cross_encoder)):
        fast = fast_at_bfloat16(read_flags() if flags is None else flags)
        return torch.bfloat16 if fast else torch.float32
    return torch.float32
