"""A web handler: the body of POST /hear is a recording, the answer what was said, as JSON. It is an ASGI app without a
framework, for any server of that kind.

pip install golem-chain uvicorn
GOLEM_REDIS_URL=redis://:password@box:6379/0 uvicorn --app-dir samples async_web_handler:app
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from golem_chain import AsyncPipeline, GolemError, Outcome, errors

BODY_MOST = 10 << 20  # bytes
PATIENCE_S = 10.0  # a later answer is of no use
LABELS = 'lights="turning on the lights",music,timer'

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Answer: TypeAlias = tuple[int, dict[str, str | None]]


class Gone(Exception):
    """The client has hung up."""


class App:
    """One pipeline for all requests: they share its connections."""

    pipeline: AsyncPipeline

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            try:
                status, answer = await self.respond(scope, receive)
            except Gone:
                return
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def live(self, receive: Receive, send: Send) -> None:
        """Make the pipeline when the server starts, close it when it stops."""
        await receive()
        try:
            self.pipeline = AsyncPipeline()
        except GolemError as exc:
            await send({"type": "lifespan.startup.failed", "message": exc.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.pipeline.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def respond(self, scope: Message, receive: Receive) -> Answer:
        """Return the status and the answer to a request."""
        if scope["path"] != "/hear":
            return 404, {"error": "POST a recording to /hear."}
        if scope["method"] != "POST":
            return 405, {"error": "POST a recording to /hear."}
        audio = await body(receive)
        if audio is None:
            return 413, {"error": f"A recording has at most {BODY_MOST} bytes."}
        try:
            return answer_of(await self.hear(audio, receive))
        except (errors.BrokerAway, errors.VaultFull):
            return 503, {"error": "Try again later."}  # the message, which names the server, is for our own log
        except GolemError as exc:
            return 400, {"error": exc.message}

    async def hear(self, audio: bytes, receive: Receive) -> Outcome | None:
        """Return the Outcome, None if there is none in time. Nobody waits for the job of a client that has hung up."""
        job = await self.pipeline.submit(audio, labels=LABELS, lane="interactive", expires_s=PATIENCE_S, wait_s=1)
        ended, gone = asyncio.ensure_future(self.outcome(job)), asyncio.ensure_future(receive())
        try:
            await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and (outcome := ended.result()):
                return outcome
            outcome = await self.pipeline.cancel(job)
            if not ended.done():
                raise Gone
            return outcome
        finally:
            ended.cancel()
            gone.cancel()

    async def outcome(self, job: str) -> Outcome | None:
        """Wait a little longer than the job has: its workers end it as expired, if there are any."""
        ended = [outcome async for outcome in self.pipeline.wait([job], timeout_s=PATIENCE_S + 1)]
        return ended[0] if ended else None


async def body(receive: Receive) -> bytes | None:
    """Return the body of a request, None if it is too long."""
    whole = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        whole += message.get("body", b"")
        if len(whole) > BODY_MOST:
            return None
        if not message.get("more_body"):
            return bytes(whole)


def answer_of(outcome: Outcome | None) -> Answer:
    """Return the status and the answer for an Outcome."""
    if outcome is None or outcome.state in ("expired", "cancelled"):
        return 504, {"error": "It took too long."}
    if outcome.error:
        return 422, {"error": outcome.error.message}
    return 200, {
        "text": outcome.transcript.text if outcome.transcript else "",
        "intent": outcome.intent.label if outcome.intent else None,
        "reply": outcome.reply.text if outcome.reply else None,
    }


app = App()
