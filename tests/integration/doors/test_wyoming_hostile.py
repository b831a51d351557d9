"""Broken and hostile clients of the Wyoming port are closed, without growth or a traceback; honest ones are served."""

import asyncio
import json
import logging
import os
import random
import time
from contextlib import suppress

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from golem_chain.broker.doors.wyoming import connection, events
from golem_chain.broker.doors.wyoming import server as module
from tests.support.wyoming import FORMAT, connected, conversing, replied, transcribed, until


@pytest.fixture(autouse=True)
def _no_traceback(caplog):
    """No client may cause a message of ours or of asyncio's."""
    caplog.set_level(logging.INFO)
    yield
    told = [one for one in caplog.records if one.exc_info or one.name in ("asyncio", connection.__name__)]
    assert not told, told


async def sent(server, data, timeout_s=10):
    """Send bytes and return all that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    back = b""
    async with asyncio.timeout(timeout_s):
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                back += piece
    writer.close()
    return back


def event(type, **line):
    return json.dumps({"type": type, **line}).encode() + b"\n"


CHUNK = {"rate": 16000, "width": 2, "channels": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(1).randbytes(400) + b"\n",
        random.Random(2).randbytes(100_000) + b"\n",
        b"\0" * (1 << 20),
        b"{" * (1 << 20),
        b"[" * 60_000 + b"\n",
        event("describe", data_length=1 << 62),
        event("describe", payload_length=1 << 62),
        event("audio-chunk", data=CHUNK, payload_length=1 << 62),
        event("audio-chunk", data=CHUNK | {"width": 1e999}, payload_length=5),
        event("audio-start", data=CHUNK | {"rate": 10**400}),
        event("audio-start", data=CHUNK) + event("audio-chunk", data=CHUNK | {"rate": 8000}),
        event("transcribe", data={"language": "x" * 50_000}),
        event("transcribe", data={"language": "\ud800"}),
        event("a\ud800" * 1000, payload_length=1 << 40),
    ],
    ids=lambda data: data[:24].decode(errors="replace").split("\n")[0],
)
def test_what_is_no_wyoming_is_answered_with_one_sentence_and_closed(chain, data):
    async def main(server):
        told = await sent(server, data)
        assert b'"type": "error"' in told
        assert len(told) < 500

    conversing(chain.settings, main)


def test_a_web_page_cannot_speak_wyoming_through_http(chain):
    before = chain.pipeline.mine(0, 1)
    body = event("transcript", data={"text": "lights_on"}) * 3

    async def main(server):
        for head in (b"POST / HTTP/1.1", b'{"type": "describe"} / HTTP/1.1', b""):
            told = await sent(server, head + b"\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n" + body)
            assert b"handled" not in told

    conversing(chain.settings, main)
    assert chain.pipeline.mine(0, 1) == before


def test_a_text_that_is_no_unicode_is_answered_like_any_other_that_cannot_be(chain):
    async def main(server):
        async with connected(server) as client:
            client._writer.write(event("ping", data={"text": "\ud800"}))
            assert (await client.read_event()).data["text"] == "?"
            client._writer.write(event("transcript", data={"text": "on \udfff", "language": "en"}))
            answer = await client.read_event()
            assert answer.type == "not-handled"
            assert "not valid Unicode" in answer.data["text"]
            client._writer.write(event("transcribe", data={"transcript_names": ["\ud800", [1], {}]}))
            await client.write_event(AudioStop().event())
            assert Transcript.is_type((await client.read_event()).type)

    conversing(chain.settings, main)


def test_a_flood_of_events_does_not_hold_up_the_others(chain):
    async def flood(reader, writer):
        writer.write(event("describe") * 10_000)
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass

    async def flooding(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await flood(reader, writer)
        finally:
            writer.transport.abort()

    async def main(server):
        floods = [asyncio.create_task(flooding(server)) for _ in range(5)]
        await asyncio.sleep(0.2)
        for _ in range(5):
            began = time.perf_counter()
            async with connected(server) as client:
                await client.write_event(Ping().event())
                await client.read_event()
            assert time.perf_counter() - began < 0.8
        for one in floods:
            one.cancel()
        await asyncio.wait(floods)

    conversing(chain.settings, main)


def test_a_megabyte_after_an_error_does_not_swallow_the_sentence(chain):
    async def main(server):
        for _ in range(5):
            assert b"one event after another" in await sent(server, b"nonsense\n" + os.urandom(1 << 20))

    conversing(chain.settings, main)


def test_a_recording_above_the_limit_is_refused_before_its_bytes_are_sent(chain):
    settings = chain.settings.model_copy(update={"audio_max_bytes": 100_000})

    async def main(server):
        async with connected(server) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            await client.write_event(AudioChunk(audio=bytes(90_000), **FORMAT).event())
            client._writer.write(event("audio-chunk", data=CHUNK, payload_length=20_000))
            answer = await client.read_event()
            assert (answer.type, answer.data["code"]) == ("error", "audio_above_limit")

    conversing(settings, main)


def test_a_long_recording_is_not_held_in_memory(chain):
    process, chunk = psutil.Process(), bytes(1 << 20)

    async def main(server):
        async with connected(server) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            for n in range(100):
                await client.write_event(AudioChunk(audio=chunk, **FORMAT).event())
                if n == 5:
                    before = process.memory_info().rss
            client._writer.write(event("ping"))  # answered once all of it was read
            await client.read_event()
            assert process.memory_info().rss - before < 20e6

    conversing(chain.settings, main)


def test_a_recording_that_stops_to_come_is_ended(chain, monkeypatch):
    monkeypatch.setattr(connection, "SILENT_S", 0.2)

    async def main(server):
        async with connected(server) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            answer = await client.read_event()
            assert (answer.type, answer.data["code"]) == ("error", "time_limit")

    conversing(chain.settings, main)


def test_an_event_that_stops_in_its_middle_ends_the_connection(chain, monkeypatch):
    monkeypatch.setattr(events, "PART_S", 0.2)

    async def main(server):
        for data in (event("a", data_length=5) + b"{", event("audio-chunk", data=CHUNK, payload_length=500) + b"12"):
            assert await sent(server, data) == b""

    conversing(chain.settings, main)


def test_a_client_that_reads_no_answer_is_dropped(chain, monkeypatch):
    monkeypatch.setattr(connection, "WRITE_S", 0.2)

    async def main(server):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    writer.write(event("describe") * 100)
                    await writer.drain()
        writer.transport.abort()

    conversing(chain.settings, main)


def test_idle_connections_are_closed_after_a_while(chain, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.2)

    async def main(server):
        assert await asyncio.gather(*(sent(server, event("ping")[: n % 5]) for n in range(20))) == [b""] * 20

    conversing(chain.settings, main)


def test_two_hundred_idle_connections_do_not_keep_home_assistant_out(chain):
    async def main(server):
        lines = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(200)]
        await asyncio.sleep(0.1)
        assert len(server._connections) <= module.CONNECTIONS_MOST
        assert (await transcribed(server, b"turn it on")).data["text"] == "turn it on"
        assert (await replied(server, "lights_on")).type == "handled"
        assert sum(reader.at_eof() for reader, _ in lines) >= 100
        for _, writer in lines:
            writer.close()

    conversing(chain.settings, main)


def test_recordings_that_have_stalled_do_not_keep_it_out_either(chain, monkeypatch):
    monkeypatch.setattr(module, "STALLED_S", 0.2)
    monkeypatch.setattr(module, "CONNECTIONS_MOST", 5)

    async def main(server):
        lines = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        for n, (_, writer) in enumerate(lines):
            writer.write(event("audio-start", data=CHUNK))
            if n % 2:  # in the middle of a chunk
                writer.write(event("audio-chunk", data=CHUNK, payload_length=1 << 20) + bytes(100_000))
        await asyncio.sleep(0.5)
        for _ in lines:
            assert (await transcribed(server, b"turn it on")).data["text"] == "turn it on"
        spared = [await asyncio.open_connection("127.0.0.1", server.port) for _ in lines]
        await until(lambda: all(reader.at_eof() or reader.exception() for reader, _ in lines))
        for _, writer in (*lines, *spared):
            writer.close()

    conversing(chain.settings, main)


def test_if_all_connections_are_in_use_one_more_is_told_so(chain, monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS_MOST", 2)

    async def main(server):
        async with connected(server) as first, connected(server) as second:
            for client in (first, second):
                await client.write_event(AudioStart(**FORMAT).event())
            await asyncio.sleep(0.1)
            async with connected(server) as third:
                answer = await third.read_event()
                assert (answer.type, answer.data["code"]) == ("error", "retryable")
            for client in (first, second):
                await client.write_event(AudioStop().event())
                assert Transcript.is_type((await client.read_event()).type)

    conversing(chain.settings, main)


def test_eighty_hostile_clients_at_once_change_nothing_for_honest_ones(chain):
    dice = random.Random(5)
    process = psutil.Process()

    async def attack(server, n):
        kind = n % 6
        with suppress(OSError, EOFError, TimeoutError):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            if kind == 0:  # drips a line
                for byte in event("describe")[:-1]:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)
            elif kind == 1:  # a recording cut off
                writer.write(event("audio-start", data=CHUNK))
                writer.write(event("audio-chunk", data=CHUNK, payload_length=1 << 20) + bytes(dice.randrange(1 << 20)))
                await writer.drain()
            elif kind == 2:  # leaves while its job runs
                writer.write(event("audio-chunk", data=CHUNK, payload_length=9) + b"sleep 0.1" + event("audio-stop"))
                await writer.drain()
                await asyncio.sleep(0.05)
            elif kind == 3:  # garbage
                writer.write(dice.randbytes(200_000))
            elif kind == 4:  # many requests at once, none read
                writer.write(event("transcript", data={"text": "lights_on"}) * 5 + event("describe") * 50)
                await writer.drain()
            else:  # half of a request, then nothing
                writer.write(event("transcribe") + event("audio-start", data=CHUNK))
                await asyncio.sleep(0.5)
            if n % 2:
                writer.close()
                await asyncio.sleep(0.1)
            writer.transport.abort()

    async def honest(server, n):
        for turn in range(3):
            words = f"honest {n} {turn}"
            assert (await transcribed(server, words.encode(), pieces=4)).data["text"] == words
            assert words in (await replied(server, words)).data["text"]

    async def main(server):
        await asyncio.gather(*(attack(server, n) for n in range(80)), honest(server, 0))  # what is made once, is made
        before = process.memory_info().rss, process.num_fds()
        for _ in range(3):
            await asyncio.gather(*(attack(server, n) for n in range(80)), *(honest(server, n) for n in range(5)))
        end = time.monotonic() + 20
        while server._connections:
            assert time.monotonic() < end, "connections were left"
            await asyncio.sleep(0.05)
        assert process.memory_info().rss - before[0] < 30e6
        assert process.num_fds() <= before[1] + 5
        async with connected(server) as client:
            await client.write_event(Describe().event())
            assert Info.is_type((await client.read_event()).type)

    conversing(chain.settings, main, timeout_s=120)
    waiting = [one for one in chain.pipeline.mine(0, 1000) if one.state == "waiting"]
    assert not waiting, "a job of a client that left was not ended"
