"""Ends the child when its device cannot be used any more: what is loaded would fail every batch, or answer wrongly.

    the device fails ─► last words, exit ─► the parent puts the messages back, counted as a crash ─► a fresh child

A CUDA context stays broken after an error such as an illegal memory access, and only the end of its process frees it.
Source: NVIDIA, CUDA Runtime API, cudaError_t: "the process must be terminated and relaunched".
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from golem_chain.shared.errors import DeviceRefused
from golem_chain.workers.child.lifeline import Lifeline
from golem_chain.workers.devices.faults import Fault, fault_of, first_line

logger = logging.getLogger(__name__)

#: The child's exit code; sysexits.h: an error occurred while doing I/O on some device.
EXIT_CODE = os.EX_IOERR


def last_words(exc: BaseException) -> str:
    """Why the child must end, in one line; empty if it need not. Looks at the exceptions behind `exc` too, since
    clearing up after the first error raises others. DeviceRefused: the worker started on the device, and it is gone."""
    for one in _chain(exc):
        fault = fault_of(one)
        if fault is Fault.CONTEXT:
            return f"the device failed ({first_line(one)})"
        if fault is Fault.KERNELS:
            return f"this torch build does not run on the card ({first_line(one)})"
        if isinstance(one, DeviceRefused):
            return f"the device is gone ({one.message})"
    return ""


def _chain(exc: BaseException) -> Sequence[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = exc
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def end_if_broken(exc: BaseException, lifeline: Lifeline, leave: Callable[[int], NoReturn] = os._exit) -> None:
    """End this process, leaving last words for the parent, if the exception says that its device cannot be used."""
    if words := last_words(exc):
        lifeline.leave_words(words)
        logger.critical("The child ends, and another one takes its place: %s", words)
        leave(EXIT_CODE)  # without clean-up, which would wait for the device
