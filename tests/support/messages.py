"""A valid message, and mutations of it."""

import json
import unicodedata

from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.shared.records import AudioRef, Handover, Intent, Job, Label, LabelSet, Transcript

WHOLE = Handover(
    job=Job(
        id="j",
        name="clip.wav",
        audio=AudioRef(key="vault:j", size_bytes=5),
        labels=LabelSet(labels=(Label(name="a", phrasings=("says a",)),)),
    ),
    transcript=Transcript(text="turn it on"),
    intent=Intent(label="a", score=0.5, method="cosine"),
).wire()


def places(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Yield the path to every value inside."""
    inner: list[tuple[object, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [at, *(place for key, one in inner for place in places(one, (*at, key)))]


def swapped(whole: object, place: tuple[object, ...], value: object) -> object:
    """Return a copy with another value at a path."""
    copy = json.loads(json.dumps(whole))
    if not place:
        return value
    spot = copy
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = value
    return copy


def harmless(text: str) -> bool:
    """Return whether a text has no control or formatting characters; spaces of all kinds are allowed."""
    return not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)


def lane_keys(*stages: str, keys: Keys | None = None) -> list[str]:
    """Return the lists of both lanes of the stages, of all if none is given."""
    return [(keys or Keys()).lane(stage, lane) for stage in stages or STAGES for lane in LANES]


def queue_key(stage: str) -> str:
    """Return the Redis list into which a producer pushes the messages of a stage."""
    return Keys().queue(stage)
