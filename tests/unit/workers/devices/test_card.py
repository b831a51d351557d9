"""Which card a torch build runs on, and what is decided about a card from its description alone."""

import pytest
import torch

from golem_chain.shared.errors import DeviceRefused
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.card import Card, unsupported_card
from golem_chain.workers.devices.selection import choose_device, pick_dtype

GB = 1 << 30
#: torch 2.13 for CUDA 13.0 on x86_64 and aarch64. Source: torch/cuda/__init__.py, PYTORCH_RELEASES_CODE_CC.
DESKTOP = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
ARM = ["sm_80", "sm_90", "sm_100", "sm_110", "sm_120"]
GTX1080, GTX1650, RTX3060 = Card("GTX 1080", (6, 1), 8 * GB), Card("GTX 1650", (7, 5), 4 * GB), Card("3060", (8, 6), GB)


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_80"], True),
        ((6, 1), ["sm_75", "sm_80"], False),
        ((5, 0), [], False),
        # PTX is compiled for any newer card
        ((12, 0), ["sm_80", "compute_90"], True),
        ((8, 9), ["compute_90"], False),
        # Tegra runs what was built for exactly it, or PTX: measured on an Orin in jax-ml/jax pull request 40492
        ((8, 7), DESKTOP, False),
        ((8, 7), ARM, False),
        ((8, 7), ["sm_87"], True),
        ((8, 7), ["compute_80"], True),
        ((8, 9), ["sm_87"], False),
        ((7, 2), ["sm_70"], False),
        ((6, 2), ["sm_60"], False),
        ((11, 0), ARM, True),
        ((11, 0), ["sm_101a"], True),
        ((10, 1), ["sm_100"], False),
        # DGX Spark (12.1) is integrated, but no Tegra
        ((12, 1), ["sm_120"], True),
        # `a`: exactly this architecture; `f`: its family
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((10, 0), ["sm_103f"], False),
        ((12, 0), ["compute_90a"], False),
        ((12, 1), ["compute_120f"], True),
        ((12, 1), ["compute_100f"], False),
        ((7, 5), ["gfx906", "sm_", "sm_x5"], False),
    ],
)
def test_a_card_that_the_build_does_not_support_is_known_beforehand(capability, built_for, runs):
    assert (unsupported_card(Card("a card", capability, GB), built_for) is None) is runs


@pytest.mark.skipif(not hasattr(torch.cuda, "DEVICE_REQUIREMENT"), reason="this torch has no such table")
@pytest.mark.parametrize("code", [75, 80, 86, 87, 89, 90, 100, 101, 103, 110, 120, 121])
def test_for_binaries_we_say_what_torch_says(code):
    requirement = torch.cuda.DEVICE_REQUIREMENT[code]
    for known in torch.cuda.DEVICE_REQUIREMENT:
        card = Card("a card", divmod(known, 10), GB)
        assert (unsupported_card(card, [f"sm_{code}"]) is None) == (known in requirement), known


def test_auto_goes_to_the_cpu_with_a_warning_where_the_build_does_not_support_the_card():
    found = choose_device("auto", [GTX1080], DESKTOP)
    assert found.device.type == "cpu"
    assert "GTX 1080: its compute capability 6.1 is not in this torch build" in found.warning
    assert choose_device("auto", [GTX1650, GTX1080], DESKTOP).device == torch.device("cuda", 0)
    for no_card in (choose_device("auto", [], []), choose_device("cpu", [GTX1080], DESKTOP)):
        assert (no_card.device.type, no_card.warning) == ("cpu", ""), "as the user expects"


def test_a_card_that_is_named_is_used_or_refused_and_never_replaced():
    assert choose_device("cuda:1", [GTX1650, RTX3060], DESKTOP).device == torch.device("cuda", 1)
    for wanted, why in (("cuda", "GTX 1080: its compute"), ("cuda:1", "has 1 cards"), ("tpu", "not a known device")):
        with pytest.raises(DeviceRefused, match=why):
            choose_device(wanted, [GTX1080], DESKTOP)


@pytest.mark.parametrize(
    ("capability", "oracle"),
    [
        ((7, 5), torch.float16),  # Turing: torch emulates bfloat16, and counts that as support
        ((7, 0), torch.float16),
        ((8, 0), torch.bfloat16),
        ((8, 7), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ],
)
def test_the_oracle_runs_in_bfloat16_only_on_cards_that_compute_in_it(capability, oracle):
    card = Card("a card", capability, 4 * GB)
    for dtype in ("auto", "fast"):
        asked = Settings.read(_env_file=None, dtype=dtype)
        assert pick_dtype(asked, card, "oracle") == oracle
        assert pick_dtype(asked, card, "scribe") == pick_dtype(asked, card, "interpreter") == torch.float16
    assert pick_dtype(Settings.read(_env_file=None, dtype="float32"), card, "oracle") == torch.float32
