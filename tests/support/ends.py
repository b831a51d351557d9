"""Counts the announcements of ends of jobs on a server, so that a second end of a job is seen."""

import threading
import time
from collections import Counter

import redis

from golem_chain.broker.keys import Keys


class Ends:
    """A listener. `count` has the announcements by the hash of a job's id; `gaps` the seconds between them. `tell`: is
    called with each hash, too."""

    def __init__(self, server, tell=None):
        self._server, self._tell = server, tell
        self.count: Counter[str] = Counter()
        self.gaps = [0.0]
        self.ready = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        """Count the announcements; those sent while the listener is disconnected are lost."""
        while not self._over.is_set():
            try:
                with redis.Redis.from_url(self._server.url) as client, client.pubsub() as heard:
                    heard.subscribe(Keys().ended)
                    last = time.monotonic()
                    while not self._over.is_set():
                        message = heard.get_message(timeout=0.2)
                        if message and message["type"] == "subscribe":
                            self.ready.set()
                        if message and message["type"] == "message":
                            self.count[message["data"].decode()] += 1
                            if self._tell:
                                self._tell(message["data"].decode())
                            self.gaps.append(time.monotonic() - last)
                            last = time.monotonic()
            except redis.RedisError:
                time.sleep(0.05)  # before the next attempt

    def twice(self):
        """Return the hashes of jobs whose end was announced more than once."""
        return [job for job, count in self.count.items() if count > 1]

    def stop(self):
        """Stop listening."""
        self._over.set()
        self._thread.join()
