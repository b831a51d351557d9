"""Wyoming: a recording becomes a transcript, a text becomes a reply, whatever else goes on."""

import asyncio
import json
import time

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from golem_chain.broker.asynchronous.owned import OwnedPipeline
from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.doors.wyoming import connection, description
from golem_chain.broker.keys import Keys
from golem_chain.shared.settings import Settings
from tests.support.wyoming import FORMAT, connected, conversing, replied, say, transcribed, until


def listed(chain):
    """The jobs of this user, newest first."""
    return chain.pipeline.mine(0, 100)


def running(chain):
    """The newest job of this user that has not ended, None if there is none."""
    return next((one.job for one in listed(chain) if one.state == "waiting"), None)


def asked_of(chain, job):
    """What was asked of a job."""
    return json.loads(chain.client.hget(Keys(chain.settings.prefix).job(job), "job"))


# -- speech and text


def test_a_recording_is_answered_with_its_transcript(chain):
    async def main(server):
        answer = await transcribed(server, b"turn on the lights", pieces=5)
        assert Transcript.from_event(answer).text == "turn on the lights"

    conversing(chain.settings, main)
    assert listed(chain)[0].name == "wyoming.wav"


def test_a_text_is_answered_with_the_oracles_reply_and_its_intent(chain):
    async def main(server):
        answer = await replied(server, "please lights_on now", language="en-GB")
        assert (answer.type, answer.data["text"]) == ("handled", "lights_on: please lights_on now")
        assert answer.data["context"]["intent"] == "lights_on"
        assert chain.pipeline.outcome(answer.data["context"]["job"]).state == "done"

    conversing(chain.settings, main)


def test_one_connection_serves_request_after_request(chain):
    async def main(server):
        async with connected(server) as client:
            for words in ("first", "second"):
                await client.write_event(Describe().event())
                assert Info.is_type((await client.read_event()).type)
                await say(client, words.encode())
                heard = await client.read_event()
                await client.write_event(Transcript(heard.data["text"]).event())
                assert words in (await client.read_event()).data["text"]

    conversing(chain.settings, main)


def test_several_clients_are_served_at_once(chain):
    async def main(server):
        spoken = [f"phrase {n}" for n in range(20)]
        answers = await asyncio.gather(*(transcribed(server, words.encode(), pieces=3) for words in spoken))
        assert [answer.data["text"] for answer in answers] == spoken

    conversing(chain.settings, main)


def test_a_second_recording_does_not_contain_the_first(chain):
    async def main(server):
        async with connected(server) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            await client.write_event(AudioChunk(audio=b"forget this", **FORMAT).event())
            await say(client, b"keep that")
            assert (await client.read_event()).data["text"] == "keep that"

    conversing(chain.settings, main)


@pytest.mark.parametrize("event", ["nothing", "start", "empty chunk"])
def test_a_recording_without_a_sample_is_an_empty_transcript_without_a_job(chain, event):
    before = len(listed(chain))

    async def main(server):
        async with connected(server) as client:
            if event != "nothing":
                await client.write_event(AudioStart(**FORMAT).event())
            if event == "empty chunk":
                await client.write_event(AudioChunk(audio=b"", **FORMAT).event())
            await client.write_event(AudioStop().event())
            assert (await client.read_event()).data == {"text": ""}

    conversing(chain.settings, main)
    assert len(listed(chain)) == before


def test_silence_is_an_empty_transcript(chain):
    async def main(server):
        assert (await transcribed(server, b"silence")).data["text"] == ""

    conversing(chain.settings, main)


def test_a_text_without_words_is_not_handled(chain):
    async def main(server):
        for text in ("", "  \n", "..."):
            answer = await replied(server, text)
            assert (answer.type, answer.data["text"]) == ("not-handled", "Nothing was said: say it again.")

    conversing(chain.settings, main)


def test_jobs_are_interactive_and_expire_when_nobody_waits_for_them_any_more(chain, tmp_path):
    gate = tmp_path / "gate"

    async def main(server):
        async with connected(server) as client:
            await say(client, f"until {gate}".encode(), language="en-GB")
            asked = asked_of(chain, await until(lambda: running(chain)))
            gate.touch()
            await client.read_event()
        wanted = {"lane": "interactive", "expires_s": 300, "stop": "scribe", "language": "en"}
        assert {name: asked[name] for name in wanted} == wanted

    conversing(chain.settings, main)


# -- failures


def test_a_failed_recording_is_an_error_with_its_sentence_and_the_end_of_the_connection(chain):
    async def main(server):
        async with connected(server) as client:
            await say(client, b"bad")
            answer = await client.read_event()
            assert (answer.type, answer.data["code"]) == ("error", "bad_audio")
            assert answer.data["text"] == "wyoming.wav is not audio."
            assert await client.read_event() is None  # else Home Assistant would wait for a transcript

    conversing(chain.settings, main)


