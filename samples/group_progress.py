"""Follows a group of jobs with a progress bar, however many they are. Ctrl-C stops following, not the jobs.

golem submit recordings/*.flac --group night
GOLEM_REDIS_URL=redis://:password@box:6379/0 python samples/group_progress.py night
"""

import sys
import time

from golem_chain import GolemError, GroupStatus, Pipeline

WIDTH = 40  # characters
EVERY_S = 0.5


def line(status: GroupStatus, since_s: float, before: int) -> str:
    """Return the bar, the counts, and how long the rest takes at the pace since we began to follow."""
    bar = "#" * (WIDTH * status.ended // status.jobs)
    lost = status.failed + status.expired + status.cancelled
    left, pace = status.jobs - status.ended, (status.ended - before) / since_s if since_s else 0.0
    rest = f", about {left / pace:.0f} s left" if left and pace else ""
    return f"[{bar:.<{WIDTH}}] {status.ended} of {status.jobs} ended, {lost} without result{rest}"


def main(name: str) -> None:
    """Draw until all have ended."""
    with Pipeline() as pipeline:
        group = pipeline.group(name)
        begun, before = time.monotonic(), group.status().ended
        while True:
            status = group.status()  # one command, however large the group is
            print("\r" + line(status, time.monotonic() - begun, before).ljust(100), end="", flush=True)
            if status.ended >= status.jobs:
                break
            time.sleep(EVERY_S)
    print()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except GolemError as exc:
        sys.exit(exc.message)
    except KeyboardInterrupt:
        sys.exit("\nThe jobs go on.")
