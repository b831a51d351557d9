"""An event that is damaged, huge or endless is refused in one sentence, and never buffered."""

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.wyoming import events
from golem_chain.broker.doors.wyoming.events import DATA_MOST, LINE_MOST, BadEvent, Incoming, parse_line, read_event


def fed(*pieces, eof=True):
    reader = asyncio.StreamReader(limit=LINE_MOST)
    for piece in pieces:
        reader.feed_data(piece)
    if eof:
        reader.feed_eof()
    return reader


def read(*pieces, eof=True, timeout_s=5):
    async def main():
        return await read_event(fed(*pieces, eof=eof), timeout_s)

    return asyncio.run(main())


def test_the_data_of_the_line_and_the_data_after_it_are_one():
    line = {"type": "audio-start", "data": {"rate": 8000, "width": 1}, "data_length": 11, "payload_length": 3}
    event = read(json.dumps(line).encode() + b'\n{"width":2}abc')
    assert event == Incoming("audio-start", {"rate": 8000, "width": 2}, 3)


def test_a_client_that_leaves_between_two_events_is_no_error():
    assert read() is None
    assert read(b"  ") is None


@pytest.mark.parametrize("sent", [b'{"type": "descr', b'{"type": "a", "data_length": 5}\n{"a'])
def test_one_that_leaves_within_an_event_is_cut_off(sent):
    with pytest.raises(EOFError):
        read(sent)


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\n",
        b"[1]\n",
        b"null\n",
        b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b'{"type": 1}\n',
        b'{"data": {}}\n',
        b'{"type": "a", "data": [1]}\n',
        b'{"type": "a", "data_length": "7"}\n',
        b'{"type": "a", "data_length": 1e999}\n',
        b'{"type": "a", "data_length": true}\n',
        b'{"type": "a", "payload_length": -1}\n',
        b'{"type": "a", "payload_length": [1]}\n',
        b'{"type": "a", "data_length": 4}\n[1]\n',
        b'{"type": "a", "data_length": ' + str(DATA_MOST + 1).encode() + b"}\n",
        b'{"type": "a", "data_length": ' + b"9" * 5000 + b"}\n",
        b"x" * (LINE_MOST + 1),
        b"x" * (1 << 20),
    ],
)
def test_anything_else_is_refused_in_one_sentence(line):
    with pytest.raises(BadEvent) as caught:
        read(line)
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 200


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(line):
    with suppress(BadEvent):
        parse_line(line)


def test_a_line_that_does_not_end_is_not_waited_for():
    with pytest.raises(TimeoutError):
        read(b'{"type": ', eof=False, timeout_s=0.05)


def test_announced_bytes_that_do_not_come_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(events, "PART_S", 0.05)
    with pytest.raises(TimeoutError):
        read(b'{"type": "a", "data_length": 9}\n{', eof=False)


def test_a_payload_comes_in_small_pieces_however_long_it_is():
    async def main():
        reader = fed(b"x" * 200_000, eof=False)
        seen, left = [], events.payload_of(Incoming("audio-chunk", {}, 10**18), reader)
        async for piece in left:
            seen.append(len(piece))
            if sum(seen) > 100_000:
                break
        await left.aclose()
        return seen

    assert max(asyncio.run(main())) <= events.PIECE
