"""What the parts of a worker's parent share: made once before it starts, and reached as `consumer.context`."""

import os
import signal
from dataclasses import dataclass
from time import monotonic
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state as celery_state

from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.workers.parent.checkpoints import Agreement
from golem_chain.workers.parent.node_name import NodeName

logger = get_logger(__name__)


class Shutdown:
    """How this process stops. After SIGTERM or SIGINT it takes nothing more and finishes what is in hand, for
    `stop_s` seconds at most; a second signal ends that wait at once."""

    def __init__(self, held: ConsumerState, stop_s: float) -> None:
        self._held, self._stop_s = held, stop_s
        self._deadline: float | None = None  # of the process, whichever connection stands

    def on_signal(self, signum: int, frame: Any) -> None:
        """The signal handler of the parent."""
        del frame
        logger.info("Stopping (%s)", signal.Signals(signum).name)
        self._deadline = monotonic() + (0 if self._held.stopping else self._stop_s)
        self._held.stopping = True
        if not self._held.in_hand:
            celery_state.should_stop = os.EX_OK

    def at_once(self) -> None:
        """Stop without finishing anything: this worker must not go on."""
        self._held.stopping = True
        celery_state.should_terminate = os.EX_UNAVAILABLE

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._held.stopping and self._deadline is not None

    @property
    def overdue(self) -> bool:
        """Whether what is in hand has had its time."""
        return self._deadline is not None and monotonic() >= self._deadline

    def while_away(self) -> None:
        """Go on stopping while there is no connection: nothing can be handed back, the leases will do it."""
        if self.requested and (not self._held.in_hand or self.overdue):
            celery_state.should_terminate = os.EX_OK
        celery_state.maybe_shutdown()


@dataclass(frozen=True)
class ParentContext:
    """The parts, each the one owner of what it holds."""

    held: ConsumerState  # messages in hand, models, costs
    name: NodeName
    agreement: Agreement
    shutdown: Shutdown
