"""Real weights: one command is a voice server, and again when it is started again."""

import httpx
import pytest

from tests.support.paths import SAMPLES
from tests.support.serve import REAL, Served

pytestmark = [pytest.mark.models]


def test_one_command_hears_understands_and_replies_and_knows_the_job_at_the_next_start(tmp_path):
    job = None
    for _ in range(2):
        served = Served(tmp_path, program=REAL, GOLEM_MODELS="bundled")
        try:
            answer = httpx.post(
                f"{served.url}/v1/audio/transcriptions",
                files={"file": (SAMPLES / "lights-on.flac").read_bytes()},
                data={"model": "whisper-1", "labels": "lights_on,music_stop", "stop": "oracle"},
                timeout=300,
            ).json()
        finally:
            code, said = served.end(within_s=60)
        assert "lights" in answer["text"].lower(), said
        assert answer["golem"]["intent"]["label"] == "lights_on"
        assert answer["golem"]["reply"]
        assert (code, "Traceback" in said) == (0, False)
        assert job in (None, answer["golem"]["job"]), "the same request within minutes is the same job"
        job = answer["golem"]["job"]
