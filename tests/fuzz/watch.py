"""`make fuzz`: runs the readers of untrusted input on damaged, random and hostile bytes, and watches them.

After them, `siege` pushes as many hostile messages into the queues of a worker.

usage: python -m tests.fuzz [--inputs 100000] [--seed 7] [--reader audio]

    parent ─ watches ─► one child per reader: a result or a GolemError for each input
             no progress for 5 s: a hang      a signal: a crash      memory above the reader's limit: a bomb

The n-th input of a reader depends only on seed and n: `--reader NAME --first N --inputs 1` reproduces it.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.readers import READERS as READERS  # misbehaving.py puts its own in their place
from tests.support.paths import python_path

HANG_S = 5.0
AROUND_S = 120.0  # before the first input and after the last: imports, generating inputs, exit
MOST_BYTES = 1 << 30  # above the process's memory after its first inputs
SHARES = {"audio": 35, "records": 20, "labels": 26, "ctranslate2": 8, "gguf": 4, "safetensors": 5, "arguments": 2}


def peak_bytes():
    """Return this process's peak memory. `ru_maxrss` would start at the peak of the parent process."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def child(reader, first, inputs, seed):
    """Read the inputs and print the number of the next one to stdout. Raises if a reader has a bug."""
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory(prefix="golem-fuzz-") as folder:
        read = READERS[reader](Path(folder))
        before = None
        for n in range(first, first + inputs):
            tell.write(f"{n}\n")
            read(random.Random(f"{seed} {reader} {n}"))
            peak = peak_bytes()
            before = peak if before is None else before
            assert peak - before < MOST_BYTES, f"{(peak - before) >> 20} MiB more than at first"
        tell.write("its end\n")
        os.chdir("/")


def run(reader, inputs, seed, first=0, program="tests.fuzz"):
    """Watch a child that runs the module `program`; return the failure, or None."""
    given = ["--reader", reader, "--first", str(first), "--inputs", str(inputs), "--seed", str(seed), "--child"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", program, *given],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout
        at, patience_s, hung = "its start", AROUND_S, False
        while not hung:  # read the child's output before the clock, because this process may be delayed too
            if not select.select([process.stdout], [], [], patience_s)[0]:
                hung = True
                process.kill()
            elif told := os.read(process.stdout.fileno(), 1 << 16):
                at = told.decode().splitlines()[-1]
                patience_s = HANG_S if at.isdecimal() else AROUND_S
            else:
                break  # the child has ended
        process.wait()
        process.stdout.close()
        errors.seek(0)
        said = errors.read()[-1500:]
    if hung:
        return f"{reader}: input {at} took more than {patience_s:g} s\n{said}"
    if process.returncode:
        return f"{reader}: input {at} ended with {process.returncode}\n{said}"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--child", action="store_true")
    given = parser.parse_args()
    if given.child:
        child(given.reader, given.first, given.inputs, given.seed)
        return 0
    shares = {given.reader: 100} if given.reader else SHARES
    wrong = []
    for reader, share in shares.items():
        inputs, started = given.inputs * share // 100, time.monotonic()
        fault = run(reader, inputs, given.seed, given.first)
        wrong += [fault] if fault else []
        print(fault or f"{reader}: {inputs} inputs in {time.monotonic() - started:.0f} s", flush=True)
    if not given.reader:
        from tests.fuzz import siege  # not in the children, whose memory is watched

        wrong += [f"{kind}: {what}" for kind, what in siege.run(given.inputs, given.seed)]
    print(f"{len(wrong)} failures" if wrong else f"{given.inputs} inputs: no crash, no hang")
    return 1 if wrong else 0
