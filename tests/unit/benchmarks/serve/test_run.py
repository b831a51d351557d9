"""What `golem bench serve` makes of its times, and what its clients send."""

import asyncio

import pytest

from golem_chain.benchmarks.serve.clients import ask, request
from golem_chain.benchmarks.serve.run import Findings, tables, targets


def found(**given):
    usual = {
        "answered_s": 6.0,
        "direct_s": [0.010, 0.012, 0.5],
        "served_s": [0.020, 0.024, 0.9],
        "peak_bytes": 100_000_000,
    }
    times = {"within 1 s": [0.1] * 99 + [0.2], "in the same moment": [0.2] * 98 + [0.24, 0.9]}
    return Findings("a box", **{**usual, "first_s": times, "whole_s": times, **given})


def test_the_overhead_is_that_of_the_medians_so_that_one_slow_job_says_nothing():
    assert found().overhead_s == pytest.approx(0.012)
    assert [target.met for target in targets(found())] == [True, True, True, True]


def test_the_slower_way_to_arrive_counts():
    late = {"within 1 s": [0.1] * 100, "in the same moment": [0.1] * 98 + [0.3, 0.3]}
    assert [target.met for target in targets(found(first_s=late))] == [True, True, False, True]


def test_what_is_missed_is_shown_as_missed():
    missed = found(answered_s=11.0, served_s=[0.05], peak_bytes=151_000_000)
    assert [target.met for target in targets(missed)] == [False, False, True, False]
    shown = "\n".join(table.markdown() for table in tables(missed))
    assert shown.count("| missed |") == 3


@pytest.mark.parametrize(("answer", "status"), [
    (b"HTTP/1.1 200 OK\r\n\r\ndata: {\"type\":\"transcript.text.done\"}\n\n", 200),
    (b"HTTP/1.1 200 OK\r\n\r\ndata: {\"type\":\"error\"}\n\n", 0),  # a stream without its end is no success
    (b"HTTP/1.1 503 Busy\r\n\r\n", 503),
])  # fmt: skip
def test_a_client_times_the_first_byte_and_the_whole(answer, status):
    got = bytearray()

    async def serve(reader, writer):
        got.extend(await reader.readuntil(b"--golem-bench--\r\n"))
        writer.write(answer[:10])
        await asyncio.sleep(0.02)
        writer.write(answer[10:])
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask(server.sockets[0].getsockname()[1], request(b"RIFF", "one", stream=True))

    timed = asyncio.run(run())
    assert timed.status == status
    assert 0 < timed.first_s <= timed.whole_s
    head, _, body = bytes(got).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"RIFF" in body
