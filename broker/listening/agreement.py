"""Which words of a growing recording can be shown as certain: LocalAgreement-2.

The recording is transcribed again and again while it grows. A word is confirmed when two transcripts in a row agree on
it and on all before it; confirmed words stay. What follows them in the newest transcript may still change.
Liu et al., Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection,
Interspeech 2020; as in whisper_streaming: Macháček, Dabre, Bojar, Turning Whisper into Real-Time Transcription System,
IJCNLP-AACL 2023, https://aclanthology.org/2023.ijcnlp-demo.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: Marks at the ends of words that transcripts disagree on without meaning another word.
_MARKS = ".,;:!?…\"'“”‘’()[]-–—"


@dataclass(frozen=True)
class Agreement:
    """What the transcripts so far agree on."""

    confirmed: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()  # of the newest transcript

    def hear(self, text: str) -> "Agreement":
        """Return the agreement with one more transcript. The confirmed words grow or stay, and are never taken back."""
        words = text.split()
        rest = tuple(words[_place(self.confirmed, words) :])
        agreed = 0
        for before, now in zip(self.rest, rest, strict=False):
            if _bare(before) != _bare(now):
                break
            agreed += 1
        return Agreement(self.confirmed + rest[:agreed], rest[agreed:])

    def shown(self, *, cut: bool) -> tuple[str, str]:
        """Return the confirmed words and those after them, as texts. `cut`: the recording ended while somebody spoke;
        its last word, which may be half of one, is then left out unless it is confirmed, or the first."""
        rest = self.rest[:-1] if cut and (self.confirmed or len(self.rest) > 1) else self.rest
        return " ".join(self.confirmed), " ".join(rest)


def _bare(word: str) -> str:
    return word.strip(_MARKS).casefold() or word


def _place(confirmed: Sequence[str], words: Sequence[str]) -> int:
    """Return how many of the words stand for the confirmed ones: the beginning with the fewest edits between the two;
    of equal ones, that whose length is nearest to theirs."""
    told = [_bare(word) for word in confirmed]
    found = [_bare(word) for word in words]
    row = list(range(len(found) + 1))  # edits between the confirmed words so far and each beginning of the words
    for n, word in enumerate(told, start=1):
        above, row = row, [n]
        for m, other in enumerate(found, start=1):
            row.append(min(above[m] + 1, row[m - 1] + 1, above[m - 1] + (word != other)))
    return min(range(len(row)), key=lambda m: (row[m], abs(m - len(told))))
