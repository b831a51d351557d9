"""Helpers for the tests of pulling: settings with a new store, a silent progress display, one that records, wheels."""

import hashlib
import zipfile

from golem_chain.shared.settings import Settings
from golem_chain.workers.store.sources.progress import Show

QUIET = Show(quiet=True)


class Lines(Show):
    """Records the printed lines."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def settings_of(tmp_path, **given):
    return Settings.read(_env_file=None, **{"store": tmp_path / "store", "device": "cpu", "models": "auto", **given})


def make_wheel(folder, package, files):
    """Write a wheel with these files and return (path, sha256)."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0.0-py3-none-any.whl"
    info = f"{module}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
