"""The Scribe: Whisper with its pre- and post-processing. `Recording` → `Transcript`.

bytes ─ audio ─► samples ─ level, VAD ─► windows ─ Whisper, in batches ─► segments ─ guards ─► transcript
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import LanguageRefused, ModelCorrupt
from shared.records import Segment, Task, Transcript
from shared.settings import Settings
from workers.stages import audio, ear
from workers.stages.decoding import TIME_STEP_S, Decoded, Specials, decode_greedily
from workers.stages.engine import Ready
from workers.stages.tokens import load_tokenizer
from workers.stages.vad import detector
from workers.stages.windows import WINDOW_S, Window, cut

if TYPE_CHECKING:
    from workers.store.load import Weights

#: Windows that the encoder sees at once.
WINDOWS_AT_ONCE = 8
#: Tokens of one window at most, prompt and end among them. Source: openai/whisper, half of the decoder's context.
MOST_TOKENS = 228


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

    recording: Recording
    samples: npt.NDArray[np.float32]
    spans: list[ear.Span]
    windows: list[Window]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / audio.RATE


@dataclass
class _Work:
    """One window of one recording."""

    heard: _Heard
    window: Window
    timestamps: bool
    said: Decoded | None = None
    text: str = ""
    guards: tuple[str, ...] = ()


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
        self.tokenizer = load_tokenizer(weights.folder)
        try:
            self.features = WhisperFeatureExtractor.from_pretrained(weights.folder, local_files_only=True)
            generation = GenerationConfig.from_pretrained(weights.folder, local_files_only=True)
            self.specials = Specials.of(generation)
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
        """Encoder activations and attention of one window at a time for each of the windows at once, and the decoder's
        cross-attention cache. Long recordings take no more: their windows go through in the same batches."""
        config, at_once = self.weights.config, min(batch, WINDOWS_AT_ONCE)
        frames, width = 1500, config.d_model
        activations = 12 * frames * width + 2 * frames * config.encoder_ffn_dim
        attention = 2 * frames * frames * config.encoder_attention_heads
        cross = 2 * config.decoder_layers * frames * width
        return int(at_once * (activations + attention + cross) * self.weights.dtype.itemsize) + 40_000_000

    def load(self) -> None:
        """Bring the weights to the device."""
        self.model = self.weights.load()

    def unload(self) -> None:
        """Drop every reference to them."""
        self.model = None
        self.weights.unload()

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
        if self.settings.vad_threshold <= 0:
            whole = ear.Span(0.0, duration)
            chances: npt.NDArray[np.float32] = np.ones(1 + round(duration / ear.FRAME_S), np.float32)
            spans = [whole]
        else:
            chances = detector().probabilities(samples, ear.gain(peak))
            spans = ear.voiced(chances, self.settings.vad_threshold)
        if not spans:
            return Transcript(duration_s=duration, guards=("vad",))
        return Ready(_Heard(ask, samples, spans, cut(spans, chances, len(samples) / audio.RATE)))

    def run(self, batch: Sequence[Any]) -> list[Transcript]:
        """Hear every window of every recording, in batches."""
        # Windows of long recordings are decoded with timestamps, short ones without, as transformers does.
        work = [_Work(heard, window, len(heard.windows) > 1) for heard in batch for window in heard.windows]
        self._hear_all(work)
        again = [item for item in work if self._judge(item)]
        for item in again:  # once more in the other mode: a loop seldom happens in both
            item.timestamps = not item.timestamps
        self._hear_all(again)
        for item in again:
            self._judge(item)
        return [self._transcript(heard, [item for item in work if item.heard is heard]) for heard in batch]

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

    def _hear_all(self, work: Sequence[_Work]) -> None:
        for timestamps in (False, True):
            same = [item for item in work if item.timestamps is timestamps]
            for at in range(0, len(same), WINDOWS_AT_ONCE):
                self._hear(same[at : at + WINDOWS_AT_ONCE], timestamps)

    def _hear(self, work: Sequence[_Work], timestamps: bool) -> None:
        """One batch of windows through the model."""
        pieces = []
        for item in work:
            start, end = (round(at * audio.RATE) for at in (item.window.start_s, item.window.end_s))
            pieces.append(np.asarray(item.heard.samples[start : min(end, start + round(WINDOW_S * audio.RATE))]))
        seen = self.features(pieces, sampling_rate=audio.RATE, return_tensors="pt")["input_features"]
        with torch.inference_mode():
            encoded = self.model.model.encoder(seen.to(self.weights.device, self.weights.dtype)).last_hidden_state
        said = decode_greedily(
            self.model,
            encoded,
            self.specials,
            languages=[item.heard.recording.language for item in work],
            tasks=[item.heard.recording.task for item in work],
            timestamps=timestamps,
            max_tokens=MOST_TOKENS,
        )
        for item, decoded in zip(work, said, strict=True):
            item.said = decoded

    def _words(self, tokens: Sequence[int]) -> str:
        """Text of tokens, timestamps left out."""
        plain = [token for token in tokens if token < self.specials.end]
        return str(self.tokenizer.decode(plain, skip_special_tokens=True))

    def _judge(self, item: _Work) -> bool:
        """Set text and guards of a window; True where it loops."""
        assert item.said is not None
        item.text, item.guards = ear.tidy(self._words(item.said.tokens)), ()
        if item.said.no_speech_prob > self.settings.no_speech_threshold:
            item.text, item.guards = "", ("no_speech",)
        elif ear.is_annotation(item.text):
            item.text, item.guards = "", ("annotation",)
        elif ear.loops(item.text, len(item.said.tokens), item.window.end_s - item.window.start_s):
            item.text, item.guards = "", ("loop",)
            return True
        return False

    def _transcript(self, heard: _Heard, work: Sequence[_Work]) -> Transcript:
        segments = [segment for item in work if item.text for segment in self._segments(item)]
        guards = dict.fromkeys(guard for item in work for guard in item.guards)
        return Transcript(
            text=" ".join(segment.text for segment in segments),
            language=(_language(work) or "en") if segments else None,
            segments=tuple(segments),
            duration_s=round(heard.duration_s, 3),
            speech_s=round(ear.speech_s(heard.spans), 3),
            guards=tuple(guards),
        )

    def _segments(self, item: _Work) -> list[Segment]:
        """One for each pair of timestamps; without timestamps one for the voice in the window."""
        if item.timestamps:
            found = list(self._timed(item))
            if found:
                return found
        inside = [s for s in item.heard.spans if s.end_s > item.window.start_s and s.start_s < item.window.end_s]
        start = max(inside[0].start_s, item.window.start_s) if inside else item.window.start_s
        end = min(inside[-1].end_s, item.window.end_s) if inside else item.window.end_s
        return [self._segment(item, start, end, item.text)]

    def _timed(self, item: _Work) -> list[Segment]:
        begin = self.specials.first_time
        found: list[Segment] = []
        tokens: list[int] = []
        assert item.said is not None
        start = 0.0
        last = item.window.end_s - item.window.start_s
        for token in [*item.said.tokens, begin + round(last / TIME_STEP_S)]:
            if token < begin:
                tokens.append(token)
                continue
            at = min((token - begin) * TIME_STEP_S, last)
            text = ear.tidy(self._words(tokens))
            if text:
                found.append(
                    self._segment(item, item.window.start_s + start, item.window.start_s + max(at, start), text)
                )
            tokens, start = [], at
        return found

    def _segment(self, item: _Work, start: float, end: float, text: str) -> Segment:
        assert item.said is not None
        return Segment(
            start_s=round(start, 2),
            end_s=round(end, 2),
            text=text,
            avg_logprob=round(item.said.avg_logprob, 4),
            no_speech_prob=round(item.said.no_speech_prob, 4),
            compression_ratio=round(ear.compression_ratio(text), 3),
        )


def _language(work: Sequence[_Work]) -> str | None:
    """The language of most of the windows that gave text."""
    found = [item.said.language for item in work if item.said and item.text and item.said.language]
    return max(set(found), key=found.count) if found else None
