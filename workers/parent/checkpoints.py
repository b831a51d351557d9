"""Workers of one system run the same checkpoints, so that a job's answer does not depend on the box that gave it.

Each live worker renews `golem:checkpoint:<stage>` for the stages it serves; one that brings something else does not
start. The entry goes with the last of them.
"""

import json
import time
from collections.abc import Mapping, Sequence

from redis import Redis

from golem_chain.broker import keys
from golem_chain.broker.transport import scripts
from golem_chain.shared.errors import CheckpointsDiffer
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible
from golem_chain.workers.parent.node_name import EXPIRY_S
from golem_chain.workers.store.manifest import find

#: Stage -> what must be the same on every box: id, fingerprint, dtype.
Checkpoints = Mapping[str, Mapping[str, str]]


def installed(settings: Settings, stages: Sequence[str]) -> dict[str, dict[str, str]]:
    """What this box has for the stages. Raises ModelMissing, ModelCorrupt."""
    found = {stage: find(settings, stage) for stage in stages}
    return {
        stage: {"id": one.id, "fingerprint": one.fingerprint, "dtype": one.dtype}
        for stage, one in sorted(found.items())
    }


class Agreement:
    """The word of one worker on its checkpoints."""

    def __init__(self, client: Redis, node: str, checkpoints: Checkpoints) -> None:
        self._client, self._node, self._mine = client, node, checkpoints

    def join(self) -> None:
        """Register at the start of a worker, waiting up to 3 s for the entries of those who are gone. Raises
        CheckpointsDiffer."""
        end = time.monotonic() + EXPIRY_S + 0.5
        while True:
            try:
                return self.renew()
            except CheckpointsDiffer:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def renew(self) -> None:
        """Register, or stay registered. Raises CheckpointsDiffer where live workers run something else."""
        if not self._mine:
            return
        stages = list(self._mine)
        entries = [keys.checkpoint(stage) for stage in stages]
        texts = [json.dumps(self._mine[stage], sort_keys=True) for stage in stages]
        answer = self._client.eval(scripts.AGREE, len(entries), *entries, self._node, int(EXPIRY_S * 1000), *texts)
        if not answer:
            return
        place, theirs, box = answer
        stage = stages[int(place) - 1]
        raise CheckpointsDiffer(
            f"The {stage} of this box is {_named(self._mine[stage])}, and that of {_text(box)} is "
            f"{_named(_read(_text(theirs)))}: pull the same on both (golem models pull, GOLEM_MODELS, "
            f"GOLEM_{stage.upper()}_MODEL), or stop the other workers first."
        )


def _text(value: bytes | str) -> str:
    return visible(value.decode(errors="replace") if isinstance(value, bytes) else str(value), 200)


def _read(text: str) -> Mapping[str, str]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"id": text}


def _named(checkpoint: Mapping[str, str]) -> str:
    """`whisper-tiny.en (float16, 1a2b3c4d)`"""
    fingerprint = checkpoint.get("fingerprint", "")[:8]
    return f"{checkpoint.get('id', '?')} ({checkpoint.get('dtype', '?')}, {fingerprint})"
