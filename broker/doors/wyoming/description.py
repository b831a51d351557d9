"""What `describe` is answered with: programs, models and languages, told at once without a model, a worker or Redis."""

import asyncio
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TypedDict

from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, HandleModel, HandleProgram, Info

from golem_chain.broker.asynchronous.serving import ServingPipeline
from golem_chain.broker.doors.wyoming.languages import answered_in, heard_by
from golem_chain.shared.errors import GolemError
from golem_chain.shared.labels import default_labels
from golem_chain.shared.settings import Settings

NAME = "golem-chain"
#: How long an answer waits for the newest state, and how long that state counts as new, seconds.
_LOOK_S, _NEW_S = 0.05, 10.0


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
    scribe, oracle = (checkpoints.get(stage, stage) for stage in ("scribe", "oracle"))
    speech = AsrModel(**_artifact(scribe, "Whisper"), languages=list(heard))
    reply = HandleModel(**_artifact(oracle, "A reply to the intent of a text"), languages=list(answered))
    return Info(
        asr=[AsrProgram(**_artifact(NAME, "Speech to text"), models=[speech])],
        handle=[HandleProgram(**_artifact(NAME, "Text to intent and reply"), models=[reply])],
    )


def wordings_of(settings: Settings) -> tuple[str, ...]:
    """Return the languages in which the default label set is worded, besides its own."""
    try:
        return tuple(one.language for one in default_labels(settings.intents).wordings)
    except GolemError:  # the workers report a bad file
        return ()


class Description:
    """The description for clients that ask, looked up again while they do."""

    def __init__(self, pipeline: ServingPipeline) -> None:
        self._pipeline, self._settings = pipeline, pipeline.settings
        self._wordings: tuple[str, ...] | None = None
        self._info = self._with({})
        self._looking: asyncio.Task[None] | None = None
        self._seen_at: float | None = None  # by the loop's clock

    def look(self) -> None:
        """Begin to look the description up, unless that was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and (self._seen_at is None or now - self._seen_at > _NEW_S):
            self._looking = asyncio.create_task(self._look())

    async def event(self) -> Event:
        """Return the `info` event within _LOOK_S, as it was known before if Redis takes longer."""
        self.look()
        if self._looking:
            await asyncio.wait([self._looking], timeout=_LOOK_S)
        return self._info.event()

    async def close(self) -> None:
        """End a look that goes on."""
        if self._looking:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        try:
            if self._wordings is None:
                self._wordings = await asyncio.to_thread(wordings_of, self._settings)
            self._info = self._with(await self._pipeline.checkpoints())
            self._seen_at = asyncio.get_running_loop().time()
        except GolemError:
            pass  # Redis is away: what was known before holds
        finally:
            self._looking = None

    def _with(self, checkpoints: Mapping[str, str]) -> Info:
        heard = heard_by(checkpoints.get("scribe", self._settings.scribe_model), self._settings.models)
        return info(checkpoints, heard, answered_in(self._wordings or ()))
