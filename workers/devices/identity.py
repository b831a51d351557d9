"""What a card is called, so that measurements of one are not taken for another's."""

import torch


def card_name(device: torch.device) -> str:
    """The card's model and UUID, as in `NVIDIA GeForce RTX 3050 GPU-…`; empty for a CPU. `cuda:0` names another card on
    another box, or after a change of CUDA_VISIBLE_DEVICES."""
    if device.type != "cuda":
        return ""
    found = torch.cuda.get_device_properties(device)
    return f"{found.name} GPU-{found.uuid}"
