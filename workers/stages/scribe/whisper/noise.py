"""The noise of sampling on the device: the same function of (seed, step, token) as `stages/sampling.py`, as tensors."""

import torch

_STEP = 0x9E3779B97F4A7C15 - 2**64  # as a signed number of 64 bits: products wrap alike


def gumbel(seeds: torch.Tensor, step: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise, float64 (rows, vocabulary). `seeds`: int64 (rows); `step`: int64 (1)."""
    rows = _mix(seeds + (step + 1) * _STEP)
    ids = torch.arange(vocabulary, device=seeds.device)
    mixed = _mix(rows[:, None] + ids * _STEP)
    uniform = (_shifted(mixed, 11).double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


def _mix(words: torch.Tensor) -> torch.Tensor:
    words = (words ^ _shifted(words, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    words = (words ^ _shifted(words, 27)) * (0x94D049BB133111EB - 2**64)
    mixed: torch.Tensor = words ^ _shifted(words, 31)
    return mixed


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """A logical shift to the right: torch's is arithmetic."""
    shifted: torch.Tensor = (words >> bits) & (2 ** (64 - bits) - 1)
    return shifted
