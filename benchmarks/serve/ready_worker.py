"""A worker whose engines answer at once: `python -m golem_chain.benchmarks.serve.ready_worker`, with GOLEM_REDIS_URL.

Only so can the server's own time be told from that of models.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from golem_chain.broker.queues import STAGES
from golem_chain.shared.records import Intent, Reply, Segment, Transcript
from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.parent.worker import start
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.stub import StubEngine

TEXT = "turn the lights on in the kitchen"
_HEARD = Segment(start_s=0.0, end_s=2.0, text=TEXT, avg_logprob=-0.1, no_speech_prob=0.01, compression_ratio=1.0)
_ANSWERS: dict[str, object] = {
    "scribe": Transcript(text=TEXT, language="en", segments=(_HEARD,), duration_s=2.0),
    "interpreter": Intent(label="any", score=1.0, method="cosine"),
    "oracle": Reply(text=TEXT, prompt=TEXT, seed=0, new_tokens=1),
}


@dataclass
class Ready(StubEngine):
    """An engine with one answer."""

    def run(self, batch: Sequence[Any]) -> list[object]:
        """Answer."""
        super().run(batch)
        return [_ANSWERS[self.name] for _ in batch]


def build(on_event: Any) -> Residency:
    """Return a residency of such engines."""
    return Residency({stage: Ready(stage) for stage in STAGES}, CpuMemory(), on_event=on_event)


if __name__ == "__main__":
    settings = Settings.read()
    sys.exit(
        start(
            settings,
            None,
            "ready",
            register=lambda app: tasks.register(app, settings, build),
            log_level="WARNING",
        )
    )
