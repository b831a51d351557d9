"""What each stage is asked in a proof, and how its answers become comparable."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Intent, LabelSet, Transcript
from golem_chain.workers.evaluation.inference import in_force
from golem_chain.workers.proof import criteria
from golem_chain.workers.proof.criteria import Decision, Heard, Judgement
from golem_chain.workers.proof.own import Set
from golem_chain.workers.stages.engine import AnyEngine, Ready
from golem_chain.workers.stages.interpreter.engine import Interpreter, LabelEvidence, Utterance
from golem_chain.workers.stages.scribe.engine import Recording, Scribe

#: Recordings that are heard together: more would make a job wait longer for the end of an item (here 0.9 s).
_TOGETHER = 3


class Trial(Protocol):
    """A stage's part of a proof. `items` are run one by one; the answers of the reference and of a candidate are lists
    in their order."""

    @property
    def items(self) -> Sequence[Any]:
        """What is asked."""
        ...

    @property
    def own_items(self) -> int:
        """How many of the answers are to what the user has given."""
        ...

    def ask(self, engine: AnyEngine, item: Any, there: Any | None) -> list[Any]:
        """The answers of a loaded engine to an item; `there` are the reference's, None if it is the one that is asked.
        Raises GolemError for an answer that is an error."""
        ...

    def judge(self, reference: Sequence[Any], answers: Sequence[Any]) -> Judgement:
        """What is to be said of the answers so far."""
        ...

    def batch(self, engine: AnyEngine, size: int) -> Callable[[], object]:
        """Prepare a batch of the stage's own, at most of this size, that can be run again and again."""
        ...

    def let_go(self) -> None:
        """Drop what was kept on the device."""
        ...


class ScribeTrial:
    """Recordings, a few at a time."""

    def __init__(self, material: Set, *, multilingual: bool) -> None:
        own = material.clips[len(material.clips) - material.own_clips :]
        ours = material.clips[: len(material.clips) - material.own_clips]
        kept = [one for one in ours if multilingual or one.language == "en"]
        kept += [one for one in own if multilingual or one.language in (None, "en")]
        self.items = [kept[at : at + _TOGETHER] for at in range(0, len(kept), _TOGETHER)]
        self.own_items = sum(one in own for one in kept)
        self._prepared: dict[Path, Any] = {}  # decoding and voice detection do not depend on the weights

    def _prepare(self, engine: Scribe, item: Any) -> Any:
        if item.path not in self._prepared:
            try:
                data = item.path.read_bytes()
            except OSError as exc:
                raise GolemError(f"{item.path} cannot be read: {exc.strerror}.") from None
            self._prepared[item.path] = engine.prepare(Recording(item.name, data))
        return self._prepared[item.path]

    def ask(self, engine: AnyEngine, item: Any, there: Any | None) -> list[Heard]:
        del there
        prepared = [self._prepare(cast(Scribe, engine), one) for one in item]
        ready = [one.item for one in prepared if isinstance(one, Ready)]
        heard = iter(engine.run(ready) if ready else ())
        answers = [next(heard) if isinstance(one, Ready) else one for one in prepared]
        transcripts = [cast(Transcript, _sound(answer)) for answer in answers]
        return [
            Heard(said.text, said.language or one.language or "en") for one, said in zip(item, transcripts, strict=True)
        ]

    def judge(self, reference: Sequence[Heard], answers: Sequence[Heard]) -> Judgement:
        return criteria.scribe(reference, answers)

    def batch(self, engine: AnyEngine, size: int) -> Callable[[], object]:
        ready = (self._prepare(cast(Scribe, engine), one) for item in self.items for one in item)
        some: list[Any] = []
        for one in ready:
            some += [one.item] if isinstance(one, Ready) else []
            if len(some) == min(size, 3):  # its windows run one after the other, so more would tell no more
                break
        return lambda: engine.run(some)

    def let_go(self) -> None:
        """Nothing is kept there."""


class InterpreterTrial:
    """Texts with label sets: each with all of them where a text is read once for any number of labels, otherwise each
    with one set in turn, since every label costs a pass."""

    def __init__(self, material: Set, method: str) -> None:
        sets = material.labels
        self.items: list[list[Utterance]] = []
        for place, (text, language) in enumerate(material.texts):
            some = sets if method == "cosine" else (sets[place % len(sets)],)
            self.items.append([Utterance(text, language, labels) for labels in some])
        self.own_items = sum(map(len, self.items[len(self.items) - material.own_texts :])) if material.own_texts else 0

    def ask(self, engine: AnyEngine, item: Any, there: Any | None) -> list[Decision]:
        intents = _intents(engine, item)
        if there is not None:
            return [Decision(one.label, one.score, one.scores) for one in intents]
        evidence = cast(Interpreter, engine).evidence(item)
        return [
            Decision(one.label, one.score, one.scores, _margin(cast(Interpreter, engine), request.labels, one, seen))
            for request, one, seen in zip(item, intents, evidence, strict=True)
        ]

    def judge(self, reference: Sequence[Decision], answers: Sequence[Decision]) -> Judgement:
        return criteria.interpreter(reference, answers)

    def batch(self, engine: AnyEngine, size: int) -> Callable[[], object]:
        # as many texts in one set, from all over the set: short and long ones
        step = max(1, len(self.items) // size)
        asked = [item[0] for item in self.items[::step][:size]]
        if cast(Interpreter, engine).method == "entailment":
            asked = asked[:4]
        ready = [one.item for request in asked if isinstance(one := engine.prepare(request), Ready)]
        return lambda: engine.run(ready)

    def let_go(self) -> None:
        """Nothing is kept there."""


def _intents(engine: AnyEngine, asked: Sequence[Utterance]) -> list[Intent]:
    prepared = [engine.prepare(one) for one in asked]
    ran = iter(engine.run([one.item for one in prepared if isinstance(one, Ready)]))
    return [cast(Intent, _sound(next(ran) if isinstance(one, Ready) else one)) for one in prepared]


def _margin(engine: Interpreter, labels: LabelSet, intent: Intent, seen: LabelEvidence) -> float:
    """How far a decision lies above the next one, in shares of 1: above the second label, and from the threshold of
    `unknown`."""
    temperature, threshold = in_force(labels, engine)
    if engine.method == "entailment":
        apart = abs(seen.nearness - threshold)
    else:  # the share that `unknown` would have among the labels
        most = max([threshold, *seen.scores])
        shares = [math.exp((value - most) / temperature) for value in (threshold, *seen.scores)]
        apart = abs(max(shares[1:]) - shares[0]) / sum(shares)
    if intent.label == "unknown":
        return apart
    first, *others = sorted(intent.scores.values(), reverse=True)
    return min(apart, first - max(others, default=-math.inf))


def _sound(answer: object) -> object:
    """The answer, unless it is an error: that is raised."""
    if isinstance(answer, GolemError):
        raise answer
    return answer
