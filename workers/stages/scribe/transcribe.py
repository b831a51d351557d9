"""Windows through the model, in batches and rounds: what was not heard to its end is heard on, and a text of a long
recording that fails is sampled again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from golem_chain.shared.records import Choice
from golem_chain.workers.stages.scribe import guards, short_context
from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.audio.decode import RATE, release
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, Window, rest
from golem_chain.workers.stages.scribe.prepared import PreparedAudio, ProgressMeter
from golem_chain.workers.stages.scribe.vocabulary.scoring import Scorer
from golem_chain.workers.stages.scribe.whisper.alignment import Heads, align
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, cross_of
from golem_chain.workers.stages.scribe.whisper.decoding import Decoded, Specials, decode_tokens
from golem_chain.workers.stages.scribe.whisper.encoder import encode
from golem_chain.workers.stages.scribe.whisper.timestamps import last_time, resume
from golem_chain.workers.stages.scribe.whisper.timing import FRAME_S, TokenTime, WordPiece, word_pieces

#: Windows that the encoder sees at once.
WINDOWS_AT_ONCE = 8
#: Tokens of one window at most, prompt and end among them. Source: openai/whisper, half of the decoder's context.
MOST_TOKENS = 228
#: A text that fails is sampled again at these temperatures, and fails where it loops or its mean log-probability is
#: below the limit. Source of both: openai/whisper.
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
LEAST_LOGPROB = -1.0


@dataclass
class Work:
    """One window of one recording, and what was heard in it."""

    sound: PreparedAudio
    window: Window
    timestamps: bool
    said: Decoded | None = None
    text: str = ""
    guards: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # log-probabilities of the phrases of the vocabulary, if any
    choice: Choice | None = None  # of these

    @property
    def heard(self) -> Decoded:
        """What the model said. Only after the window went through it."""
        assert self.said is not None
        return self.said


class Transcriber:
    """Whisper on windows. Holds the checkpoint's tokenizer and features, never its weights."""

    def __init__(
        self,
        features: Any,
        tokenizer: Any,
        specials: Specials,
        heads: Heads,
        product: torch.dtype,
        fast: bool = False,
    ) -> None:
        """`heads`: those of the decoder that follow the sound; `product`: the dtype of the encoder's matrix products;
        `fast`: short recordings without most of their padding (`context.py`)."""
        self._features, self.product, self._fast = features, product, fast
        self._tokenizer = tokenizer
        self.specials = specials
        self._heads = heads

    def hear(self, model: Any, work: Sequence[Work], meter: ProgressMeter | None = None) -> list[Work]:
        """All of the work, and what it took beyond it, in the order of the work; `said` and `text` are set. The `meter`
        counts each batch when it went through."""
        done: list[tuple[int, Work]] = []
        pending = list(enumerate(work))
        while pending:
            self._batches(model, [item for _, item in pending], meter)
            self._sample_again(model, [item for _, item in pending if item.sound.fallback])
            going_on = []
            for place, item in pending:
                left = self._rest(item) if item.timestamps else None
                done.append((place, item))
                if left is not None:
                    going_on.append((place, Work(item.sound, left, timestamps=True)))
            pending = going_on
        for _, item in done:
            item.text = guards.tidy(self.words(item.heard.tokens))
        return [item for _, item in sorted(done, key=lambda pair: (pair[0], pair[1].window.start_s))]

    def words(self, tokens: Sequence[int]) -> str:
        """Text of tokens, timestamps and other special ones left out."""
        plain = [token for token in tokens if token < self.specials.end]
        return str(self._tokenizer.decode(plain, skip_special_tokens=True))

    def pieces(self, tokens: Sequence[int], language: str | None) -> list[WordPiece]:
        """The words of tokens of text."""
        return word_pieces(tokens, lambda some: str(self._tokenizer.decode(some)), language)

    def _rest(self, item: Work) -> Window | None:
        """What is still to be heard of a window; the item is cut back to what was."""
        tokens, first = item.heard.tokens, self.specials.first_time
        found = resume(tokens, first, item.heard.full)
        last = last_time(tokens, first)
        left = rest(item.window, found[1] if found else None, last, item.sound.spans)
        if left is not None:
            if found:
                item.said = replace(item.heard, tokens=tokens[: found[0]], full=False)
            item.window = Window(item.window.start_s, left.start_s)
        return left

    def _sample_again(self, model: Any, work: Sequence[Work]) -> None:
        """Texts that fail are sampled, warmer each time, until one does not; where all do, the likeliest of those that
        do not loop is kept."""
        failing = [item for item in work if self._fails(item)]
        tries = [[item.heard] for item in failing]
        for temperature in TEMPERATURES:
            left = [n for n, item in enumerate(failing) if self._fails(item)]
            for at in range(0, len(left), WINDOWS_AT_ONCE):
                self._batch(model, [failing[n] for n in left[at : at + WINDOWS_AT_ONCE]], True, temperature)
            for n in left:
                tries[n].append(failing[n].heard)
        for item, said in zip(failing, tries, strict=True):
            if self._fails(item):
                likely = {one: (not self._loops(item, one), one.avg_logprob) for one in said}
                item.said = max(said, key=likely.__getitem__)

    def _fails(self, item: Work) -> bool:
        """Is it a text that openai/whisper would not take? Silence is: a guard will say so."""
        if item.heard.no_speech_prob > item.sound.limit:
            return False
        return item.heard.avg_logprob < LEAST_LOGPROB or self._loops(item, item.heard)

    def _loops(self, item: Work, said: Decoded) -> bool:
        start_s = item.window.start_s
        voiced_s = speech.voiced_between(item.sound.spans, start_s, start_s + item.window.heard_s)
        return guards.loops(guards.tidy(self.words(said.tokens)), len(said.tokens), voiced_s)

    def _batches(self, model: Any, work: Sequence[Work], meter: ProgressMeter | None) -> None:
        for timestamps in (False, True):
            same = [item for item in work if item.timestamps is timestamps]
            same.sort(key=lambda item: item.window.heard_s)  # texts of about one length end together
            for at in range(0, len(same), WINDOWS_AT_ONCE):
                batch = same[at : at + WINDOWS_AT_ONCE]
                if self._fast and not timestamps:
                    context_s = short_context.seconds([item.window.heard_s for item in batch])
                    self._batch(model, batch, timestamps, context_s=context_s)
                    again = [item for item in batch if self._doubtful(item)]
                else:
                    again = batch
                if again:
                    self._batch(model, again, timestamps)
                if meter is not None:
                    meter.count((item.sound, item.window) for item in batch)

    def _doubtful(self, item: Work) -> bool:
        said = item.heard
        return short_context.doubtful(self.words(said.tokens), len(said.tokens), said.avg_logprob, item.window.heard_s)

    def _batch(
        self,
        model: Any,
        work: Sequence[Work],
        timestamps: bool,
        temperature: float = 0.0,
        context_s: float = WINDOW_S,
    ) -> None:
        """One batch of windows through encoder and decoder."""
        pieces = []
        for item in work:
            start = round(item.window.start_s * RATE)
            piece = np.asarray(item.sound.samples[start : start + round(item.window.heard_s * RATE)], np.float32)
            pieces.append(piece * np.float32(item.sound.gain) if item.sound.gain > 1 else piece)
        seen = self._features(pieces, sampling_rate=RATE, return_tensors="pt")["input_features"]
        for item in work:
            release(item.sound.samples)
        encoded = encode(model, seen[:, :, : round(context_s * short_context.FRAMES_PER_S)], self.product)
        kept = any(item.sound.word_times or item.sound.lexicon is not None for item in work)
        cross = cross_of(model, encoded, self.product) if kept else None
        said = decode_tokens(
            model,
            encoded,
            self.specials,
            languages=[item.sound.language for item in work],
            tasks=[item.sound.task for item in work],
            timestamps=timestamps,
            max_tokens=MOST_TOKENS,
            product=self.product,
            cross=cross,
            temperature=temperature,
            seeds=[round(1000 * item.window.start_s) for item in work],
        )
        scorer: Scorer | None = None
        for row, (item, decoded) in enumerate(zip(work, said, strict=True)):
            item.said = decoded
            if cross is None:
                continue
            own = [(keys[row : row + 1], values[row : row + 1]) for keys, values in cross]
            item.said = replace(decoded, times=self._times(model, own, item, decoded))
            if item.sound.lexicon is not None and not timestamps:
                scorer = scorer or Scorer(model, self.specials.end, self.product)
                self._score(scorer, item, own)

    def _score(self, scorer: Scorer, item: Work, cross: Cross) -> None:
        """The phrases of the recording's vocabulary on one window that was just heard freely."""
        lexicon = item.sound.lexicon
        assert lexicon is not None
        prompt = [self.specials.start, *self.specials.prompt(item.heard.language, item.sound.task, timestamps=False)]
        item.scores = scorer.score(cross, prompt, lexicon.tree, lexicon.size)

    def _times(self, model: Any, cross: Cross, item: Work, said: Decoded) -> tuple[TokenTime, ...]:
        """When the tokens of text were said in one window, where that was asked for."""
        if not item.sound.word_times:
            return ()
        told = self.specials.prompt(said.language, item.sound.task, timestamps=False)
        text = [token for token in said.tokens if token < self.specials.end]
        frames = min(round(item.window.heard_s / FRAME_S), cross[0][0].shape[2])
        prompt = [self.specials.start, *told]
        return tuple(align(model, cross, prompt, text, self.specials.end, self._heads, frames))
