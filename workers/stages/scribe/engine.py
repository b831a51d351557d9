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
from golem_chain.shared.records import Task, Transcript, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import read_flags
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.finite import NotFinite, not_finite
from golem_chain.workers.stages.scribe.audio import decode, speech
from golem_chain.workers.stages.scribe.audio.containers import stated_s
from golem_chain.workers.stages.scribe.audio.loudness import Levels
from golem_chain.workers.stages.scribe.audio.vad import detector
from golem_chain.workers.stages.scribe.audio.windows import WINDOW_S, cut, utterances
from golem_chain.workers.stages.scribe.heard import Memory, Store
from golem_chain.workers.stages.scribe.judging import Judge
from golem_chain.workers.stages.scribe.prepared import PreparedAudio, ProgressMeter
from golem_chain.workers.stages.scribe.transcribe import AUTO_BEAMS, WINDOWS_AT_ONCE, Transcriber, Work
from golem_chain.workers.stages.scribe.vocabulary.choice import Lexicon
from golem_chain.workers.stages.scribe.vocabulary.hotwords import Hotword
from golem_chain.workers.stages.scribe.vocabulary.lexicon import Lexicons
from golem_chain.workers.stages.scribe.whisper.alignment import heads_of
from golem_chain.workers.stages.scribe.whisper.decoding import Specials
from golem_chain.workers.stages.scribe.whisper.encoder import product_of
from golem_chain.workers.stages.scribe.whisper.mel import MelFeatures
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
            product = weights.product or product_of(weights.dtype, weights.device, settings.dtype, read_flags())
            heads = heads_of(generation, weights.config)
            self._lexicons = Lexicons(
                tokenizer,
                english_only=not self.specials.languages,
                checkpoint=weights.checkpoint.id,
                most_tokens=int(weights.config.max_target_positions) - _PROMPT_TOKENS,
            )
            # on a card, a short context costs more launches than it saves arithmetic (2,905 kernels against 91)
            fast = settings.scribe_context == "fast" and weights.device.type == "cpu"
            self.beams = AUTO_BEAMS if settings.scribe_beam == "auto" else settings.scribe_beam
            self.transcriber = Transcriber(
                MelFeatures(features), tokenizer, self.specials, heads, product, fast, self.beams
            )
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
        # of each beam: keys and values of its tokens, and its logits three times in float32 and once in their own dtype
        beam = 2 * config.decoder_layers * config.max_target_positions * width * self.weights.dtype.itemsize
        beam += 16 * config.vocab_size
        product = self.transcriber.product  # every batch copies the output projection to this dtype
        head = config.vocab_size * width * product.itemsize if product != self.weights.dtype else 0
        window = (activations + cross) * self.weights.dtype.itemsize + 3_000_000 + self.beams * beam
        return int(at_once * window) + head + 32_000_000

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
            carried=self._carried() if len(windows) > 1 and lexicon is None else 0,
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
        judge = Judge(self.transcriber, self.settings, self.model)
        found = [item for first in work for item in judge.guarded(first)]
        return [judge.transcript(heard, [item for item in found if item.sound is heard]) for heard in batch]

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

    def _carried(self) -> int:
        """How many tokens of the text before a window is given, as in openai/whisper: half of the decoder's context,
        with <|startofprev|>."""
        on = self.settings.scribe_previous == "on"
        return int(self.weights.config.max_target_positions) // 2 - 1 if on else 0

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
        asked += [self.beams]
        made = hashlib.sha256(request.data)
        made.update(json.dumps(asked).encode())
        return made.hexdigest()

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


def _nobody(audio_s: float | None) -> None:
    del audio_s
