"""Ensures that all workers use the same checkpoints, so that a job's result does not depend on the box that ran it.

Each live worker renews `Keys.checkpoint` for the stages that it serves. A worker with a different checkpoint
does not start. The entry expires with the last of them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence

from celery.utils.log import get_logger
from redis import Redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.transport import scripts
from golem_chain.shared.errors import CheckpointsDiffer, GolemError
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible
from golem_chain.workers.child.device import precision_of
from golem_chain.workers.parent.node_name import EXPIRY_S, RENEW_S
from golem_chain.workers.store.manifest import find

logger = get_logger(__name__)

#: Stage -> id and fingerprint, with GOLEM_AGREE=exact the precision that runs too: equal on every box.
Checkpoints = Mapping[str, Mapping[str, str]]


def installed(settings: Settings, stages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return this box's checkpoints of the stages. Raises ModelMissing, ModelCorrupt, DeviceRefused."""
    found: dict[str, dict[str, str]] = {}
    for stage in sorted(stages):
        one = find(settings, stage)
        found[stage] = {"id": one.id, "fingerprint": one.fingerprint}
        if settings.agree == "exact":
            found[stage]["precision"] = precision_of(settings, one)
    return found


class Agreement:
    """One worker's registration of its checkpoints."""

    def __init__(
        self,
        client: Redis,
        node: str,
        checkpoints: Checkpoints,
        keys: Keys,
        look: Callable[[], Checkpoints] | None = None,
    ) -> None:
        """`look` returns the checkpoints that the store has now: after a pull while this worker runs, it registers
        those instead. None: they do not change."""
        self._client, self._node, self._mine, self._keys = client, node, checkpoints, keys
        self._look = look
        self._tolerant_until = 0.0  # monotonic: until then the entries of other workers may be older than the pull

    def join(self) -> None:
        """Register at startup, waiting up to 3.5 s for the entries of dead workers to expire. Raises CheckpointsDiffer
        if live workers use different checkpoints."""
        end = time.monotonic() + EXPIRY_S + 0.5
        while True:
            try:
                return self.renew()
            except CheckpointsDiffer:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def renew(self) -> None:
        """Register or renew. Raises CheckpointsDiffer if live workers use different checkpoints: after a pull not
        before the workers that share this store have noticed it too, and their old entries have expired."""
        self._notice()
        if not self._mine:
            return
        stages = list(self._mine)
        entries = [self._keys.checkpoint(stage) for stage in stages]
        texts = [json.dumps(self._mine[stage], sort_keys=True) for stage in stages]
        answer = self._client.eval(scripts.AGREE, len(entries), *entries, self._node, int(EXPIRY_S * 1000), *texts)
        if not answer:
            return
        if time.monotonic() < self._tolerant_until:
            return
        place, theirs, box = answer
        stage = stages[int(place) - 1]
        mine, other = self._mine[stage], _read(_text(theirs))
        raise CheckpointsDiffer(
            f"The {stage} checkpoint of this box is {_named(mine)}, but that of {_text(box)} is {_named(other)}: "
            f"{_remedy(stage, mine, other)}, or stop the other workers first."
        )

    def _notice(self) -> None:
        """Adopt the checkpoints of a pull that has finished since the last look."""
        try:
            now = self._look() if self._look else self._mine
        except GolemError:
            return  # it is being replaced, or damaged: the load reports that
        if now != self._mine:
            self._mine, self._tolerant_until = now, time.monotonic() + EXPIRY_S + 2 * RENEW_S
            logger.warning("The models in the store were pulled again: this worker now uses the new ones")


def _text(value: bytes | str) -> str:
    return visible(value.decode(errors="replace") if isinstance(value, bytes) else str(value), 200)


def _read(text: str) -> Mapping[str, str]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"id": text}


def _remedy(stage: str, mine: Mapping[str, str], other: Mapping[str, str]) -> str:
    if mine.get("fingerprint") != other.get("fingerprint"):
        return f"pull the same checkpoint on both (golem models pull, GOLEM_MODELS, GOLEM_{stage.upper()}_MODEL)"
    if ("precision" in mine) != ("precision" in other):
        return "set the same GOLEM_AGREE on both"
    if " from " in f"{mine.get('precision')}{other.get('precision')}":
        return "pull it again on both with the same GOLEM_DTYPE"
    return "set the same GOLEM_DTYPE on both, or GOLEM_AGREE=weights"


def _named(checkpoint: Mapping[str, str]) -> str:
    """`whisper-tiny.en (float16, 1a2b3c4d)`, `whisper-tiny.en (1a2b3c4d)`"""
    known = [checkpoint.get("precision", ""), checkpoint.get("fingerprint", "")[:8]]
    return f"{checkpoint.get('id', '?')} ({', '.join(part for part in known if part)})"
