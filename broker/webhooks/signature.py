"""Signs a message as Standard Webhooks 1.0 does: HMAC-SHA256 over id, time and body, once for each secret.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from golem_chain.shared.errors import BadSetting

PREFIX = "whsec_"
#: Bytes of a secret, by the specification: 192 to 512 bits.
LEAST, MOST = 24, 64
_MAKE = "head -c 32 /dev/urandom | base64"


def secrets_of(setting: str | None) -> list[bytes]:
    """Return the secrets of GOLEM_WEBHOOK_SECRET, the newest first as given. Raises BadSetting, which quotes none."""
    given = (setting or "").split()
    if not given:
        raise BadSetting(
            f"GOLEM_WEBHOOK_SECRET is not set, and webhooks are sent signed or not at all: set it to {PREFIX} and the "
            f"output of {_MAKE}, and give it to the receivers."
        )
    return [_parse(one) for one in given]


def _parse(text: str) -> bytes:
    try:
        if not text.startswith(PREFIX):
            raise ValueError
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        if not LEAST <= len(secret) <= MOST:
            raise ValueError
    except (binascii.Error, ValueError):
        raise BadSetting(
            f"GOLEM_WEBHOOK_SECRET is not {PREFIX} followed by {LEAST} to {MOST} bytes in base64: use the output of "
            f"{_MAKE}; separate several by spaces."
        ) from None
    return secret


def headers(id: str, timestamp_s: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of one try. `timestamp_s`: when it is made, Unix seconds."""
    signed = f"{id}.{timestamp_s}.".encode() + body
    signatures = [base64.b64encode(hmac.new(one, signed, hashlib.sha256).digest()).decode() for one in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }
