"""Chooses the device and dtype of a stage from the settings and the device's capabilities."""

import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags


def pick_device(settings: Settings) -> torch.device:
    """The device that GOLEM_DEVICE names; `auto` is cuda:0 if this torch build supports it, otherwise the CPU.

    Raises DeviceRefused if the named device does not exist or cannot be used.
    """
    wanted = settings.device
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    try:
        device = torch.device("cuda" if wanted == "auto" else wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise DeviceRefused(f"GOLEM_DEVICE={wanted!r} is not a known device: use auto, cpu, cuda or cuda:1.")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise DeviceRefused(
            f"GOLEM_DEVICE={wanted}: this torch build finds no CUDA device; set GOLEM_DEVICE=cpu, or install the "
            "driver and a CUDA build of torch."
        )
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise DeviceRefused(f"GOLEM_DEVICE={wanted}: this machine has {torch.cuda.device_count()} cards, from cuda:0.")
    refusal = unsupported_card(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list())
    if refusal:
        name = torch.cuda.get_device_name(index)
        if wanted == "auto":
            return torch.device("cpu")
        raise DeviceRefused(f"{name}: {refusal}; install a torch build for it, or set GOLEM_DEVICE=cpu.")
    return torch.device("cuda", index)


def unsupported_card(capability: tuple[int, int], built_for: list[str]) -> str | None:
    """Why a card of this compute capability cannot run a build for these architectures; None if it can.

    A binary (`sm_75`) runs on cards of the same major version and the same or a higher minor version. PTX
    (`compute_90`) is compiled at run time for the same or any newer version. Source: NVIDIA, CUDA C++ Programming
    Guide, "Binary Compatibility".
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
    """The dtype of a stage's weights in memory: GOLEM_DTYPE, or depending on the device.

    A card uses float16, and bfloat16 for the Oracle if the card supports it, since language models trained in bfloat16
    can overflow float16. A CPU uses float32: Whisper entirely in bfloat16 made mistakes (word error rate 0.70; the
    encoder's matrix products alone do not, see `whisper/encoder.py`), and sampled replies depend on the exact logits.

    `fast` is the same, except that on a CPU with bfloat16 instructions (`flags`; None: those of this machine) the
    Oracle and an NLI `cross_encoder` interpreter run in bfloat16, both about twice as fast. It is not the default for
    two reasons. A reply then depends on the other jobs in its batch. And it is not shown that intents stay the same:
    no NLI checkpoint was available, so only the architecture with random weights was measured.
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
