"""The Scribe: Whisper with its pre- and post-processing. `Recording` → `Transcript`.

bytes ─ audio ─► samples ─ level, VAD ─► windows ─ Whisper, in batches ─► segments ─ guards ─► transcript
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shared.errors import LanguageRefused, ModelCorrupt
from shared.records import Segment, Task, Transcript
from shared.settings import Settings
from workers.stages import audio, ear, segments
from workers.stages.decoding import Specials
from workers.stages.engine import Ready
from workers.stages.listening import WINDOWS_AT_ONCE, Listener, Work
from workers.stages.tokens import load_tokenizer
from workers.stages.vad import detector
from workers.stages.windows import Window, cut

if TYPE_CHECKING:
    from workers.store.load import Weights


@dataclass(frozen=True)
class Recording:
    """What is to be heard."""

    name: str  # for errors
    data: bytes
    language: str | None = None  # ISO 639-1; None: detected
    task: Task = "transcribe"


@dataclass(frozen=True)
class _Heard:
    """A recording with voice in it, decoded."""

    samples: npt.NDArray[np.float32]
    spans: list[ear.Span]
    windows: list[Window]
    language: str | None
    task: Task
    gain: float
    limit: float  # of p(no speech), by how sure the detector is of the voice


def make(config: Any) -> Any:
    """The model of a config, without its weights: the skeleton that the store fills. Raises ModelCorrupt."""
    from transformers import WhisperForConditionalGeneration

    if config.model_type != "whisper":
        raise ModelCorrupt(
            f"The scribe's checkpoint is a {config.model_type} model and not Whisper: set GOLEM_SCRIBE_MODEL to one, "
            "as openai/whisper-tiny."
        )
    return WhisperForConditionalGeneration(config)


class Scribe:
    """`Recording` → `Transcript`. Tokenizer and feature extractor survive an unload, weights do not."""

    name = "scribe"

    def __init__(self, weights: "Weights", settings: Settings) -> None:
        from transformers import GenerationConfig, WhisperFeatureExtractor

        self.weights, self.settings = weights, settings
        self.model: Any = None
        tokenizer = load_tokenizer(weights.folder)
        try:
            features = WhisperFeatureExtractor.from_pretrained(weights.folder, local_files_only=True)
            generation = GenerationConfig.from_pretrained(weights.folder, local_files_only=True)
            self.specials = Specials.of(generation)
            self._listener = Listener(features, tokenizer, self.specials)
        except (OSError, ValueError, AttributeError, TypeError) as exc:
            raise ModelCorrupt(
                f"{weights.folder} lacks what Whisper needs beside its weights ({type(exc).__name__}): "
                "run `golem models pull` again."
            ) from None

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights on the device."""
        return self.weights.nbytes

    def working_bytes(self, batch: int) -> int:
        """Of the windows at once: the encoder's activations, the decoder's cross-attention cache, features and logits.
        Long recordings take no more, their windows go through in the same batches. Measured on a CPU: 0 to 40 % above
        what tiny.en and base take in float32 and bfloat16, for 1, 4 and 8 windows."""
        config, at_once = self.weights.config, min(batch, WINDOWS_AT_ONCE)
        frames, width = config.max_source_positions, config.d_model
        activations = 6 * frames * width + 2 * frames * config.encoder_ffn_dim
        cross = 2 * config.decoder_layers * frames * width
        return int(at_once * ((activations + cross) * self.weights.dtype.itemsize + 4_000_000)) + 32_000_000

    def load(self) -> None:
        """Bring the weights to the device."""
        self.model = self.weights.load()

    def unload(self) -> None:
        """Drop every reference to them."""
        self.model = None
        self.weights.unload()

    def prefetch(self) -> None:
        """Bring them near beforehand."""
        self.weights.prefetch()

    def prepare(self, ask: Any) -> Transcript | Ready[_Heard]:
        """Decode, and listen for a voice: a recording without one is answered here.

        Raises BadAudio, AudioAboveLimit, LanguageRefused.
        """
        self._check_language(ask)
        samples = audio.decode(ask.data, ask.name, self.settings)
        duration = round(len(samples) / audio.RATE, 3)
        peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
        if ear.is_silent(peak):
            return Transcript(duration_s=duration, guards=("level",))
        threshold = self.settings.vad_threshold
        chances: npt.NDArray[np.float32] = detector().probabilities(samples, ear.gain(peak))
        spans, shift = ear.voice(chances, threshold)
        if threshold <= 0:  # the guard is off
            spans, shift = [ear.Span(0.0, len(samples) / audio.RATE)], 0.0
        if not spans:
            return Transcript(duration_s=duration, guards=("vad",))
        windows = cut(spans, chances, len(samples) / audio.RATE)
        limit = self.settings.no_speech_threshold
        limit = limit if limit >= 1 else limit + shift  # 1: the guard is off
        return Ready(_Heard(samples, spans, windows, ask.language, ask.task, ear.model_gain(peak), limit))

    def run(self, batch: Sequence[Any]) -> list[Transcript]:
        """Hear every window of every recording, in batches."""
        # Windows of long recordings are decoded with timestamps, short ones without, as transformers does.
        work = [Work(heard, window, len(heard.windows) > 1) for heard in batch for window in heard.windows]
        work = self._listener.hear(self.model, work)
        found = [item for first in work for item in self._believed(first)]
        return [self._transcript(heard, [item for item in found if item.sound is heard]) for heard in batch]

    def _believed(self, item: Work) -> list[Work]:
        """A window after the guards; one that loops is heard once more in the other mode, for a loop seldom happens in
        both."""
        self._judge(item)
        if item.guards != ["loop"]:
            return [item]
        again = self._listener.hear(self.model, [Work(item.sound, item.window, not item.timestamps)])
        for other in again:
            self._judge(other)
        return again

    def _check_language(self, ask: Recording) -> None:
        known = self.specials.languages
        if not known and (ask.task == "translate" or ask.language not in (None, "en")):
            asked = "translation" if ask.task == "translate" else f"language {ask.language!r}"
            raise LanguageRefused(
                f"{ask.name}: {asked} was asked of {self.weights.checkpoint.id}, which knows only English: set "
                "GOLEM_SCRIBE_MODEL to a multilingual one, as openai/whisper-tiny or whisper-base."
            )
        if known and ask.language is not None and ask.language not in known:
            raise LanguageRefused(
                f"{ask.name}: {self.weights.checkpoint.id} does not know the language {ask.language!r}: give an ISO "
                "639-1 code as en, de or ru, or none to have it detected."
            )

    def _judge(self, item: Work) -> None:
        """Take away the text that a guard does not believe, and name the guard."""
        sound, window = item.sound, item.window
        assert isinstance(sound, _Heard)
        guard = ""
        if item.heard.no_speech_prob > sound.limit:
            guard = "no_speech"
        elif ear.is_annotation(item.text):
            guard = "annotation"
        elif ear.loops(
            item.text, len(item.heard.tokens), ear.voiced_between(sound.spans, window.start_s, window.end_s)
        ):
            guard = "loop"
        if guard:
            item.text, item.guards = "", [guard]

    def _transcript(self, heard: _Heard, work: Sequence[Work]) -> Transcript:
        found = [segment for item in work if item.text for segment in self._segments(item)]
        guards = dict.fromkeys(guard for item in work for guard in item.guards)
        return Transcript(
            text=" ".join(segment.text for segment in found),
            language=(_language(work) or "en") if found else None,
            segments=tuple(found),
            duration_s=round(len(heard.samples) / audio.RATE, 3),
            speech_s=round(ear.speech_s(heard.spans), 3),
            guards=tuple(guards),
        )

    def _segments(self, item: Work) -> list[Segment]:
        """One for each pair of timestamps; without timestamps one for the voice in the window."""
        window, spans = item.window, item.sound.spans
        if item.timestamps:
            parts = segments.pieces(item.heard.tokens, self.specials.first_time, window.end_s - window.start_s)
            texts = [(part, ear.tidy(self._listener.words(part.tokens))) for part in parts]
            return [
                _segment(item, window.start_s + part.start_s, window.start_s + part.end_s, text)
                for part, text in texts
                if text
            ]
        inside = [span for span in spans if span.end_s > window.start_s and span.start_s < window.end_s]
        start = max(inside[0].start_s, window.start_s) if inside else window.start_s
        end = min(inside[-1].end_s, window.end_s) if inside else window.end_s
        return [_segment(item, start, end, item.text)]


def _segment(item: Work, start_s: float, end_s: float, text: str) -> Segment:
    return Segment(
        start_s=round(start_s, 2),
        end_s=round(end_s, 2),
        text=text,
        avg_logprob=round(item.heard.avg_logprob, 4),
        no_speech_prob=round(item.heard.no_speech_prob, 4),
        compression_ratio=round(ear.compression_ratio(text), 3),
    )


def _language(work: Sequence[Work]) -> str | None:
    """The language of most of the windows that gave text."""
    found = [item.heard.language for item in work if item.text and item.heard.language]
    return max(set(found), key=found.count) if found else None
