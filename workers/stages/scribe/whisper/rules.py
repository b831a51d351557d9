"""The rules on the next token, on the device: what is suppressed, and the grammar of timestamps.

The timestamp rules are those of openai/whisper's `ApplyTimestampRules`. All that they need of a row's tokens is the
last two and the latest timestamp, so that they are a few operations on all rows, and the host reads nothing.
"""

from dataclasses import dataclass

import torch

from golem_chain.workers.stages.scribe.whisper.specials import Specials


@dataclass
class Tail:
    """What the rules know of each row's tokens, int64 (rows). Before the first token the last ones stand for
    timestamps."""

    last: torch.Tensor
    before: torch.Tensor
    latest: torch.Tensor  # the latest timestamp
    timestamps: bool  # without them only the last token is kept

    @classmethod
    def of(cls, rows: int, specials: Specials, timestamps: bool, device: torch.device) -> "Tail":
        """That of rows without tokens."""
        zero = specials.first_time
        last, before, latest = (torch.full((rows,), n, device=device) for n in (zero, zero, zero - 1))
        return cls(last, before, latest, timestamps)

    def add(self, tokens: torch.Tensor) -> None:
        """Count a token of each row, int64 (rows). In place: the addresses stay the same."""
        if self.timestamps:
            self.before.copy_(self.last)
            torch.maximum(self.latest, tokens, out=self.latest)  # text tokens are lower than any timestamp
        self.last.copy_(tokens)

    def take(self, rows: torch.Tensor) -> None:
        """Let each row go on from another row's tokens, int64 (rows); their number may change."""
        self.last, self.before, self.latest = (
            one.index_select(0, rows) for one in (self.last, self.before, self.latest)
        )


class TokenRules:
    """Bans tokens by setting their logits to minus infinity."""

    def __init__(self, specials: Specials, vocabulary: int, timestamps: bool, device: torch.device) -> None:
        self._specials, self._timestamps = specials, timestamps
        zero = specials.first_time
        always = {*specials.suppressed, *([specials.no_timestamps] if timestamps else [])}
        first = always | {*specials.suppressed_first}
        if timestamps:
            most = vocabulary if specials.last_first_time is None else zero + specials.last_first_time + 1
            first |= {*range(zero), *range(most, vocabulary)}
        self._always, self._first = (
            torch.tensor(sorted(one), dtype=torch.long, device=device) for one in (always, first)
        )
        self._times = torch.arange(zero, vocabulary, device=device)

    def apply(self, logits: torch.Tensor, tail: Tail, begin: bool) -> None:
        """Ban tokens of logits, (rows, vocabulary), in place. `begin`: whether this is the first token."""
        logits.index_fill_(1, self._first if begin else self._always, -torch.inf)
        if not self._timestamps:
            return
        zero = self._specials.first_time
        times, text = logits[:, zero:], logits[:, :zero]
        if not begin:
            # Timestamps come in pairs, except right before the end. They never decrease; only a segment's end may
            # repeat, as the start of the next segment.
            last, before = tail.last >= zero, tail.before >= zero
            opens = last & ~before
            floor = (tail.latest + ~opens).masked_fill_(last & before, logits.shape[1])
            times.masked_fill_(self._times < floor[:, None], -torch.inf)
            text[:, : self._specials.end].masked_fill_(opens[:, None], -torch.inf)
        # Force a timestamp if all timestamps together are likelier than any single text token.
        text.masked_fill_((times.logsumexp(-1) > text.amax(-1))[:, None], -torch.inf)
