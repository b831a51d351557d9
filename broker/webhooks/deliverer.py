"""The loop of a deliverer: accepts the entries of the outbox, takes what is due, and ends each try.

One thread decides what is taken. Each try runs in a thread of its own, at most SLOTS of them, and ends by itself after
TOTAL_S, so that a receiver that hangs holds up its own origin only.
"""

import logging
import random
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import redis

from golem_chain.broker import wire
from golem_chain.broker.connection import connect_once, is_absence, place, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.webhooks.outbox import ENTRIES, Message, Outbox
from golem_chain.broker.webhooks.policy import Policy
from golem_chain.broker.webhooks.schedule import STEPS_S, Answer, Verdict, room, verdict
from golem_chain.broker.webhooks.sender import RESOLVE_S, TOTAL_S, Sender
from golem_chain.broker.webhooks.signature import headers, secrets_of
from golem_chain.shared.errors import BadWebhook
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

#: A try whose deliverer died is made again after this, seconds. Every try ends before.
LEASE_S = 60.0
assert LEASE_S > 2 * (RESOLVE_S + TOTAL_S)
_POLL_S = 0.25  # interval of looking for entries and due messages; a try that ends looks at once
_AWAY_S = 1.0  # interval of looking whether Redis is back
_ANSWER_S = 10.0  # how long Redis may take for a command
_ANSWERING_MOST = 100  # origins that are remembered as answering


class Deliverer:
    """Delivers the webhooks of one system until it is stopped. Several can run side by side. `steps_s`: see
    `schedule.STEPS_S`. Raises BadSetting without a valid GOLEM_WEBHOOK_SECRET."""

    def __init__(
        self,
        settings: Settings,
        sender: Sender | None = None,
        lease_s: float = LEASE_S,
        steps_s: Sequence[float] = STEPS_S,
    ) -> None:
        self._settings, self._lease_s, self._steps_s = settings, lease_s, steps_s
        self._secrets, self._policy = secrets_of(settings.webhook_secret), Policy.of(settings)
        self._sender = sender or Sender(self._policy)
        self._client = connect_once(settings, socket_timeout=_ANSWER_S, socket_keepalive=True)
        self._outbox = Outbox(self._client, Keys(settings.prefix))
        self._stop, self._wake, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._running: dict[tuple[str, int], Message] = {}  # guarded by the lock, as is the next
        self._answering: OrderedDict[str, None] = OrderedDict()  # the latest last

    def stop(self) -> None:
        """Make `run` end. Not for a signal handler: the thread that it interrupts may hold the lock of an event."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Deliver until `stop`. Then wait up to GOLEM_STOP_S for the tries under way and give back the rest.

        While Redis is away, wait for it. Raises BrokerAway if it refuses this user or a command, WireDiffers.
        """
        opened = away = False
        with reaching(self._settings), self._client:
            while not self._stop.is_set():
                try:
                    if not opened:
                        self._open()
                        opened = True
                    more = self._round()
                    if away:
                        logger.warning("Redis is back")
                    away = False
                except redis.RedisError as exc:
                    if isinstance(exc, redis.AuthenticationError) or not is_absence(exc):
                        raise
                    if not away:
                        logger.warning("Redis is away; waiting for it")
                    away, more = True, False
                    self._client.connection_pool.disconnect(inuse_connections=False)
                    self._stop.wait(_AWAY_S)
                if not more:
                    self._wake.wait(_POLL_S)
                self._wake.clear()
            self._finish()

    # -- the thread that decides

    def _open(self) -> None:
        """Raise WireDiffers if the system is of another release; else state which URLs it accepts."""
        found = wire.version(self._client, Keys(self._settings.prefix))
        if found not in (None, wire.WIRE):
            raise wire.differs(place(self._settings), str(found))
        self._outbox.open(self._policy)

    def _round(self) -> bool:
        """Accept entries and start tries. Return whether there may be more to accept at once."""
        entries = self._outbox.entries()
        for entry in entries:
            if why := self._outbox.accept(entry, self._policy):
                logger.warning("job %s: its webhook cannot be sent: %s", entry.job, why)
        with self._lock:
            left = room(Counter(one.origin for one in self._running.values()), self._answering)
        for message in self._outbox.claim(left, self._lease_s) if left.free else ():
            with self._lock:
                self._running[message.id, message.take] = message
            threading.Thread(target=self._deliver, args=(message,), daemon=True, name=message.id).start()
        return len(entries) == ENTRIES

    def _finish(self) -> None:
        """Wait for the tries under way, then give back those that have not ended."""
        end = time.monotonic() + self._settings.stop_s
        while self._running and (left := end - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
        with self._lock:
            rest = list(self._running.values())
        with suppress(redis.RedisError):  # their leases end
            for message in rest:
                self._outbox.give_back(message)

    # -- the thread of a try

    def _deliver(self, message: Message) -> None:
        """Make one try, and end it as soon as Redis answers."""
        taken_at = time.monotonic()
        try:
            answer = self._try(message)
            decided = verdict(answer, message.failed, random.random(), self._steps_s)
            self._note(message.origin, answer)
        except BadWebhook as exc:  # the policy has changed since the entry was accepted
            decided = Verdict("dead", why=exc.message)
        except Exception as exc:  # an error of ours must neither end the deliverer nor lose the message
            logger.exception("job %s: internal error", message.job)
            answer = Answer(error=f"internal error: {type(exc).__name__}")
            decided = verdict(answer, message.failed, random.random(), self._steps_s)
        try:
            self._settle(message, decided, time.monotonic() - taken_at)
        finally:
            with self._lock:
                self._running.pop((message.id, message.take), None)
            self._wake.set()

    def _try(self, message: Message) -> Answer:
        """Send the message. Its time is the server's, because receivers refuse one that is minutes off."""
        now_s = int(message.at_s)
        return self._sender.post(message.url, headers(message.id, now_s, message.body, self._secrets), message.body)

    def _note(self, origin: str, answer: Answer) -> None:
        with self._lock:
            self._answering.pop(origin, None)
            if answer.status is not None:
                self._answering[origin] = None
                if len(self._answering) > _ANSWERING_MOST:
                    self._answering.popitem(last=False)

    def _settle(self, message: Message, decided: Verdict, took_s: float) -> None:
        """End the try; while Redis is away, try that again until the deliverer stops."""
        while True:
            try:
                dropped = self._outbox.settle(message, decided)
                break
            except redis.RedisError as exc:
                if not is_absence(exc) or self._stop.wait(_AWAY_S):
                    logger.warning("job %s: its webhook will be sent again: Redis has not noted the try", message.job)
                    return
        if dropped is None:
            return  # the lease was lost, and another deliverer has the message
        self._log(message, decided, took_s)
        for id in dropped:
            logger.warning("dead webhook %s was dropped: the list is full", id)

    @staticmethod
    def _log(message: Message, decided: Verdict, took_s: float) -> None:
        told = f"job {message.job}: {message.origin}"  # never the URL: its path may be a secret
        if decided.move == "delivered":
            logger.info("%s was told (%.0f ms)", told, took_s * 1000)
        elif decided.move == "later":
            logger.warning("%s %s; next try in %.0f s", told, decided.why, decided.delay_s)
        else:
            logger.error("%s %s; given up: golem deliver --retry %s", told, decided.why, message.id)
