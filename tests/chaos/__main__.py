"""Fault injection at full size, and the tables of its results: `make chaos`.

usage: python -m tests.chaos [--jobs 2000] [--kills 100] [--seed 7] [--long] [--write]

Prints each result as it arrives and exits with 1 if a guarantee was broken. `--write` puts the tables into
docs/reliability.md between its markers.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from golem_chain.benchmarks.report import into_docs
from golem_chain.broker.local import embedded
from tests.chaos import drills, outages, sweep
from tests.chaos.comparison import compare
from tests.chaos.storm import DELIVERER_TOLD, quiet_answers, storm_over
from tests.support.faults import TOLD
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"
STARTED = time.monotonic()


def say(text):
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", flush=True)


def server_in(folder, program=None):
    """Start a server with an append-only file: the embedded one, or one installed on the system."""
    return embedded.Server(Path(program) if program else embedded.binary(), folder, True, None, "always")


def storms(folder, jobs, kills, seed):
    """Return reports by server; the system's server gets a quarter of the jobs and faults."""
    with server_in(folder / "quiet-server") as server:
        (folder / "quiet").mkdir()
        quiet = quiet_answers(server, folder / "quiet", jobs)
    assert len(quiet) == jobs, "the undisturbed run did not end"
    say(f"undisturbed: {jobs} jobs")
    programs: dict[str, str | None] = {"embedded Valkey": None}
    if system := shutil.which("redis-server"):
        programs["redis-server"] = system
    else:
        say("redis-server is not installed: the embedded server only")
    reports = {}
    for n, (name, program) in enumerate(programs.items()):
        place = folder / f"storm{n}"
        place.mkdir()
        part = 1 if program is None else 4
        with server_in(place / "server", program) as server:
            report, said = storm_over(
                server, place, quiet, jobs // part, kills // part, seed, 1 + kills // part // 25, say
            )
        say(f"{name}: {report}")
        if not report.kept:
            say(said)
        reports[name] = report
    return reports


def deaths(folder):
    """Run the drills one after another."""
    rows = []
    for n, drill in enumerate(drills.ALL):
        place = folder / f"drill{n}"
        place.mkdir()
        with server_in(place / "server") as server:
            rows.append(drill(server, place))
        say(str(rows[-1]))
    return rows