def test_a_text_whose_job_fails_is_not_handled_with_the_sentence_and_the_connection_goes_on(chain):
    async def main(server):
        async with connected(server) as client:
            for _ in range(2):
                await client.write_event(Transcript("confuse me").event())
                answer = await client.read_event()
                assert (answer.type, answer.data["text"]) == ("not-handled", "These labels cannot be used.")

    conversing(chain.settings, main)


def test_a_long_text_is_refused_in_one_sentence(chain):
    async def main(server):
        answer = await replied(server, "word " * 5000)
        assert answer.type == "not-handled"
        assert "limit is 20,000" in answer.data["text"]

    conversing(chain.settings, main)


def test_a_job_that_nobody_takes_is_told_in_time(start_server, tmp_path, monkeypatch):
    for name, value in (("ANSWER_S", 1), ("GRACE_S", 0)):
        monkeypatch.setattr(connection, name, value)
    server = start_server(tmp_path)
    settings = Settings.read(_env_file=None, redis_url=server.url)

    async def main(wyoming):
        heard, said = await asyncio.gather(transcribed(wyoming, b"hello"), replied(wyoming, "hello"))
        assert (heard.type, said.type) == ("error", "not-handled")
        assert heard.data["text"].count(".") == 1
        assert said.data["text"] == heard.data["text"]

    try:
        conversing(settings, main)
    finally:
        server.stop()


def test_a_server_without_its_queue_describes_itself_and_says_what_is_wrong(start_server, tmp_path):
    server = start_server(tmp_path)
    settings = Settings.read(_env_file=None, redis_url=server.url)
    server.stop()

    async def main(wyoming):
        assert (await described(wyoming)).asr
        heard, said = await asyncio.gather(transcribed(wyoming, b"hello"), replied(wyoming, "hello"))
        assert heard.data["text"] == said.data["text"] == "The server cannot reach its queue: try again in a moment."

    conversing(settings, main)


# -- clients that leave


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_cancels_its_job(chain, how, tmp_path):
    gate = tmp_path / "gate"

    async def main(server):
        async with connected(server) as client:
            await say(client, f"until {gate}".encode())
            await until(lambda: (tmp_path / "gate.begun").exists())
            job = running(chain)
            if how == "reset":
                client._writer.transport.abort()
        outcome = await until(lambda: chain.pipeline.outcome(job))
        assert outcome.state == "cancelled"

    try:
        conversing(chain.settings, main)
    finally:
        gate.touch()


def test_a_recording_that_is_not_finished_leaves_nothing_in_the_vault(chain):
    prefix = chain.settings.prefix

    def uploads():
        return [*chain.client.scan_iter(f"{prefix}:upload:*")]

    def booked():
        return [name for name in chain.client.hkeys(Keys(prefix).vault_sizes) if name.startswith(b"upload")]

    async def main(server):
        async with connected(server) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            await client.write_event(AudioChunk(audio=bytes(300_000), **FORMAT).event())  # more than is held here
            await until(lambda: uploads() and booked())
            await say(client, b"again")
            await client.read_event()
            assert not uploads()
            await client.write_event(AudioChunk(audio=bytes(300_000), **FORMAT).event())
            await until(uploads)
        await until(lambda: not uploads() and not booked())

    conversing(chain.settings, main)


def test_a_stopping_server_lets_an_answer_go_out(chain):
    async def main(server):
        async with connected(server) as client, connected(server) as idle:
            await idle.write_event(Ping().event())
            await idle.read_event()
            await say(client, b"sleep 1")
            await until(lambda: running(chain))
            stopping = asyncio.create_task(server.stop())
            assert (await client.read_event()).data["text"] == "sleep 1"
            assert await idle.read_event() is None
            await client.disconnect()
            await stopping

    conversing(chain.settings, main)


def test_a_stopping_server_cancels_what_takes_too_long(chain, tmp_path):
    gate = tmp_path / "gate"

    async def main(server):
        async with connected(server) as client:
            await say(client, f"until {gate}".encode())
            await until(lambda: (tmp_path / "gate.begun").exists())
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 5

    try:
        conversing(chain.settings.model_copy(update={"stop_s": 0.2}), main)
    finally:
        gate.touch()
    assert chain.outcomes([listed(chain)[0].job]).popitem()[1].state == "cancelled"


