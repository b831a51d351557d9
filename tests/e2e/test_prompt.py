"""Real weights: a prompt decides how a name is spelled."""

import pytest

from tests.support.recordings import run_json

pytestmark = [pytest.mark.models, pytest.mark.recordings, pytest.mark.timeout(600)]


def test_a_name_is_spelled_as_in_the_prompt(data):
    file = data / "sentences" / "librispeech" / "237-134500-0015.flac"

    def text(*options):
        outcomes, done = run_json([file], "--stop", "scribe", *options)
        assert done.returncode == 0, done.stderr[-2000:]
        return outcomes[file.name]["transcript"]["text"]

    assert "Shabbata" in text()
    assert "Shabata" in text("--prompt", "A letter from Mister Shabata.")


def test_the_first_window_of_a_long_recording_still_has_segments_with_a_prompt(data):
    file = data / "sentences" / "librispeech" / "long_40s.flac"

    prompt = "A letter from Mister Shabata and Emil about Miss Dashwood."
    outcomes, done = run_json([file], "--stop", "scribe", "--prompt", prompt)
    assert done.returncode == 0, done.stderr[-2000:]
    segments = outcomes[file.name]["transcript"]["segments"]
    assert sum(one["start_s"] < 29 for one in segments) >= 4, "without timestamps around the prompt there is one"


def test_a_prompt_that_whisper_repeats_on_noise_is_not_in_the_transcript(data):
    files = [data / "nonspeech" / name for name in ("rain.flac", "car_engine.flac")]

    def texts(guards, beam):
        prompt = "A letter from Mister Shabata and Emil about Miss Dashwood."
        more = {"GOLEM_GUARDS": guards, "GOLEM_SCRIBE_BEAM": beam}
        outcomes, done = run_json(files, "--stop", "scribe", "--prompt", prompt, **more)
        assert done.returncode == 0, done.stderr[-2000:]
        return [outcomes[file.name]["transcript"]["text"] for file in files]

    assert all("Shabata" in text for text in texts("no_speech,annotation,loop", "1"))
    for beam in ("1", "auto"):
        assert not any("Shabata" in text for text in texts("no_speech,annotation,loop,invention", beam))
