"""The objects that the parts of the parent share, created once at startup and available as `consumer.context`."""

import os
import signal
from dataclasses import dataclass
from time import monotonic
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state as celery_state

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.workers.parent.card_health import CardHealth
from golem_chain.workers.parent.checkpoints import Agreement
from golem_chain.workers.parent.node_name import NodeName

logger = get_logger(__name__)


class Shutdown:
    """The shutdown of the worker. After SIGTERM or SIGINT it takes no more messages and finishes those in hand, within
    `stop_s` seconds; a second signal ends that wait immediately."""

    def __init__(self, held: ConsumerState, stop_s: float) -> None:
        self._held, self._stop_s = held, stop_s
        self._deadline: float | None = None  # of the process; survives reconnects

    def on_signal(self, signum: int, frame: Any) -> None:
        """Handle SIGTERM and SIGINT."""
        del frame
        logger.info("Stopping (%s)", signal.Signals(signum).name)
        self._deadline = monotonic() + (0 if self._held.stopping else self._stop_s)
        self._held.stopping = True
        if not self._held.in_hand:
            celery_state.should_stop = os.EX_OK

    def at_once(self) -> None:
        """Stop without finishing the messages in hand: this worker has lost its name or its agreement."""
        self._held.stopping = True
        celery_state.should_terminate = os.EX_UNAVAILABLE

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self._held.stopping and self._deadline is not None

    @property
    def overdue(self) -> bool:
        """Whether the time to finish the messages in hand is over."""
        return self._deadline is not None and monotonic() >= self._deadline

    def while_away(self) -> None:
        """Continue a shutdown without a connection: nothing can be requeued, so the leases expire instead."""
        if self.requested and (not self._held.in_hand or self.overdue):
            celery_state.should_terminate = os.EX_OK
        celery_state.maybe_shutdown()


@dataclass(frozen=True)
class ParentContext:
    """The shared objects, each the only owner of its state."""

    held: ConsumerState  # messages in hand, models, costs
    name: NodeName
    agreement: Agreement
    shutdown: Shutdown
    outcomes: Outcomes
    keys: Keys
    card: CardHealth