def test_a_stopping_server_does_not_wait_for_a_queue_that_does_not_answer(chain, monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "TIDY_S", 0.2)
    gate = tmp_path / "gate"

    async def hanging(*_):
        await asyncio.sleep(60)

    async def main(server):
        async with connected(server) as client:
            await say(client, f"until {gate}".encode())
            await until(lambda: (tmp_path / "gate.begun").exists())
            monkeypatch.setattr(OwnedPipeline, "cancel", hanging)
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 5

    try:
        conversing(chain.settings.model_copy(update={"stop_s": 0.2}), main)
    finally:
        gate.touch()
    chain.outcomes([listed(chain)[0].job])


# -- description


async def described(server):
    async with connected(server) as client:
        await client.write_event(Describe().event())
        return Info.from_event(await client.read_event())


async def described_with(server, condition):
    """The first description that meets a condition: what Redis and files tell may come after the first."""
    end = time.monotonic() + 30
    while not condition(told := await described(server)):
        assert time.monotonic() < end, told
    return told


async def described_s(server):
    """How long a description takes, the shortest of five: others use this machine too."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await described(server)
        took.append(time.perf_counter() - began)
    return min(took)


def test_a_description_takes_less_than_a_tenth_of_a_second_without_model_and_worker(start_server, tmp_path):
    server = start_server(tmp_path)
    settings = Settings.read(_env_file=None, redis_url=server.url, wyoming_port=0)

    async def main(wyoming):
        assert await described_s(wyoming) < 0.1
        told = await described(wyoming)
        assert [one.name for one in told.asr] == [one.name for one in told.handle] == ["golem-chain"]
        assert not told.intent  # it would win over `handle` in Home Assistant, and its names would have to be theirs

    try:
        conversing(settings, main)
    finally:
        server.stop()


def test_a_description_does_not_wait_for_a_queue_that_does_not_answer(monkeypatch):
    async def hanging(_):
        await asyncio.sleep(60)

    monkeypatch.setattr(ServingPipeline, "checkpoints", hanging)

    async def main(wyoming):
        assert await described_s(wyoming) < 0.1

    conversing(Settings.read(_env_file=None), main)


def test_the_languages_are_those_of_the_checkpoint_that_the_workers_use(settings, client, monkeypatch):
    monkeypatch.setattr(description, "_NEW_S", 0)
    keys = Keys(settings.prefix)

    async def main(wyoming):
        for id, many in (("whisper-tiny.en", False), ("whisper-base", True)):
            client.hset(keys.checkpoint("scribe"), mapping={"checkpoint": f'{{"id": "{id}"}}', "box": "one"})
            told = await described_with(wyoming, lambda told, id=id: told.asr[0].models[0].name == id)
            assert ("de" in told.asr[0].models[0].languages) is many

    conversing(settings, main)


def test_replies_are_told_in_the_languages_of_the_label_file(settings, tmp_path):
    file = tmp_path / "intents.toml"
    file.write_text('[default.labels]\nopen = ["opening"]\n[default.languages.ru.labels]\nopen = ["открыть"]\n')
    bad = tmp_path / "bad.toml"
    bad.write_text("[")

    for intents, known in ((file, ["en", "ru"]), (bad, ["en"])):

        async def main(wyoming, known=known):
            await described_with(wyoming, lambda told: told.handle[0].models[0].languages == known)

        conversing(settings.model_copy(update={"intents": intents}), main)


# -- protocol


def test_a_ping_is_answered_and_unknown_events_are_dropped(chain):
    async def main(server):
        async with connected(server) as client:
            await client.write_event(Event("select-program", {"name": "other"}))
            await client.write_event(Event("run-pipeline", {"deep": [[1]]}, b"payload"))
            await client.write_event(Ping("are you there").event())
            assert (await client.read_event()).data["text"] == "are you there"

    conversing(chain.settings, main)


def test_names_that_may_be_said_become_hotwords(chain, tmp_path):
    gate = tmp_path / "gate"
    biased = {"transcript_names": ["Ecobee", "", 7, "x" * 5000, "Ecobee"], "transcript_terms": ["Kitchener"]}

    async def main(server):
        async with connected(server) as client:
            await client.write_event(Event("transcribe", biased))
            await client.write_event(AudioChunk(audio=f"until {gate}".encode(), **FORMAT).event())
            await client.write_event(AudioStop().event())
            assert asked_of(chain, await until(lambda: running(chain)))["hotwords"] == ["Ecobee", "Kitchener"]
            gate.touch()
            assert Transcript.is_type((await client.read_event()).type)

    conversing(chain.settings, main)


def test_a_language_that_is_none_is_refused_before_any_audio_comes(chain):
    async def main(server):
        async with connected(server) as client:
            await client.write_event(Transcribe(language="../en").event())
            answer = await client.read_event()
            assert (answer.type, answer.data["code"]) == ("error", "bad_request")

    conversing(chain.settings, main)
