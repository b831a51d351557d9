"""What a search finds: the tokens of a window and their log-probabilities."""

from dataclasses import dataclass, field

import torch

#: A card computes so many steps before the host reads which rows have ended: it need not wait for the host in between,
#: and computes at most three steps too many.
_STEPS_PER_READ = 4


@dataclass
class Text:
    """The text of a row."""

    tokens: list[int] = field(default_factory=list)  # without <|endoftext|>
    total: float = 0.0  # natural log-probability of the tokens and <|endoftext|>, each among the allowed ones
    raw: float = 0.0  # the same, among all tokens
    ended: bool = False  # by <|endoftext|>, not by the limit


def steps_per_read(device: torch.device) -> int:
    """After how many steps the host looks which rows have ended. On a CPU looking costs nothing."""
    return 1 if device.type == "cpu" else _STEPS_PER_READ
