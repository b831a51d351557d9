"""A vocabulary through the whole chain, from the command line."""

import json
from pathlib import Path

import pytest

from tests.support.paths import SAMPLES
from tests.support.recordings import golem

LABELS = 'lights_on="please turn on the lights in the kitchen|lights on",timer_set="set a timer for five minutes",stop'


@pytest.mark.models
@pytest.mark.timeout(300)
def test_phrases_from_labels_tell_the_intent_and_the_interpreter_is_never_loaded():
    files = [SAMPLES / name for name in ("lights-on.flac", "timer.flac", "silence.flac")]
    done = golem(
        "run", "--json", "--max-new-tokens", "4", "--labels", LABELS, "--vocabulary", "from-labels",
        "--fillers", "maybe", *files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = {Path(o["name"]).stem: o for o in map(json.loads, done.stdout.splitlines())}
    for name, text, label in (
        ("lights-on", "please turn on the lights in the kitchen", "lights_on"),
        ("timer", "set a timer for five minutes", "timer_set"),
    ):
        outcome = outcomes[name]
        assert outcome["transcript"]["text"] == outcome["transcript"]["choice"]["phrase"] == text
        assert outcome["transcript"]["segments"][0]["choice"] == outcome["transcript"]["choice"]
        assert outcome["transcript"]["free_text"]
        assert (outcome["intent"]["label"], outcome["intent"]["method"]) == (label, "vocabulary")
        assert outcome["intent"]["score"] == outcome["intent"]["scores"][label] > 0.9
        assert outcome["stages"]["interpreter"]["load_s"] == 0
        assert outcome["reply"]["text"]
    assert outcomes["silence"]["transcript"]["text"] == ""
    assert outcomes["silence"]["intent"]["label"] == "noise"
    assert "2 model loads" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--vocabulary", ""], "The vocabulary is empty"), (["--fillers", "maybe"], "add --vocabulary")],
)
def test_a_vocabulary_that_makes_no_sense_is_refused_before_anything_starts(options, says):
    done = golem("run", SAMPLES / "timer.flac", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
