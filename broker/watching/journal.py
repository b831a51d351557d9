"""The journal: which version of each file is done or failed, across restarts; and the list of failures.

It is a hidden file of JSON lines beside the results, to which each end is added; of several lines about a file the last
one counts. A line that a crash has cut is skipped: its file is then processed again, under the same id.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from golem_chain.broker.watching.files import Entry, Signature
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.text import storable, visible

JOURNAL, FAILURES = ".golem-watch.jsonl", "failures.jsonl"


class Journal:
    """The entries of one folder of results. Two watchers may share it."""

    def __init__(self, folder: Path) -> None:
        """Raises BadRequest if there is a journal that cannot be read."""
        self._path, self.failures = folder / JOURNAL, folder / FAILURES
        self._entries: dict[str, Entry] = {}
        self._owners: dict[str, str] = {}  # result, case-folded -> file
        self._waiting: list[str] = []  # lines that are not on the disk yet
        lines = self._read()
        for line in lines:
            self._load(line)
        if len(lines) > 2 * len(self._entries) + 100:
            self._compact()
        self._listed, self._relist = self._failures(), False  # the list as it is on the disk; whether it may differ

    def get(self, file: str) -> Entry | None:
        """Return what is known of a file."""
        return self._entries.get(file)

    def owner(self, result: str) -> str | None:
        """Return the file whose result this is."""
        return self._owners.get(result.casefold())

    def failed(self) -> Iterator[str]:
        """Yield the files that failed."""
        return (file for file, entry in self._entries.items() if entry.state == "failed")

    def note(self, file: str, entry: Entry) -> None:
        """Keep how a file ended; `flush` writes it."""
        before = self._entries.get(file)
        self._relist |= entry.state == "failed" or (before is not None and before.state == "failed")
        self._keep(file, entry)
        self._waiting.append(_line(file, entry))

    def drop(self, file: str) -> None:
        """Forget a file that failed and is gone."""
        if self._entries.pop(file, None):
            self._relist = True
            self._waiting.append(json.dumps({"file": file, "state": "gone"}))

    def flush(self) -> None:
        """Write what was noted, and the list of failures if it has changed. Raises OSError; nothing is forgotten."""
        if self._waiting:
            # an empty line first: if the last one was cut, this one is not lost with it
            text = "\n" + "\n".join(self._waiting) + "\n"
            with self._path.open("ab") as file:
                file.write(text.encode())
            self._waiting.clear()
        if self._relist:
            listed = self._failures()
            if listed:
                self._replace(self.failures, listed)
            elif self._listed:  # else it is not ours
                self.failures.unlink(missing_ok=True)
            self._listed, self._relist = listed, False

    @property
    def waiting(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._waiting) or self._relist

    def _failures(self) -> str:
        failed = sorted((file, self._entries[file]) for file in self.failed())
        told = ({"file": storable(file), "code": entry.code, "message": entry.message} for file, entry in failed)
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in told)

    def _read(self) -> list[str]:
        try:
            return [line for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines() if line]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise BadRequest(
                f"The journal {visible(str(self._path), 200)} cannot be read ({exc.strerror}): give access to it, or "
                "delete it, and all files without results are new."
            ) from None

    def _load(self, line: str) -> None:
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # cut, or not ours
            told: dict[str, Any] = json.loads(line)
            file = str(told.pop("file"))
            if told["state"] == "gone":
                self._entries.pop(file, None)
            elif told["state"] in ("done", "failed", "found"):
                seen = Signature(int(told.pop("size_bytes")), int(told.pop("mtime_ns")))
                results = tuple(map(str, told.pop("results", ())))
                self._keep(file, Entry(seen, results=results, **told))

    def _keep(self, file: str, entry: Entry) -> None:
        self._entries[file] = entry
        self._owners |= {result.casefold(): file for result in entry.results}

    def _compact(self) -> None:
        with suppress(OSError):  # a long journal is as good as a short one
            self._replace(self._path, "".join(f"{_line(*pair)}\n" for pair in self._entries.items()))

    def _replace(self, path: Path, text: str) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def _line(file: str, entry: Entry) -> str:
    """One line, in ASCII: names that are not UTF-8 come back as they were."""
    told = {**entry.signature._asdict(), **entry._asdict()}
    del told["signature"]
    return json.dumps({"file": file} | {key: value for key, value in told.items() if value not in ("", None, ())})
