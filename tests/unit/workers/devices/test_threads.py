"""Threads for the models: what the user set, otherwise what the container's quota pays for."""

from pathlib import Path

import pytest
import torch

from golem_chain.workers.devices import threads as module
from golem_chain.workers.devices.threads import quota_of, read_quota, set_threads, threads


@pytest.mark.parametrize(
    ("asked", "usual", "quota", "count"),
    [
        (0, 64, None, 64),
        (0, 64, 2.0, 2),
        (0, 64, 1.5, 1),
        (0, 64, 0.25, 1),
        (0, 2, 8.0, 2),  # fewer cores than the quota, as with OMP_NUM_THREADS or taskset
        (6, 64, 2.0, 6),  # the user knows better
    ],
)
def test_a_container_gets_the_threads_that_its_quota_pays_for(asked, usual, quota, count):
    assert threads(asked, usual, quota) == count


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("150000 100000\n", 1.5),
        ("max 100000\n", None),
        ("-1\n 100000\n", None),
        ("50000\n 100000\n", 0.5),
        ("100000 0", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_quota_is_read_in_both_forms_and_nonsense_limits_nothing(text, cores):
    assert quota_of(text) == cores


def at(root: Path, membership: str, files: dict[str, str]) -> float | None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "self").write_text(membership)
    return read_quota(root / "self", root)


def test_version_2_counts_the_groups_above_too(tmp_path):
    files = {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "max 100000"}
    assert at(tmp_path, "0::/a/b\n", files) == 2.0


def test_a_container_sees_only_its_own_group_at_the_root(tmp_path):
    assert at(tmp_path, "0::/docker/0123\n", {"cpu.max": "300000 100000"}) == 3.0
    assert at(tmp_path, "0::/../other\n", {"cpu.max": "300000 100000"}) == 3.0


def test_version_1_has_two_files_and_minus_one_for_no_limit(tmp_path):
    membership = "4:memory:/x\n3:cpu,cpuacct:/docker/0123\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert at(tmp_path, membership, files) == 2.5
    assert at(tmp_path, membership, {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}) is None


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert read_quota(tmp_path / "missing", tmp_path) is None
    assert at(tmp_path, "0::/\n", {}) is None


def test_torch_is_told(monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(module, "read_quota", lambda: 2.0)
    set_threads(0)
    set_threads(3)
    set_threads(64)
    assert told == [2, 3]
