"""Readers that crash, hang, exceed memory or raise, to test the watch: `python -m tests.fuzz.misbehaving`."""

import os
import signal
import sys
import time

from tests.fuzz import watch


def crash(folder):
    def read(fate):
        os.kill(os.getpid(), signal.SIGSEGV)

    return read


def hang(folder):
    return lambda fate: time.sleep(60)


def swell(folder):
    held = []

    def read(fate):
        held.append(bytearray(os.urandom(1)) * (300 << 20))

    return read


def refuse(folder):
    def read(fate):
        raise KeyError("not one of ours")

    return read


if __name__ == "__main__":
    watch.READERS = {one.__name__: one for one in (crash, hang, swell, refuse)}
    watch.MOST_BYTES = 1 << 29
    sys.exit(watch.main())
