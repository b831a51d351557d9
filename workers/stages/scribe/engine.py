"""The Scribe: Whisper with its pre- and post-processing. `Recording` → `Transcript`.

bytes ─ audio ─► samples ─ level, VAD ─► windows ─ Whisper, in batches ─► segments ─ guards ─► transcript
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from golem_chain.shared.errors import LanguageRefused, ModelCorrupt
from golem_chain.shared.records import Segment, Task, Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import read_flags
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.finite import NotFinite, not_finite
from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.audio import decode, speech
from golem_chain.workers.stages.scribe.audio.containers import stated_s
from golem_chain.workers.stages.scribe.audio.loudness import Levels
from golem_chain.workers.stages.scribe.audio.vad import detector
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, cut, utterances
from golem_chain.workers.stages.scribe.heard import Memory, Store
from golem_chain.workers.stages.scribe.prepared import PreparedAudio, ProgressMeter
from golem_chain.workers.stages.scribe.transcribe import WINDOWS_AT_ONCE, Transcriber, Work
from golem_chain.workers.stages.scribe.vocabulary.choice import SURE, UNKNOWN, Free, Lexicon, Limits, choose
from golem_chain.workers.stages.scribe.vocabulary.hotwords import Hotword
from golem_chain.workers.stages.scribe.vocabulary.lexicon import Lexicons
from golem_chain.workers.stages.scribe.whisper import timestamps, timing
from golem_chain.workers.stages.scribe.whisper.alignment import heads_of
from golem_chain.workers.stages.scribe.whisper.decoding import Specials
from golem_chain.workers.stages.scribe.whisper.encoder import product_of
from golem_chain.workers.stages.tokenizer import harmless, load_tokenizer
from golem_chain.workers.stages.transformers_types import Model, ModelConfig

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe."""

    name: str  # used in errors
    data: bytes
    language: str | None = None  # ISO 639-1; None: detected
    task: Task = "transcribe"
    vocabulary: Vocabulary | None = None  # the phrases to choose from
    word_times: bool = False
    progress: Callable[[float, float], None] | None = None  # called with the seconds transcribed and the total
    #: Called between blocks while it is decoded, then with its length in seconds while voice is detected; may raise to
    #: interrupt.
    alive: Callable[[float | None], None] | None = None
    store: Store | None = None  # keeps what was decoded of a long one; None: an interrupted one begins anew
    prompt: str | None = None  # text that precedes the recording: its spelling and style are continued
    temperature: float = 0.0  # of the first hearing; 0: the likeliest words
    seed: int = 0  # of sampling
    step: Callable[[], None] | None = None  # called where it may be interrupted without loss; raises if it is
    hotwords: tuple[str, ...] = ()  # names that may be said, in their spelling


#: <|startoftranscript|>, language, task and <|notimestamps|>.
_PROMPT_TOKENS = 4
#: The number of timestamp tokens, <|0.00|> to <|30.00|>.
_TIMES = 1501
#: How far a timestamp of the model may be from the voice, seconds.
_TIMESTAMP_S = 1.0
#: What a window costs besides its speech, in seconds of speech: the encoder computes 30 s for any clip. Measured with
#: tiny.en on a CPU: 0.14 s for each window and 0.016 s for each second of speech.
_WINDOW_COST_S = 8.0
#: Change of the limit for p(no speech) where the detector hears a voice only after silence. Measured with tiny.en: six
#: noises 0.37 and more, one keyword 0.27.
_LIKELY_NOISE_LIMIT = -0.2
#: Bytes per second of a recording whose header states no duration: speech in Opus at a low rate, 16 kbit/s.
_BYTES_PER_S = 2000


def make(config: ModelConfig) -> Any:
    """Build the model without weights, for the store to fill. Raises ModelCorrupt."""
    from transformers import WhisperForConditionalGeneration

    if config.model_type != "whisper":
        raise ModelCorrupt(
            f"The scribe's checkpoint is a {config.model_type} model, not Whisper: set GOLEM_SCRIBE_MODEL to a Whisper "
            "checkpoint such as openai/whisper-tiny."
        )
    return WhisperForConditionalGeneration(config)


