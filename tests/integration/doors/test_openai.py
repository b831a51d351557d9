"""OpenAI's audio API, spoken by OpenAI's own client to a door on a running chain with stub engines."""

import asyncio
import hashlib
import json
import threading
import time
from contextlib import nullcontext

import httpx
import jsonschema_rs
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import audio

from golem_chain.broker.keys import Keys
from tests.support.door import serving

#: OpenAI plans to withdraw translations: its client warns, and its users go on.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
TEXT = "turn it on"


@pytest.fixture
def client(door):
    with OpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client


def clip(text=TEXT):
    """A recording of these words, for the stub Scribe."""
    return ("clip.wav", text.encode(), "audio/wav")


def post(door, path="transcriptions", files=None, **fields):
    """What a client sends that is not OpenAI's."""
    given = {"file": clip()} if files is None else files
    return httpx.post(f"{door}/v1/audio/{path}", data=fields, files=given, timeout=30)


# -- every format, by the sync and the async client


@pytest.mark.parametrize("format", ["json", "text", "srt", "verbose_json", "vtt"])
@pytest.mark.parametrize("room", ["transcriptions", "translations"])
def test_every_format_is_what_the_client_expects(client, room, format):
    found = getattr(client.audio, room).create(model="whisper-1", file=clip(), response_format=format)
    if format == "json":
        assert found.text == TEXT
    elif format == "verbose_json":
        kind = audio.TranscriptionVerbose if room == "transcriptions" else audio.TranslationVerbose
        assert isinstance(found, kind)
        kind.model_validate(found.model_dump(), strict=True)
        assert [one.text for one in found.segments or ()] == [TEXT]
    else:
        begins = {
            "text": f"{TEXT}\n",
            "srt": "1\n00:00:00,000 --> 00:00:01,000\n",
            "vtt": "WEBVTT\n\n00:00:00.000 --> ",
        }
        assert isinstance(found, str)
        assert found.startswith(begins[format])


@pytest.mark.parametrize("format", ["json", "text", "srt", "verbose_json", "vtt"])
def test_the_async_client_is_answered_alike(door, client, format):
    async def ask():
        async with AsyncOpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0) as other:
            return await other.audio.transcriptions.create(model="whisper-1", file=clip(), response_format=format)

    ours = client.audio.transcriptions.create(model="whisper-1", file=clip(), response_format=format)
    theirs = asyncio.run(ask())
    assert getattr(theirs, "text", theirs) == getattr(ours, "text", ours)


@pytest.mark.parametrize("format", ["json", "text", "verbose_json"])
def test_a_stream_has_deltas_and_one_end_in_each_format_that_can_be_streamed(door, client, format):
    async def ask():
        async with AsyncOpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0) as other:
            stream = await other.audio.transcriptions.create(
                model="whisper-1", file=clip(), response_format=format, stream=True
            )
            return [event async for event in stream]

    ours = list(client.audio.transcriptions.create(model="whisper-1", file=clip(), response_format=format, stream=True))
    for events in (ours, asyncio.run(ask())):
        *deltas, done = events
        assert {type(one) for one in deltas} == {audio.TranscriptionTextDeltaEvent}
        assert isinstance(done, audio.TranscriptionTextDoneEvent)
        assert "".join(one.delta for one in deltas) == done.text == TEXT
        assert [one["text"] for one in done.model_dump()["segments"]] == [TEXT]


def test_the_lines_of_a_stream_are_server_sent_events_without_done_mark(door):
    answer = post(door, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line]
    assert all(line.startswith(("data: ", ":")) for line in lines)
    assert json.loads(lines[-1].removeprefix("data: "))["type"] == "transcript.text.done"


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
def test_both_spellings_of_granularities_ask_for_words(door, name):
    body = post(door, **{name: ["word", "segment"], "response_format": "verbose_json"}).json()
    assert body["words"] == []  # the stub has none
    assert len(body["segments"]) == 1


def test_silence_is_an_empty_text(client):
    assert client.audio.transcriptions.create(model="whisper-1", file=clip("silence")).text == ""
    [done] = client.audio.transcriptions.create(model="whisper-1", file=clip("silence"), stream=True)
    assert done.text == ""


# -- what is ours


def test_labels_give_the_intent_and_stop_the_reply(client):
    extra = {"labels": "lights,music"}
    found = client.audio.transcriptions.create(model="whisper-1", file=clip("play music"), extra_body=extra)
    assert (found.golem["intent"]["label"], found.golem["reply"]) == ("music", None)
    assert set(found.golem["stages"]) == {"scribe", "interpreter"}
    extra |= {"stop": "oracle"}
    found = client.audio.transcriptions.create(model="whisper-1", file=clip("play music"), extra_body=extra)
    assert found.golem["reply"]["text"] == "music: play music"


