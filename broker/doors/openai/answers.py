"""Outcomes in the shapes of OpenAI's audio API: JSON, text and subtitles, and the events of a stream. Pure.

https://platform.openai.com/docs/api-reference/audio
"""

import math
from collections.abc import Iterator

from golem_chain.broker.doors.openai.asked import Asked
from golem_chain.broker.jobs.subtitles import render
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.languages import name_of
from golem_chain.shared.records import Outcome, Segment, Transcript

#: Frames of Whisper's spectrogram in a second, in which `seek` counts.
_FRAMES_PER_S = 100


def json_of(outcome: Outcome, asked: Asked) -> JsonObject:
    """Return the answer to response_format=json or verbose_json."""
    said = outcome.transcript or Transcript()
    body: JsonObject = {"text": said.text}
    if asked.format == "verbose_json":
        body = _verbose(said, asked)
    if asked.task == "transcribe":
        body["usage"] = {"type": "duration", "seconds": math.ceil(said.duration_s)}
    return body | {"golem": golem_of(outcome)}


def text_of(outcome: Outcome, asked: Asked) -> str:
    """Return the answer to response_format=text, srt or vtt."""
    if asked.format == "text":
        return f"{outcome.transcript.text if outcome.transcript else ''}\n"
    return render(outcome, asked.format)


def deltas_of(said: Transcript) -> Iterator[JsonObject]:
    """Yield the first events of a stream: one for each segment, whose texts together are the whole."""
    for piece in pieces(said):
        yield {"type": "transcript.text.delta", "delta": piece}


def done_of(outcome: Outcome, asked: Asked) -> JsonObject:
    """Return the last event of a stream. Beside OpenAI's fields it has segments, which subtitle editors read there, and
    words if they were asked for."""
    said = outcome.transcript or Transcript()
    return {"type": "transcript.text.done", **_verbose(said, asked), "golem": golem_of(outcome)}


def pieces(said: Transcript) -> list[str]:
    """Return the text cut before each segment: with the space before it, so that the pieces together are the text."""
    found: list[str] = []
    end = 0
    for segment in said.segments:
        at = said.text.find(segment.text, end)
        if at < 0 or not segment.text:
            return [said.text] if said.text else []
        found.append(said.text[end : at + len(segment.text)])
        end = at + len(segment.text)
    if said.text[end:]:
        found.append(said.text[end:])
    return found


def golem_of(outcome: Outcome) -> JsonObject:
    """Return what OpenAI's API has no place for, in the fields of an Outcome."""
    told: JsonObject = {"job": outcome.job, "intent": None, "reply": None}
    told |= outcome.model_dump(mode="json", include={"intent", "reply", "stages"})
    if said := outcome.transcript:
        told |= said.model_dump(mode="json", include={"speech_s", "guards"})
        if said.choice:
            told |= said.model_dump(mode="json", include={"choice", "free_text"})
    return told


def _verbose(said: Transcript, asked: Asked) -> JsonObject:
    translated = asked.task == "translate"
    language = "en" if translated else said.language or asked.options["language"] or ""
    body: JsonObject = {
        "task": asked.task,
        "language": name_of(language) or "unknown",  # in silence nothing is detected
        "duration": said.duration_s,
        "text": said.text,
    }
    if asked.segments:
        texts = pieces(said)
        whole = len(texts) == len(said.segments)
        body["segments"] = [
            _segment(place, one, texts[place] if whole else one.text, asked) for place, one in enumerate(said.segments)
        ]
    if asked.words:
        body["words"] = [
            {"word": word.word, "start": word.start_s, "end": word.end_s} for one in said.segments for word in one.words
        ]
    return body


def _segment(place: int, one: Segment, text: str, asked: Asked) -> JsonObject:
    """`tokens` and the temperature of a fallback are not recorded; the window's place neither, so that `seek` is the
    segment's own."""
    return {
        "id": place,
        "seek": round(one.start_s * _FRAMES_PER_S),
        "start": one.start_s,
        "end": one.end_s,
        "text": text,
        "tokens": [],
        "temperature": asked.options["temperature"] or 0.0,
        "avg_logprob": one.avg_logprob,
        "compression_ratio": one.compression_ratio,
        "no_speech_prob": one.no_speech_prob,
    }
