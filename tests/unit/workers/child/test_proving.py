"""Proofs while a child is idle: when they begin, that a job interrupts them, and what runs afterwards."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from golem_chain.shared.errors import BadRequest, ModelMissing
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import proving
from golem_chain.workers.child.proving import Proving
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.store.manifest import Checkpoint
from golem_chain.workers.store.verdicts import Tried, Verdict, binding_of, find
from tests.support.residency import make

ITEMS = 40


class Items:
    """A proof of ITEMS items of 10 ms each, with a model in memory that it must give up between two runs."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint, on: Any, material: Any) -> None:
        del settings, on, material
        self.checkpoint, self.done, self.runs, self.inside = checkpoint, 0, 0, False
        Items.made.append(self)

    made: ClassVar[list["Items"]] = []

    def run(self, go_on: Any) -> Verdict | None:
        self.runs, self.inside = self.runs + 1, True
        try:
            while self.done < ITEMS:
                self.done += 1
                time.sleep(0.01)
                if not go_on():
                    return None
        finally:
            self.inside = False
        tried = (Tried("bfloat16", True, 2.0),)
        return Verdict(binding_of(self.checkpoint, None), ITEMS, 0, tried, "a processor", 0.4, "2026-01-02")


@pytest.fixture
def idle(monkeypatch, tmp_path):
    """A child's proofs that begin after 50 ms, its residency, and the checkpoint of its oracle."""
    Items.made = []
    folder = tmp_path / "oracle" / "smol"
    folder.mkdir(parents=True)
    checkpoint = Checkpoint("oracle", "smol", folder, "1", "folder", "CC0", "float32", 1, "abc")

    def wanted(settings: Settings, stage: str) -> Checkpoint:
        del settings
        if stage != "oracle":
            raise ModelMissing("It was not pulled.")
        return checkpoint

    monkeypatch.setattr("golem_chain.workers.store.manifest.find", wanted)
    monkeypatch.setattr("golem_chain.workers.proof.prove.Proof", Items)
    monkeypatch.setattr("golem_chain.workers.child.proving._AGAIN_S", 0.01)
    residency, engines, events = make("auto", scribe={}, oracle={})
    residency._models = {"oracle": "smol@1 float32"}
    monkeypatch.setattr(residency.memory, "device", "cpu")
    errors: list[BaseException] = []

    def of(**given: Any) -> Proving:
        return Proving(Settings.read(_env_file=None, **given), errors.append, idle_s=0.05)

    return SimpleNamespace(
        of=of, residency=residency, engines=engines, events=events, checkpoint=checkpoint, errors=errors
    )


def test_an_idle_child_proves_what_it_serves_and_the_next_batch_is_told_once(idle, eventually, caplog) -> None:
    caplog.set_level("INFO")
    proofs = idle.of()
    with idle.residency.use("oracle"):
        pass
    proofs.pause()
    proofs.rest(idle.residency, ["scribe", "oracle"])
    eventually(lambda: find(idle.checkpoint, binding_of(idle.checkpoint, None)))
    eventually(lambda: proofs._found)
    assert proofs.found()
    assert not proofs.found(), "the engines are made anew once"
    assert not idle.engines["oracle"].loaded, "the proof had the device to itself"
    assert [event.reason for event in idle.events if event.kind == "unload"] == ["proof"]
    assert "The oracle on a processor: bfloat16 answers like float32, 2.0 times as fast" in caplog.text
    assert not idle.errors


def test_a_job_waits_for_one_item_and_the_proof_goes_on_where_it_stopped(idle, eventually) -> None:
    proofs = idle.of()
    proofs.rest(idle.residency, ["oracle"])
    eventually(lambda: Items.made and Items.made[0].done >= 3)
    proofs.pause()
    before = Items.made[0].done
    with idle.residency.use("oracle"):
        assert not Items.made[0].inside, "the proof has given up the device"
        assert Items.made[0].done <= before + 1, "the job waited for more than an item"
        at = Items.made[0].done
        time.sleep(0.1)
        assert Items.made[0].done == at, "it does not go on beside the job"
    proofs.rest(idle.residency, ["oracle"])
    eventually(lambda: find(idle.checkpoint, binding_of(idle.checkpoint, None)))
    assert len(Items.made) == 1
    assert Items.made[0].done == ITEMS, "no item was asked twice"


