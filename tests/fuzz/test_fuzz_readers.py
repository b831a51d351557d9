"""No input makes a reader crash, hang or exceed its memory limit. `make fuzz` runs at full size."""

import subprocess
import sys

import pytest

from tests.fuzz import watch
from tests.support.paths import ROOT

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
    assert watch.run(reader, PIECE[reader], 3) is None


@pytest.mark.parametrize(
    ("reader", "says"),
    [("crash", "ended with -11"), ("hang", "took more than"), ("swell", "MiB more"), ("refuse", "KeyError")],
)
def test_a_reader_that_misbehaves_is_told_with_its_input(reader, says, monkeypatch):
    """Tests the watch itself, on which the test above relies."""
    # only a hang is detected by time; the others end on their own, however late on a busy machine
    monkeypatch.setattr(watch, "HANG_S", 1.0 if reader == "hang" else 250.0)
    assert says in watch.run(reader, 5, 1, program="tests.fuzz.misbehaving")


def test_the_memory_of_whoever_starts_a_child_is_not_taken_for_its_own():
    """The test process is large and must not hide the memory that a reader uses."""
    assert len(b"x" * (256 << 20)) == 256 << 20
    code = "from tests.fuzz import watch; print(watch.peak_bytes())"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert int(found.stdout) < 128 << 20