def test_a_label_set_that_the_caller_has_stored_is_named_by_its_name(door, client):
    httpx.put(f"{door}/v1/labels/rooms", json={"labels": [{"name": "kitchen"}, {"name": "hall"}]}).raise_for_status()
    found = client.audio.transcriptions.create(
        model="whisper-1", file=clip("light the hall"), extra_body={"labels": "@rooms"}
    )
    assert found.model_dump()["golem"]["intent"]["label"] == "hall"


def test_the_job_of_an_answer_is_named_and_interactive(door, chain):
    answer = post(door, response_format="text")
    job = answer.headers["x-golem-job"]
    assert chain.client.hget(Keys(chain.settings.prefix).job(job), "lane") == b"interactive"
    assert chain.pipeline.outcome(job).transcript.text == TEXT


def test_what_was_said_is_streamed_before_the_reply(make_chain, monkeypatch):
    monkeypatch.setenv("RUN_S", "0.6")  # of each of the three stages
    slow = make_chain()
    with serving(slow.settings) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = client.audio.transcriptions.create(
            model="whisper-1", file=clip("play music"), stream=True, extra_body={"labels": "music", "stop": "oracle"}
        )
        (said_at, said), (done_at, done) = [(time.monotonic(), event.model_dump()) for event in stream]
    assert said["delta"] == done["text"] == "play music"
    assert done["golem"]["reply"]["text"] == "music: play music"
    assert done_at - said_at > 0.6


# -- models


def test_models_are_listed_and_found_without_a_worker_of_a_known_checkpoint(client):
    assert [one.id for one in client.models.list()] == ["whisper-1", "golem"]
    assert client.models.retrieve("whisper-1").object == "model"
    with pytest.raises(openai.NotFoundError) as info:
        client.models.retrieve("gpt-5")
    assert info.value.code == "model_not_found"


@pytest.fixture
def checkpoint(chain):
    """Lets the chain say which checkpoint its Scribe runs."""
    key = Keys(chain.settings.prefix).checkpoint("scribe")

    def tell(id):
        chain.client.hset(key, mapping={"checkpoint": json.dumps({"id": id}), "box": "test"})

    yield tell
    chain.client.delete(key)


def test_the_checkpoint_of_the_workers_is_a_model(client, checkpoint):
    checkpoint("openai/whisper-tiny")
    assert "openai/whisper-tiny" in [one.id for one in client.models.list()]
    assert client.models.retrieve("openai/whisper-tiny").owned_by == "openai"
    assert client.audio.transcriptions.create(model="openai/whisper-tiny", file=clip()).text == TEXT


def test_another_model_is_not_found_and_the_answer_says_what_there_is(client, checkpoint):
    checkpoint("openai/whisper-tiny")
    with pytest.raises(
        openai.NotFoundError, match=r"`whisper-large-v3`.*whisper-1, golem or openai/whisper-tiny"
    ) as info:
        client.audio.transcriptions.create(model="whisper-large-v3", file=clip())
    assert (info.value.type, info.value.param) == ("invalid_request_error", "model")


def test_a_client_that_repeats_after_503_is_answered_once_a_worker_is_there(client, checkpoint):
    with pytest.raises(openai.InternalServerError, match="No worker tells") as info:
        client.audio.transcriptions.create(model="openai/whisper-tiny", file=clip())
    assert info.value.response.headers["retry-after"] == "2"
    starting = threading.Timer(1, checkpoint, ["openai/whisper-tiny"])
    starting.start()
    stubborn = client.with_options(max_retries=2)
    assert stubborn.audio.transcriptions.create(model="openai/whisper-tiny", file=clip()).text == TEXT
    starting.join()


def test_a_model_that_cannot_translate_is_refused_with_the_profile_that_can(client, checkpoint):
    checkpoint("whisper-tiny.en")
    with pytest.raises(openai.BadRequestError, match="GOLEM_MODELS=multilingual") as info:
        client.audio.translations.create(model="whisper-1", file=clip())
    assert info.value.code == "language_refused"
    with pytest.raises(openai.BadRequestError, match="'de'"):
        client.audio.transcriptions.create(model="whisper-1", file=clip(), language="de")
    assert client.audio.transcriptions.create(model="whisper-1", file=clip(), language="en").text == TEXT