class Scribe:
    """`Recording` → `Transcript`. An unload drops the weights but keeps tokenizer and feature extractor."""

    name = "scribe"
    full_cost = WINDOWS_AT_ONCE * (WINDOW_S + _WINDOW_COST_S)  # its windows fill a batch

    def __init__(self, weights: "Weights", settings: Settings) -> None:
        from transformers import GenerationConfig, WhisperFeatureExtractor

        self.weights, self.settings = weights, settings
        self.model: Model = None
        self.at_once = WINDOWS_AT_ONCE
        self._kept: tuple[str, PreparedAudio] | None = None  # the latest long recording that was prepared, until it ran
        self._tokenizer = tokenizer = load_tokenizer(weights.folder)
        try:
            features = WhisperFeatureExtractor.from_pretrained(weights.folder, local_files_only=True)
            generation = GenerationConfig.from_pretrained(weights.folder, local_files_only=True)
            self.specials = Specials.of(generation)
            product = product_of(weights.dtype, weights.device, settings.dtype, read_flags())
            heads = heads_of(generation, weights.config)
            self._lexicons = Lexicons(
                tokenizer,
                english_only=not self.specials.languages,
                checkpoint=weights.checkpoint.id,
                most_tokens=int(weights.config.max_target_positions) - _PROMPT_TOKENS,
            )
            # on a card, a short context costs more launches than it saves arithmetic (2,905 kernels against 91)
            fast = settings.scribe_context == "fast" and weights.device.type == "cpu"
            self.transcriber = Transcriber(features, tokenizer, self.specials, heads, product, fast)
        except (OSError, ValueError, AttributeError, TypeError) as exc:
            raise ModelCorrupt(
                f"{weights.folder} lacks files that Whisper needs besides its weights ({type(exc).__name__}): "
                "run `golem models pull` again."
            ) from None

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights on the device."""
        return self.weights.nbytes

    def working_bytes(self, batch: int) -> int:
        """Encoder activations, the decoder's cross-attention cache, features and logits of so many windows. Measured on
        a CPU: 0 to 40 % above the actual use of tiny.en and base in float32 and bfloat16, for 1, 4 and 8 windows."""
        config, at_once = self.weights.config, min(batch, WINDOWS_AT_ONCE)
        frames, width = config.max_source_positions, config.d_model
        activations = 6 * frames * width + 2 * frames * config.encoder_ffn_dim
        cross = 2 * config.decoder_layers * frames * width
        product = self.transcriber.product  # every batch copies the output projection to this dtype
        head = config.vocab_size * width * product.itemsize if product != self.weights.dtype else 0
        return int(at_once * ((activations + cross) * self.weights.dtype.itemsize + 4_000_000)) + head + 32_000_000

    def size(self, batch: Sequence[PreparedAudio]) -> int:
        """The windows of these recordings that run at once."""
        return min(sum(len(heard.windows) for heard in batch), WINDOWS_AT_ONCE)

    def load(self) -> None:
        """Load the weights onto the device."""
        self.model = self.weights.load()

    def unload(self) -> None:
        """Drop every reference to the weights."""
        self.model = None
        self.weights.unload()

    def prefetch(self) -> None:
        """Read the weights in advance."""
        self.weights.prefetch()

    def cost(self, request: Recording) -> float:
        """Seconds of audio, and a constant for each window. By the header, because decoding and voice detection are a
        part of what a long recording costs its neighbours: a tenth of a clip's whole time for each 8 s."""
        stated = stated_s(request.data) or len(request.data) / _BYTES_PER_S
        seconds = min(stated, self.settings.audio_max_s)
        return seconds + _WINDOW_COST_S * max(1, math.ceil(seconds / WINDOW_S))

    def prepare(self, request: Recording) -> Transcript | Ready[PreparedAudio]:
        """Decode the audio and detect voice; a recording without voice is answered here.

        Raises BadAudio, AudioAboveLimit, LanguageRefused, BadVocabulary, what `alive` raises, and for a long recording
        that may be interrupted what its `step` raises; it is then prepared already when it is asked for again.
        """
        self._check_language(request)
        version = self._version(request) if request.store else ""
        if version and self._kept and self._kept[0] == version:
            kept = replace(self._kept[1], progress=request.progress, step=request.step)
            if kept.memory and request.store:
                kept.memory.store = request.store
            return Ready(kept, audio_s=kept.duration_s)
        lexicon = None if request.vocabulary is None else self._lexicons.of(request.vocabulary, request.name)
        alive = request.alive or _nobody
        samples = decode.decode(request.data, request.name, self.settings, alive=lambda: alive(None))
        duration = round(len(samples) / decode.RATE, 3)
        alive(duration)
        levels = Levels.of(samples)
        guards = self.settings.guards
        if "level" in guards and speech.is_silent(levels.peak):
            return Transcript(duration_s=duration, guards=("level",))
        threshold = self.settings.vad_threshold
        gain = speech.gain(levels.loudness)
        chances: npt.NDArray[np.float32] = detector().probabilities(samples, gain, alive=lambda: alive(duration))
        spans, shift = speech.voice(chances, threshold)
        if lexicon is not None and not spans and duration <= WINDOW_S:
            chances = detector().after_silence(samples, gain)
            spans, shift = speech.voice(chances, threshold)[0], _LIKELY_NOISE_LIMIT
        decode.release(samples)
        if threshold <= 0 or "vad" not in guards:
            spans, shift = [speech.Span(0.0, len(samples) / decode.RATE)], 0.0
        if not spans:
            return Transcript(duration_s=duration, guards=("vad",))
        windows = (cut if lexicon is None else utterances)(spans, chances, len(samples) / decode.RATE)
        limit = self.settings.no_speech_threshold
        limit = limit if limit >= 1 else limit + shift  # 1 disables the guard
        memory = self._memory(request.store, version, lexicon) if request.store and len(windows) > 1 else None
        prepared = PreparedAudio(
            samples,
            chances,
            spans,
            windows,
            request.language,
            request.task,
            speech.model_gain(levels.within(spans).loudness),
            limit,
            fallback=len(windows) > 1 and lexicon is None and "loop" in guards,
            word_times=request.word_times,
            progress=request.progress if len(windows) > 1 else None,
            lexicon=lexicon,
            memory=memory,
            previous=self._previous(request.prompt),
            prompt=request.prompt or "",
            temperature=request.temperature,
            seed=request.seed,
            step=request.step,
            hotwords=self._hotwords(request.hotwords),
        )
        if memory is not None:
            self._kept = version, prepared
            if request.step is not None:
                request.step()
        return Ready(prepared, audio_s=duration)

    def run(self, batch: Sequence[PreparedAudio]) -> list[Any]:
        """A Transcript for each recording, or a ModelCorrupt if its logits are not finite. The windows of all run in
        batches. What is interrupted can be resumed."""
        if not all(heard.memory for heard in batch):  # a short one would begin anew each time
            batch = [replace(heard, step=None) for heard in batch]
        try:
            answers = self._finite(batch)
        except BaseException as exc:
            if not isinstance(exc, Exception):
                for heard in batch:
                    if heard.memory:
                        heard.memory.save()
            raise
        if self._kept and any(heard.memory is self._kept[1].memory for heard in batch):
            self._kept = None
        return answers

    def _finite(self, batch: Sequence[PreparedAudio]) -> list[Any]:
        """As `_run`; if logits are not finite, each recording runs alone, so that one harms no other."""
        try:
            return list(self._run(batch))
        except NotFinite:
            if len(batch) > 1:
                return [answer for heard in batch for answer in self._finite([heard])]
            return [not_finite(self.weights, "logits")]

    def _run(self, batch: Sequence[PreparedAudio]) -> list[Transcript]:
        work = [Work(heard, window, heard.timestamps(window)) for heard in batch for window in heard.windows]
        self.transcriber.at_once = self.at_once
        work = self.transcriber.hear(self.model, work, ProgressMeter())
        found = [item for first in work for item in self._guarded(first)]
        return [self._transcript(heard, [item for item in found if item.sound is heard]) for heard in batch]

    def _memory(self, store: Store, version: str, lexicon: Lexicon | None) -> Memory:
        """What is known of a recording already."""
        phrases = 0 if lexicon is None else lexicon.size
        memory = Memory(version, store, self.specials.first_time + _TIMES, self.specials.languages, phrases)
        memory.load()
        return memory

    def _previous(self, prompt: str | None) -> tuple[int, ...]:
        """The last tokens of a prompt, as many as openai/whisper takes: half of the decoder's context, with
        <|startofprev|> and two timestamps."""
        text = harmless((prompt or "").strip(), self._tokenizer).strip()
        if not text:
            return ()
        most = int(self.weights.config.max_target_positions) // 2 - 3
        return tuple(self._tokenizer(f" {text}", add_special_tokens=False, verbose=False)["input_ids"][-most:])

    def _hotwords(self, texts: Sequence[str]) -> tuple[Hotword, ...]:
        """The hotwords as tokens, without any that only a control token spells."""
        known = [text for one in texts if (text := harmless(one, self._tokenizer).strip())]
        return tuple(
            Hotword.of(text, self._tokenizer(f" {text}", add_special_tokens=False, verbose=False)["input_ids"])
            for text in known
        )

    def _version(self, request: Recording) -> str:
        """What a recording's decodings depend on: audio, options, checkpoint, and the settings of the decoding."""
        asked: list[Any] = [request.language, request.task, request.word_times]
        asked += [request.vocabulary.wire() if request.vocabulary else None]
        asked += [request.prompt, request.temperature, request.seed]
        asked += [request.hotwords] if request.hotwords else []
        checkpoint = self.weights.checkpoint
        asked += [checkpoint.id, checkpoint.revision, self.settings.scribe_context, list(self.settings.guards)]
        made = hashlib.sha256(request.data)
        made.update(json.dumps(asked).encode())
        return made.hexdigest()

    def _guarded(self, item: Work) -> list[Work]:
        """Apply the guards to a window. If its text loops or nobody can say it so fast, decode it once more in the
        other mode, with or without timestamps: a loop seldom happens in both. A text that is only too fast stays unless
        the other one is likelier and not suspicious."""
        self._judge(item)
        looping = item.guards == ["loop"]
        if item.choice is not None or not (looping or self._is_too_fast(item)):
            return [item]
        told = Work(item.sound, item.window, not item.timestamps, language=item.heard.language)
        again = self.transcriber.hear(self.model, [told])
        for other in again:
            self._judge(other)
        likelier = _mean_logprob(again) > item.heard.avg_logprob and any(other.text for other in again)
        return again if looping or (likelier and not any(map(self.transcriber.doubts, again))) else [item]

    def _is_too_fast(self, item: Work) -> bool:
        start_s, end_s = item.window.start_s, item.window.end_s
        voiced_s = speech.voiced_between(item.sound.spans, start_s, end_s)
        return "loop" in self.settings.guards and guards.is_too_fast(item.text, voiced_s)

    def _check_language(self, request: Recording) -> None:
        known = self.specials.languages
        if not known and (request.task == "translate" or request.language not in (None, "en")):
            asked = "translation" if request.task == "translate" else f"the language {request.language!r}"
            raise LanguageRefused(
                f"{request.name}: {self.weights.checkpoint.id} is English-only and does not support {asked}: set "
                "GOLEM_MODELS=multilingual, or GOLEM_SCRIBE_MODEL to a multilingual model such as openai/whisper-tiny."
            )
        if known and request.language is not None and request.language not in known:
            raise LanguageRefused(
                f"{request.name}: {self.weights.checkpoint.id} does not support the language {request.language!r}: use "
                "an ISO 639-1 code such as en, de or ru, or omit the language to detect it."
            )

    def _judge(self, item: Work) -> None:
        """Choose the phrase if there is a vocabulary, then clear text that a guard rejects and record the guard."""
        sound, window = item.sound, item.window
        applied, limit = self.settings.guards, sound.limit
        if item.scores and sound.lexicon is not None:
            free = Free(item.text, item.heard.tokens, item.heard.raw_logprob)
            limits = Limits(self.settings.vocabulary_floor, self.settings.vocabulary_margin)
            item.choice = choose(sound.lexicon, item.scores, free, limits)
            if item.choice.phrase != UNKNOWN:  # its probability vouches for it; the other guards judge free text
                item.text, applied = item.choice.phrase, tuple(name for name in applied if name == "no_speech")
                limit += speech.SURE_LIMIT if item.choice.posterior >= SURE else 0.0
        evidence = guards.Evidence(
            text=item.text,
            tokens=len(item.heard.tokens),
            no_speech_prob=item.heard.no_speech_prob,
            no_speech_limit=limit,
            voiced_s=speech.voiced_between(sound.spans, window.start_s, window.end_s),
            clear_s=self._clear_s(sound, window.start_s, window.end_s),
            prompt=_prompt(item),
            full=item.heard.full,
            avg_logprob=item.heard.avg_logprob,
            chosen=item.choice is not None and item.choice.phrase != UNKNOWN,
        )
        if guard := guards.rejecting(evidence, applied):
            item.text, item.guards = "", [guard]
            item.choice = None if guard == "no_speech" else item.choice

    def _clear_s(self, sound: PreparedAudio, start_s: float, end_s: float) -> float:
        return speech.clear_between(sound.chances, self.settings.vad_threshold, start_s, end_s)

    def _transcript(self, heard: PreparedAudio, work: Sequence[Work]) -> Transcript:
        found = [segment for item in work if item.text for segment in self._segments(item)]
        fired = dict.fromkeys(guard for item in work for guard in item.guards)
        chosen = [item for item in work if item.choice is not None]
        return Transcript(
            text=" ".join(segment.text for segment in found),
            language=(_language(work) or "en") if found else None,
            segments=tuple(found),
            duration_s=round(heard.duration_s, 3),
            speech_s=round(speech.speech_s(heard.spans), 3),
            guards=tuple(fired),
            choice=chosen[0].choice if len(chosen) == 1 else None,
            free_text=" ".join(self._free_text(item) for item in chosen) if chosen else None,
        )

    def _free_text(self, item: Work) -> str:
        """The window's transcript without the vocabulary."""
        return guards.tidy(self.transcriber.words(item.heard.tokens))

    def _segments(self, item: Work) -> list[Segment]:
        """The segments of a window: one for each pair of timestamps, or without timestamps one for all its voice."""
        window, spans = item.window, item.sound.spans
        if item.timestamps:
            parts = timestamps.pieces(item.heard.tokens, self.specials.first_time, window.end_s - window.start_s)
            return [segment for part in parts if (segment := self._segment(item, part))]
        inside = speech.spans_between(spans, window.start_s, window.end_s)
        start = max(inside[0].start_s, window.start_s) if inside else window.start_s
        end = min(inside[-1].end_s, window.end_s) if inside else window.end_s
        return [self._timed(_segment(item, start, end, item.text), item, item.heard.tokens, 0)]

    def _segment(self, item: Work, part: timestamps.Piece) -> Segment | None:
        """The segment of a piece of a window; None if it has no text, or if the text is an invention."""
        start_s, end_s = item.window.start_s + part.start_s, item.window.start_s + part.end_s
        text = guards.tidy(self.transcriber.words(part.tokens))
        clear_s = self._clear_s(item.sound, start_s - _TIMESTAMP_S, end_s + _TIMESTAMP_S)
        if "invention" in self.settings.guards and guards.is_invented(
            text, clear_s, item.heard.no_speech_prob, _prompt(item), item.heard.avg_logprob
        ):
            item.guards.append("invention")
            return None
        return self._timed(_segment(item, start_s, end_s, text), item, part.tokens, part.first) if text else None

    def _timed(self, segment: Segment, item: Work, tokens: Sequence[int], first: int) -> Segment:
        """Add word times to a segment if requested. `first` is the index of its first token among the window's text
        tokens."""
        if not item.heard.times or (item.choice is not None and item.choice.phrase != UNKNOWN):
            return segment  # the times belong to the free text, not to the chosen phrase
        said = [token for token in tokens if token < self.specials.end]
        pieces = self.transcriber.pieces(said, item.heard.language)
        times = item.heard.times[first : first + len(said)]
        words = timing.words(pieces, times, item.window.start_s, item.sound.spans)
        if not words:
            return segment
        return segment.model_copy(update={"words": words, "start_s": words[0].start_s, "end_s": words[-1].end_s})


