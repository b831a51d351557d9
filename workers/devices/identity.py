"""What a card is, beyond its number: the name that tells it from another, and whether it shares the host's memory."""

import torch


def card_name(device: torch.device) -> str:
    """The card's model and UUID, as in `NVIDIA GeForce RTX 3050 GPU-…`; empty for a CPU. `cuda:0` names another card on
    another box, or after a change of CUDA_VISIBLE_DEVICES."""
    if device.type != "cuda":
        return ""
    found = torch.cuda.get_device_properties(device)
    return f"{found.name} GPU-{found.uuid}"


def shares_host_memory(device: torch.device) -> bool:
    """Whether the device computes in the host's memory: a CPU, and an integrated card such as Jetson's. A copy of
    weights in host memory would then be a second one beside the weights."""
    return device.type != "cuda" or bool(torch.cuda.get_device_properties(device).is_integrated)
