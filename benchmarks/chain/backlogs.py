"""Backlogs of jobs through the three stages: transformers pipelines, and one worker with different settings."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golem_chain.benchmarks.apart import ask
from golem_chain.benchmarks.chain import run as chain
from golem_chain.benchmarks.chain.recordings import CLIPS
from golem_chain.benchmarks.chain.run import Run
from golem_chain.benchmarks.report import Say
from golem_chain.benchmarks.steps.processors import MASKS, NO_BFLOAT16
from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import JobOptions, Label, LabelSet
from golem_chain.shared.settings import Settings

_NAMES = (
    "a question", "a story", "the weather", "music", "light", "travel", "food", "work", "a farewell", "war",
)  # fmt: skip
LABELS = LabelSet(labels=tuple(Label(name=name) for name in _NAMES))
TOKENS = 40
PEERS = "golem_chain.benchmarks.chain.peers"
LONE_JOBS = 30
_NO_COMMAND = 2  # exit status of a command line that does not know a subcommand


@dataclass
class Set:
    """One set of models: the pipelines by name, and the worker's runs by settings and number of jobs."""

    peers: dict[str, JsonObject] = field(default_factory=dict)
    runs: dict[str, dict[int, Run]] = field(default_factory=dict)
    alone_s: dict[str, list[float]] = field(default_factory=dict)  # single jobs on the same worker, one model at a time


@dataclass
class Lone:
    """Single jobs on an idle, warm worker, in turn with those of another; seconds."""

    wall_s: list[float] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    overhead_s: list[float] = field(default_factory=list)
    stages_s: dict[str, list[float]] = field(default_factory=dict)  # compute


def chosen(settings: Settings) -> dict[str, str]:
    """Return the settings of the models as a process of its own gets them."""
    models = {f"{stage}_model": name for stage in ("interpreter", "oracle") if (name := settings.model_of(stage))}
    return {"store": str(settings.store), "models": settings.models, **models}


def pipelines(found: Set, settings: Settings, clips: Sequence[Path], say: Say, name: str) -> None:
    """Run the ten clips through transformers pipelines: loaded for each file and stage, and all three resident."""
    asked = {
        "settings": chosen(settings),
        "clips": [str(clip) for clip in clips],
        "labels": [label.name for label in LABELS.labels],
        "tokens": TOKENS,
    }
    for way in ("reload", "resident"):
        say(f"{name}: {len(clips)} clips by transformers pipelines, {way}")
        found.peers[way] = ask(PEERS, {**asked, "way": way})


def backlog(
    found: Set,
    name: str,
    settings: Settings,
    clips: Sequence[Path],
    counts: Sequence[int],
    say: Say,
    *,
    alone: int = 0,
    machine: Mapping[str, str] | None = None,
    **more: str,
) -> None:
    """Run backlogs of these sizes on one worker with the settings `more`, after `alone` single jobs."""
    say(f"{name}: {' and '.join(map(str, counts))} jobs")
    with chain.system(settings, clips, machine, **more) as system:
        system.run(clips[:1], 1, LABELS, 2)  # warm up, as the pipelines do
        for n in range(alone):
            clip = clips[n % len(clips)]
            found.alone_s.setdefault(name, []).append(system.run([clip], 1, LABELS, TOKENS).wall_s)
        for jobs in counts:
            found.runs.setdefault(name, {})[jobs] = system.run(clips, jobs, LABELS, TOKENS)


def masked(found: Set, settings: Settings, clips: Sequence[Path], say: Say) -> None:
    """Run the ten clips as on a processor without bfloat16 instructions, for which the Scribe is proved: the others run
    in float32 there without a proof."""
    prove(settings, say, MASKS[NO_BFLOAT16], ["scribe"])
    backlog(found, f"default, {NO_BFLOAT16}", settings, clips, [len(clips)], say, machine=MASKS[NO_BFLOAT16])


def lone(settings: Settings, clips: Sequence[Path], jobs: int, say: Say) -> dict[str, Lone]:
    """Measure single jobs with all models resident and with one at a time, in turn, on two workers."""
    found = {"auto": Lone(), "1": Lone()}
    say(f"single jobs, {jobs} with GOLEM_RESIDENT=auto in turn with {jobs} with 1")
    with chain.system(settings, clips, resident="auto") as auto, chain.system(settings, clips, resident="1") as one:
        systems = {"auto": auto, "1": one}
        for system in systems.values():
            system.run(clips, 2, LABELS, TOKENS)
        for n in range(jobs):
            for resident, system in systems.items():
                run = system.run([clips[n % len(clips)]], 1, LABELS, TOKENS)
                found[resident].wall_s.append(round(run.wall_s, 4))
                found[resident].load_s.append(round(run.load_s, 4))
                found[resident].overhead_s.append(round(run.overhead_s, 4))
                for stage, seconds in run.stages_s.items():
                    found[resident].stages_s.setdefault(stage, []).append(round(seconds, 4))
    return found


def same(settings: Settings, clips: Sequence[Path], say: Say) -> dict[str, int]:
    """Return the number of jobs, and how many have equal transcripts in batches of one and of eight."""
    heard = []
    say(f"transcripts of {len(clips)} jobs in batches of 1 and of 8")
    for batch in ("1", "8"):
        with chain.system(settings, clips, batch=batch) as system:
            heard.append(system.backlog(clips, len(clips), JobOptions(stop="scribe")).words)
    return {"jobs": len(heard[0]), "equal": sum(heard[0][name] == heard[1].get(name) for name in heard[0])}


def small(settings: Settings, clips: Sequence[Path], few: int, many: int, say: Say) -> dict[int, list[Run]]:
    """Measure small random models, where overhead dominates, on one worker: few jobs, many, and few again."""
    runs: dict[int, list[Run]] = {few: [], many: []}
    with chain.system(settings, clips, guards="none", scribe_beam="1") as system:
        system.run(clips, CLIPS, LABELS, 4)
        for jobs in (few, many, few):
            say(f"small random models, {jobs} jobs")
            runs[jobs].append(system.run(clips, jobs, LABELS, 4))
    return runs


def samples(settings: Settings, files: Sequence[Path], say: Say) -> Run:
    """Run the samples with default settings on a fresh worker, as `make run` does."""
    say(f"the {len(files)} samples, as make run does")
    with chain.system(settings, files) as system:
        return system.backlog(files, len(files), JobOptions())


def prove(
    settings: Settings, say: Say, machine: Mapping[str, str] | None = None, stages: Sequence[str] = STAGES
) -> str:
    """Prove the forms of the settings' models, and return what the command says. `machine`: as in `backlog`. Raises
    GolemError if it fails or if this version has no proofs."""
    asked = [option for stage in stages for option in ("--stage", stage)]
    say(f"golem models prove {' '.join(asked)}")
    models = {f"GOLEM_{key.upper()}": value for key, value in chosen(settings).items()}
    env = {**os.environ, **models, **(machine or {}), "COLUMNS": "110"}
    command = [sys.executable, "-P", "-m", "golem_chain.workers", "models", "prove", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode == _NO_COMMAND and "No such command" in done.stderr:
        raise GolemError("this version has no proofs.")
    if done.returncode:
        raise GolemError(f"golem models prove ended with {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return done.stdout.rstrip()
