"""Measures each stage's memory: weights, and the peak of a run, by dtype, batch, number of labels and length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golem_chain.shared.records import Intent, Label, LabelSet, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.factory import build_residency
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.store.sources.pull import pull

TEXT = "please turn on the lights in the kitchen and play some quiet music while I cook"


@dataclass(frozen=True)
class Need:
    """One row of the table, in MB above the baseline of a process with all imports done."""

    stage: str
    model: str
    dtype: str  # or the name of the precision
    asked: str  # description of the input
    weights_mb: float
    peak_mb: float

    @property
    def working_mb(self) -> float:
        """Peak minus weights, MB."""
        return self.peak_mb - self.weights_mb


def _labels(count: int) -> LabelSet:
    return LabelSet(labels=tuple(Label(name=f"the speaker talks about topic number {n}") for n in range(count)))


def _asks(clip: Path) -> Iterator[tuple[str, str, Sequence[Any]]]:
    """Yield (stage, description, requests)."""
    from golem_chain.workers.stages.interpreter.engine import Utterance
    from golem_chain.workers.stages.oracle.engine import ReplyRequest
    from golem_chain.workers.stages.scribe.engine import Recording

    sound = clip.read_bytes()
    for batch in (1, 8):
        yield "scribe", f"{batch} clips", [Recording(clip.name, sound, None, "transcribe")] * batch
    for labels in (2, 10, 50):
        yield (
            "interpreter",
            f"8 texts, {labels} labels",
            [Utterance(f"{TEXT} {labels} {n}", "en", _labels(labels)) for n in range(8)],
        )
    for tokens in (20, 40, 100):
        intent = Intent(label="lights_on", score=1.0, scores={"lights_on": 1.0}, method="cosine")
        params = OracleParams(max_new_tokens=tokens)
        yield (
            "oracle",
            f"8 replies of {tokens} tokens",
            [
                ReplyRequest(TEXT, intent, LabelSet(labels=(Label(name="lights_on"),)), params, seed)
                for seed in range(8)
            ],
        )


#: What is measured: GOLEM_DTYPE and GOLEM_BITS.
FORMS = (("float32", "off"), ("bfloat16", "off"), ("bfloat16", "8"), ("bfloat16", "4"))


def table(settings: Settings, clip: Path, forms: Sequence[tuple[str, str]] = FORMS) -> list[Need]:
    """Measure each request of each stage in each form, starting from an empty device."""
    rows = []
    for dtype, bits in forms:
        chosen = settings.model_copy(update={"dtype": dtype, "bits": bits, "resident": "1"})
        pull(settings.model_copy(update={"bits": bits}))  # packs what is there, so that loads need not
        residency = build_residency(chosen)
        told = dtype if bits == "off" else f"{dtype} {bits} bit"
        for stage, what, asks in _asks(clip):
            rows.append(_one(residency, stage, what, asks, told))
    return rows


def _one(residency: Residency, stage: str, what: str, asks: Sequence[Any], dtype: str) -> Need:
    serve(residency, stage, asks[:1])  # warm up: buffers that live as long as the process are not measured
    residency.unload_all("stop")
    base = residency.memory.read().allocated
    served = serve(residency, stage, asks)
    failed = next((answer for answer in served.answers if isinstance(answer, Exception)), None)
    if failed:
        raise failed
    residency.unload_all("stop")
    engine: Any = residency.engines[stage]
    model = str(engine.weights.checkpoint.id).split("/")[-1]
    weights = engine.weights_bytes / 1e6
    return Need(stage, model, dtype, what, round(weights, 1), round((served.peak_bytes - base) / 1e6, 1))