def compared(folder, jobs, kills, seed):
    """Compare both under the same faults, with two seeds."""
    fates: dict[str, list[Any]] = {"ours": [], "stock": []}
    for n in range(2):
        for name, found in fates.items():
            place = folder / f"{name}{n}"
            place.mkdir()
            with server_in(place / "server") as server:
                found.append(compare(name, server, place, jobs, kills, seed + n, 1 + kills // 25))
            say(str(found[-1]))
    return fates


def storm_table(reports):
    head = "| fault | " + " | ".join(reports) + " |\n|---|" + "---|" * len(reports)
    rows = [
        f"| {told} | " + " | ".join(str(report.killed[kind]) for report in reports.values()) + " |"
        for kind, told in (TOLD | {"deliverer": DELIVERER_TOLD}).items()
    ]
    for what, value in (
        ("jobs", lambda one: one.jobs),
        ("of them cancelled", lambda one: one.cancelled),
        ("of them expired at their deadline", lambda one: one.expired),
        ("webhooks received", lambda one: one.webhooks),
        ("answers to clients", lambda one: one.told.total()),
        ("**lost**", lambda one: len(one.lost)),
        ("**ended twice**", lambda one: len(one.twice)),
        ("**result differs from the undisturbed run**", lambda one: len(one.differing)),
        ("**group counted wrongly**", lambda one: len(one.miscounted)),
        ("**run of a model after the job's deadline**", lambda one: len(one.late)),
        ("**webhook never told, wrongly or in vain**", lambda one: len(one.mistold)),
        ("**promise to a client broken**", lambda one: len(one.untrue)),
        ("**invariant of delivery broken**", lambda one: len(one.broken)),
        ("longest time without a finished job", lambda one: f"{one.gap_s:.1f} s"),
        ("duration", lambda one: f"{one.wall_s:.0f} s"),
    ):
        rows.append(f"| {what} | " + " | ".join(str(value(report)) for report in reports.values()) + " |")
    return "\n".join([head, *rows])


def drill_table(rows):
    head = "| fault | rounds | limit | measured |\n|---|---|---|---|"
    return "\n".join(
        [head, *(f"| {row.what} | {row.rounds} | {row.promised} | {row.came}{_mark(row)} |" for row in rows)]
    )


def _mark(row):
    return "" if row.kept else " (**missed**)"


def comparison_table(fates):
    names = {"ours": "this transport", "stock": "stock Celery"}
    head = "| | " + " | ".join(names[one] for one in fates) + " |\n|---|" + "---|" * len(fates)
    rows = []
    for what, value in (
        ("jobs", lambda found: sum(one.jobs for one in found)),
        ("faults", lambda found: sum(one.killed.total() for one in found)),
        ("lost", lambda found: sum(one.lost for one in found)),
        ("last stage completed more than once", lambda found: sum(one.twice for one in found)),
        ("repeated runs of a stage", lambda found: sum(one.again for one in found)),
        ("longest stall", lambda found: f"{max(one.gap_s for one in found):.1f} s"),
    ):
        rows.append(f"| {what} | " + " | ".join(str(value(found)) for found in fates.values()) + " |")
    return "\n".join([head, *rows])


def sweep_table(sweeps, cost):
    """Return the table of kills at each command, and the cost of a job."""
    names = ["process", "killed", "kills", "at commands", "lost", "ended twice", "result differs", "keys left"]
    names += ["invariant broken", "slowest job"]
    head = f"| {' | '.join(names)} |\n{'|---' * len(names)}|"
    rows = [
        f"| {sweep.TOLD[one.role]} | {one.when} | {one.kills} | 1 to {one.last} | {len(one.lost)} | {len(one.twice)} | "
        f"{len(one.differing)} | {len(one.left)} | {len(one.broken)} | {one.slowest_s:.1f} s |"
        for one in sweeps
    ]
    sent = ", ".join(f"{count:.0f} by {sweep.TOLD[role]}" for role, count in cost.sent.items())
    told = (
        f"A lone job costs {sum(cost.sent.values()):.0f} Redis commands ({sent}), {cost.executed:.0f} with those inside"
    )
    return "\n".join([head, *rows, "", f"{told} scripts."])


def outage_table(found):
    """Return the table of outages of Redis."""
    names = ["Redis", "for", "jobs", "done", "cancelled", "dead letters", "last job ended after"]
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    rows += [
        f"| {one.kind} | {one.seconds:g} s | {one.jobs} | {one.done} | {one.cancelled} | {one.letters} | "
        f"{one.recovery_s:.1f} s |"
        for one in found
    ]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--long", action="store_true", help="outages of 4 and 15 minutes as well")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("GOLEM_")]:
        del os.environ[name]  # isolate the boxes from this machine's settings
    with tempfile.TemporaryDirectory(prefix="golem-chaos-") as place:
        folder = Path(place)
        gone = outages.run(folder / "outages", (20.0, 100.0, *((240.0, 900.0) if given.long else ())))
        for outage in gone:
            say(str(outage))
        sweeps = sweep.run_all(folder / "sweep", say=say)
        cost = sweep.cost(folder / "cost")
        say(str(cost))
        reports = storms(folder, given.jobs, given.kills, given.seed)
        rows = deaths(folder)
        fates = compared(folder, given.jobs // 5, given.kills * 2 // 5, given.seed)
    machine = f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, seed {given.seed}."
    tables = {
        "storm": f"{storm_table(reports)}\n\n{machine}",
        "sweep": sweep_table(sweeps, cost),
        "drills": drill_table(rows),
        "comparison": comparison_table(fates),
        "outages": outage_table(gone),
    }
    for table in tables.values():
        print(f"\n{table}")
    if given.write:
        for name, table in tables.items():
            into_docs(PAGE, f"{name}: make chaos", table)
    broken = [name for name, one in reports.items() if not one.kept]
    broken += [row.what for row in rows if not row.kept]
    broken += [f"{one.role} killed {one.when} a command" for one in sweeps if not one.kept]
    broken += [f"Redis {one.kind} for {one.seconds:g} s" for one in gone if not one.kept]
    say(f"broken: {', '.join(broken)}" if broken else "all guarantees held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
