"""Recordings of a wanted length, made of others."""

import numpy as np
import soundfile

from golem_chain.benchmarks.chain.recordings import PAUSE_S, ROOT, join, lengths, nearest, texts, write_joined
from golem_chain.workers.stages.scribe.audio.decode import RATE

SAMPLES = ROOT / "samples"


def test_joined_sounds_have_the_wanted_length_and_a_pause_between_them():
    ones, twos = np.ones(RATE, dtype=np.float32), np.full(RATE, 2, dtype=np.float32)
    joined = join([ones, twos], 5.0, first=1)
    assert len(joined) == 5 * RATE
    pause = round(PAUSE_S * RATE)
    assert set(joined[:RATE]) == {2}
    assert not joined[RATE : RATE + pause].any()
    assert set(joined[RATE + pause : 2 * RATE + pause]) == {1}


def test_lengths_span_their_range_and_are_always_the_same():
    found = lengths(12, 5.0, 60.0)
    assert (min(found), max(found), len(found)) == (5.0, 60.0, 12)
    assert found == lengths(12, 5.0, 60.0) != sorted(found)
    assert lengths(1, 5.0, 60.0) == [5.0]


def test_the_nearest_recordings_are_those_of_about_that_length():
    rows = [{"file": SAMPLES / name, "seconds": seconds} for name, seconds in (("a", 9.0), ("b", 2.1), ("c", 1.8))]
    assert [path.name for path in nearest(rows, 2.0, 2)] == ["b", "c"]


def test_written_recordings_have_the_lengths_asked_for(tmp_path):
    files = write_joined(texts(SAMPLES), [7.5, 5.0], tmp_path)
    assert [soundfile.info(file).duration for file in files] == [7.5, 5.0]
    assert not np.array_equal(*(soundfile.read(file, frames=RATE)[0] for file in files))
