"""Utterances through the Interpreter: what was answered, by what it was decided, and what holds for a label set."""

from collections.abc import Sequence
from dataclasses import dataclass

from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.labels import phrasings
from golem_chain.shared.records import Intent, Label, LabelSet
from golem_chain.workers.evaluation.corpus import Said
from golem_chain.workers.evaluation.hearing import progress
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter.engine import Evidence, Interpreter, Utterance

OUT_OF_SCOPE = "oos"


@dataclass(frozen=True)
class Asked:
    """A set of utterances with what was answered, and by what it was decided."""

    name: str
    said: Sequence[Said]
    labels: LabelSet
    intents: Sequence[Intent]
    evidence: Sequence[Evidence]

    def inside(self) -> list[tuple[int, Intent, Evidence]]:
        """What is in scope: the number of the right label, the answer, its evidence."""
        numbers = {label.name: number for number, label in enumerate(self.labels.labels)}
        triples = zip(self.said, self.intents, self.evidence, strict=True)
        return [(numbers[one.intent], intent, seen) for one, intent, seen in triples if one.intent != OUT_OF_SCOPE]

    def outside(self) -> list[tuple[Intent, Evidence]]:
        """What is out of scope."""
        triples = zip(self.said, self.intents, self.evidence, strict=True)
        return [(intent, seen) for one, intent, seen in triples if one.intent == OUT_OF_SCOPE]


def bare(said: Sequence[Said]) -> LabelSet:
    """The intents as they are named, in the order in which they come. Raises BadRequest where there is none."""
    names = dict.fromkeys(one.intent for one in said if one.intent != OUT_OF_SCOPE)
    if not names:
        raise BadRequest("All utterances are out of scope (oos): there is no intent to be told.")
    return LabelSet(labels=tuple(Label(name=name) for name in names))


def ask(interpreter: Interpreter, name: str, said: Sequence[Said], labels: LabelSet) -> Asked:
    """All utterances of a set. Raises BadRequest for an intent that the labels lack, GolemError of the engine."""
    known = {label.name for label in labels.labels} | {OUT_OF_SCOPE}
    if lacking := sorted({one.intent for one in said} - known):
        raise BadRequest(
            f"{name} has the intent {lacking[0]}, which the labels lack: they are {', '.join(sorted(known)[:12])}."
        )
    intents: list[Intent] = []
    evidence: list[Evidence] = []
    asks = [Utterance(one.text, one.language or "en", labels.model_copy(update={"multi_label": False})) for one in said]
    size = interpreter.settings.batch_of("interpreter") * 4
    with progress(name, len(asks)) as step:
        for start in range(0, len(asks), size):
            batch = asks[start : start + size]
            intents += _answers(interpreter, batch)
            evidence += interpreter.evidence(batch)
            step(len(batch))
    return Asked(name, said, labels, intents, evidence)


def in_force(labels: LabelSet, interpreter: Interpreter) -> tuple[float, float]:
    """The temperature and the threshold of `unknown` that hold for a set."""
    settings, cosines = interpreter.settings, interpreter.method == "cosine"
    fitted = labels.cosine if cosines else labels.entailment
    temperature = fitted.temperature or (settings.temperature if cosines else 1.0)
    threshold = settings.unknown_cosine if cosines else settings.unknown_score
    return temperature, threshold if fitted.unknown is None else fitted.unknown


def templated(labels: LabelSet, template: str, method: str) -> LabelSet:
    """The set asked with another template."""
    if method == "entailment":
        return labels.model_copy(update={"template": template})
    said = [
        label.model_copy(update={"phrasings": tuple(template.replace("{}", phrase) for phrase in phrasings(label))})
        for label in labels.labels
    ]
    return labels.model_copy(update={"labels": tuple(said)})


def best(seen: Evidence) -> int:
    """The number of the likeliest label."""
    return seen.scores.index(max(seen.scores))


def _answers(interpreter: Interpreter, batch: Sequence[Utterance]) -> list[Intent]:
    prepared = [interpreter.prepare(one) for one in batch]
    ran = iter(interpreter.run([one.item for one in prepared if isinstance(one, Ready)]))
    found = [next(ran) if isinstance(one, Ready) else one for one in prepared]
    for one in found:
        if isinstance(one, GolemError):
            raise one
    return [one for one in found if isinstance(one, Intent)]
