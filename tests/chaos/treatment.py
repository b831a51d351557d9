"""How the jobs of a storm are treated, by their number: lane, deadline, group, webhook; and what must hold afterwards.

The checks are pure: they compare what groups counted, boxes ran and webhooks told with the Outcomes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from golem_chain.broker.jobs.groups import GroupStatus
from golem_chain.shared.records import State

GROUPS = 3  # and a fourth that is cancelled
CANCELLED = "storm-cancelled"
EXPIRES_S = (0.05, 0.5, 3.0)  # in turn: before a box can be free, soon, and only if something fails


def lane_of(n):
    """Every third job is interactive."""
    return "interactive" if n % 3 == 0 else "bulk"


def expires_s_of(n):
    """Every tenth job has a deadline, seconds."""
    return EXPIRES_S[n // 10 % len(EXPIRES_S)] if n % 10 == 9 else None


def group_of(n):
    """Most jobs belong to a group; every eighth to the one that is cancelled."""
    return CANCELLED if n % 8 == 6 else f"storm-{n % 4}" if n % 4 < GROUPS else None


def has_webhook(n):
    """Every fourth job has a webhook."""
    return n % 4 == 1


def treatment(n):
    """Return the options of a job that say how it is treated, but for the URL of its webhook."""
    return {"lane": lane_of(n), "group": group_of(n), "expires_s": expires_s_of(n)}


def members(jobs):
    """Return the numbers of the jobs of each group."""
    found = defaultdict(list)
    for n in range(jobs):
        if group := group_of(n):
            found[group].append(n)
    return dict(found)


@dataclass(frozen=True)
class Counted:
    """What a group says of itself: its counters, and its stream of ends as pairs of job and state."""

    status: GroupStatus
    ends: Sequence[tuple[str, str]]


def miscounted(counted: Counted, states: Mapping[str, State]) -> Iterator[str]:
    """Yield where a group contradicts the states of the Outcomes of its jobs, by job."""
    status, wanted = counted.status, Counter(states.values())
    if status.jobs != len(states):
        yield f"counts {status.jobs} jobs, of which {len(states)} were submitted"
    for state in ("done", "failed", "cancelled", "expired"):
        if getattr(status, state) != wanted[state]:
            yield f"counts {getattr(status, state)} {state}, and {wanted[state]} Outcomes are"
    if waiting := {stage: count for stage, count in status.at.items() if count}:
        yield f"counts {waiting} at stages, though all jobs have ended"
    for job, count in Counter(job for job, _ in counted.ends).items():
        if count > 1:
            yield f"names the end of {job} {count} times"
    if missing := states.keys() - {job for job, _ in counted.ends}:
        yield f"does not name the ends of {sorted(missing)[:5]}"
    for job, state in counted.ends:
        if states.get(job) != state:
            yield f"says that {job} is {state}, and its Outcome {states.get(job)}"


def late_runs(runs: Iterable[tuple[int, float]], due_s: Mapping[int, float], slack_s: float) -> Iterator[str]:
    """Yield the runs of a model, as pairs of job number and time, that began more than `slack_s` after the job's
    deadline. Times in seconds, by one clock."""
    for n, at_s in runs:
        if n in due_s and at_s > due_s[n] + slack_s:
            yield f"a model ran job {n} {at_s - due_s[n]:.1f} s after its deadline"


def mistold(told: Sequence[tuple[str, str]], states: Mapping[str, State]) -> Iterator[str]:
    """Yield what webhooks told wrongly, as pairs of job and type of the message. `states`: of the Outcomes of the jobs
    that have a webhook."""
    for job in states.keys() - {job for job, _ in told}:
        yield f"the webhook of {job} was never told"
    for job, kind in told:
        if job not in states:
            yield f"a webhook was told of {job}, which has none"
        elif kind != f"job.{states[job]}":
            yield f"the webhook of {job} was told {kind}, and its Outcome is {states[job]}"
