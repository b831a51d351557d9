"""Real weights: names come out as they are spelled in the hotwords, and nothing else does."""

import json

import pytest

from tests.support.recordings import golem, manifest, run_json

pytestmark = [pytest.mark.models, pytest.mark.recordings, pytest.mark.timeout(900)]

#: Names of which none is said in the recordings.
NAMES = (
    "Abernathy,Bellingham,Castellano,Delacroix,Eastwick,Grimaldi,Hathaway,Jarvis,Kitchener,Kobayashi,Lombardi,Moriarty,"
    "Nakamura,Netatmo,Okonkwo,Oscar Brandt,Prescott,Quigley,Rasmussen,Trelawney"
)


def texts(files, *options, **env):
    outcomes, done = run_json(files, "--stop", "scribe", *options, **env)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: outcome["transcript"]["text"] for name, outcome in outcomes.items()}


def test_a_name_that_was_misheard_is_spelled_as_the_hotword(data):
    file = data / "commands" / "home" / "what_s_the_temperature_of_the_ecobee.wav"
    assert "Ecobee" not in texts([file])[file.name]
    assert "Ecobee" in texts([file], "--hotwords", f"Ecobee,{NAMES}")[file.name]


def test_twenty_names_that_are_not_said_raise_the_word_error_rate_by_less_than_a_third_of_a_point(data, tmp_path):
    def rate(*options):
        done = golem("eval", "asr", data / "commands", "--json", "-o", tmp_path, *options)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)["wer"]

    assert rate("--hotwords", NAMES) <= rate() + 0.3


def test_noise_gives_no_hotword(data):
    files = [data / "nonspeech" / one["path"] for one in manifest("nonspeech")]
    plain, named = texts(files), texts(files, "--hotwords", f"You,Thank Yew,{NAMES}")
    assert named == plain
