"""Unloads models that have not been used for a while, from a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from golem_chain.workers.residency.manager import Residency

logger = logging.getLogger(__name__)


def start(
    residency: "Residency",
    idle_s: float,
    on_error: Callable[[Exception], None],
    current: Callable[[], bool] = lambda: True,
) -> None:
    """Unload whatever has been idle for `idle_s` seconds, for as long as the residency is the `current` one."""
    every_s = min(max(idle_s / 10, 0.05), 5.0)

    def work() -> None:
        while current():
            time.sleep(every_s)
            unload(residency, idle_s, on_error)

    threading.Thread(target=work, daemon=True, name="idle").start()


def unload(residency: "Residency", idle_s: float, on_error: Callable[[Exception], None]) -> None:
    """Unload what has been idle; an error goes to `on_error`, and the next round tries again."""
    try:
        residency.unload_idle(idle_s)
    except Exception as exc:  # noqa: BLE001 - the thread must outlive it, or idle models stay loaded for good
        on_error(exc)
        logger.warning("Idle models could not be unloaded: %r", exc)
