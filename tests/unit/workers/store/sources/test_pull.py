"""A pull fills the store completely or not at all, does nothing unnecessary, and fails with one sentence."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from golem_chain.shared.errors import BadSetting, ModelCorrupt, ModelMissing
from golem_chain.workers.store import catalog, find, verify
from golem_chain.workers.store.load import Weights
from golem_chain.workers.store.sources import disk
from golem_chain.workers.store.sources.pull import pull
from tests.support.paths import ROOT
from tests.support.store_models import gpt2, same_weights
from tests.support.store_pulls import QUIET, Lines, settings_of


def test_a_pull_fills_the_store_and_the_next_one_verifies(three):
    first = pull(three, show=QUIET)
    said = Lines()
    assert pull(three, show=said) == first
    assert {stage: find(three, stage) for stage in catalog.STAGES} == first
    assert not list(three.store.glob(".tmp-*"))
    for checkpoint in first.values():
        verify(checkpoint)
        assert checkpoint.size_bytes == sum(p.stat().st_size for p in checkpoint.folder.iterdir()) - len(
            (checkpoint.folder / "golem.json").read_bytes()
        )


def test_a_missing_model_is_named_with_the_remedy(three, tmp_path):
    with pytest.raises(ModelMissing, match="run `golem models pull`"):
        find(three, "oracle")
    with pytest.raises(ModelMissing, match="holds no models yet: run `golem models pull`"):
        find(settings_of(tmp_path), "oracle")


def test_a_changed_folder_has_to_be_pulled_again(three, tmp_path):
    pull(three, show=QUIET)
    model = gpt2()
    model.lm_head.weight.data.add_(1)
    model.save_pretrained(tmp_path / "oracle")
    with pytest.raises(ModelMissing, match="has changed since it was pulled"):
        find(three, "oracle")
    pull(three, show=QUIET)
    assert same_weights(Weights(find(three, "oracle"), type(model)).load(), model)


def test_a_damaged_checkpoint_is_found_out_and_pulled_again(three):
    folder = pull(three, show=QUIET)["oracle"].folder
    for damage in (lambda p: os.truncate(p, 50), lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x"), Path.unlink):
        damage(folder / "model.safetensors")
        with pytest.raises(ModelCorrupt, match="golem models pull"):
            verify(find(three, "oracle"))
        verify(pull(three, show=QUIET)["oracle"])
    (folder / "golem.json").write_text("{")
    with pytest.raises(ModelCorrupt, match=r"golem\.json is damaged"):
        find(three, "oracle")
    verify(pull(three, show=QUIET)["oracle"])


def test_another_dtype_is_pulled_anew_and_the_fingerprint_stays(three):
    full = pull(three, show=QUIET)
    half = pull(three.model_copy(update={"dtype": "float16"}), show=QUIET)
    assert {c.dtype for c in half.values()} == {"float16"}
    assert half["oracle"].size_bytes < full["oracle"].size_bytes
    assert {s: c.fingerprint for s, c in half.items()} == {s: c.fingerprint for s, c in full.items()}


KILLED = """
import os, signal, sys
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.sources import pull
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
pull.put = die
pull.pull(Settings.read(_env_file=None), stages=("oracle",))
"""


def test_a_killed_pull_leaves_nothing_that_is_used_and_the_next_one_sweeps(three):
    environment = {**os.environ, "GOLEM_STORE": str(three.store), "GOLEM_ORACLE_MODEL": three.oracle_model}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(three.store.glob(".tmp-*/made/golem.json"))
    with pytest.raises(ModelMissing):
        find(three, "oracle")
    verify(pull(three, show=QUIET)["oracle"])
    assert not list(three.store.glob(".tmp-*"))


def test_two_pulls_at_once_do_each_others_work_once(three):
    said = [Lines(), Lines()]
    threads = [threading.Thread(target=pull, args=(three,), kwargs={"show": show}) for show in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [line for show in said for line in show.lines if line.startswith("oracle: ") and "kB" in line]
    assert len(made) == 1
    for stage in catalog.STAGES:
        verify(find(three, stage))


def test_a_full_disk_is_one_sentence_and_nothing_half_made(three, monkeypatch):
    from golem_chain.workers.store.sources import pull as module

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "put", full)
    with pytest.raises(BadSetting, match=r"GOLEM_STORE=.*: the disk is full"):
        pull(three, show=QUIET)
    assert not list(three.store.glob(".tmp-*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BadSetting, match="1 B free but the pull may need"):
        disk.check_room(three.store, 10)


def test_a_store_that_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(BadSetting, match=r"GOLEM_STORE=.* cannot be written"):
        pull(settings_of(tmp_path, models="bundled"), show=QUIET)
