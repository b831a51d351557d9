"""Reports the ends of a command's jobs: each at once, as a row or a JSON line and a file, and at last the totals."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from golem_chain.broker.cli.console import console, say
from golem_chain.broker.cli.export import Files
from golem_chain.broker.cli.follow.progress import Progress
from golem_chain.broker.cli.follow.rows import Rows
from golem_chain.broker.jobs.groups import FIRST, End
from golem_chain.shared.records import Outcome
from golem_chain.shared.sizes import format_bytes

#: A shorter wait does not count as a load, seconds.
LOAD_S = 0.002


class Totals:
    """Counts over all jobs of a command, without keeping their Outcomes."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self._loads: set[tuple[str, str, float]] = set()
        self._devices: set[str] = set()
        self._peak_bytes = 0

    def add(self, outcome: Outcome) -> None:
        """Count a job."""
        self.states[outcome.state] += 1
        for stage, run in outcome.stages.items():
            # The jobs of a batch share a load, which these identify. With a resident model it is 0.1 ms.
            if run.load_s > LOAD_S:
                self._loads.add((run.worker, stage, run.load_s))
            self._devices.add(run.device)
            self._peak_bytes = max(self._peak_bytes, run.peak_bytes)

    def told(self, wall_s: float) -> str:
        """Return the line below the rows: jobs, wall time, model loads, peak memory."""
        others = ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()) if state != "done")
        parts = [
            counted(self.states.total(), "job") + (f" ({others})" if others else ""),
            f"{wall_s:.1f} s",
            counted(len(self._loads), "model load"),
        ]
        if self._peak_bytes:
            parts.append(f"peak memory {format_bytes(self._peak_bytes)} on {', '.join(sorted(self._devices))}")
        return " · ".join(parts)


class Report:
    """The report of one command."""

    def __init__(
        self,
        screen: Progress,
        rows: Rows,
        kept: Files | None = None,
        *,
        as_json: bool,
        started: float,
        since: str = FIRST,
        with_cursor: bool = False,
        seen: Callable[[Outcome], object] | None = None,
    ) -> None:
        """`started`: when the command began (monotonic); `since`: where the ends of a group are followed from; `seen`:
        is called with each Outcome."""
        self._seen = seen
        self._screen, self._rows, self._kept, self._as_json = screen, rows, kept, as_json
        self._started, self._with_cursor = started, with_cursor
        self.cursor = since  # after the last end of the group that was shown
        self.totals = Totals()
        self.gone = 0  # jobs that have ended and whose Outcome is no longer kept

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Show jobs that have ended, and write their files."""
        for outcome in outcomes:
            self.totals.add(outcome)
            if self._as_json:
                self._line(outcome, None)
        self._show(outcomes)

    def ends(self, ends: Sequence[End]) -> None:
        """The same for ends of a group."""
        for end in ends:
            if end.outcome:
                self.totals.add(end.outcome)
            else:
                self.totals.states[end.state] += 1
                self.gone += 1
            if self._as_json:
                self._line(end.outcome, end)
        self._show([end.outcome for end in ends if end.outcome])
        if ends:
            self.cursor = ends[-1].cursor

    def _show(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        if self._kept:
            self._kept.write(outcomes)
        if self._seen:
            for outcome in outcomes:
                self._seen(outcome)
        if not self._as_json:
            for part in self._rows.of(outcomes, self._screen.width):
                self._screen.print(part)

    def _line(self, outcome: Outcome | None, end: End | None) -> None:
        shown = outcome.model_dump(mode="json") if outcome else {}
        if end and self._with_cursor:
            shown = (shown or {"job": end.job, "state": end.state}) | {"cursor": end.cursor}
        if shown:
            self._screen.line(shown)
        if outcome and outcome.state != "done":
            self._screen.tell(why(outcome))

    def close(self) -> int:
        """Print the totals and return the exit code."""
        console().print(self.totals.told(time.monotonic() - self._started))
        if self.gone:
            say(f"The Outcomes of {counted(self.gone, 'job')} are no longer kept (GOLEM_KEEP_S).")
        if self._kept:
            say(self._kept.summary())
        return self.exit_code

    def go_on(self, group: str) -> str:
        """Return the command that goes on after what was shown."""
        since = "" if self.cursor == FIRST else f" --since {self.cursor}"
        return f"golem results --group {group} --wait{since}"

    @property
    def exit_code(self) -> int:
        """0 if all jobs are done, else 1."""
        return int(any(state != "done" for state in self.totals.states))


def why(outcome: Outcome) -> str:
    """Return the error sentence of a job that did not end as done."""
    message = outcome.error.message if outcome.error else outcome.state
    return message if outcome.name in message else f"{outcome.name}: {message}"


def counted(number: int, what: str) -> str:
    """Return `1 job`, `2,000 jobs`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
