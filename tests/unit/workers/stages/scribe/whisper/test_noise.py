"""The noise of sampling on the device is that of `stages/sampling.py`."""

import numpy as np
import pytest
import torch

from golem_chain.workers.stages import sampling
from golem_chain.workers.stages.scribe.whisper.noise import gumbel


@pytest.mark.parametrize("step", [0, 1, 227])
def test_the_noise_of_a_seed_is_the_same_in_torch_as_in_numpy(step: int) -> None:
    seeds = [0, 7, 123_456_789, -1, -(2**63), 2**63 - 1]
    found = gumbel(torch.tensor(seeds), torch.tensor([step]), 300)
    for row, seed in zip(found, seeds, strict=True):
        assert np.allclose(row.numpy(), sampling.gumbel(seed, step, np.arange(300)), rtol=1e-12, atol=1e-12)