# -- errors


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"response_format": "xml"}, "response_format", "invalid_value"),
        ({"temperature": "2"}, "temperature", "decimal_above_max_value"),
        ({"language": "klingon"}, "language", "invalid_language_format"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[]", "invalid_value"),
        ({"labels": "@/etc/passwd"}, "labels", None),
        ({"vocabulary": "@/etc/passwd"}, "vocabulary", None),
        ({"hotwords": "@/etc/passwd"}, "hotwords", None),
        ({"stop": "never"}, "stop", None),
    ],
)
def test_a_wrong_field_is_a_bad_request_that_names_it(door, fields, param, code):
    answer = post(door, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert code in (None, error["code"])
    assert "root:" not in answer.text


def test_a_file_that_is_missing_or_empty_is_told(door):
    assert post(door, files={"other": ("", b"")}).json()["error"]["code"] == "missing_required_parameter"
    answer = post(door, files={"file": ("a.wav", b"")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    assert "a.wav" in answer.json()["error"]["message"]


def test_a_file_above_the_limit_is_413_and_named(chain):
    with serving(chain.settings.model_copy(update={"audio_max_bytes": 1000})) as url:
        answer = post(url, files={"file": clip("x" * 1001)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")


def test_audio_that_cannot_be_read_is_an_invalid_file(client):
    with pytest.raises(openai.BadRequestError, match=r"Invalid file format\. clip\.wav is not audio") as info:
        client.audio.transcriptions.create(model="whisper-1", file=clip("bad"))
    assert (info.value.param, info.value.code) == ("file", "bad_audio")


def test_an_error_of_a_stream_is_raised_by_the_client(client):
    with pytest.raises(openai.APIError, match="Invalid file format"):
        list(client.audio.transcriptions.create(model="whisper-1", file=clip("bad"), stream=True))


def test_a_job_that_fails_by_a_mistake_is_our_fault_and_not_repeated(door, chain):
    answer = post(door, files={"file": clip("bug")})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert answer.headers["x-should-retry"] == "false"
    assert "secret words" not in answer.text


def test_a_job_that_somebody_cancels_ends_its_request(door, chain):
    answers = []
    asking = threading.Thread(target=lambda: answers.append(post(door, files={"file": clip("sleep 3")})))
    asking.start()
    while not (
        jobs := [job for job in chain.client.scan_iter(f"{chain.settings.prefix}:job:*") if _sleeps(chain, job)]
    ):
        time.sleep(0.02)
    chain.pipeline.cancel(jobs[0].decode().rpartition(":")[2])
    asking.join(10)
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "cancelled")


def _sleeps(chain, key):
    job = key.decode().rpartition(":")[2]
    return chain.pipeline.outcome(job) is None


def test_every_answer_has_a_request_id_that_the_client_shows(client):
    assert client.audio.transcriptions.create(model="whisper-1", file=clip())._request_id
    with pytest.raises(openai.BadRequestError) as info:
        client.audio.transcriptions.create(model="whisper-1", file=clip("bad"))
    assert info.value.request_id


def test_with_keys_the_client_needs_one(chain):
    settings = chain.settings.model_copy(update={"api_keys": f"app={hashlib.sha256(b'gk-right').hexdigest()}"})
    with serving(settings) as url:
        for key, room in (("gk-right", None), ("gk-wrong", openai.AuthenticationError)):
            with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                with nullcontext() if room is None else pytest.raises(room):
                    client.models.list()
                with nullcontext() if room is None else pytest.raises(room):
                    client.audio.transcriptions.create(model="whisper-1", file=clip())


# -- many, impatient and stubborn clients


@pytest.mark.parametrize("stream", [False, True])
def test_a_hundred_at_once_get_their_own_answers(door, stream):
    async def one(client, n):
        found = await client.audio.transcriptions.create(model="whisper-1", file=clip(f"line {n}"), stream=stream)
        return [event async for event in found][-1].text if stream else found.text

    async def ask():
        async with AsyncOpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, n) for n in range(100)))

    assert asyncio.run(ask()) == [f"line {n}" for n in range(100)]


def test_a_client_that_does_not_wait_leaves_the_door_as_it_was(door, client):
    impatient = client.with_options(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        impatient.audio.transcriptions.create(model="whisper-1", file=clip("sleep 1"))
    with pytest.raises(openai.APITimeoutError):
        list(impatient.audio.transcriptions.create(model="whisper-1", file=clip("sleep 1.1"), stream=True))
    assert client.audio.transcriptions.create(model="whisper-1", file=clip()).text == TEXT


# -- the schema


def test_the_schema_describes_the_forms(door):
    found = httpx.get(f"{door}/openapi.json").json()["paths"]
    for path in ("transcriptions", "translations"):
        form = found[f"/v1/audio/{path}"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert {"file", "model", "response_format", "timestamp_granularities[]"} <= set(form["properties"])
    assert "/v1/models/{model}" in found


def test_the_examples_of_the_schema_are_valid(door):
    for operations in httpx.get(f"{door}/openapi.json").json()["paths"].values():
        for told in (one for operation in operations.values() for one in operation["responses"].values()):
            for kind in told.get("content", {}).values():
                examples = [kind["example"]] if "example" in kind else []
                for example in (*examples, *(one["value"] for one in kind.get("examples", {}).values())):
                    jsonschema_rs.validate(kind["schema"], example)
