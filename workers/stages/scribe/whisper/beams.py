"""Beam search: keeps the likeliest texts of each window, and returns the best that ended.

The search is that of transformers' `generate(num_beams=…)` with its defaults, a length penalty of 1 and its heuristic
for stopping: a window is done when as many texts have ended as it has beams, and the likeliest running one is, per
token, less likely than the worst of them. Texts are compared by the sum of their log-probabilities among all tokens,
divided by their length with <|endoftext|>. (Background: Meister, Vieira and Cotterell, "Best-First Beam Search", TACL
2020.)

All of a step runs on the device. The host reads once in a few steps which windows are done.
"""

import math
from dataclasses import dataclass, fields

import torch

from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.likeliest import likeliest
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder
from golem_chain.workers.stages.scribe.whisper.rules import Tail, TokenRules
from golem_chain.workers.stages.scribe.whisper.text import Text, steps_per_read

_NEVER = -1e9  # the score of a beam that is not there; as in transformers, above minus infinity


@dataclass
class _Found:
    """Texts of each window, (windows, beams); tokens are (windows, beams, limit)."""

    score: torch.Tensor  # float32: sum of log-probabilities among all tokens; per token for texts that ended
    total: torch.Tensor  # float64: sum of log-probabilities among the allowed tokens
    raw: torch.Tensor  # float64: as the score, never per token
    length: torch.Tensor  # int64: tokens, with <|endoftext|>
    ended: torch.Tensor  # bool: by <|endoftext|>, not by the limit
    tokens: torch.Tensor  # int64

    def pick(self, places: torch.Tensor) -> "_Found":
        """These texts of each window, int64 (windows, n)."""
        long = places[:, :, None].expand(-1, -1, self.tokens.shape[2])
        numbers = self.score, self.total, self.raw, self.length, self.ended
        score, total, raw, length, ended = (one.gather(1, places) for one in numbers)
        return _Found(score, total, raw, length, ended, self.tokens.gather(1, long))

    def copy(self, other: "_Found") -> None:
        """Take over other texts, in place: the addresses stay the same."""
        for one in fields(self):
            getattr(self, one.name).copy_(getattr(other, one.name))

    def of(self, windows: torch.Tensor) -> "_Found":
        """The texts of these windows."""
        return _Found(*(getattr(self, one.name)[windows] for one in fields(self)))

    def beside(self, other: "_Found") -> "_Found":
        """These and other texts of each window."""
        return _Found(*(torch.cat((getattr(self, one.name), getattr(other, one.name)), 1) for one in fields(self)))