def test_the_form_that_passed_is_put_beside_the_weights_and_a_batch_interrupts_that(
    idle, eventually, monkeypatch, caplog
) -> None:
    caplog.set_level("INFO")
    asked: list[tuple[str, bool]] = []

    def keep_ready(checkpoint: Checkpoint, form: Precision, go_on: Any) -> bool:
        assert checkpoint == idle.checkpoint
        while len(asked) == 0 and go_on():
            time.sleep(0.001)
        asked.append((form.name, go_on()))
        return asked[-1][1]

    monkeypatch.setattr("golem_chain.workers.store.making.keep_ready", keep_ready)
    proofs = idle.of()
    proofs.rest(idle.residency, ["oracle"])
    eventually(proofs.found)
    with idle.residency.use("oracle"):
        pass  # it holds neither the device nor the stage
    proofs.pause()
    eventually(lambda: asked == [("bfloat16", False)])
    time.sleep(0.1)
    assert len(asked) == 1, "it does not go on beside the batch"
    proofs.rest(idle.residency, ["oracle"])
    eventually(lambda: asked[1:] == [("bfloat16", True)])
    assert caplog.text.count("answers like float32") == 1
    assert len(Items.made) == 1


def test_a_busy_child_proves_nothing(idle) -> None:
    proofs = idle.of()
    proofs.rest(idle.residency, ["oracle"])
    proofs.pause()
    time.sleep(0.2)
    assert not Items.made


@pytest.mark.parametrize("given", [{"prove": "off"}, {"dtype": "float32"}, {"agree": "exact"}])
def test_nothing_is_proved_where_it_would_change_nothing_or_must_not(idle, given) -> None:
    proofs = idle.of(**given)
    proofs.rest(idle.residency, ["oracle"])
    time.sleep(0.2)
    assert not Items.made
    assert proofs._thread is None


def test_a_verdict_that_another_worker_has_written_meanwhile_is_adopted(idle, eventually) -> None:
    other = Items(Settings.read(_env_file=None), idle.checkpoint, None, None)
    from golem_chain.workers.store.verdicts import write

    made = other.run(lambda: True)
    assert made is not None
    write(idle.checkpoint, made)
    proofs = idle.of()
    proofs.rest(idle.residency, ["oracle"])
    eventually(proofs.found)
    assert len(Items.made) == 1, "it is not made a second time"


def test_a_stage_that_is_in_use_is_not_unloaded_and_the_proof_comes_later(idle, eventually) -> None:
    proofs = idle.of()
    in_use, leave = threading.Event(), threading.Event()

    def job() -> None:
        with idle.residency.use("scribe"):
            in_use.set()
            leave.wait(60)

    thread = threading.Thread(target=job)
    thread.start()
    in_use.wait(60)
    proofs.rest(idle.residency, ["oracle"])  # as if a batch had begun right after this one
    time.sleep(0.2)
    assert not Items.made
    leave.set()
    thread.join()
    eventually(lambda: find(idle.checkpoint, binding_of(idle.checkpoint, None)))


def test_a_proof_that_breaks_harms_no_job(idle, eventually, monkeypatch, caplog) -> None:
    def broken(self: Items, go_on: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Items, "run", broken)
    proofs = idle.of()
    proofs.rest(idle.residency, ["oracle"])
    eventually(lambda: idle.errors)
    eventually(lambda: "have ended" in caplog.text)
    with idle.residency.use("scribe"):
        pass


def test_lending_gives_the_lock_back_whatever_happens(idle) -> None:
    @contextmanager
    def failing():
        with idle.residency.lent("proof"):
            raise BadRequest("no")
        yield

    with pytest.raises(BadRequest, match="no"), failing():
        pass
    with idle.residency.use("oracle"), pytest.raises(BadRequest, match="in use"), idle.residency.lent("proof"):
        pass
    with idle.residency.use("scribe"):
        pass
    assert proving.IDLE_S >= 10
