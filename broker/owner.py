"""The name under which the jobs of one submitter are listed.

It is a secret: who knows it can list the jobs, and read them. So it is GOLEM_OWNER, or a random one that is made once
for each user of a machine.
"""

import hashlib
import os
import secrets
from contextlib import suppress

from golem_chain.shared.settings import Settings

_FILE = "owner"


def owner_of(settings: Settings) -> str:
    """Return the hash under which this submitter's jobs are listed, 32 hex digits."""
    return hashlib.sha256((settings.owner or _secret(settings)).encode()).hexdigest()[:32]


def _secret(settings: Settings) -> str:
    """Return this user's secret from the data folder. If the folder cannot be written, it lasts for this process."""
    path = settings.store.parent / _FILE
    with suppress(OSError, ValueError):
        if found := path.read_text(encoding="ascii").strip():
            return found
    made = secrets.token_hex(16)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{_FILE}-{made}")
        draft.touch(mode=0o600)
        draft.write_text(made, encoding="ascii")
        try:
            os.link(draft, path)  # fails if another process was faster: its secret counts
        except FileExistsError:
            made = path.read_text(encoding="ascii").strip() or made
        finally:
            draft.unlink()
    return made
