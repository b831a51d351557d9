"""Takes the likeliest token of each row, or samples one, until all rows have ended.

A step reads nothing from the device and uploads nothing to it: tokens and log-probabilities are written into tables
there, which the host reads once in a few steps.
"""

import math
from collections.abc import Sequence

import torch

from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.sampling import noise
from golem_chain.workers.stages.scribe.whisper.decoder import Decoder
from golem_chain.workers.stages.scribe.whisper.rules import Tail, TokenRules
from golem_chain.workers.stages.scribe.whisper.text import Text, steps_per_read

_WORD = 2**64


def greedy(
    decoder: Decoder,
    logits: torch.Tensor,
    rules: TokenRules,
    tail: Tail,
    *,
    end: int,
    limit: int,
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
) -> list[Text]:
    """The text of each row. `logits`: those of the first token, (rows, vocabulary); `end`: <|endoftext|>; `limit`: the
    most tokens of a text. Above a temperature of 0 tokens are sampled with one seed per row. Raises NotFinite."""
    device, count = logits.device, len(logits)
    texts = [Text() for _ in range(count)]
    rows = list(range(count))  # the text of each decoder row
    every = steps_per_read(device)
    step = torch.zeros(1, dtype=torch.long, device=device)
    signed = [(seed + _WORD // 2) % _WORD - _WORD // 2 for seed in seeds]
    noisy = torch.tensor(signed, dtype=torch.long, device=device) if temperature else None
    ids = torch.arange(logits.shape[1], device=device)
    chosen = torch.zeros(limit, count, dtype=torch.long, device=device)
    likely = torch.zeros(limit, 2, count, device=device)  # among the allowed tokens, and among all
    read = 0
    for number in range(limit):
        plainly = logits.log_softmax(-1)
        rules.apply(logits, tail, begin=number == 0)
        logprobs = logits.log_softmax(-1)
        scores = logits if noisy is None else (logits / temperature).double() + noise(noisy, step, ids)
        best = scores.argmax(-1, keepdim=True)
        chosen.index_copy_(0, step, best.T)
        likely.index_copy_(0, step, torch.stack((logprobs.gather(1, best), plainly.gather(1, best))).view(1, 2, -1))
        step += 1
        tail.add(best[:, 0])
        final = number == limit - 1
        if final or (number + 1) % every == 0:
            new = slice(read, number + 1)
            for told in torch.cat((chosen[new, None].double(), likely[new].double()), 1).tolist():
                _note([texts[row] for row in rows], told, end)
            read = number + 1
            alive = [n for n, row in enumerate(rows) if not texts[row].ended]
            if final or not alive:
                break
            if device.type == "cpu" and 4 * len(alive) <= 3 * len(rows):  # dropping rows copies the caches
                index = torch.tensor(alive)
                decoder.keep(index)
                tail.take(index)
                chosen, likely = chosen[:, index], likely[:, :, index]
                noisy = None if noisy is None else noisy[index]
                rows = [rows[n] for n in alive]
        logits = decoder.step(tail.last[:, None])
    return texts


def _note(texts: Sequence[Text], told: Sequence[Sequence[float]], end: int) -> None:
    """Add a step to the texts: their tokens, and the log-probabilities of these among the allowed and among all."""
    for text, token, gain, plain in zip(texts, *told, strict=True):
        if text.ended:
            continue
        if not math.isfinite(plain):
            raise NotFinite
        if math.isnan(gain):  # the rules allow no token
            text.ended = True
            continue
        text.total += gain
        text.raw += plain
        if token == end:
            text.ended = True
        else:
            text.tokens.append(int(token))
