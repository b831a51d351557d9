"""With real weights, Wyoming hears the same words in every format that audio can have, and answers them."""

import numpy as np
import pytest
import soundfile
import soxr

from golem_chain.broker.local.system import private_system
from tests.support.paths import ROOT
from tests.support.wyoming import conversing, replied, transcribed

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


def spoken(rate, width, channels):
    """The bytes of a sample in a format."""
    sound, own_rate = soundfile.read(ROOT / "samples" / "lights-on.flac", dtype="float32")
    sound = np.repeat(soxr.resample(sound, own_rate, rate)[:, None], channels, axis=1).clip(-1, 1)
    if width == 1:
        return (sound * 127 + 128).astype(np.uint8).tobytes()
    whole = (sound * (2.0 ** (8 * min(width, 3) - 1) - 1)).astype("<i4")
    if width == 4:
        return (whole << 8).tobytes()
    return whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def test_a_command_is_heard_in_every_format_and_answered():
    forms = [(16000, 2, 1), (48000, 4, 2), (44100, 3, 1), (8000, 1, 1)]

    async def main(server):
        for rate, width, channels in forms:
            form = {"rate": rate, "width": width, "channels": channels}
            answer = await transcribed(server, spoken(**form), pieces=30, language="en-GB", **form)
            assert answer.data["text"].rstrip(".") == "Please turn on the lights in the kitchen", form
        answer = await replied(server, answer.data["text"])
        assert answer.type == "handled"
        assert answer.data["context"]["intent"] == "lights_on"
        answer = await transcribed(server, bytes(64_000))
        assert (answer.type, answer.data["text"]) == ("transcript", "")
        answer = await transcribed(server, spoken(16000, 2, 1), language="de")
        assert (answer.type, answer.data["code"]) == ("error", "language_refused")

    with private_system([]) as system:
        conversing(system.settings, main, timeout_s=300)
