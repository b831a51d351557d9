"""What `describe` is answered with: programs, models and languages, told at once without a model, a worker or Redis."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TypedDict

import redis
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, HandleModel, HandleProgram, Info

from golem_chain.broker.connection import connect_once
from golem_chain.broker.doors.wyoming.languages import answered_in, heard_by
from golem_chain.broker.keys import Keys
from golem_chain.shared.errors import GolemError
from golem_chain.shared.labels import default_labels
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

NAME = "golem-chain"
_STAGES = ("scribe", "oracle")
#: How long an answer waits for the newest state, and how long that state counts as new, seconds.
_LOOK_S, _NEW_S = 0.05, 10.0
#: How long Redis may take, seconds.
_REDIS_S = 2.0


class _Artifact(TypedDict):
    name: str
    attribution: Attribution
    installed: bool
    description: str | None
    version: str | None


def _artifact(name: str, description: str) -> _Artifact:
    return {
        "name": name,
        "attribution": Attribution(name="Golem Chain", url=""),
        "installed": True,  # whether or not it is loaded: a job waits until it is
        "description": description,
        "version": version("golem-chain"),
    }


def info(checkpoints: Mapping[str, str], heard: Sequence[str], answered: Sequence[str]) -> Info:
    """Return the description of a server whose stages have these checkpoints, as far as they are known."""
    scribe, oracle = (checkpoints.get(stage, stage) for stage in _STAGES)
    speech = AsrModel(**_artifact(scribe, "Whisper"), languages=list(heard))
    reply = HandleModel(**_artifact(oracle, "A reply to the intent of a text"), languages=list(answered))
    return Info(
        asr=[AsrProgram(**_artifact(NAME, "Speech to text"), models=[speech])],
        handle=[HandleProgram(**_artifact(NAME, "Text to intent and reply"), models=[reply])],
    )


def look(settings: Settings) -> Info:
    """Return the description of the system as it is: its workers' checkpoints, where it has workers."""
    keys, found = Keys(settings.prefix), {}
    with suppress(redis.RedisError, GolemError):
        given = {"socket_timeout": _REDIS_S, "socket_connect_timeout": _REDIS_S}
        with connect_once(settings, **given) as client, client.pipeline(transaction=False) as pipe:
            for stage in _STAGES:
                pipe.hget(keys.checkpoint(stage), "checkpoint")
            found = {stage: _id(told) for stage, told in zip(_STAGES, pipe.execute(), strict=True) if told}
    wordings: tuple[str, ...] = ()
    with suppress(GolemError):  # the workers report a bad file
        wordings = tuple(one.language for one in default_labels(settings.intents).wordings)
    scribe = found.get("scribe") or settings.scribe_model
    return info(found, heard_by(scribe, settings.models), answered_in(wordings))


def _id(told: bytes) -> str:
    """Return the name of a checkpoint as a worker has written it."""
    try:
        read = json.loads(told)
    except ValueError:
        read = None
    return visible(str(read["id"]), 80) if isinstance(read, dict) and "id" in read else "?"


class Description:
    """The description for clients that ask, looked up again while they do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._info = info({}, heard_by(settings.scribe_model, settings.models), answered_in(()))
        self._looking: asyncio.Task[None] | None = None
        self._seen_at: float | None = None  # by the loop's clock

    async def event(self) -> Event:
        """Return the `info` event within _LOOK_S, as it was known before if Redis takes longer."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and (self._seen_at is None or now - self._seen_at > _NEW_S):
            self._looking = asyncio.create_task(self._look())
        if self._looking:
            await asyncio.wait([self._looking], timeout=_LOOK_S)
        return self._info.event()

    async def close(self) -> None:
        """Wait for a look that goes on, at most a few seconds."""
        if self._looking:
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        try:
            self._info = await asyncio.to_thread(look, self._settings)
            self._seen_at = asyncio.get_running_loop().time()
        finally:
            self._looking = None
