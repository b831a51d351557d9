"""Whatever bytes a reader is given: no crash, no hang, no memory beyond its limit. `make fuzz` does it at full size."""

import os
import signal
import time
from pathlib import Path

import fuzz
import pytest

PIECE = {
    "audio": 400,
    "records": 300,
    "labels": 400,
    "ctranslate2": 100,
    "gguf": 20,
    "safetensors": 100,
    "arguments": 20,
}


@pytest.mark.parametrize("reader", PIECE)
def test_no_bytes_crash_hang_or_blow_up(reader):
    assert fuzz.run(reader, PIECE[reader], 3) is None


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


@pytest.mark.parametrize(
    ("reader", "says"),
    [(crash, "ended with -11"), (hang, "took more than"), (swell, "MiB more"), (refuse, "KeyError")],
)
def test_a_reader_that_misbehaves_is_told_with_its_input(reader, says, tmp_path, monkeypatch):
    """The watch itself works, or the test above would show nothing."""
    program = tmp_path / "fuzz_bad.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import fuzz, test_fuzz_readers as bad\n"
        f"fuzz.READERS = {{'{reader.__name__}': bad.{reader.__name__}}}\n"
        "fuzz.MOST_BYTES = 1 << 29\n"
        "sys.exit(fuzz.main())\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(program))
    monkeypatch.setattr(fuzz, "HANG_S", 1.0)
    assert says in fuzz.run(reader.__name__, 5, 1)
