"""Writes static/vendor/ from the npm registry: the page's two libraries at pinned versions, with their licences.

usage: python -m golem_chain.broker.doors.page.vendor     (needs npm; only when a version changes)
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from golem_chain.shared.errors import GolemError

FOLDER = Path(__file__).parent / "static" / "vendor"
LICENCES = "LICENSES.txt"


class BadPackage(GolemError):
    """What came from the registry is not what was pinned."""

    code = "bad-package"


@dataclass(frozen=True)
class Package:
    """A package of npm and what the page uses of it."""

    name: str
    version: str
    integrity: str  # of the archive, as in package-lock.json: the registry's `dist.integrity`
    files: tuple[tuple[str, str, str], ...]  # (path in the archive, name in static/vendor, SHA-256 in hexadecimal)

    @property
    def archive(self) -> str:
        """The name under which `npm pack` stores it."""
        return f"{self.name}-{self.version}.tgz"


#: uPlot's ES module is not minified, so the page loads the other build; wavesurfer.js is loaded when audio is shown.
PACKAGES = (
    Package(
        "uplot",
        "1.6.32",
        "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        (
            (
                "dist/uPlot.iife.min.js",
                "uPlot.iife.min.js",
                "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
            ),
            ("dist/uPlot.min.css", "uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ),
    ),
    Package(
        "wavesurfer.js",
        "8.0.1",
        "sha512-h0OnRWSVTqIYLSw3/IVrBtsun/xw9L5u4FA3bjfSDTFMX/xswVWS1JwK4fFu3ulmxRUSHg8zQORl6zENG983eg==",
        (
            (
                "dist/wavesurfer.esm.js",
                "wavesurfer.esm.js",
                "079f3b142f37737f975b03ea8fd18652a316dc2120a2629aeca0844a0c08f2b1",
            ),
        ),
    ),
)


def main() -> None:
    """Fetch, check and write all packages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    licences = []
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            archive = fetch(package, Path(folder))
            with tarfile.open(archive) as opened:
                for path, name, sha256 in package.files:
                    (FOLDER / name).write_bytes(checked(read(opened, path), sha256, f"{package.archive}: {path}"))
                licences.append(f"{package.name} {package.version}\n\n{read(opened, 'LICENSE').decode().strip()}\n")
    (FOLDER / LICENCES).write_text("\n\n".join(licences), encoding="utf-8")


def fetch(package: Package, folder: Path) -> Path:
    """Return the archive of a package in this folder. Raises BadPackage if it is not the pinned one."""
    subprocess.run(["npm", "pack", "--silent", f"{package.name}@{package.version}"], cwd=folder, check=True)
    archive = folder / package.archive
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.integrity:
        raise BadPackage(f"{package.archive} has the integrity {found}: compare it with the registry's, then pin it.")
    return archive


def read(opened: tarfile.TarFile, path: str) -> bytes:
    """Return a file of a package. Raises BadPackage if it has none of this name."""
    try:
        member = opened.extractfile(f"package/{path}")
    except KeyError:
        member = None
    if member is None:
        raise BadPackage(f"The package has no {path}: see what its new version calls it.")
    return member.read()


def checked(data: bytes, sha256: str, what: str) -> bytes:
    """Return the data. Raises BadPackage if its hash is not this one."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BadPackage(f"{what} has the SHA-256 {found}: read what changed, then pin it.")
    return data


if __name__ == "__main__":
    try:
        main()
    except GolemError as exc:
        sys.exit(exc.message)
