"""`golem bench chain`: the chain against transformers pipelines and faster-whisper, same clips and weights, one run.

It is made of parts. One that cannot be measured is left out with the reason, and the others go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golem_chain.benchmarks.apart import ask
from golem_chain.benchmarks.chain import backlogs, hearing
from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.chain.backlogs import LABELS, LONE_JOBS, Lone, Set
from golem_chain.benchmarks.chain.hearing import Heard
from golem_chain.benchmarks.chain.recordings import CLIPS, ROOT, ten_clips
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.report import Say
from golem_chain.benchmarks.steps.processors import MASKS
from golem_chain.benchmarks.switch.shapes import quest_shapes, small_shapes
from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.sources.pull import pull

#: Rounds of each step's measurement.
_ROUNDS = 3
ONE_BEAM = "fast, one beam"
_STEPS = "golem_chain.benchmarks.steps.oracle"
_PROCESSORS = "golem_chain.benchmarks.steps.processors"
#: What the Oracle's steps are measured in: name → settings.
PRECISIONS: dict[str, JsonObject] = {
    "float32": {"dtype": "float32", "bits": "off"},
    "default": {},
    "8 bit": {"bits": "8"},
    "4 bit": {"bits": "4"},
}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    clips: int = CLIPS  # of the pipelines and the smallest backlogs
    jobs: int = 100  # of the large backlogs
    many: int = 300  # of the largest one, with small models
    lone: int = LONE_JOBS
    heard: int = 1000  # recordings of each kind for the Scribe alone, at most
    parts: tuple[str, ...] = ()  # empty: all


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    clips: str
    quest: Set = field(default_factory=Set)
    bundled: Set = field(default_factory=Set)
    proof: str = ""  # what `golem models prove` says
    samples: Run | None = None
    lone: dict[str, Lone] = field(default_factory=dict)  # by GOLEM_RESIDENT
    same: dict[str, int] = field(default_factory=dict)  # jobs with equal transcripts in batches of one and eight
    small: dict[int, list[Run]] = field(default_factory=dict)  # by the number of jobs
    queued_bytes: float = 0.0
    hearing: dict[str, Heard] = field(default_factory=dict)
    steps: dict[str, JsonObject] = field(default_factory=dict)  # of the Oracle, by precision
    processors: dict[str, JsonObject] = field(default_factory=dict)  # by mask
    left_out: dict[str, str] = field(default_factory=dict)  # part → why


@dataclass(frozen=True)
class _Job:
    """What every part gets."""

    found: Findings
    settings: Settings
    quest: Settings
    clips: Sequence[Path]
    plan: Plan
    say: Say


def measure(settings: Settings, plan: Plan, say: Say) -> Findings:
    """Measure the parts of the plan, in the order of PARTS."""
    clips, told = ten_clips()
    pull(settings)
    quest = quest_shapes(settings, scribe=False)
    pull(quest)
    job = _Job(Findings(hardware(), told), settings, quest, clips[: plan.clips], plan, say)
    for name, part in PARTS.items():
        if plan.parts and name not in plan.parts:
            continue
        try:
            part(job)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the other parts are still worth their time
            why = exc.message if isinstance(exc, GolemError) else f"it failed ({type(exc).__name__}: {exc})"
            say(f"{name}: left out. {why}")
            job.found.left_out[name] = why
    return job.found


def _quest(job: _Job) -> None:
    found, clips, count = job.found.quest, job.clips, len(job.clips)
    backlogs.pipelines(found, job.quest, clips, job.say, "quest shapes")
    backlogs.backlog(found, "default", job.quest, clips, [count], job.say)
    backlogs.backlog(found, "fast", job.quest, clips, [count, job.plan.jobs], job.say, dtype="fast")
    # the pipelines decode greedily
    backlogs.backlog(found, ONE_BEAM, job.quest, clips, [count], job.say, dtype="fast", scribe_beam="1")


def _bundled(job: _Job) -> None:
    found, clips, count = job.found.bundled, job.clips, len(job.clips)
    backlogs.pipelines(found, job.settings, clips, job.say, "bundled models")
    backlogs.backlog(found, "float32", job.settings, clips, [count], job.say, dtype="float32", bits="off")


def _proved(job: _Job) -> None:
    found, clips, count = job.found.bundled, job.clips, len(job.clips)
    try:
        job.found.proof = backlogs.prove(job.settings, job.say)
    finally:  # without a proof the default is measured as it is then
        backlogs.backlog(found, "default", job.settings, clips, [count, job.plan.jobs], job.say, alone=5)
        job.found.samples = backlogs.samples(job.settings, sorted((ROOT / "samples").glob("*.flac")), job.say)


def _packed(job: _Job) -> None:
    for bits in ("8", "4"):
        pull(job.settings.model_copy(update={"bits": bits}))  # packs what is there, so that loads need not
        backlogs.backlog(
            job.found.bundled, f"{bits} bit", job.settings, job.clips, [len(job.clips)], job.say, bits=bits
        )


def _processors(job: _Job) -> None:
    try:
        backlogs.masked(job.found.bundled, job.settings, job.clips, job.say)
    finally:  # what runs there is of interest with and without a proof
        for name, machine in MASKS.items():
            job.say(f"products of a processor, {name}")
            job.found.processors[name] = ask(_PROCESSORS, {"settings": backlogs.chosen(job.settings)}, machine)


def _oracle(job: _Job) -> None:
    for name, more in PRECISIONS.items():
        job.say(f"steps of the Oracle, {name}")
        asked = {"settings": backlogs.chosen(job.settings) | more, "rounds": _ROUNDS}
        job.found.steps[name] = ask(_STEPS, asked)


def _scribe(job: _Job) -> None:
    job.found.same = backlogs.same(job.settings, job.clips, job.say)
    job.found.hearing = hearing.hearing(job.settings, job.plan.heard, job.say)


def _lone(job: _Job) -> None:
    job.found.lone = backlogs.lone(job.quest, job.clips, job.plan.lone, job.say)


def _small(job: _Job) -> None:
    settings = small_shapes(job.settings)
    pull(settings)
    job.found.small = backlogs.small(settings, job.clips, job.plan.jobs, job.plan.many, job.say)
    job.found.queued_bytes = round(chain.queued_bytes(job.settings, job.clips, LABELS, 200))


#: In the order in which they run.
PARTS: dict[str, Callable[[_Job], None]] = {
    "quest": _quest,
    "bundled": _bundled,
    "proved": _proved,
    "packed": _packed,
    "oracle": _oracle,
    "scribe": _scribe,
    "lone": _lone,
    "processors": _processors,
    "small": _small,
}
