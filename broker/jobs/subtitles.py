"""Outcomes as text, JSON, TSV and subtitles (SubRip and WebVTT). Pure.

txt   the transcript, one segment per line
json  the whole Outcome, as `--json` prints it
srt   numbered cues, `00:01:02,345 --> 00:01:04,000`
vtt   the same for browsers; with word times, each word has its own timestamp
tsv   start, end (milliseconds), text, as openai/whisper writes them
"""

import html
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from golem_chain.shared.records import Outcome, Segment, Word

#: A cue has at most two lines of this many characters, as is usual for subtitles.
_LINE = 42
_LINES = 2


@dataclass(frozen=True)
class Cue:
    """One subtitle; times in seconds from the start."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    words: tuple[Word, ...] = ()


def render(outcome: Outcome, form: str) -> str:
    """Return the file contents for a job that is done; `form` is one of FORMATS. Silence gives a file without text."""
    return FORMATS[form](outcome)


def cues(segments: Sequence[Segment]) -> Iterator[Cue]:
    """Yield cues of at most two lines; segments are split at their word times if known, else proportionally."""
    for segment in segments:
        lines = textwrap.wrap(segment.text, _LINE, break_on_hyphens=False)
        blocks = [tuple(lines[at : at + _LINES]) for at in range(0, len(lines), _LINES)]
        whole = sum(len(line) for line in lines) or 1
        said, words = 0, list(segment.words)
        for block in blocks:
            own = words[: len(" ".join(block).split())]
            del words[: len(own)]
            before, said = said, said + sum(len(line) for line in block)
            length = segment.end_s - segment.start_s
            start = own[0].start_s if own else segment.start_s + length * before / whole
            end = own[-1].end_s if own else segment.start_s + length * said / whole
            yield Cue(start, max(end, start + 0.001), block, tuple(own))


def stamp(seconds: float, mark: str) -> str:
    """Return `01:02:03,456`, with `mark` before the milliseconds."""
    total = round(max(seconds, 0.0) * 1000)
    return f"{total // 3_600_000:02}:{total // 60_000 % 60:02}:{total // 1000 % 60:02}{mark}{total % 1000:03}"


def _segments(outcome: Outcome) -> Sequence[Segment]:
    return outcome.transcript.segments if outcome.transcript else ()


def _txt(outcome: Outcome) -> str:
    """A text that the job was given has no segments."""
    given = outcome.transcript.text if outcome.transcript else ""
    return "".join(f"{segment.text}\n" for segment in _segments(outcome)) or (f"{given}\n" if given else "")


def _json(outcome: Outcome) -> str:
    return json.dumps(outcome.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"


def _srt(outcome: Outcome) -> str:
    """SubRip has no escapes, so an arrow in the text, which would start a new cue, is replaced."""
    return "".join(
        f"{number}\n{stamp(cue.start_s, ',')} --> {stamp(cue.end_s, ',')}\n"
        f"{chr(10).join(cue.lines).replace('-->', '->')}\n\n"
        for number, cue in enumerate(cues(_segments(outcome)), start=1)
    )


def _vtt(outcome: Outcome) -> str:
    return "WEBVTT\n" + "".join(
        f"\n{stamp(cue.start_s, '.')} --> {stamp(cue.end_s, '.')}\n{chr(10).join(_timed(cue))}\n"
        for cue in cues(_segments(outcome))
    )


def _timed(cue: Cue) -> Iterator[str]:
    """Yield the lines with `&`, `<` and `>` escaped, and timestamps before all words but the first, if increasing."""
    words = list(cue.words)
    last = round(cue.start_s, 3)
    for line in cue.lines:
        shown = []
        for token in line.split():
            at = round(words.pop(0).start_s, 3) if words else last
            shown.append((f"<{stamp(at, '.')}>" if last < at < cue.end_s else "") + html.escape(token, quote=False))
            last = max(last, at)
        yield " ".join(shown)


def _tsv(outcome: Outcome) -> str:
    rows = [
        f"{round(segment.start_s * 1000)}\t{round(segment.end_s * 1000)}\t{' '.join(segment.text.split())}"
        for segment in _segments(outcome)
    ]
    return "\n".join(["start\tend\ttext", *rows]) + "\n"


FORMATS: dict[str, Callable[[Outcome], str]] = {"txt": _txt, "json": _json, "srt": _srt, "vtt": _vtt, "tsv": _tsv}
