"""Decides from the kernel's list of mounts whether a folder is on a file system that does not report changes."""

import re
from pathlib import Path, PurePosixPath

#: inotify reports what this machine writes. On these, others write too: network and shared folders of virtual machines.
_SILENT = re.compile(
    r"nfs4?|cifs|smb\w*|9p|afs|ncpfs|ceph|lustre|glusterfs|ocfs2|gfs2?|beegfs|vboxsf|vmhgfs|virtiofs|prl_fs|drvfs|"
    r"fuse\.(?!fuse-overlayfs).*"
)
MOUNTS = Path("/proc/self/mountinfo")


def file_system(mounts: str, folder: PurePosixPath) -> str | None:
    """Return the type of the file system that a folder is on; None if the list does not say.

    `mounts` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)), `folder` an absolute path without links. Pure.
    """
    best, found = -1, None
    for line in mounts.splitlines():
        before, mark, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not mark or len(fields) < 5:
            continue
        place = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if folder.is_relative_to(place) and len(place.parts) >= best:  # of mounts on one place, the last is seen
            best, found = len(place.parts), kinds[0]
    return found


def is_silent(kind: str | None) -> bool:
    """Return whether a file system of this type has to be polled. Pure."""
    return kind is not None and _SILENT.fullmatch(kind) is not None


def must_poll(folder: Path) -> bool:
    """Return whether changes in a folder are found by polling only."""
    try:
        mounts = MOUNTS.read_text(errors="surrogateescape")
    except OSError:  # not Linux
        return False
    return is_silent(file_system(mounts, PurePosixPath(folder.resolve())))
