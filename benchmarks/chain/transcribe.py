"""`golem bench transcribe`: jobs that stop at the Scribe, against its engine called directly with the same batches."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from golem_chain.benchmarks.apart import ask
from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.chain.backlogs import PEERS
from golem_chain.benchmarks.chain.recordings import spoken
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.clock import hardware
from golem_chain.benchmarks.report import Say, Table, Target, target_table
from golem_chain.shared.records import JobOptions
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.sources.pull import pull

SHARE_LEAST = 0.95
OPTIONS = JobOptions(stop="scribe")


@dataclass
class Findings:
    """All measurements, as written to the JSON file."""

    hardware: str
    recordings: str
    jobs: int
    audio_s: float  # of one backlog
    engine_s: list[float] = field(default_factory=list)  # wall time of each turn, without the load
    runs: list[Run] = field(default_factory=list)
    loads: int = 0  # from the start of the worker to the end of the last backlog
    same: int = 0  # clips whose transcript is the same on both sides
    clips: int = 0

    @property
    def share(self) -> float:
        """The chain's speed ÷ the engine's: the median of the turns, between which the machine may slow down."""
        return statistics.median(engine / run.wall_s for engine, run in zip(self.engine_s, self.runs, strict=True))


def measure(settings: Settings, jobs: int, turns: int, say: Say) -> Findings:
    """Measure `turns` alternating turns over the same clips: the engine in a process of its own, then one worker.
    Raises GolemError if a job does not end as `done`."""
    rows, told = spoken()
    pull(settings)
    files = [rows[n % len(rows)] for n in range(jobs)]
    clips = [row["file"] for row in files]
    chosen = {"store": str(settings.store), "models": settings.models}
    asked = {"way": "ours", "clips": [str(clip) for clip in clips], "settings": chosen}
    found = Findings(hardware(), told, jobs, sum(row["seconds"] for row in files), clips=len({*clips}))
    with chain.system(settings, clips, idle_unload_s="3600") as system:
        warm = system.backlog(clips, settings.batch_of("scribe"), OPTIONS)
        found.loads = warm.loads
        for turn in range(turns):
            say(f"turn {turn + 1} of {turns}: {jobs} clips by the engine, then by the chain")
            direct = ask(PEERS, asked)
            found.engine_s.append(direct["stages_s"]["scribe"])
            run = system.backlog(clips, jobs, OPTIONS)
            found.runs.append(run)
            found.loads += run.loads
            found.same = sum(run.words.get(name) == words for name, words in direct["words"].items())
    return found


def targets(found: Findings) -> Iterator[Target]:
    """Yield what was to be reached."""
    yield Target(
        "transcripts alone: the chain's speed, % of the engine's",
        f"≥ {100 * SHARE_LEAST:.0f}", f"{100 * found.share:.1f}", found.share >= SHARE_LEAST,
    )  # fmt: skip
    backlogs = len(found.runs) + 1
    yield Target(f"loads in {backlogs} backlogs", "1", f"{found.loads}", found.loads == 1)


def tables(found: Findings) -> Iterator[Table]:
    """Yield all tables."""
    chain_s = statistics.median(run.wall_s for run in found.runs)
    rows = []
    compute_s = statistics.median(run.compute_s for run in found.runs)
    ways = {
        "the engine, called directly": statistics.median(found.engine_s),
        "the chain": chain_s,
        "its batches alone": compute_s,
    }
    for name, wall_s in ways.items():
        rows.append((name, f"{wall_s:.1f}", f"{1000 * wall_s / found.jobs:.0f}", f"{found.audio_s / wall_s:.1f}"))
    turns = len(found.runs)
    yield Table(
        f"{found.jobs} {found.recordings}, transcripts alone (medians of {turns} turns; "
        f"{found.same} of {found.clips} transcripts are the same)",
        ("what", "wall s", "ms per clip", "audio s per s"),
        rows,
    )
    yield target_table(targets(found))
