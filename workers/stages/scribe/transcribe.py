"""Transcribes windows in batches. A window whose text stops early is continued in the next round, one without a place
to continue from is heard again in two halves; a failed text of a long recording is sampled again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from golem_chain.shared.records import Choice
from golem_chain.workers.stages.scribe import guards, previous, short_context
from golem_chain.workers.stages.scribe.audio import speech
from golem_chain.workers.stages.scribe.audio.decode import RATE, release
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, Window, advances, halves, is_skipped, rest
from golem_chain.workers.stages.scribe.hallucinations import is_invention
from golem_chain.workers.stages.scribe.heard import Key
from golem_chain.workers.stages.scribe.languages import Detected, keeps_its_own, language_of
from golem_chain.workers.stages.scribe.prepared import PreparedAudio, ProgressMeter
from golem_chain.workers.stages.scribe.vocabulary import hotwords
from golem_chain.workers.stages.scribe.vocabulary.choice import doubtful, mean
from golem_chain.workers.stages.scribe.vocabulary.rescoring import Rescorer
from golem_chain.workers.stages.scribe.vocabulary.scoring import Scorer
from golem_chain.workers.stages.scribe.whisper.alignment import Heads, align
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, cross_of
from golem_chain.workers.stages.scribe.whisper.decoding import TIME_STEP_S, Decoded, Specials, decode_tokens
from golem_chain.workers.stages.scribe.whisper.encoder import encode
from golem_chain.workers.stages.scribe.whisper.mel import MelFeatures
from golem_chain.workers.stages.scribe.whisper.timestamps import last_time, resume
from golem_chain.workers.stages.scribe.whisper.timing import FRAME_S, TokenTime, WordPiece, word_pieces
from golem_chain.workers.stages.transformers_types import Model, Tokenizer

#: Windows per batch of the encoder, if the memory suffices.
WINDOWS_AT_ONCE = 8
#: Maximum tokens of one window, including prompt and end. Source: openai/whisper, half of the decoder's context.
MOST_TOKENS = 228
#: A text fails if it loops or if its mean log-probability is below the limit; it is then sampled again at these
#: temperatures. Source of both: openai/whisper.
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
LEAST_LOGPROB = -1.0
#: Speech has 3 to 4 tokens per second.
TOKENS_PER_S = 4.0
#: Beams of `auto`, for recordings of every length: docs/hearing.md compares numbers of beams.
AUTO_BEAMS = 5


@dataclass
class Work:
    """A window of a recording with its results."""

    sound: PreparedAudio
    window: Window
    timestamps: bool
    said: Decoded | None = None
    text: str = ""
    guards: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # log-probabilities of the vocabulary's phrases, if any
    choice: Choice | None = None  # the chosen phrase
    language: str | None = None  # of the recording, for a window that is not sure of its own; None: detected
    continues: str | None = None  # the language of the window that this one is a part of
    before: previous.Text | None = None  # the text of the window before, if it is given
    temperature: float = 0.0  # of the latest decoding

    @property
    def heard(self) -> Decoded:
        """The model's output. Available only after the window has been decoded."""
        assert self.said is not None
        return self.said

    @property
    def told(self) -> tuple[int, ...]:
        """The tokens of the text that precedes the window: of the window before, or the prompt."""
        return self.before.tokens if self.before else self.sound.before(self.window)

    def key(self, timestamps: bool, temperature: float, context_s: float) -> Key:
        """What a decoding of the window is remembered under."""
        before = self.before.tokens if self.before else ()
        return Key.of(self.window, timestamps, temperature, context_s, self.language, before)


