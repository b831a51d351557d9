"""Signals ask the server to stop once; handlers are as before afterwards."""

import asyncio
import os
import signal

import pytest

from golem_chain.broker.doors.lifecycle.stop import HEARD, Stop


def tell(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HEARD)
def test_a_signal_while_the_server_starts_unwinds_the_stack(number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left, Stop.heard():
        tell(number)
    assert left.value.code == 128 + number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", HEARD)
def test_the_first_signal_asks_the_server_to_stop_and_its_echo_says_nothing_more(number):
    async def run(stop):
        asked = stop.within(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        assert not asked.done()
        tell(number)
        tell(number)  # as a terminal tells a whole group, and a parent its child
        await asyncio.wait_for(asked, 5)
        return True

    with Stop.heard() as stop:
        assert asyncio.run(run(stop))


def test_a_signal_after_the_event_loop_has_ended_is_no_error():
    async def run(stop):
        stop.within(asyncio.get_running_loop())

    with Stop.heard() as stop:
        asyncio.run(run(stop))
        tell(signal.SIGTERM)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop.heard():
            tell(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
