"""Which languages can be heard and answered, and which one a client asks for. Pure."""

from collections.abc import Iterable

from golem_chain.shared import languages
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import visible

#: What the interpreters and oracles of all profiles know.
ENGLISH = ("en",)
#: What all multilingual Whisper checkpoints know; Cantonese came with large-v3.
WHISPER = tuple(code for code in languages.NAMES if code != "yue")


def heard_by(checkpoint: str | None, profile: str) -> tuple[str, ...]:
    """Return the languages of a Scribe's checkpoint; of the profile's, as far as that is certain, if it is not known.
    By Whisper's convention the names of English-only checkpoints end with `.en`."""
    if checkpoint is None:
        return WHISPER if profile in ("quest", "multilingual") else ENGLISH
    return ENGLISH if checkpoint.endswith(".en") else WHISPER


def answered_in(wordings: Iterable[str]) -> tuple[str, ...]:
    """Return the languages of replies, by those of the label set's wordings."""
    return tuple(dict.fromkeys((*ENGLISH, *wordings)))


def asked_for(tag: object) -> str | None:
    """Return the code of the language that a client names, such as `en` for `en-GB`; None if it names none, or any.
    Raises BadRequest."""
    if tag in (None, "", "*"):
        return None
    code = languages.code_of(tag) if isinstance(tag, str) else None
    if code is None:
        raise BadRequest(f"The language {visible(str(tag), 40)!r} is not known: use a tag such as en or pt-BR.")
    return code
