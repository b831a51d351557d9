"""Real weights behind OpenAI's audio API: the words are those of the command line, in every shape."""

import json
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI
from openai.types import audio

from golem_chain.broker.local.system import private_system
from tests.support.door import serving
from tests.support.paths import SAMPLES
from tests.support.recordings import golem

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]
CLIPS = ("lights-on", "timer", "silence")


@pytest.fixture(scope="module")
def system():
    """A server and a worker with the bundled models."""
    with private_system([], more={"GOLEM_MODELS": "bundled"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(system):
    with serving(system.settings) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def told(system):
    """What `golem transcribe` says of the clips: Outcomes by the names."""
    files = [SAMPLES / f"{name}.flac" for name in CLIPS]
    done = golem(
        "transcribe", "--json", "--word-times", *files, GOLEM_REDIS_URL=system.settings.redis_url, GOLEM_AUDIO_ROOT=""
    )
    assert done.returncode == 0, done.stderr
    return {Path(one["name"]).stem: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CLIPS)
def test_the_words_are_those_of_golem_transcribe(client, told, name):
    words = told[name]["transcript"]
    with (SAMPLES / f"{name}.flac").open("rb") as file:
        found = client.audio.transcriptions.create(
            model="whisper-1", file=file, response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
    audio.TranscriptionVerbose.model_validate(found.model_dump(), strict=True)
    assert (found.text, found.duration) == (words["text"], words["duration_s"])
    spoken = [word for segment in words["segments"] for word in segment["words"]]
    assert [(one.word, one.start, one.end) for one in found.words] == [
        (one["word"], one["start_s"], one["end_s"]) for one in spoken
    ]
    assert found.language == ("english" if spoken else "unknown")


@pytest.mark.parametrize("name", CLIPS)
def test_a_stream_says_the_same(client, told, name):
    with (SAMPLES / f"{name}.flac").open("rb") as file:
        *deltas, done = client.audio.transcriptions.create(model="whisper-tiny.en", file=file, stream=True)
    assert "".join(one.delta for one in deltas) == done.text == told[name]["transcript"]["text"]


def test_labels_give_intent_and_reply(client):
    with (SAMPLES / "lights-on.flac").open("rb") as file:
        found = client.audio.transcriptions.create(
            model="whisper-1",
            file=file,
            extra_body={"labels": 'lights_on="turning on the lights",music_stop', "stop": "oracle"},
        )
    assert found.golem["intent"]["label"] == "lights_on"
    assert found.golem["reply"]["text"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI plans to withdraw translations
def test_the_english_scribe_does_not_translate_and_names_the_profile_that_does(client):
    with (
        (SAMPLES / "lights-on.flac").open("rb") as file,
        pytest.raises(BadRequestError, match="GOLEM_MODELS=multilingual"),
    ):
        client.audio.translations.create(model="whisper-1", file=file)


def test_what_is_no_audio_is_an_invalid_file(client):
    with pytest.raises(BadRequestError, match=r"Invalid file format\. notes\.wav .*convert it"):
        client.audio.transcriptions.create(model="whisper-1", file=("notes.wav", b"no audio at all" * 20))
