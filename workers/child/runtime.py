"""The objects that the child's tasks share: Redis clients, residency, telemetry, and the watch for cancelled jobs."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from celery import Celery

from golem_chain.broker.connection import WORKER_RETRIES, connect, connect_once
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.stages import Stages
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import ModelChanged
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import ending, idle, requests
from golem_chain.workers.child.cancellation import Watch
from golem_chain.workers.child.celery_events import Announcer
from golem_chain.workers.child.lanes import Lanes
from golem_chain.workers.child.lifeline import Lifeline
from golem_chain.workers.child.proving import Proving

if TYPE_CHECKING:
    from golem_chain.workers.child.telemetry import Telemetry
    from golem_chain.workers.residency.events import Event
    from golem_chain.workers.residency.manager import Residency
    from golem_chain.workers.residency.pace import Pace
    from golem_chain.workers.residency.spent import Give, Served, Spent

logger = logging.getLogger(__name__)

#: Builds the residency of a child; the argument receives its loads and unloads.
Build = Callable[[Callable[["Event"], None]], "Residency"]


class ChildRuntime:
    """The shared objects of one process. Residency and telemetry are created on first use, so only in the child."""

    def __init__(self, app: Celery, settings: Settings, build: Build | None, node: str) -> None:
        self.settings, self.node, self._app, self._build = settings, node, app, build
        self._keys = Keys(settings.prefix)
        client = connect(settings, WORKER_RETRIES)
        self._client = client
        self.jobs, self.outcomes = Jobs(client, self._keys), Outcomes(settings, client)
        self.stages = Stages(settings, client, self.outcomes)
        # for the parent, whose event loop must not wait
        once = connect_once(settings, socket_timeout=5)
        self.parents_jobs, self.parents_stages = Jobs(once, self._keys), Stages(settings, once, self.outcomes)
        self.lifeline = Lifeline(settings.time_limit_s, settings.time_limit_per_audio_s)  # before the fork: shared
        self.residency: Residency | None = None
        self.standing: Telemetry | None = None
        self.watch = Watch(self.outcomes.ended, self._waiting)
        hooks = self._alive, self.watch.step
        self.requests = requests.RequestBuilder(settings, Vault(settings, client), self.jobs, *hooks)
        self._outdated = False  # the residency's engines were made for a checkpoint that is no longer in the store
        self._proving = Proving(settings, self.end_if_broken) if build is None else None
        self._lanes: Lanes | None = None  # known once the queues are
        self._paces: dict[str, Pace] = {}

    def serve(
        self,
        stage: str,
        jobs: Sequence[str],
        requests: Sequence[object],
        give: "Give | None" = None,
        *,
        next_stage: str | None = None,
        interactive: Collection[int] = (),
        interactive_go_on: bool = True,
        pilot: bool = False,
        waited_s: Sequence[float] = (),
    ) -> "Served":
        """Run the requests of these jobs on the stage's engine and return its answers; `give` receives each as soon as
        it is ready. Raises BrokenOff if a job ended meanwhile whose answer was not ready: a caller that goes on must
        leave out what was given by then; and GaveWay if those without an answer give way to interactive jobs, as do
        those of `Served.yielded`, or if the worker stops. Without `give`, nothing does. A GolemError takes the place of
        each answer that it prevents. `next_stage`: the one that the jobs need next, whose weights are prefetched if
        this worker serves it. `interactive`: places of the interactive jobs; `interactive_go_on`: whether any of those
        wants a later stage. `pilot`: only the cheapest runs, the others give way, unless a job is interactive.
        `waited_s`: how long each job has waited in the queue, seconds; empty if that is not known.
        """
        from golem_chain.workers.child.telemetry import Telemetry
        from golem_chain.workers.residency.runner import serve

        self.lifeline.alive()  # for building the residency, and reading headers
        if self._proving is not None:
            self._proving.pause()
        proved = self._proving is not None and self._proving.found()
        if self._outdated and self.residency is not None:
            logger.info("A model was pulled again: all of them are read anew")
        if (self._outdated or proved) and self.residency is not None:
            self.residency.unload_all("changed" if self._outdated else "proof")
            self.residency = None
        self._outdated = False
        if self.standing is None:
            self.standing = Telemetry(self._client, self.node, Announcer(self._app, self.node).tell, self._keys)
        if self.residency is None:
            self.residency = self._make(self.standing)
        started, before = time.perf_counter(), self.residency.memory.read().allocated
        queued_s: list[float | None] = [None] * len(jobs)

        def ready(place: int, answer: object, spent: "Spent") -> None:
            self._outdated |= isinstance(answer, ModelChanged)
            self.watch.leave(jobs[place])  # its end is no reason to interrupt the others
            self.lifeline.rest()
            queued_s[place] = spent.waited_s + (waited_s[place] if waited_s else 0.0)
            if give is not None:
                give(place, answer, spent)

        try:
            hurried = {jobs[place] for place in interactive}
            with self.watch.watching(jobs, hurried, may_yield=give is not None):
                following = self._if_served(next_stage)
                around, alive = self.watch.breakable, self.lifeline.alive
                served = serve(
                    *(self.residency, stage, requests, around, following, ready, alive),
                    preparing=self.watch.polled,
                    within=self.watch.whole,
                    at_once=self.settings.batch_of(stage),
                    may_put_off=give is not None,
                    interactive=interactive,
                    interactive_go_on=interactive_go_on,
                    pilot=pilot,
                    gives_way=lambda: self.watch.gives_way() or (give is not None and self.lifeline.stops),
                    pace=self._pace(stage),
                )
            seconds = time.perf_counter() - started
            self.standing.on_batch(stage, jobs, queued_s, served, seconds, before, self.residency)
            return served
        finally:
            self.lifeline.rest()
            self.standing.tell(self.residency)
            if self._proving is not None:
                self._proving.rest(self.residency, self._served())

    def _served(self) -> list[str]:
        """Return the stages that this worker serves."""
        return [stage for stage in STAGES if stage in self._app.amqp.queues.consume_from]

    def _if_served(self, stage: str | None) -> str | None:
        """Return the stage if this worker serves it: its model is probably needed next."""
        return stage if stage in self._served() else None

    def _alive(self, audio_s: float | None) -> None:
        """A request is being prepared: a sign of life, and a place where that may be interrupted."""
        self.lifeline.alive(audio_s)
        self.watch.poll()

    def _pace(self, stage: str) -> "Pace":
        from golem_chain.workers.residency.pace import Pace

        return self._paces.setdefault(stage, Pace())

    def _waiting(self) -> bool:
        """Whether an interactive message waits in a queue of this worker. Raises redis.RedisError."""
        if self._lanes is None:
            self._lanes = Lanes(self._client, self._keys, self._served())
        return self._lanes.waiting()

    def _make(self, standing: "Telemetry") -> "Residency":
        if self._build is None:
            from golem_chain.workers.child.factory import build_residency

            residency = build_residency(self.settings, standing.on_event)
        else:
            residency = self._build(standing.on_event)
        standing.residency = residency
        if self.settings.idle_unload_s > 0:
            idle.start(
                residency,
                self.settings.idle_unload_s,
                self.end_if_broken,
                current=lambda: standing.residency is residency,
            )
        return residency

    def end_if_broken(self, exc: BaseException) -> None:
        """End this process if the exception says that its device cannot be used any more."""
        ending.end_if_broken(exc, self.lifeline)
