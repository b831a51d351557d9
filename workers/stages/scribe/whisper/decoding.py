"""Decodes a batch of windows: silence, language and prompt, and then the text by one of the searches.

Greedy decoding and beam search give the same tokens as transformers' `generate` with the same weights, with and without
timestamps. On a CPU finished windows leave the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from golem_chain.shared.records import Task
from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.scribe.whisper.beams import search
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, Decoder
from golem_chain.workers.stages.scribe.whisper.greedy import greedy
from golem_chain.workers.stages.scribe.whisper.rules import Tail, TokenRules
from golem_chain.workers.stages.scribe.whisper.specials import Specials as Specials
from golem_chain.workers.stages.scribe.whisper.timing import TokenTime

TIME_STEP_S = 0.02  # between two timestamp tokens


@dataclass(frozen=True)
class Decoded:
    """The decoding result of a window."""

    tokens: tuple[int, ...]  # without prompt and <|endoftext|>; with timestamps if requested
    avg_logprob: float  # mean natural log-probability of the tokens and of <|endoftext|>
    no_speech_prob: float  # at <|startoftranscript|>, before suppression
    language: str | None  # ISO code; None for an English-only checkpoint
    full: bool = False  # stopped by the length limit, not by <|endoftext|>
    raw_logprob: float = 0.0  # sum of natural log-probabilities of tokens and <|endoftext|>, without suppression
    times: tuple[TokenTime, ...] = ()  # of the text tokens, if requested
    language_logprobs: tuple[float, ...] = ()  # of the checkpoint's languages, in its order; natural


@torch.inference_mode()
def decode_tokens(
    model: nn.Module,
    encoded: torch.Tensor,
    specials: Specials,
    *,
    languages: Sequence[str | None],
    tasks: Sequence[Task],
    timestamps: bool,
    max_tokens: int,
    previous: Sequence[Sequence[int]] = (),
    cross: Cross | None = None,
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
    product: torch.dtype | None = None,
    beams: int = 1,
) -> list[Decoded]:
    """Decode encoded windows, (batch, frames, width). A language of None is detected (multilingual checkpoints).
    `max_tokens` includes the prompt, as transformers' `max_length` does. `previous`: the tokens of the text before each
    window, equally many for all, which count neither there nor in what is returned; none by default. `cross` and
    `product` as in `Decoder`. `beams`: of the beam search; 1: greedy. Above a temperature of 0 tokens are sampled with
    one seed per window, without a search; log-probabilities are always at temperature 1. Raises NotFinite if logits are
    NaN or infinite, which would pass for silence."""
    device, batch = encoded.device, encoded.shape[0]
    before = [[specials.previous, *tokens] if tokens else [] for tokens in previous or [()] * batch]
    begin = torch.tensor([[*tokens, specials.start] for tokens in before], device=device)
    spoken = _Languages(specials, languages, tasks, device)
    length = spoken.length + (not timestamps)
    limit = max_tokens - 1 - length
    decoder = Decoder(
        model,
        encoded,
        cross,
        product,
        most=begin.shape[1] + length + max(limit, 0),
        exact_from=specials.first_time if timestamps else None,
    )
    limit = min(limit, decoder.room - begin.shape[1] - length + 1)
    first = decoder.step(begin)
    heard = first.softmax(-1)[:, specials.no_speech]
    detected = first[:, spoken.ids].log_softmax(-1)
    prompt = spoken.prompt(detected)
    if not timestamps:
        prompt = torch.cat((prompt, prompt.new_full((batch, 1), specials.no_timestamps)), 1)
    logits = decoder.step(prompt) if length else first.clone()

    rules = TokenRules(specials, logits.shape[1], timestamps, device)
    tail = Tail.of(batch, specials, timestamps, device)
    if beams > 1 and temperature == 0:
        texts = search(decoder, logits, rules, tail, beams=beams, end=specials.end, limit=limit)
    else:
        texts = greedy(
            decoder, logits, rules, tail, end=specials.end, limit=limit, temperature=temperature, seeds=seeds
        )
    no_speech: list[float] = heard.tolist()
    if not all(map(math.isfinite, no_speech)):  # a softmax is NaN if any of its logits is
        raise NotFinite
    likely: list[list[float]] = detected.tolist()
    return [
        Decoded(
            tuple(text.tokens),
            text.total / (len(text.tokens) + text.ended or 1),
            no_speech[n],
            spoken.code(n, likely[n]),
            not text.ended,
            text.raw,
            language_logprobs=tuple(likely[n]),
        )
        for n, text in enumerate(texts)
    ]


class _Languages:
    """The languages of a batch: the requested ones, otherwise the likeliest at the first step."""

    def __init__(
        self, specials: Specials, asked: Sequence[str | None], tasks: Sequence[Task], device: torch.device
    ) -> None:
        self._asked, self._codes = asked, list(specials.languages)
        self.length = 2 if self._codes else 0  # of the prompt: language and task
        self.ids = torch.tensor(list(specials.languages.values()), dtype=torch.long, device=device)
        tokens = [specials.languages[code] if code else -1 for code in asked] if self._codes else []
        named = [specials.tasks[task] for task in tasks] if self._codes else []
        self._told = torch.tensor([tokens, named], dtype=torch.long, device=device)

    def prompt(self, detected: torch.Tensor) -> torch.Tensor:
        """Language and task, int64 (batch, 2), or (batch, 0) for an English-only checkpoint. `detected`: the
        log-probabilities of the languages, (batch, languages)."""
        if not self._codes:
            return self._told.new_empty((len(detected), 0))
        language, task = self._told
        likeliest = self.ids[detected.argmax(-1)]
        return torch.stack((torch.where(language < 0, likeliest, language), task), 1)

    def code(self, row: int, detected: Sequence[float]) -> str | None:
        """The language of a row; None for an English-only checkpoint."""
        if not self._codes:
            return None
        return self._asked[row] or self._codes[max(range(len(detected)), key=detected.__getitem__)]
