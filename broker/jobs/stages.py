"""Finishes stages: in one script a message in hand becomes its answer and the next message, or its job's Outcome."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import redis

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.records import ended_keys
from golem_chain.broker.keys import Keys
from golem_chain.broker.transport.message import SENT_AT_MARK, Lease
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.records import Job, Outcome
from golem_chain.shared.settings import Settings


class Step(NamedTuple):
    """What follows a stage: a message, the end of the job, or nothing because it has ended already."""

    follows: Literal["publish", "end", "nothing"]
    queue: str = ""  # of the message
    message: str = ""
    outcome: Outcome | None = None
    answer: Mapping[str, str] = {}  # fields for the job's hash


class Stages:
    """The stages of the jobs of one Redis server."""

    def __init__(self, settings: Settings, client: redis.Redis, outcomes: Outcomes) -> None:
        self._keep_ms, self._outcomes = max(1, int(settings.keep_s * 1000)), outcomes
        self._client, self._keys = client, Keys(settings.prefix)
        self._finish = Script(client, "finish")

    def finish(self, lease: Lease, job: str, asked: Job | None, step: Step) -> bool:
        """Do a step and delete the booking of its message. Return False, with nothing changed, if the lease was lost:
        the message was delivered again, or this very step is already done. `asked` is the job's record, if it can be
        read. Safe to repeat. Raises redis.RedisError."""
        keys, text = self._keys, step.outcome.model_dump_json() if step.outcome else step.message
        becomes = step.outcome.state if step.outcome else step.queue
        touched = [keys.unacked, keys.unacked_index, keys.holders, keys.deliveries, keys.crashes]
        touched += [keys.queue(step.queue), keys.wake(step.queue), *ended_keys(keys, job, asked)]
        args: list[str | int] = [*lease, step.follows, text, becomes, _MARK, keys.audio(job)]
        args += [self._keep_ms, job, keys.ended]
        args += [part for pair in step.answer.items() for part in pair]
        done = int(cast("int", self._finish(keys=touched, args=cast("Sequence[str]", args))))
        if done == _LIVE and step.outcome:
            self._outcomes.log(step.outcome)
        return done != _LOST


_LOST, _LIVE = 0, 1  # what the script returns; 2: the job had ended, or has passed the stage
#: The placeholder of the time with its quotes: a number takes the place of the whole string.
_MARK = f'"{SENT_AT_MARK}"'
