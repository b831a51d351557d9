"""Which file systems report no changes."""

from pathlib import Path, PurePosixPath

import pytest

from golem_chain.broker.watching import mounts

TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/nas rw shared:9 - nfs4 nas:/export rw
31 30 0:41 / /mnt/nas/fast rw - xfs /dev/sdb1 rw
32 22 0:42 / /mnt/with\040space rw master:2 propagate_from:1 - cifs //win/share rw
33 22 0:43 / /home/me/remote rw - fuse.sshfs me@host: rw
34 22 0:44 / /media/stick rw - fuseblk /dev/sdc1 rw
35 22 0:45 / /twice rw - ext4 /dev/sdd1 rw
36 22 0:46 / /twice rw - 9p host rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind", "silent"),
    [
        ("/home/me", "ext4", False),
        ("/mnt/nas/audio", "nfs4", True),
        ("/mnt/nasty", "ext4", False),
        ("/mnt/nas/fast/in", "xfs", False),
        ("/mnt/with space", "cifs", True),
        ("/home/me/remote/in", "fuse.sshfs", True),
        ("/media/stick/in", "fuseblk", False),
        ("/twice/in", "9p", True),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(folder, kind, silent):
    assert mounts.file_system(TABLE, PurePosixPath(folder)) == kind
    assert mounts.is_silent(kind) == silent


@pytest.mark.parametrize("kind", ["nfs", "smb3", "smbfs", "vboxsf", "virtiofs", "ceph", "fuse.s3fs", "fuse.rclone"])
def test_what_others_write_to_is_polled(kind):
    assert mounts.is_silent(kind)


@pytest.mark.parametrize("kind", ["btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", "vfat", None])
def test_what_only_this_machine_writes_to_is_not(kind):
    assert not mounts.is_silent(kind)


def test_a_list_that_cannot_be_read_or_says_nothing_is_no_reason_to_poll(tmp_path, monkeypatch):
    assert mounts.file_system("", PurePosixPath("/a")) is None
    assert isinstance(mounts.must_poll(tmp_path), bool)
    monkeypatch.setattr(mounts, "MOUNTS", Path("/nowhere"))
    assert not mounts.must_poll(tmp_path)
