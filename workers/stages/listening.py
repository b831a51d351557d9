"""Windows through the model, in batches and rounds: what was not heard to its end is heard on, a loop once again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from shared.records import Task
from workers.stages import ear, segments
from workers.stages.audio import RATE
from workers.stages.decoding import Decoded, Specials, decode_greedily
from workers.stages.windows import Window, rest

#: Windows that the encoder sees at once.
WINDOWS_AT_ONCE = 8
#: Tokens of one window at most, prompt and end among them. Source: openai/whisper, half of the decoder's context.
MOST_TOKENS = 228


class Sound(Protocol):
    """What is listened to: a recording that was decoded, with the voice in it."""

    @property
    def samples(self) -> npt.NDArray[np.float32]: ...
    @property
    def spans(self) -> list[ear.Span]: ...
    @property
    def language(self) -> str | None: ...
    @property
    def task(self) -> Task: ...
    @property
    def gain(self) -> float: ...


@dataclass
class Work:
    """One window of one recording, and what was heard in it."""

    sound: Sound
    window: Window
    timestamps: bool
    said: Decoded | None = None
    text: str = ""
    guards: list[str] = field(default_factory=list)

    @property
    def heard(self) -> Decoded:
        """What the model said. Only after the window went through it."""
        assert self.said is not None
        return self.said


class Listener:
    """Whisper on windows. Holds the checkpoint's tokenizer and features, never its weights."""

    def __init__(self, features: Any, tokenizer: Any, specials: Specials) -> None:
        self._features = features
        self._tokenizer = tokenizer
        self.specials = specials

    def hear(self, model: Any, work: Sequence[Work]) -> list[Work]:
        """All of the work, and what it took beyond it, in the order of the work; `said` and `text` are set."""
        done: list[tuple[int, Work]] = []
        pending = list(enumerate(work))
        while pending:
            self._batches(model, [item for _, item in pending])
            going_on = []
            for place, item in pending:
                left = self._rest(item) if item.timestamps else None
                done.append((place, item))
                if left is not None:
                    going_on.append((place, Work(item.sound, left, timestamps=True)))
            pending = going_on
        for _, item in done:
            item.text = ear.tidy(self.words(item.heard.tokens))
        return [item for _, item in sorted(done, key=lambda pair: (pair[0], pair[1].window.start_s))]

    def words(self, tokens: Sequence[int]) -> str:
        """Text of tokens, timestamps and other special ones left out."""
        plain = [token for token in tokens if token < self.specials.end]
        return str(self._tokenizer.decode(plain, skip_special_tokens=True))

    def _rest(self, item: Work) -> Window | None:
        """What is still to be heard of a window; the item is cut back to what was."""
        tokens, first = item.heard.tokens, self.specials.first_time
        found = segments.resume(tokens, first, item.heard.full)
        last = segments.last_time(tokens, first)
        left = rest(item.window, found[1] if found else None, last, item.sound.spans)
        if left is not None:
            if found:
                item.said = replace(item.heard, tokens=tokens[: found[0]], full=False)
            item.window = Window(item.window.start_s, left.start_s)
        return left

    def _batches(self, model: Any, work: Sequence[Work]) -> None:
        for timestamps in (False, True):
            same = [item for item in work if item.timestamps is timestamps]
            for at in range(0, len(same), WINDOWS_AT_ONCE):
                self._batch(model, same[at : at + WINDOWS_AT_ONCE], timestamps)

    def _batch(self, model: Any, work: Sequence[Work], timestamps: bool) -> None:
        """One batch of windows through encoder and decoder."""
        pieces = []
        for item in work:
            start = round(item.window.start_s * RATE)
            piece = np.asarray(item.sound.samples[start : start + round(item.window.heard_s * RATE)], np.float32)
            pieces.append(piece * np.float32(item.sound.gain) if item.sound.gain > 1 else piece)
        seen = self._features(pieces, sampling_rate=RATE, return_tensors="pt")["input_features"]
        weight = model.model.encoder.conv1.weight
        with torch.inference_mode():
            encoded = model.model.encoder(seen.to(weight.device, weight.dtype)).last_hidden_state
        said = decode_greedily(
            model,
            encoded,
            self.specials,
            languages=[item.sound.language for item in work],
            tasks=[item.sound.task for item in work],
            timestamps=timestamps,
            max_tokens=MOST_TOKENS,
        )
        for item, decoded in zip(work, said, strict=True):
            item.said = decoded
