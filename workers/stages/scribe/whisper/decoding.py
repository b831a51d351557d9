"""Decodes a batch of windows: the prompt, the token rules and the loop.

Greedy decoding gives the same tokens as transformers' `generate` with the same weights, with and without timestamps.
Finished rows leave the batch. The timestamp rules are those of openai/whisper's `ApplyTimestampRules`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from golem_chain.shared.records import Task
from golem_chain.workers.stages.finite import NotFinite
from golem_chain.workers.stages.sampling import gumbel
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, Decoder
from golem_chain.workers.stages.scribe.whisper.timing import TokenTime

TIME_STEP_S = 0.02  # between two timestamp tokens


@dataclass(frozen=True)
class Specials:
    """A checkpoint's special token ids, from its generation config."""

    start: int
    end: int
    no_timestamps: int
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    languages: dict[str, int] = field(default_factory=dict)  # ISO code → token; empty if English-only
    tasks: dict[str, int] = field(default_factory=dict)
    last_first_time: int | None = None  # upper limit of the first timestamp, in time steps

    @property
    def first_time(self) -> int:
        """The token of <|0.00|>."""
        return self.no_timestamps + 1

    @property
    def no_speech(self) -> int:
        """The token of <|nospeech|>, which is right before <|notimestamps|> in every Whisper vocabulary."""
        return self.no_timestamps - 1

    @property
    def previous(self) -> int:
        """The token of <|startofprev|>, which is right before <|nospeech|>: text that precedes the window follows."""
        return self.no_timestamps - 2

    def prompt(self, language: str | None, task: Task, timestamps: bool) -> list[int]:
        """The tokens between <|startoftranscript|> and the text."""
        chosen = [self.languages[language], self.tasks[task]] if self.languages and language else []
        return chosen + ([] if timestamps else [self.no_timestamps])

    @classmethod
    def of(cls, generation: Any) -> "Specials":
        """Build from a transformers GenerationConfig. Raises AttributeError if it is not Whisper's."""
        multilingual = bool(getattr(generation, "is_multilingual", False))
        languages = (getattr(generation, "lang_to_id", None) or {}) if multilingual else {}
        return cls(
            start=generation.decoder_start_token_id,
            end=generation.eos_token_id if isinstance(generation.eos_token_id, int) else generation.eos_token_id[0],
            no_timestamps=generation.no_timestamps_token_id,
            suppressed=tuple(generation.suppress_tokens or ()),
            suppressed_first=tuple(generation.begin_suppress_tokens or ()),
            languages={token.strip("<|>"): number for token, number in languages.items()},
            tasks=dict(getattr(generation, "task_to_id", None) or {}) if multilingual else {},
            last_first_time=getattr(generation, "max_initial_timestamp_index", None),
        )


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
) -> list[Decoded]:
    """Decode encoded windows, (batch, frames, width). A language of None is detected (multilingual checkpoints).
    `max_tokens` includes the prompt, as transformers' `max_length` does. `previous`: the tokens of the text before each
    window, equally many for all, which count neither there nor in what is returned; none by default. `cross` and
    `product` as in `Decoder`. Above a temperature of 0 tokens are sampled with one seed per window; log-probabilities
    are always at temperature 1. Raises NotFinite if logits are NaN or infinite, which would pass for silence."""
    device = encoded.device
    batch = encoded.shape[0]
    decoder = Decoder(model, encoded, cross, product)
    before = [[specials.previous, *tokens] if tokens else [] for tokens in previous or [()] * batch]
    first = decoder.step(torch.tensor([[*tokens, specials.start] for tokens in before], device=device))
    no_speech = first.softmax(-1)[:, specials.no_speech].tolist()
    _check_finite(no_speech)  # a softmax is NaN if any of its logits is
    detected = first[:, list(specials.languages.values())].log_softmax(-1).tolist()
    spoken = _detect(first, specials, languages)
    prompt = [specials.prompt(language, task, timestamps) for language, task in zip(spoken, tasks, strict=True)]
    logits = decoder.step(torch.tensor(prompt, device=device)) if prompt[0] else first

    masks = _Masks(specials, logits.shape[1], device)
    rows = list(range(batch))  # the window of each decoder row
    tokens: list[list[int]] = [[] for _ in rows]
    total = [0.0] * batch
    raw = [0.0] * batch
    ended = [False] * batch
    limit = min(max_tokens - 1 - len(prompt[0]), decoder.room + 1)
    for step in range(limit):
        plainly = logits.log_softmax(-1)
        masks.apply(logits, [tokens[row] for row in rows], timestamps, begin=step == 0)
        logprobs = logits.log_softmax(-1)
        best = logits.argmax(-1) if temperature == 0 else _sample(logits / temperature, [seeds[n] for n in rows], step)
        chosen: list[int] = best.tolist()
        gained: list[float] = logprobs.gather(1, best[:, None])[:, 0].tolist()
        unmasked: list[float] = plainly.gather(1, best[:, None])[:, 0].tolist()
        for row, token, gain, plain in zip(rows, chosen, gained, unmasked, strict=True):
            if ended[row]:
                continue
            _check_finite((plain,))
            total[row] += gain
            raw[row] += plain
            if token == specials.end:
                ended[row] = True
            else:
                tokens[row].append(token)
        alive = [n for n, row in enumerate(rows) if not ended[row]]
        if not alive or step == limit - 1:
            break
        if 4 * len(alive) <= 3 * len(rows):  # dropping rows copies the caches: only once a quarter has finished
            index = torch.tensor(alive, device=device)
            decoder.keep(index)
            best = best[index]
            rows = [rows[n] for n in alive]
        logits = decoder.step(best[:, None])
    return [
        Decoded(
            tuple(tokens[n]),
            total[n] / (len(tokens[n]) + ended[n] or 1),
            no_speech[n],
            spoken[n],
            not ended[n],
            raw[n],
            language_logprobs=tuple(detected[n]),
        )
        for n in range(batch)
    ]


