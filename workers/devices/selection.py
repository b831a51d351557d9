"""Which device and which dtype a stage runs on: decisions from the settings and from what the device can do."""

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags


def pick_device(settings: Settings) -> torch.device:
    """The device of GOLEM_DEVICE. `auto` is the first card that this torch build supports, else the CPU.

    Raises DeviceRefused with the remedy where a card was asked for that cannot be used.
    """
    wanted = settings.device
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    try:
        device = torch.device("cuda" if wanted == "auto" else wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise DeviceRefused(f"GOLEM_DEVICE={wanted!r} is not a device we know: use auto, cpu, cuda or cuda:1.")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise DeviceRefused(
            f"GOLEM_DEVICE={wanted}: this torch build finds no CUDA device; set GOLEM_DEVICE=cpu, or install the "
            "driver and a CUDA build of torch."
        )
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise DeviceRefused(f"GOLEM_DEVICE={wanted}: there are {torch.cuda.device_count()} cards, counted from cuda:0.")
    refusal = unsupported_card(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list())
    if refusal:
        name = torch.cuda.get_device_name(index)
        if wanted == "auto":
            return torch.device("cpu")
        raise DeviceRefused(f"{name}: {refusal}; install a torch build for it, or set GOLEM_DEVICE=cpu.")
    return torch.device("cuda", index)


def unsupported_card(capability: tuple[int, int], built_for: list[str]) -> str | None:
    """Why a card of this compute capability cannot run a build for these architectures; None where it can.

    A binary (`sm_75`) runs on cards of the same major version with at least its minor; PTX (`compute_90`) is
    compiled on the spot for anything newer. Source: NVIDIA, CUDA C++ Programming Guide, "Binary Compatibility".
    """
    major, minor = capability
    for arch in built_for:
        kind, _, number = arch.partition("_")
        digits = "".join(c for c in number if c.isdigit())
        if len(digits) < 2:
            continue
        of = int(digits[:-1]), int(digits[-1])
        if (kind == "sm" and of[0] == major and of[1] <= minor) or (kind == "compute" and of <= (major, minor)):
            return None
    return f"its compute capability {major}.{minor} is not in this torch build ({', '.join(built_for) or 'none'})"


def pick_dtype(
    settings: Settings,
    device: torch.device,
    stage: str,
    *,
    cross_encoder: bool = False,
    flags: frozenset[str] | None = None,
) -> torch.dtype:
    """The dtype of a stage's weights in memory: GOLEM_DTYPE, or by the device.

    A card runs in half precision: float16, and bfloat16 for the Oracle where the card has it, since language models
    trained in bfloat16 can overflow float16. A CPU holds float32: all of Whisper in bfloat16 made mistakes (word error
    rate 0.70; the products of its encoder alone do not, see `stages/encoder.py`), and a reply is drawn from the numbers
    as they are.

    `fast` is the same, but on a CPU with bfloat16 instructions (`flags`, None: this machine's) the Oracle runs in
    bfloat16, and so does an interpreter that is an NLI `cross_encoder`: both about twice as fast. It is not the default
    for two reasons: a reply then depends on which jobs shared its batch; and that intents stay the same could not be
    shown, since no NLI checkpoint was at hand to measure it with, only its shape with random weights.
    """
    if settings.dtype not in ("auto", "fast"):
        chosen: torch.dtype = getattr(torch, settings.dtype)
        return chosen
    if device.type == "cuda":
        return torch.bfloat16 if stage == "oracle" and torch.cuda.is_bf16_supported() else torch.float16
    if settings.dtype == "fast" and (stage == "oracle" or (stage == "interpreter" and cross_encoder)):
        fast = fast_at_bfloat16(read_flags() if flags is None else flags)
        return torch.bfloat16 if fast else torch.float32
    return torch.float32