class Transcriber:
    """Runs Whisper on windows. Holds the checkpoint's tokenizer and mel filters, never its weights."""

    def __init__(
        self,
        features: MelFeatures,
        tokenizer: Tokenizer,
        specials: Specials,
        heads: Heads,
        product: torch.dtype,
        fast: bool = False,
        beams: int = 1,
    ) -> None:
        """`heads`: the decoder's alignment heads; `product`: the dtype of the encoder's matrix products; `fast`: skip
        most of the padding of short recordings (`short_context.py`); `beams`: of the beam search; 1: greedy."""
        self._beams = beams
        self._features, self.product, self._fast = features, product, fast
        self._tokenizer = tokenizer
        self.specials = specials
        self._heads = heads
        self.at_once = WINDOWS_AT_ONCE  # windows per batch now

    def hear(self, model: Model, work: Sequence[Work], meter: ProgressMeter | None = None) -> list[Work]:
        """Decode all windows and set `said` and `text`. Returns them in order, each followed by its continuations. The
        `meter` counts each batch when it is done. Raises what a recording's `step` raises, between two batches.

        Windows of a recording that are given the text before them are decoded in order; those of others all at once."""
        done: list[tuple[int, Work]] = []
        pending = list(enumerate(work))
        while pending:
            first = previous.next_of([(item.sound, item.sound.carried > 0) for _, item in pending])
            now = [pending.pop(n - taken) for taken, n in enumerate(first)]
            earlier = [item for _, item in done if item.sound.carried]
            for _, item in now:
                item.before = self._given(item, earlier)
            self._batches(model, [item for _, item in now], meter)
            self._agree(model, [item for _, item in now], earlier)
            self._without_text_before(model, [item for _, item in now])
            self._sample_again(model, [item for _, item in now if item.sound.fallback])
            going_on = []
            for place, item in now:
                more = self._halves(item)
                if not more:
                    more = self._rest(item) if item.timestamps else []
                    done.append((place, item))
                told = item.heard.language
                going_on += [(place, Work(item.sound, one, item.timestamps, continues=told)) for one in more]
            pending = going_on + pending
        for _, item in done:
            item.text = guards.tidy(self.words(item.heard.tokens))
        return [item for _, item in sorted(done, key=lambda pair: (pair[0], pair[1].window.start_s))]

    def words(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without timestamps and other special tokens."""
        plain = [token for token in tokens if token < self.specials.end]
        return str(self._tokenizer.decode(plain, skip_special_tokens=True))

    def pieces(self, tokens: Sequence[int], language: str | None) -> list[WordPiece]:
        """Group text tokens into words."""
        return word_pieces(tokens, lambda some: str(self._tokenizer.decode(some)), language)

    def doubts(self, item: Work) -> bool:
        """Whether a text loops or may be wrong, so that it should be decoded another way."""
        return guards.is_suspicious(
            guards.tidy(self.words(item.heard.tokens)), len(item.heard.tokens), _voiced_s(item), item.heard.full
        )

    def _given(self, item: Work, earlier: Sequence[Work]) -> previous.Text | None:
        """The text in front of a window: that of the last one of its recording, of those that are done."""
        last = next((one for one in reversed(earlier) if one.sound is item.sound), None)
        if last is None or not item.timestamps:
            return None
        said = previous.Text(last.heard.tokens, guards.tidy(self.words(last.heard.tokens)), last.heard.language)
        silent = last.heard.no_speech_prob > last.sound.limit
        doubted = silent or self._fails(last) or is_invention(said.text) or guards.is_annotation(said.text)
        return previous.given(said, item.sound.carried, temperature=last.temperature, doubted=doubted)

    def _without_text_before(self, model: Model, work: Sequence[Work]) -> None:
        """Decode windows again without the text before them where it did harm."""
        harmed = [
            item
            for item in work
            if item.before and previous.is_dropped(item.before, item.heard.language, self._fails(item))
        ]
        for item in harmed:
            item.before = None
        self._batches(model, harmed, None)

    def _agree(self, model: Model, work: Sequence[Work], earlier: Sequence[Work] = ()) -> None:
        """Decode windows again that took another language than their recording without being sure of it. `earlier`:
        windows that are done of recordings that are decoded in order."""
        codes = list(self.specials.languages)
        of_sound: dict[PreparedAudio, list[Work]] = {}
        for item in work:
            if codes and item.sound.language is None and item.language is None:
                of_sound.setdefault(item.sound, []).append(item)
        strays = []
        for items in of_sound.values():
            detected = [Detected(item.heard.language_logprobs, _spoken_s(item)) for item in items]
            known = [item for item in earlier if item.sound is items[0].sound]
            whole = language_of([Detected(item.heard.language_logprobs, _spoken_s(item)) for item in known] + detected)
            for item, own in zip(items, detected, strict=True):
                told = codes.index(item.continues) if item.continues else whole
                if told is not None and item.heard.language != codes[told] and not keeps_its_own(own, told):
                    item.language = codes[told]
                    strays.append(item)
        self._batches(model, strays, None)

    def _halves(self, item: Work) -> list[Window]:
        """A window in two parts if its text stops at the length limit, or after less than a second of its voice, and
        does not say where to continue. None for a loop, which would be one again."""
        said, first = item.heard, self.specials.first_time
        if item.sound.lexicon is not None and not item.timestamps:
            return []
        found = resume(said.tokens, first, said.full) if item.timestamps else None
        if found is None:
            stopped = said.full
        else:
            stopped = not advances(found[1]) and is_skipped(item.window, found[1], item.sound.spans)
        if not stopped or self._loops(item, said):
            return []
        return list(halves(item.window, item.sound.chances) or ())

    def _rest(self, item: Work) -> list[Window]:
        """The rest of a window that is not transcribed yet, if any; the item is cut back to the part before it."""
        tokens, first = item.heard.tokens, self.specials.first_time
        found = resume(tokens, first, item.heard.full)
        if found and not advances(found[1]):
            found = None
        left = rest(item.window, found[1] if found else None, last_time(tokens, first), item.sound.spans)
        if left is None:
            return []
        if found:
            item.said = replace(item.heard, tokens=tokens[: found[0]], full=False)
        item.window = Window(item.window.start_s, left.start_s)
        return [left]

    def _sample_again(self, model: Model, work: Sequence[Work]) -> None:
        """Sample failed texts again at rising temperatures until one passes. If none does, keep the likeliest that does
        not loop, or else the likeliest."""
        failing = [item for item in work if self._fails(item)]
        tries = [[item.heard] for item in failing]
        for temperature in TEMPERATURES:
            left = [n for n, item in enumerate(failing) if self._fails(item) and temperature > item.sound.temperature]
            for some in self._by_length([failing[n] for n in left]):
                for at in range(0, len(some), self.at_once):
                    self._batch(model, some[at : at + self.at_once], some[at].timestamps, temperature)
            for n in left:
                tries[n].append(failing[n].heard)
        for item, said in zip(failing, tries, strict=True):
            if self._fails(item):
                likely = {one: (not self._loops(item, one), one.avg_logprob) for one in said}
                item.said = max(said, key=likely.__getitem__)

    def _by_length(self, work: Sequence[Work]) -> list[list[Work]]:
        """Windows that a batch can hold: with or without timestamps, and the texts that precede them have equally many
        tokens."""
        found: dict[tuple[bool, int], list[Work]] = {}
        for item in work:
            length = len(self._before(item, item.timestamps))
            found.setdefault((item.timestamps, length), []).append(item)
        return list(found.values())

    def _fails(self, item: Work) -> bool:
        """Whether openai/whisper would reject the text. Silence passes, since a guard rejects it later."""
        if item.heard.no_speech_prob > item.sound.limit:
            return False
        return item.heard.avg_logprob < LEAST_LOGPROB or self.doubts(item)

    def _loops(self, item: Work, said: Decoded) -> bool:
        return guards.loops(guards.tidy(self.words(said.tokens)), len(said.tokens), _voiced_s(item), said.full)

    def _batches(self, model: Model, work: Sequence[Work], meter: ProgressMeter | None) -> None:
        kinds: dict[tuple[bool, int, float, float, int], list[Work]] = {}  # what a batch has in common
        for item in work:
            context_s = self._context_s(item)
            before = self._before(item, item.timestamps)
            kind = item.timestamps, len(before), item.sound.temperature, context_s, self._beams_of(item)
            kinds.setdefault(kind, []).append(item)
        for (timestamps, _, temperature, context_s, _), same in sorted(kinds.items()):
            # known ones first, to fill the batches of the others; then texts of similar length finish together
            same.sort(key=lambda item: (not self._knows(item, timestamps), item.window.heard_s))
            for at in range(0, len(same), self.at_once):
                batch = again = same[at : at + self.at_once]
                if context_s < WINDOW_S:
                    self._batch(model, batch, timestamps, temperature, context_s)
                    again = [item for item in batch if self._doubtful(item)]
                if again:
                    self._batch(model, again, timestamps, temperature)
                if meter is not None:
                    meter.count((item.sound, item.window) for item in batch)

    def _beams_of(self, item: Work) -> int:
        """The beams of a window's search. With a vocabulary the free text only tells whether a phrase was said: the
        limits of that were chosen for the greedy one."""
        return 1 if item.sound.lexicon is not None else self._beams

    def _context_s(self, item: Work) -> float:
        """Seconds that the encoder computes for a window at first: all of them if it is decoded with timestamps."""
        return short_context.seconds(item.window.heard_s) if self._fast and not item.timestamps else WINDOW_S

    def _knows(self, item: Work, timestamps: bool) -> bool:
        """Whether the first decoding of a window is remembered."""
        memory = item.sound.memory
        key = item.key(timestamps, item.sound.temperature, self._context_s(item))
        return memory is not None and memory.find(key) is not None

    def _doubtful(self, item: Work) -> bool:
        said = item.heard
        return short_context.doubtful(self.words(said.tokens), len(said.tokens), said.avg_logprob, item.window.heard_s)

    def _batch(
        self,
        model: Model,
        work: Sequence[Work],
        timestamps: bool,
        temperature: float = 0.0,
        context_s: float = WINDOW_S,
    ) -> None:
        """Encode and decode one batch of windows, but for those that are remembered."""
        keys = [item.key(timestamps, temperature, context_s) for item in work]
        kept = [
            item.sound.memory.find(key) if item.sound.memory else None for item, key in zip(work, keys, strict=True)
        ]
        for item, found in zip(work, kept, strict=True):
            item.temperature = temperature
            if found is not None:
                item.said, item.scores = found
        new = [n for n, found in enumerate(kept) if found is None]
        if not new:
            return
        self._compute(model, [work[n] for n in new], timestamps, temperature, context_s)
        kept_all = True
        for n in new:
            if memory := work[n].sound.memory:
                kept_all &= memory.add(keys[n], work[n].heard, work[n].scores)
        if kept_all and (step := work[0].sound.step):
            step()

    def _compute(
        self, model: Model, work: Sequence[Work], timestamps: bool, temperature: float, context_s: float
    ) -> None:
        pieces = []
        for item in work:
            start = round(item.window.start_s * RATE)
            piece = np.asarray(item.sound.samples[start : start + round(item.window.heard_s * RATE)], np.float32)
            pieces.append(speech.amplified(piece, item.sound.gain))
        seen = self._features.of(pieces, next(model.parameters()).device)
        for item in work:
            release(item.sound.samples)
        encoded = encode(model, seen[:, :, : round(context_s * short_context.FRAMES_PER_S)], self.product)
        kept = any(item.sound.word_times or item.sound.lexicon or item.sound.hotwords for item in work)
        cross = cross_of(model, encoded, self.product) if kept else None
        beams = min(self._beams_of(item) for item in work)
        said = self._decoded(model, encoded, cross, work, timestamps, temperature, beams)
        searched = beams > 1 and temperature == 0
        if unsure := [n for n, one in enumerate(said) if searched and self._may_be_invented(one)]:
            some = [(keys[unsure], values[unsure]) for keys, values in cross] if cross else None
            doubted = [work[n] for n in unsure]
            greedy = self._decoded(model, encoded[unsure], some, doubted, timestamps, temperature, 1)
            for n, one in zip(unsure, greedy, strict=True):
                said[n] = one
        scorer: Scorer | None = None
        for row, (item, decoded) in enumerate(zip(work, said, strict=True)):
            item.said = decoded
            if cross is None:
                continue
            own = [
                (keys[row : row + 1].to(encoded.dtype), values[row : row + 1].to(encoded.dtype))
                for keys, values in cross
            ]
            if item.sound.hotwords:
                decoded = self._with_hotwords(model, own, item, decoded, timestamps)
            item.said = replace(decoded, times=self._times(model, own, item, decoded))
            if item.sound.lexicon is not None and not timestamps:
                scorer = scorer or Scorer(model, self.specials.end, self.product)
                self._score(scorer, item, own)

    def _decoded(
        self,
        model: Model,
        encoded: torch.Tensor,
        cross: Cross | None,
        work: Sequence[Work],
        timestamps: bool,
        temperature: float,
        beams: int,
    ) -> list[Decoded]:
        return decode_tokens(
            model,
            encoded,
            self.specials,
            languages=[item.language or item.sound.language for item in work],
            tasks=[item.sound.task for item in work],
            timestamps=timestamps,
            max_tokens=MOST_TOKENS,
            product=self.product,
            cross=cross,
            temperature=temperature,
            seeds=[item.sound.seed + round(1000 * item.window.start_s) for item in work],
            previous=[self._before(item, timestamps) for item in work],
            beams=beams,
        )

    def _may_be_invented(self, said: Decoded) -> bool:
        """Whether a searched text gives way to the greedy one. Where nobody speaks, the search finds likelier sentences
        than greedy decoding does, and the guards believe them sooner: their limits were measured on greedy texts."""
        text = guards.tidy(self.words(said.tokens))
        return guards.may_be_invented(text, said.no_speech_prob, said.avg_logprob)

    def _with_hotwords(self, model: Model, cross: Cross, item: Work, said: Decoded, timestamps: bool) -> Decoded:
        """What was heard, with hotwords where the audio supports them. Its probabilities stay those of the hearing."""
        words = hotwords.places(said.tokens, self.specials.end, lambda some: str(self._tokenizer.decode(some)))
        found = hotwords.candidates(words, item.sound.hotwords)
        if not found:
            return said
        before = self._before(item, timestamps)
        prompt = [self.specials.previous, *before] if before else []
        prompt += [self.specials.start, *self.specials.prompt(said.language, item.sound.task, timestamps)]
        supports = Rescorer(model, self.specials.end).supports(cross, prompt, said.tokens, found)
        return replace(said, tokens=hotwords.replaced(said.tokens, hotwords.accepted(found, supports)))

    def _before(self, item: Work, timestamps: bool) -> tuple[int, ...]:
        """The tokens of the text that precedes a window. If the window gets timestamps, it has two, as the text of an
        earlier window has in openai/whisper: without them Whisper leaves out timestamps in the window too, and what
        follows a pause. docs/how-to/subtitles.md has figures."""
        text = item.told
        if not text or not timestamps or item.before:
            return text
        ends_s = min(len(text) / TOKENS_PER_S, WINDOW_S)
        return (self.specials.first_time, *text, self.specials.first_time + round(ends_s / TIME_STEP_S))

    def _score(self, scorer: Scorer, item: Work, cross: Cross) -> None:
        """Score the phrases of the recording's vocabulary on a window that was just decoded freely. A prompt that lists
        the phrases favours them a little by their place, so that a doubtful window is scored after both orders."""
        lexicon = item.sound.lexicon
        assert lexicon is not None
        begin = [self.specials.start, *self.specials.prompt(item.heard.language, item.sound.task, timestamps=False)]
        found: list[float] = []
        for before in lexicon.prompts or ((),):
            prompt = [self.specials.previous, *before, *begin] if before else begin
            scores = scorer.score(cross, prompt, lexicon.tree, lexicon.size)
            found = mean(found, scores) if found else scores
            if not doubtful(found[: len(lexicon.vocabulary.phrases)]):
                break
        item.scores = found

    def _times(self, model: Model, cross: Cross, item: Work, said: Decoded) -> tuple[TokenTime, ...]:
        """The times of a window's text tokens, if requested."""
        if not item.sound.word_times:
            return ()
        text = [token for token in said.tokens if token < self.specials.end]
        frames = min(round(item.window.heard_s / FRAME_S), cross[0][0].shape[2])
        prompt = [self.specials.start, *self.specials.prompt(said.language, item.sound.task, timestamps=False)]
        return tuple(align(model, cross, prompt, text, self.specials.end, self._heads, frames))


def _voiced_s(item: Work) -> float:
    """Seconds of voice in what the model was given of a window."""
    start_s = item.window.start_s
    return speech.voiced_between(item.sound.spans, start_s, start_s + item.window.heard_s)


def _spoken_s(item: Work) -> float:
    """The same; 0 where the model hears no speech."""
    return 0.0 if item.heard.no_speech_prob > item.sound.limit else _voiced_s(item)
