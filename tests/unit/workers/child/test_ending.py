"""When a child must end, what it says, and that the idle thread survives its errors."""

import os
import threading

import pytest
import torch

from golem_chain.shared.errors import BadAudio, DeviceRefused, OutOfMemory
from golem_chain.workers.child import idle
from golem_chain.workers.child.ending import EXIT_CODE, end_if_broken, last_words
from golem_chain.workers.child.lifeline import Lifeline
from golem_chain.workers.parent.card_health import CardHealth, gives_up
from golem_chain.workers.residency.manager import Residency

BROKEN = torch.AcceleratorError("CUDA error: device-side assert triggered\nhints for programmers")


class Left(Exception):
    """The process would have ended."""


def leave(code):
    raise Left(code)


def test_a_broken_context_ends_the_child_with_words_that_only_its_parent_is_told_of():
    line = Lifeline(120, 4)
    with pytest.raises(Left) as left:
        end_if_broken(BROKEN, line, leave)
    assert left.value.args == (EXIT_CODE,)
    assert line.last_words(os.getpid()) == "the device failed (CUDA error: device-side assert triggered)"
    assert line.last_words(os.getpid() + 1) == line.last_words(None) == "", "of an earlier child"


def test_words_of_any_length_and_script_fit():
    line = Lifeline(120, 4)
    line.leave_words("é" * 999)
    assert set(line.last_words(os.getpid())) == {"é"}
    line.alive()
    assert line.overdue(os.getpid()) is None, "beside the time limit"


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("a bug"),
        OutOfMemory("no room"),
        BadAudio("not audio"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: invalid argument"),
    ],
)
def test_what_another_batch_need_not_suffer_from_does_not_end_the_child(exc):
    end_if_broken(exc, Lifeline(120, 4), leave)


def test_an_error_of_clearing_up_does_not_hide_the_first_one():
    second = ValueError("second")
    second.__context__ = BROKEN
    assert "device-side assert" in last_words(second)


def test_a_device_that_is_gone_and_a_build_without_kernels_end_the_child_too():
    assert "is gone (there is no card)" in last_words(DeviceRefused("there is no card"))
    missing = torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")
    assert "this torch build does not run on the card" in last_words(missing)


def test_the_idle_thread_outlives_an_error_and_reports_each():
    errors, enough = iter([RuntimeError("one"), BROKEN, None]), threading.Event()
    told: list[Exception] = []

    class Held(Residency):
        def __init__(self):
            pass

        def unload_idle(self, idle_s):
            if error := next(errors, None):
                raise error
            enough.set()

    idle.start(Held(), 0.01, told.append)
    assert enough.wait(10)
    assert [str(exc) for exc in told] == ["one", str(BROKEN)]


def test_a_worker_gives_up_on_a_card_after_more_than_two_jobs_can_explain():
    assert [n for n in range(10) if gives_up(n, max_deliveries=3)] == [7, 8, 9]
    stopped = []
    card = CardHealth(lambda: stopped.append(True), 1)
    for _ in range(9):
        card.broke("why")
        card.broke("why")
        card.worked()
    assert not stopped
    card.check()
    for _ in range(3):
        card.broke("why")
    assert stopped == [True]
    with pytest.raises(DeviceRefused, match="why, 3 times in a row"):
        card.check()
