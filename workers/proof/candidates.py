"""Which forms are worth comparing with float32 on a device: by what it is fast at, which is timed there."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store.opened import torch_dtype

REFERENCE = Precision("float32")
SHORT = ("bfloat16", "float16")
#: A product in a shorter dtype must take less than this share of float32's time to be tried: conversions and all else
#: that is computed between two products take some of it back.
WORTH = 0.8
#: A form must be at least so many times as fast as float32: less is within what two measurements differ by.
FASTER = 1.05
#: Rows of the timed product, at most: those of a batch. Scribe: frames of a window; others: tokens.
_ROWS = {"scribe": 1500, "interpreter": 512, "oracle": 16}
_ROUNDS = 5


@dataclass(frozen=True)
class Shape:
    """A product of a model's own: (rows, width) times (width, inner)."""

    rows: int
    width: int
    inner: int


def shape_of(stage: str, config: Any) -> Shape:
    """The largest product of a layer of this model: its feed-forward network."""
    width = int(getattr(config, "d_model", None) or config.hidden_size)
    names = ("encoder_ffn_dim", "intermediate_size", "n_inner")
    inner = next((int(value) for name in names if (value := getattr(config, name, None))), 4 * width)
    return Shape(_ROWS.get(stage, 64), width, inner)


@torch.inference_mode()
def time_products(shape: Shape, device: torch.device, dtypes: Sequence[str] = ("float32", *SHORT)) -> dict[str, float]:
    """Seconds of the product in each dtype that the device can multiply: the best of some rounds, interleaved."""
    operands = {}
    for name in dtypes:
        dtype = torch_dtype(name)
        rows = torch.randn(shape.rows, shape.width, device=device).to(dtype)
        weight = torch.randn(shape.inner, shape.width, device=device).to(dtype)
        try:
            torch.nn.functional.linear(rows, weight)
        except RuntimeError:
            continue  # not implemented for this dtype here
        operands[name] = rows, weight
    best = dict.fromkeys(operands, float("inf"))
    for _ in range(_ROUNDS):
        for name, (rows, weight) in operands.items():
            started = now_s(device)
            torch.nn.functional.linear(rows, weight)
            best[name] = min(best[name], now_s(device) - started)
    return best


def now_s(device: torch.device) -> float:
    """Seconds: of CPU time, which other programs do not lengthen; on a card of wall time, when it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def fast_dtypes(times_s: Mapping[str, float]) -> list[str]:
    """The dtypes that the device multiplies faster than float32, fastest first. Pure."""
    usual = times_s.get("float32", 0.0)
    return sorted((name for name in SHORT if times_s.get(name, usual) < WORTH * usual), key=lambda name: times_s[name])


def candidates(stage: str, device: str, fast: Sequence[str], bits: int | None = None) -> list[Precision]:
    """The forms to compare with float32. `device`: `cpu` or `cuda`; `fast`: as from `fast_dtypes`; `bits`: of packed
    weights, if they are asked for. Pure.

    On a CPU the Scribe's encoder, which is most of its arithmetic, may multiply in a shorter dtype while all else stays
    float32: entirely in bfloat16 Whisper makes mistakes (word error rate 0.70).
    """
    forms = [Precision(name) for name in fast]
    if stage == "scribe" and device == "cpu":
        forms = [*(Precision("float32", None, name) for name in fast), *forms]
    if bits is None:
        return forms
    return [Precision(form.dtype, bits, form.product) for form in (*forms, REFERENCE)]


def worth_it(form: Precision, speed: float) -> bool:
    """Whether a form that answers alike is to run: if it is faster, or smaller. Pure."""
    return form.bits is not None or speed >= FASTER
