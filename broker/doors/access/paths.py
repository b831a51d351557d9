"""What a path needs: nothing, a key, or an operator's key; and which URLs are refused whatever they name."""

from typing import Literal, TypeAlias
from urllib.parse import parse_qsl

from golem_chain.broker.doors.access import limits
from golem_chain.broker.doors.errors import HttpError

Need: TypeAlias = Literal["nothing", "key", "operator"]

#: Without a key: the page, which asks for one; the schema; what an orchestrator asks.
_OPEN = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json", "/favicon.ico"})
_OPEN_BELOW = "/static/"
_OPERATOR = frozenset({"/metrics", "/v1/dead-letters"})
_OPERATOR_BELOW = "/v1/dead-letters/"
#: What streams to the vault: forms with files, and audio as it is.
_UPLOADS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs"})
_UPLOADED = ("multipart/form-data", "audio/", "video/", "application/octet-stream")

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
#: Names under which clients of other servers put keys into URLs.
_KEYS_IN_QUERIES = frozenset({"key", "api_key", "apikey", "api-key", "token", "access_token", "authorization"})


def need_of(path: str) -> Need:
    """Return what a path needs where keys are set."""
    if path in _OPEN or path.startswith(_OPEN_BELOW):
        return "nothing"
    return "operator" if path in _OPERATOR or path.startswith(_OPERATOR_BELOW) else "key"


def is_page(path: str) -> bool:
    """Whether a link on another site may lead here."""
    return path in ("/", "/docs")


def body_limit(path: str, content_type: str) -> int | None:
    """Return the most bytes of a body, None where the form's reader counts by itself."""
    upload = path in _UPLOADS and content_type.lstrip().lower().startswith(_UPLOADED)
    return None if upload else limits.BODY_BYTES


def check_path(path: str, raw: bytes, query: bytes) -> None:
    """Refuse what no client of ours asks for. `path` is decoded once, as the routes see it; `raw` is as it came."""
    if len(raw) > limits.PATH_BYTES or len(query) > limits.QUERY_BYTES:
        raise HttpError(414, f"The URL is longer than {limits.PATH_BYTES} bytes.", "uri_too_long")
    segments = path.split("/")[1:]
    odd = any(char < " " or char in "\\\x7f\ufffd" for char in path)
    if odd or not path.startswith("/") or {".", ".."} & set(segments) or "" in segments[:-1]:
        raise HttpError(
            400, "The path of the URL is not a plain one: it has empty, dotted or unprintable parts.", "invalid_path"
        )


def check_query(query: bytes) -> None:
    """Refuse a key in a URL, where proxies log it and browsers keep it."""
    names = {name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    if found := names & _KEYS_IN_QUERIES:
        raise HttpError(
            400,
            "Keys in URLs end in logs and histories: send yours as the header Authorization: Bearer KEY, "
            f"without ?{min(found)}=.",
            "key_in_url",
        )


def check_method(method: str) -> None:
    """Refuse methods that nothing here has."""
    if method not in METHODS:
        raise HttpError(
            405, f"Use one of {', '.join(METHODS)}.", "method_not_allowed", None, {"allow": ", ".join(METHODS)}
        )
