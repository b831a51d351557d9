"""How slowly a body may come."""

from golem_chain.broker.doors.access import limits


class Pace:
    """The patience with one body: seconds that are used up while it is waited for, and earned by its bytes."""

    def __init__(self) -> None:
        self._left_s = limits.BODY_SLOW_S

    @property
    def wait_s(self) -> float:
        """How long the next bytes are waited for, seconds."""
        return max(0.0, min(limits.BODY_IDLE_S, self._left_s))

    def came(self, size_bytes: int, waited_s: float) -> None:
        """Book bytes and how long they were waited for. Time in which nobody waited for them is not the client's."""
        earned_s = size_bytes / limits.BODY_RATE
        self._left_s = min(limits.BODY_SLOW_S, self._left_s - waited_s + earned_s)
