"""Writes what the README shows of commands, and its measured table, from real runs on this machine.

usage: make readme     (on a machine that does nothing else)
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from golem_chain.broker.local.system import private_system
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.shared.sizes import format_bytes

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COLUMNS = "120"
NARROW = "100"
RUNS = 3
#: What is shown of a machine without Redis, and of a running system.
ALONE = (
    "golem transcribe samples/timer.flac --format srt --out subtitles",
    "cat subtitles/timer.srt",
    "golem ask 'switch on the lamp' --labels lights_on,music_stop",
    "golem reply 'switch on the lamp' --intent lights_on",
    "golem listen --from samples/weather.flac",
    "golem watch samples --out subtitles --format txt --once",
)
TOGETHER = (
    "golem submit samples/{spell,summon,timer}.flac --group night",
    "golem results --group night --wait",
    "golem status --group night",
    "golem jobs",
)


def golem(*args: str) -> tuple[str, str]:
    """stdout and stderr of a command that succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "golem_chain.broker.cli", *args],
        cwd=ROOT,
        env=os.environ | {"GOLEM_MODELS": "bundled", "COLUMNS": COLUMNS},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


def samples() -> list[str]:
    """The recordings, as `make run` names them."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "samples").glob("*.flac"))


def shown() -> str:
    """What `make run` prints."""
    table, totals = golem("run", *samples())
    lines = [line.rstrip() for line in table.strip("\n").splitlines()]
    return "\n".join(line for line in lines if line) + "\n\n" + totals.strip()


def session(commands: Sequence[str], folder: Path, more: Mapping[str, str]) -> str:
    """What commands print, typed in a folder with the samples."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"GOLEM_MODELS": "bundled", "COLUMNS": NARROW, "PATH": path, **more}
    shown = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=env, check=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        shown.append("\n".join([f"$ {command}", *(line for line in lines if line)]))
    return "```console\n" + "\n\n".join(shown) + "\n```"


def sessions() -> tuple[str, str]:
    """What the commands of ALONE and TOGETHER print."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        (folder / "samples").mkdir()
        for sample in samples():
            shutil.copy(ROOT / sample, folder / "samples")
        alone = session(ALONE, folder, {})
        with private_system([str(folder / "samples" / "any")]) as own:
            return alone, session(TOGETHER, folder, {"GOLEM_REDIS_URL": own.settings.redis_url})


def measured() -> str:
    """The table of stages: medians of RUNS runs."""
    golem("run", samples()[0])  # the page cache is warm, as at any but the first run
    jobs = [[json.loads(line) for line in golem("run", "--json", *samples())[0].splitlines()] for _ in range(RUNS)]
    held = {row["stage"]: row for row in models() if row["state"] == "in use"}
    rows = [row(stage, held[stage], jobs) for stage in ("scribe", "interpreter", "oracle")]
    return (
        "| stage | model | dtype | weights | load | batch of 8 | peak memory |\n"
        "|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{hardware()}; medians of {RUNS} runs. Peak memory is that of the whole process that holds the\n"
        "models, one at a time."
    )


def row(stage: str, model: JsonObject, runs: list[list[JsonObject]]) -> str:
    """One stage."""
    costs = [[job["stages"][stage] for job in run if stage in job["stages"]] for run in runs]
    load_s = median(max(cost["load_s"] for cost in run) for run in costs)
    full = [cost["compute_s"] / cost["batch_size"] * 8 for run in costs for cost in run]
    peak = max(cost["peak_bytes"] for run in costs for cost in run)
    weights = format_bytes(model["size_bytes"])
    return (
        f"| {stage} | {model['id']} | {dtype(stage)} | {weights} | {load_s:.2f} s | {median(full):.1f} s "
        f"| {format_bytes(peak)} |"
    )


def models() -> list[JsonObject]:
    """What the store holds."""
    command = [sys.executable, "-m", "golem_chain.workers", "models", "list", "--json"]
    env = os.environ | {"GOLEM_MODELS": "bundled"}
    text = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def dtype(stage: str) -> str:
    """The type of the weights in memory here."""
    from golem_chain.workers.devices.selection import card_of, pick_device, pick_dtype

    settings = Settings.read()
    return str(pick_dtype(settings, card_of(pick_device(settings)), stage)).removeprefix("torch.")


def hardware() -> str:
    """Processor, cores, versions."""
    import torch

    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else [platform.processor()]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0]}, no GPU, torch {torch.__version__.partition('+')[0]}"


def put(text: str, name: str, body: str) -> str:
    """The text with what stands between a pair of marks replaced."""
    start, end = f"<!-- {name}: make readme -->\n", f"<!-- {name} end -->"
    before, rest = text.split(start)
    return before + start + body + "\n" + end + rest.split(end, 1)[1]


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    page = put(page, "run", f"```console\n$ make run\n{shown()}\n```")
    page = put(page, "measured", measured())
    for name, body in zip(("alone", "together"), sessions(), strict=True):
        page = put(page, name, body)
    README.write_text(page, encoding="utf-8")
