"""Which text the model is given in front of a window: that of the window before, unless it may be wrong. Pure.

The rules are those of openai/whisper's `condition_on_previous_text`, and two more: text that a guard may reject is not
given, and neither is text in another language than the window's. Whisper repeats what stands in front of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: A text sampled at a higher temperature than this is not given. Source: openai/whisper.
MOST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Text:
    """The text of a window, as the next one is given it."""

    tokens: tuple[int, ...]  # with timestamps
    text: str
    language: str | None  # ISO code; None for an English-only checkpoint


def given(said: Text, most: int, *, temperature: float, doubted: bool) -> Text | None:
    """The text in front of the next window, cut to its last `most` tokens; None if there is none to give.
    `temperature`: at which it was sampled; `doubted`: it loops, is unlikely, or may be silence or an invention."""
    if most <= 0 or doubted or temperature > MOST_TEMPERATURE or not said.text:
        return None
    return Text(said.tokens[-most:], said.text, said.language)


def is_dropped(before: Text, language: str | None, fails: bool) -> bool:
    """Whether a window is to be decoded again without the text before it: its own text failed, or it is in another
    language."""
    return fails or language != before.language


def next_of(windows: Sequence[tuple[object, bool]]) -> list[int]:
    """Which of the pending windows can be decoded now, each of a recording and whether that is decoded in order: of
    such a recording the first one, of others all."""
    started: set[int] = set()
    found = []
    for number, (recording, ordered) in enumerate(windows):
        if not ordered or id(recording) not in started:
            found.append(number)
        started.add(id(recording))
    return found
