"""The desk: what the requests of one door share when they bring jobs and wait for them."""

import asyncio

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.intake.allowance import Ahead, Allowance
from golem_chain.broker.doors.intake.presence import Presence


class Desk:
    """One for each door: `door.part(Desk)`."""

    def __init__(self, door: Door) -> None:
        self.presence = Presence(door.settings.serve_leave_s)
        self.ahead = Ahead(door.settings.vault_limit // 2)
        self._subscribed = asyncio.create_task(door.pipeline.stay_subscribed())
        self._allowances: dict[str, Allowance] = {}  # by owner

    def allowance_of(self, caller: Caller) -> Allowance | None:
        """Return how many more jobs a caller may have, None for any number."""
        most = caller.limits.queued
        if most is None:
            return None
        found = self._allowances.get(caller.owner)
        if found is None or found.most != most:  # the keys may be changed while the server runs
            found = self._allowances[caller.owner] = Allowance(most)
        return found

    async def close(self) -> None:
        """Cancel no job any more, and hear of no end."""
        self.presence.close()
        self._subscribed.cancel()
        await asyncio.wait([self._subscribed])
