"""Stops a worker whose card stays broken, because each child that dies of it costs jobs a delivery."""

from collections.abc import Callable

from golem_chain.shared.errors import DeviceRefused


def gives_up(broken_n: int, max_deliveries: int) -> bool:
    """Whether a fresh child has stopped helping, after so many in a row that died of a broken device. A job that breaks
    it by itself accounts for `max_deliveries` of them; two such jobs in a row do not stop the worker. Pure."""
    return broken_n > 2 * max_deliveries


class CardHealth:
    """How many children in a row have died of a broken device. `stop` shuts the worker down."""

    def __init__(self, stop: Callable[[], None], max_deliveries: int) -> None:
        self._stop, self._max_deliveries, self._broken_n = stop, max_deliveries, 0
        self._why = ""

    def worked(self) -> None:
        """A child has finished a batch."""
        self._broken_n = 0

    def broke(self, why: str) -> None:
        """A child has died of a broken device."""
        self._broken_n += 1
        if gives_up(self._broken_n, self._max_deliveries):
            self._why = why
            self._stop()

    def check(self) -> None:
        """Raise DeviceRefused if the worker stopped for this reason."""
        if self._why:
            raise DeviceRefused(
                f"The worker has stopped, because fresh processes do not help: {self._why}, {self._broken_n} times in "
                "a row; look for the driver's messages in dmesg, and start the worker again when the card works."
            )
