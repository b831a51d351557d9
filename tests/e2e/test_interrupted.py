"""Real weights: a recording that is interrupted after every window has the transcript of one that is not."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.stages.scribe.audio import decode
from golem_chain.workers.stages.scribe.engine import Recording
from tests.support.recordings import manifest

pytestmark = [pytest.mark.models, pytest.mark.recordings, pytest.mark.timeout(1200)]


class Interrupted(BaseException):
    """Passes an engine as the worker's own does."""


class Shelf:
    """What a job's record keeps, in memory."""

    text = ""

    def load(self):
        return self.text.encode() or None

    def save(self, text):
        self.text = text


@pytest.fixture(scope="module")
def settings():
    return Settings.read(_env_file=None, models="bundled")


@pytest.fixture(scope="module")
def long(data, settings):
    """The long sentences one after the other, as the bytes of a file of a minute and a half."""
    paths = [data / "sentences" / row["path"] for row in manifest("sentences") if row["seconds"] > 20]
    whole = np.concatenate([decode.decode(path.read_bytes(), path.name, settings) for path in paths])
    buffer = io.BytesIO()
    soundfile.write(buffer, whole[: 95 * decode.RATE], decode.RATE, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize("word_times", [False, True])
def test_a_recording_interrupted_after_each_window_has_the_same_words(settings, long, word_times):
    with build_residency(settings).use("scribe") as used:
        engine: Any = used
        engine.at_once = 1
        [whole] = engine.run([engine.prepare(Recording("long.wav", long, word_times=word_times)).item])
        assert len(whole.text.split()) > 100
        times, shelf = 0, Shelf()

        def step():
            raise Interrupted

        while True:
            engine._kept = None  # another box
            asked = Recording("long.wav", long, word_times=word_times, store=shelf, step=step)
            with pytest.raises(Interrupted):
                engine.prepare(asked)  # in front of the first window, with what was decoded kept
            try:
                [answer] = engine.run([engine.prepare(asked).item])
                break
            except Interrupted:
                times += 1
                assert times < 50
    assert times >= 4
    assert answer == whole
    print(f"interrupted {times} times; {len(shelf.text)} bytes kept for {whole.duration_s:.0f} s")
