"""Clients that no server likes, each a coroutine of raw bytes: (host, port) → None. None of them raises."""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager, suppress

PATH = "/v1/audio/transcriptions"
FORM = "multipart/form-data; boundary=B"


@asynccontextmanager
async def connected(port, **options):
    """A connection that is closed at the end, however it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield reader, writer
    finally:
        writer.close()


def head(method="POST", path=PATH, headers=()):
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def drip(port, before, one, gap_s=0.2):
    """Send `before`, then a bit at a time until the server closes."""
    async with connected(port) as (reader, writer):
        writer.write(before)
        while not reader.at_eof():
            writer.write(one)
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(gap_s):
                    if not await reader.read(65536):
                        return


async def say(port, data, most_s=20):
    """Send all at once, and read until the server closes."""
    async with connected(port) as (reader, writer):
        writer.write(data)
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await writer.drain()
                await reader.read(1 << 20)


async def slow_head(port):
    await drip(port, b"GET /v1/session HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n")


async def slow_body(port):
    await drip(port, head(headers=[f"Content-Type: {FORM}", "Content-Length: 100000000"]), b"x")


async def slow_chunks(port):
    await drip(port, head(headers=[f"Content-Type: {FORM}", "Transfer-Encoding: chunked"]), b"1\r\nx\r\n")


async def slow_rest_of_a_refused_body(port):
    await drip(port, head(path="/nothing", headers=["Content-Length: 100000000"]), b"x")


async def silence(port):
    async with connected(port) as (reader, _):
        await reader.read()


async def silence_after_a_request(port):
    async with connected(port) as (reader, writer):
        writer.write(head("GET", "/v1/session"))
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await reader.read()


async def never_reads(port):
    async with connected(port, limit=1024) as (_, writer):
        for _ in range(2000):
            writer.write(head("GET", "/openapi.json"))
            await writer.drain()
        await asyncio.sleep(5)


async def cut_in_the_body(port):
    async with connected(port) as (_, writer):
        writer.write(head(headers=[f"Content-Type: {FORM}", "Content-Length: 1000000"]) + b"--B\r\n" + b"x" * 50_000)
        await writer.drain()
        writer.transport.abort()


async def cut_before_the_answer(port):
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nturn it on\r\n--B--\r\n'
    async with connected(port) as (_, writer):
        writer.write(head(headers=[f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]) + body)
        await writer.drain()
        writer.transport.abort()


async def ten_thousand_headers(port):
    await say(port, head("GET", "/v1/session", [f"X-{n}: {n}" for n in range(10_000)]))


async def a_megabyte_header(port):
    await say(port, head("GET", "/v1/session", ["X-A: " + "a" * (1 << 20)]))


async def a_long_path(port):
    await say(port, head("GET", "/" + "a" * 100_000))


async def ten_thousand_fields(port):
    parts = b"".join(b'--B\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n%d\r\n' % (n, n) for n in range(10_000))
    body = parts + b"--B--\r\n"
    await say(port, head(headers=[f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]) + body)


async def ten_thousand_files(port):
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\nx\r\n'
    body = b"".join(part % n for n in range(10_000)) + b"--B--\r\n"
    await say(port, head(headers=[f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]) + body)


async def a_part_with_a_megabyte_of_headers(port):
    body = b"--B\r\nContent-Disposition: form-data; name=" + b"a" * (1 << 20) + b"\r\n\r\nx\r\n--B--\r\n"
    await say(port, head(headers=[f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]) + body)


async def a_form_without_its_boundary(port):
    await say(port, head(headers=["Content-Type: multipart/form-data", "Content-Length: 5"]) + b"hello")


async def a_length_that_is_too_long(port):
    await say(port, head(headers=[f"Content-Type: {FORM}", "Content-Length: 100"]) + b"--B--\r\n")


async def a_length_that_is_too_short(port):
    await say(port, head(headers=[f"Content-Type: {FORM}", "Content-Length: 1"]) + b"--B--\r\n")


async def odd_lengths(port):
    for length in ("-1", "1e3", "99999999999999999999", "1, 2", "0x10", ""):
        await say(port, head(headers=[f"Content-Length: {length}"]) + b"x" * 10, most_s=2)


async def two_lengths(port):
    await say(
        port, head(headers=["Content-Length: 5", "Transfer-Encoding: chunked"]) + b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    )


async def bad_chunks(port):
    begins = head(headers=[f"Content-Type: {FORM}", "Transfer-Encoding: chunked"])
    for chunk in (b"zz\r\n", b"ffffffffffffffffffff\r\n", b"5\r\nhello!\r\n", b"1" * 5000, b"-1\r\n"):
        await say(port, begins + chunk, most_s=2)


async def trailers_without_end(port):
    begins = head(headers=[f"Content-Type: {FORM}", "Transfer-Encoding: chunked"])
    await say(port, begins + b"0\r\n" + b"X-A: b\r\n" * 100_000)


async def a_body_without_end(port):
    async with connected(port) as (reader, writer):
        writer.write(head(path="/v1/jobs", headers=["Content-Type: application/json", "Transfer-Encoding: chunked"]))
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                for _ in range(400):
                    writer.write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
                    await writer.drain()
                await reader.read()


async def nested_json(port):
    body = b"[" * 1_000_000
    for path in ("/v1/jobs", "/v1/labels/check"):
        fields = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        await say(port, head(path=path, headers=fields) + body, most_s=5)


async def odd_paths(port):
    for path in (
        "//", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd", "/%00", "/a%0d%0aX: y",
        "*", "/static/%5c..%5c", "http://localhost/v1/session", "/%ff%fe", "/v1/jobs/" + "%2f" * 500, "?", "/;/..",
    ):  # fmt: skip
        await say(port, head("GET", path, ["Connection: close"]), most_s=2)


async def odd_methods(port):
    for method in ("TRACE", "CONNECT", "BREW", "get", "PROPFIND", "A" * 1000):
        await say(port, head(method, "/v1/session", ["Connection: close"]), most_s=2)


async def not_http(port):
    noise = random.Random(port).randbytes(5000)
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise, noise, b"\r\n" * 10_000, b"GET /\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b'{"type":"describe"}\n',
    ):  # fmt: skip
        await say(port, data, most_s=2)


async def upgrades(port):
    for protocol in ("websocket", "h2c"):
        more = ["Connection: Upgrade", f"Upgrade: {protocol}", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"]
        await say(port, head("GET", "/v1/session", more), most_s=2)


async def promises_a_body(port):
    await say(port, head(headers=[f"Content-Type: {FORM}", "Content-Length: 10", "Expect: 100-continue"]))


async def pipelines(port):
    await say(port, head("GET", "/v1/session") * 500, most_s=5)


KINDS = (
    slow_head, slow_body, slow_chunks, slow_rest_of_a_refused_body, silence, silence_after_a_request, never_reads,
    cut_in_the_body, cut_before_the_answer, ten_thousand_headers, a_megabyte_header, a_long_path, ten_thousand_fields,
    ten_thousand_files, a_part_with_a_megabyte_of_headers, a_form_without_its_boundary, a_length_that_is_too_long,
    a_length_that_is_too_short, odd_lengths, two_lengths, bad_chunks, trailers_without_end, a_body_without_end,
    nested_json, odd_paths, odd_methods, not_http, upgrades, promises_a_body, pipelines,
)  # fmt: skip


async def storm(port, clients, rounds=1):
    """Run so many clients at once, of all kinds; return how many of them were cut by the server."""

    async def one(kind):
        try:
            await kind(port)
        except (ConnectionError, asyncio.IncompleteReadError):
            return 1
        return 0

    cut = 0
    for _ in range(rounds):
        kinds = itertools.islice(itertools.cycle(KINDS), clients)
        cut += sum(await asyncio.gather(*(one(kind) for kind in kinds)))
    return cut
