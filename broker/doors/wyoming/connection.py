"""One client: reads its events, submits its recordings and texts as jobs, and answers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from wyoming.event import Event, async_write_event
from wyoming.ping import Pong

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.requests import submit
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.broker.doors.wyoming import answers
from golem_chain.broker.doors.wyoming.description import Description
from golem_chain.broker.doors.wyoming.events import BadEvent, Incoming, payload_of, read_event
from golem_chain.broker.doors.wyoming.recording import Recording, format_of
from golem_chain.broker.doors.wyoming.requests import ANSWER_S, speech_options, text_of, text_options
from golem_chain.shared.errors import Expired, GolemError, TimeLimit
from golem_chain.shared.records import JobOptions, Outcome

logger = logging.getLogger(__name__)

#: How long a connection may stay open without a request, a recording without audio, seconds.
IDLE_S, SILENT_S = 300.0, 30.0
#: How long a client may take to accept an answer, and how long one that was refused may go on sending, seconds.
WRITE_S, LINGER_S = 10.0, 1.0
#: How long the end of a connection waits for Redis, seconds.
TIDY_S = 5.0
#: How long after a job's deadline its Outcome may come, seconds.
GRACE_S = 10.0
#: Bytes of a payload that nothing needs.
UNUSED_MOST = 1 << 20


class ClientGone(ConnectionError):
    """The client has left while its job was running."""


class Connection:
    """One client, whose requests may follow each other. `gone` is set when it has left."""

    def __init__(
        self,
        door: Door,
        caller: Caller,
        description: Description,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gone: asyncio.Event,
    ) -> None:
        self._door, self._caller, self._description = door, caller, description
        self._reader, self._writer, self._gone = reader, writer, gone
        self._options: JobOptions | None = None  # of the recording that comes
        self._recording: Recording | None = None
        self.waits_since: float | None = None  # for bytes of the client, by the loop's clock
        self._steps: dict[str, Callable[[Incoming], Awaitable[None]]] = {
            "describe": self._describe,
            "ping": self._pong,
            "transcribe": self._begin,
            "audio-start": self._start,
            "audio-chunk": self._add,
            "audio-stop": self._transcribe,
            "transcript": self._reply,
        }

    async def serve(self) -> None:
        """Serve the client until it leaves, errs or is idle for long. Raises nothing."""
        try:
            await self._converse()
        except (OSError, EOFError):
            pass  # it has left, or takes too long
        except (GolemError, HttpError) as exc:
            await self._refuse(exc)
        except Exception as exc:  # noqa: BLE001 -- the trouble of one client must not reach the others
            logger.error("A Wyoming request failed: %s", type(exc).__name__)  # more could quote what was said
            await self._refuse(exc)
        finally:
            await self._forget()
            await self._close()

    @property
    def is_recording(self) -> bool:
        """Whether a recording has begun and not ended."""
        return self._options is not None or self._recording is not None

    def drop(self) -> None:
        """End the connection: the client counts as having left."""
        self.waits_since = None
        self._gone.set()
        self._writer.transport.abort()

    async def turn_away(self, exc: GolemError) -> None:
        """Tell the client why it is not served, and end the connection. Raises nothing."""
        await self._refuse(exc)
        await self._close()

    async def _converse(self) -> None:
        while True:
            self.waits_since = asyncio.get_running_loop().time()
            try:
                event = await read_event(self._reader, SILENT_S if self.is_recording else IDLE_S)
            except TimeoutError:
                if not self.is_recording:
                    return
                raise TimeLimit(f"No audio came for {SILENT_S:g} s: send it as it is recorded.") from None
            if event is None:
                return
            self.waits_since = None
            await asyncio.sleep(0)  # what is there already is read without a pause: let the others have theirs
            await self._steps.get(event.type, self._skip)(event)  # the protocol grows: what is unknown is skipped

    # -- events

    async def _skip(self, event: Incoming) -> None:
        if event.payload_bytes > UNUSED_MOST:
            raise BadEvent(f"The event {event.type[:40]!a} needs no payload, and has {event.payload_bytes:,} bytes.")
        async with aclosing(self._pieces(event)) as pieces:
            async for _ in pieces:
                pass

    async def _pieces(self, event: Incoming) -> AsyncGenerator[bytes, None]:
        """Yield the payload in pieces; `waits_since` tells that the next one is waited for."""
        async with aclosing(payload_of(event, self._reader)) as pieces:
            while True:
                self.waits_since = asyncio.get_running_loop().time()
                piece = await anext(pieces, None)
                self.waits_since = None
                if piece is None:
                    return
                yield piece

    async def _describe(self, event: Incoming) -> None:
        await self._skip(event)
        await self._write(await self._description.event())

    async def _pong(self, event: Incoming) -> None:
        await self._skip(event)
        text = event.data.get("text")
        echoed = text.encode("utf-8", "replace").decode() if isinstance(text, str) else None
        await self._write(Pong(echoed).event())

    async def _begin(self, event: Incoming) -> None:
        await self._skip(event)
        await self._forget()
        self._options = speech_options(event.data)

    async def _start(self, event: Incoming) -> None:
        await self._skip(event)
        options = self._options
        await self._forget()
        self._options, form = options, format_of(event.data, self._door.settings)
        self._recording = Recording(self._door, self._caller, form)

    async def _add(self, event: Incoming) -> None:
        form = format_of(event.data, self._door.settings)
        if self._recording is None:  # from a client that leaves out audio-start
            self._recording = Recording(self._door, self._caller, form)
        if form != self._recording.form:
            raise BadEvent("The audio changes its format: send all chunks in the format of audio-start.")
        self._recording.check_room(event.payload_bytes)
        async with aclosing(self._pieces(event)) as pieces:
            async for piece in pieces:
                await self._recording.add(piece)

    async def _transcribe(self, event: Incoming) -> None:
        await self._skip(event)
        recording, options = self._recording, self._options or speech_options({})
        if recording and recording.size_bytes:
            answer = answers.speech_answer(await self._outcome(await recording.finish(), options))
        else:
            answer = answers.NO_SPEECH
        await self._forget()
        await self._write(answer)

    async def _forget(self) -> None:
        """Drop the recording that was coming in, if there is one."""
        recording, self._recording, self._options = self._recording, None, None
        if recording:
            with suppress(TimeoutError):  # it expires
                async with asyncio.timeout(TIDY_S):
                    await recording.drop()

    async def _reply(self, event: Incoming) -> None:
        await self._skip(event)
        try:
            text = text_of(event.data)
            told = text.strip() and answers.text_answer(await self._outcome(text, text_options(event.data)))
            await self._write(told or answers.NO_WORDS)
        except (GolemError, HttpError) as exc:
            await self._write(answers.unable(exc))

    # -- jobs

    async def _outcome(self, asked: Upload | str, options: JobOptions) -> Outcome:
        """Run a job and return its Outcome; it is cancelled if the client leaves. Raises GolemError, ClientGone."""
        name = None if isinstance(asked, Upload) else "wyoming"
        job = await submit(self._door, self._caller, asked, options, name=name)
        jobs, outcome = self._door.jobs_of(self._caller), None
        waiting = asyncio.ensure_future(self._wait(job))
        leaving = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientGone
            outcome = waiting.result()
            return outcome
        finally:
            waiting.cancel(), leaving.cancel()
            await asyncio.gather(waiting, leaving, return_exceptions=True)
            if outcome is None:
                with suppress(GolemError, TimeoutError):  # it expires
                    async with asyncio.timeout(TIDY_S):
                        await jobs.cancel(job)

    async def _wait(self, job: str) -> Outcome:
        async with aclosing(self._door.jobs_of(self._caller).wait([job], ANSWER_S + GRACE_S)) as outcomes:
            async for outcome in outcomes:
                return outcome
        raise Expired(f"No worker has answered within {ANSWER_S:g} s: see golem status.")

    # -- answers

    async def _write(self, event: Event) -> None:
        async with asyncio.timeout(WRITE_S):
            await async_write_event(event, self._writer)

    async def _refuse(self, exc: Exception) -> None:
        """Tell why the connection ends. What still comes is read for a moment: if it were left unread, the client's
        system would drop our sentence."""
        with suppress(OSError, EOFError):
            await self._write(answers.error_of(exc))
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(1 << 16):
                    pass

    async def _close(self) -> None:
        """Close the connection, with what the client has not accepted if it takes too long."""
        self._writer.close()
        try:
            async with asyncio.timeout(WRITE_S):
                await self._writer.wait_closed()
        except OSError:
            self._writer.transport.abort()
