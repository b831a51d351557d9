"""Languages as Wyoming's clients name them, and as checkpoints know them. Pure."""

import re
from collections.abc import Iterable

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import visible

_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)
#: The languages of the multilingual Whisper checkpoints, by the codes of their tokens.
WHISPER = tuple(_CODES.split())
#: What the interpreters and oracles of all profiles know.
ENGLISH = ("en",)
#: Codes of other standards for the same languages: Bokmål, Javanese, Filipino.
_SAME = {"nb": "no", "jv": "jw", "fil": "tl"}
_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")


def heard_by(checkpoint: str | None, profile: str) -> tuple[str, ...]:
    """Return the languages of a Scribe's checkpoint; of the profile's, as far as that is certain, if it is not known.
    By Whisper's convention the names of English-only checkpoints end with `.en`."""
    if checkpoint is None:
        return WHISPER if profile in ("quest", "multilingual") else ENGLISH
    return ENGLISH if checkpoint.endswith(".en") else WHISPER


def answered_in(wordings: Iterable[str]) -> tuple[str, ...]:
    """Return the languages that can be answered, by those of the label set's wordings."""
    return tuple(dict.fromkeys((*ENGLISH, *wordings)))


def code_of(tag: object) -> str | None:
    """Return the code of a language that a client names, such as `en` for `en-GB`; None if it names none or any. Raises
    BadRequest."""
    if tag in (None, "", "*"):
        return None
    found = _TAG.fullmatch(tag) if isinstance(tag, str) else None
    if found is None:
        raise BadRequest(f"The language {visible(str(tag), 40)} is not a language tag: use one such as en or pt-BR.")
    code = found[1].lower()
    return _SAME.get(code, code)