def _nobody(audio_s: float | None) -> None:
    del audio_s


def _prompt(item: Work) -> str:
    """What the model was told that it may repeat where nobody speaks: the prompt of the window, and the hotwords."""
    prompt = item.sound.prompt if item.sound.before(item.window) else ""
    return " ".join([prompt, *(hotword.text for hotword in item.sound.hotwords)]).strip()


def _mean_logprob(work: Sequence[Work]) -> float:
    """The mean log-probability of the tokens of several windows."""
    counts = [len(item.heard.tokens) + 1 for item in work]  # with <|endoftext|>
    return sum(item.heard.avg_logprob * count for item, count in zip(work, counts, strict=True)) / sum(counts)


def _segment(item: Work, start_s: float, end_s: float, text: str) -> Segment:
    return Segment(
        start_s=round(start_s, 2),
        end_s=round(end_s, 2),
        text=text,
        language=item.heard.language,
        avg_logprob=round(item.heard.avg_logprob, 4),
        no_speech_prob=round(item.heard.no_speech_prob, 4),
        compression_ratio=round(guards.compression_ratio(text), 3),
        choice=item.choice,
    )


def _language(work: Sequence[Work]) -> str | None:
    """The language with the most window seconds among windows with text; the first one if tied."""
    lengths_s: dict[str, float] = {}
    for item in work:
        if item.text and item.heard.language:
            known_s = lengths_s.get(item.heard.language, 0.0)
            lengths_s[item.heard.language] = known_s + item.window.end_s - item.window.start_s
    return max(lengths_s, key=lambda language: lengths_s[language], default=None)
