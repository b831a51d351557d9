"""What a client asks for, as the options of a job. Pure."""

from typing import Any

from golem_chain.broker.doors.wyoming.languages import asked_for
from golem_chain.broker.jobs.options import make_options
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import HOTWORDS_MOST, JobOptions
from golem_chain.shared.vocabulary import parse_hotwords

#: How long a job may take, seconds: Home Assistant gives up a pipeline then.
ANSWER_S = 300.0


def speech_options(data: dict[str, Any]) -> JobOptions:
    """Return the options of a `transcribe` event's job, which ends at the Scribe. Names and terms that are likely to be
    said become hotwords, names first; those that cannot be are left out. Raises BadRequest."""
    words = [*_texts(data.get("transcript_names")), *_texts(data.get("transcript_terms"))]
    usable = list(dict.fromkeys(word for word in words if _is_hotword(word)))[:HOTWORDS_MOST]
    return make_options(
        language=asked_for(data.get("language")),
        hotwords=usable or None,
        stop="scribe",
        lane="interactive",
        expires_s=ANSWER_S,
    )


def text_options(data: dict[str, Any]) -> JobOptions:
    """Return the options of a `transcript` event's job, which goes on to the Oracle. Raises BadRequest."""
    return make_options(language=asked_for(data.get("language")), lane="interactive", expires_s=ANSWER_S)


def text_of(data: dict[str, Any]) -> str:
    """Return the text of a `transcript` event. Raises BadRequest."""
    text = data.get("text")
    if not isinstance(text, str):
        raise BadRequest("The transcript has no text: send the words that were said.")
    return text


def _texts(given: Any) -> list[str]:
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _is_hotword(word: str) -> bool:
    try:
        parse_hotwords([word])
    except BadRequest:
        return False
    return True
