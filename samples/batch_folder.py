"""Submits the recordings of a folder as one group, and prints their results as they end.

GOLEM_REDIS_URL=redis://:password@box:6379/0 python samples/batch_folder.py recordings/ night

Interrupted, it goes on where it was when started again: nothing runs twice, and no result is left out.
"""

import hashlib
import sys
from pathlib import Path

from golem_chain import End, GolemError, Pipeline, make_options

KINDS = {".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
FIRST = "0-0"  # the cursor before the first end


def submit(pipeline: Pipeline, folder: Path, group: str) -> None:
    """Submit all recordings. Their ids follow from their names, so that a second try submits none again."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)
    if not paths:
        sys.exit(f"There is no recording in {folder}.")
    ids = [hashlib.sha256(f"{group}/{path.name}".encode()).hexdigest() for path in paths]
    for path, one in zip(paths, pipeline.submit_many(paths, make_options(group=group), ids=ids), strict=True):
        if one.error:
            print(f"{path}: not submitted: {one.error.message}")


def show(end: End) -> None:
    """Print a result; a real program stores it."""
    outcome = end.outcome
    if outcome is None:
        print(f"{end.job}: {end.state}, and its result is no longer kept")
    elif outcome.error:
        print(f"{outcome.name}: {outcome.state}: {outcome.error.message}")
    else:
        print(f"{outcome.name}: {outcome.transcript.text if outcome.transcript else ''}")


def remember(place: Path, cursor: str) -> None:
    """Write a file whole or not at all."""
    new = place.with_suffix(".new")
    new.write_text(cursor)
    new.replace(place)


def main(folder: Path, group: str) -> None:
    """Submit, unless an earlier start has done so, and show what has ended since it was interrupted."""
    place = folder / f".{group}.cursor"
    with Pipeline() as pipeline:
        if not place.exists():
            submit(pipeline, folder, group)
            remember(place, FIRST)
        for end in pipeline.group(group).wait(since=place.read_text()):
            show(end)
            remember(place, end.cursor)  # afterwards: if we die in between, the result is shown again
    place.unlink()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except GolemError as exc:
        sys.exit(exc.message)
