"""The folder of a lasting system: one process at a time uses it, until its server has ended too."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from golem_chain.broker.local.process import is_alive
from golem_chain.shared.errors import BadSetting

_LOCK = "lock"
#: A killed process leaves its server behind, which ends by itself: as long as `embedded.STOP_S`.
WAIT_S = 10.0


class DataFolder:
    """A claimed folder. The kernel ends the claim when this process and all that inherited `lock` are gone."""

    def __init__(self, path: Path) -> None:
        """Create the folder if it is missing (mode 0700) and claim it.

        Raises BadSetting if another process uses it, or if it cannot be written.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise BadSetting(f"GOLEM_SERVE_DATA={path} cannot be used: {exc.strerror}.") from None
        try:
            self._claim()
            os.ftruncate(self.lock, 0)
            os.pwrite(self.lock, str(os.getpid()).encode(), 0)
        except OSError as exc:
            os.close(self.lock)
            raise BadSetting(f"GOLEM_SERVE_DATA={path} cannot be used: {exc.strerror}.") from None
        except BaseException:
            os.close(self.lock)
            raise

    def close(self) -> None:
        """End the claim."""
        os.close(self.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _claim(self) -> None:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self._holder()
                if time.monotonic() > end or (holder is not None and is_alive(holder)):
                    who = f" (process {holder})" if holder is not None else ""
                    raise BadSetting(
                        f"Another golem serve{who} uses {self.path}: stop it, or give this one another folder in "
                        "GOLEM_SERVE_DATA."
                    ) from None
            time.sleep(0.05)

    def _holder(self) -> int | None:
        with suppress(ValueError):
            return int(os.pread(self.lock, 20, 0))
        return None