def _check_finite(values: Sequence[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise NotFinite


def _sample(scores: torch.Tensor, seeds: Sequence[int], step: int) -> torch.Tensor:
    """Sample a token for each row of scores, (rows, vocabulary), from their softmax."""
    ids = np.arange(scores.shape[1])
    noise = torch.from_numpy(np.stack([gumbel(seed, step, ids) for seed in seeds]))
    return (scores.double().cpu() + noise).argmax(-1).to(scores.device)


def _detect(logits: torch.Tensor, specials: Specials, asked: Sequence[str | None]) -> list[str | None]:
    """The language of each row: the requested one, otherwise the likeliest at the first step."""
    if not specials.languages:
        return [None] * len(asked)
    codes = list(specials.languages)
    ids = torch.tensor([specials.languages[code] for code in codes], device=logits.device)
    found = logits[:, ids].argmax(-1).tolist()
    return [language or codes[best] for language, best in zip(asked, found, strict=True)]


class _Masks:
    """Rules on the next token, applied to the logits in place."""

    def __init__(self, specials: Specials, vocabulary: int, device: torch.device) -> None:
        self._specials = specials
        self._always = torch.tensor(specials.suppressed, dtype=torch.long, device=device)
        self._first = torch.tensor(specials.suppressed_first, dtype=torch.long, device=device)
        self._ids = torch.arange(vocabulary, device=device)

    def apply(self, logits: torch.Tensor, said: Sequence[Sequence[int]], timestamps: bool, begin: bool) -> None:
        """`said`: the tokens of each row so far; `begin`: whether this is the first token."""
        if begin:
            logits[:, self._first] = -torch.inf
        logits[:, self._always] = -torch.inf
        if timestamps:
            self._apply_times(logits, said, begin)

    def _apply_times(self, logits: torch.Tensor, said: Sequence[Sequence[int]], begin: bool) -> None:
        zero = self._specials.first_time
        logits[:, self._specials.no_timestamps] = -torch.inf
        lowest = []
        for row, tokens in enumerate(said):
            last = bool(tokens) and tokens[-1] >= zero
            before = len(tokens) < 2 or tokens[-2] >= zero
            if last:  # timestamps come in pairs, except right before the end
                if before:
                    logits[row, zero:] = -torch.inf
                else:
                    logits[row, : self._specials.end] = -torch.inf
            latest = next((token for token in reversed(tokens) if token >= zero), None)
            # They never decrease. Only a segment's end may repeat, as the start of the next segment.
            lowest.append(zero if latest is None else latest if last and not before else latest + 1)
        floor = torch.tensor(lowest, device=logits.device)[:, None]
        logits.masked_fill_((self._ids >= zero) & (self._ids < floor), -torch.inf)
        if begin:
            logits[:, :zero] = -torch.inf
            if self._specials.last_first_time is not None:
                logits[:, zero + self._specials.last_first_time + 1 :] = -torch.inf
        # Force a timestamp if all timestamps together are likelier than any single text token.
        logprobs = logits.log_softmax(-1)
        times = logprobs[:, zero:].logsumexp(-1)
        text = logprobs[:, :zero].amax(-1)
        logits[:, :zero].masked_fill_((times > text)[:, None], -torch.inf)