class _Search:
    """The running and the ended texts of the windows of a batch."""

    def __init__(self, windows: int, beams: int, limit: int, end: int, device: torch.device) -> None:
        self._beams, self._end = beams, end
        shape = windows, beams

        def none(score: torch.Tensor) -> _Found:
            total, raw = (torch.zeros(shape, dtype=torch.float64, device=device) for _ in range(2))
            length, ended = (torch.zeros(shape, dtype=kind, device=device) for kind in (torch.long, torch.bool))
            return _Found(score, total, raw, length, ended, torch.full((*shape, limit), end, device=device))

        never = torch.full(shape, _NEVER, device=device)
        first = never.clone()
        first[:, 0] = 0.0  # at first the beams of a window are the same text
        self.running, self.done = none(first), none(never)
        self.open = torch.ones(windows, dtype=torch.bool, device=device)
        self._sound = torch.ones(windows, dtype=torch.bool, device=device)
        self._count = torch.zeros(1, dtype=torch.long, device=device)  # tokens of the running texts
        self._best = torch.arange(2 * beams, device=device) < beams
        self._first_row = beams * torch.arange(windows, device=device)[:, None]

    def step(self, logits: torch.Tensor, rules: TokenRules, tail: Tail, *, begin: bool, final: bool) -> torch.Tensor:
        """Add a token to each running text; return the row that each row goes on from, int64 (rows)."""
        beams, windows = self._beams, len(self.open)
        most = 2 * beams  # if all that go on best end, there are as many others
        plainly = logits.log_softmax(-1)
        rules.apply(logits, tail, begin)
        ids = likeliest(logits, most)
        gained, plain = logits.log_softmax(-1).gather(1, ids), plainly.gather(1, ids)
        self._sound &= (plain[:, 0].isfinite().view(windows, beams) | ~self.open[:, None]).all(-1)
        plain = torch.where(gained.isfinite(), plain, -torch.inf)  # what the rules ban
        each = windows, beams, most
        sums = (self.running.score[:, :, None] + plain.view(each)).flatten(1)
        score, places = sums.topk(most)
        origin = places // most
        tokens = ids.view(windows, -1).gather(1, places)
        self._count += 1

        after = self.running.pick(origin)
        after.score = score
        after.total = after.total + gained.view(windows, -1).gather(1, places)
        after.raw = after.raw + plain.view(windows, -1).gather(1, places)
        after.length = after.length + 1
        after.tokens.index_copy_(2, self._count - 1, tokens[:, :, None])
        after.ended = tokens == self._end
        stops = torch.ones_like(after.ended) if final else after.ended

        per_token = _Found(**vars(after))
        counts = stops & self._best & self.open[:, None]
        per_token.score = torch.where(counts, score / self._count, -torch.inf)
        both = self.done.beside(per_token)
        self.done.copy(both.pick(both.score.topk(beams).indices))

        after.score = score + stops * _NEVER
        chosen = after.score.topk(beams).indices
        self.running.copy(after.pick(chosen))
        rows = (origin.gather(1, chosen) + self._first_row).flatten()
        tail.take(rows)
        tail.add(tokens.gather(1, chosen).flatten())

        full = (self.done.score > _NEVER).all(-1)
        worst = torch.where(full, self.done.score[:, -1], _NEVER)
        self.open &= self.running.score[:, 0] / self._count > worst
        return rows

    def told(self) -> tuple[list[bool], list[bool]]:
        """Which windows go on, and whether the logits of each were finite. The one read of a step."""
        going_on, sound = torch.stack((self.open, self._sound)).tolist()
        return going_on, sound

    def keep(self, windows: torch.Tensor) -> torch.Tensor:
        """Go on with these windows only; return their rows."""
        rows = (windows[:, None] * self._beams + torch.arange(self._beams, device=windows.device)).flatten()
        self.running, self.done = self.running.of(windows), self.done.of(windows)
        self.open, self._sound = self.open[windows], self._sound[windows]
        self._first_row = self._first_row[: len(windows)]
        return rows

    def best(self) -> list[Text]:
        """The best text of each window."""
        done = self.done
        numbers = torch.stack((done.length.double(), done.ended.double(), done.total, done.raw), -1)[:, 0]
        found = []
        for (length, ended, total, raw), tokens in zip(numbers.tolist(), done.tokens[:, 0].tolist(), strict=True):
            kept = tokens[: int(length - ended)]
            found.append(Text(kept, total if math.isfinite(total) else raw, raw, bool(ended)))
        return found


def search(
    decoder: Decoder,
    logits: torch.Tensor,
    rules: TokenRules,
    tail: Tail,
    *,
    beams: int,
    end: int,
    limit: int,
) -> list[Text]:
    """The best text of each window. `logits`: those of the first token, (windows, vocabulary); `beams`: texts that are
    kept for each; `end`: <|endoftext|>; `limit`: the most tokens of a text. Raises NotFinite."""
    count, device = len(logits), logits.device
    state = _Search(count, beams, limit, end, device)
    decoder.widen(beams)
    spread = torch.arange(count, device=device).repeat_interleave(beams)
    logits = logits.index_select(0, spread)
    tail.take(spread)
    texts = [Text() for _ in range(count)]
    windows = list(range(count))  # of the decoder
    every = steps_per_read(device)
    for number in range(limit):
        final = number == limit - 1
        rows = state.step(logits, rules, tail, begin=number == 0, final=final)
        alive = list(range(len(windows)))
        if final or (number + 1) % every == 0:
            going_on, sound = state.told()
            if not all(sound):
                raise NotFinite
            alive = [n for n, one in enumerate(going_on) if one and not final]
        if not alive:
            break
        decoder.reorder(rows)
        if device.type == "cpu" and 4 * len(alive) <= 3 * len(windows):  # dropping windows copies the caches
            for window, text in zip(windows, state.best(), strict=True):
                texts[window] = text
            index = torch.tensor(alive)
            decoder.keep(index)
            tail.take(state.keep(index))
            windows = [windows[n] for n in alive]
        logits = decoder.step(tail.last[:, None])
    for window, text in zip(windows, state.best(), strict=True):
        texts[window] = text
    return texts
