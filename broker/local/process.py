"""Child processes that cannot outlive us: the kernel ends them when we die, however we die."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program: ask the kernel for this signal when its parent's thread dies (prctl(2)).

    None where there is no such call (macOS): there a killed parent leaves the child to its own devices.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # loaded before the fork

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask
