"""`golem eval intents`: how often the label is right, whether scores can be believed, and what becomes `unknown`."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Calibration
from golem_chain.workers.evaluation import metrics, plots
from golem_chain.workers.evaluation.inference import Asked, ask, best, in_force, run_on, templated
from golem_chain.workers.evaluation.metrics import rate
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.interpreter.engine import Interpreter

#: What `--sweep` asks with. An NLI model's hypothesis is the template's; for cosines each phrasing goes into it.
TEMPLATES = ("{}", "The user wants to {}.", "This text is about {}.", "Someone says: {}")
#: Fewer utterances than this fit nothing.
FEWEST = 20
#: Thresholds that `--sweep` shows, around the one in force.
STEPS = tuple(round(0.02 * step, 2) for step in range(-5, 6))


def evaluate(interpreter: Interpreter, asked: Sequence[Asked], tables: Sequence[Table] = ()) -> Report:
    """The figures of all sets; those of a single one stand at the top as well."""
    found = {one.name: figures(one, interpreter) for one in asked}
    top = next(iter(found.values())) if len(found) == 1 else _over_all(list(found.values()))
    draw = {
        f"intents-{one.name}.png": partial(
            plots.reliability, curves=curves(one), title=f"{one.name}: scores and how often they are right"
        )
        for one in asked
    }
    shown = (_sums(found), *(_labels(one) for one in asked), *tables)
    return Report("intents", {**top, "method": interpreter.method, "sets": found}, shown, draw, run_on(interpreter))


def figures(asked: Asked, interpreter: Interpreter) -> dict[str, Any]:
    """What `--json` prints of one set; shares are of 1, None where there is nothing of the kind."""
    inside, outside = asked.inside(), asked.outside()
    right = [best(seen) == gold for gold, _, seen in inside]
    scores = [max(intent.scores.values(), default=0.0) for _, intent, _ in inside]
    fitted = crossed(asked)
    return {
        "accuracy": rate(right),
        "ece": round(metrics.calibration_error(scores, right), 4),
        "ece_fitted": round(metrics.calibration_error([max(row) for row in fitted], right), 4) if fitted else None,
        "rejected": rate([intent.label == "unknown" for intent, _ in outside]),
        "lost": rate([intent.label == "unknown" for _, intent, _ in inside]),
        "answered_rightly": rate([_name(asked, gold) == intent.label for gold, intent, _ in inside]),
        "utterances": len(inside),
        "out_of_scope": len(outside),
        "labels": len(asked.labels.labels),
        "temperature": in_force(asked.labels, interpreter)[0],
        "unknown": in_force(asked.labels, interpreter)[1],
        "by_label": by_label(asked),
    }


def fit(asked: Asked) -> Calibration:
    """The temperature with the least log loss, and where something out of scope is known, the threshold. Raises
    BadRequest where there is too little."""
    inside = asked.inside()
    if len(inside) < FEWEST or len(asked.labels.labels) < 2:
        raise BadRequest(
            f"{asked.name}: --fit needs two labels and {FEWEST} utterances in scope, here are {len(inside)}."
        )
    temperature = metrics.fit_temperature([seen.scores for *_, seen in inside], [gold for gold, *_ in inside])
    near, far = [seen.nearness for *_, seen in inside], [seen.nearness for _, seen in asked.outside()]
    return Calibration(temperature=float(f"{temperature:.4g}"), unknown=metrics.choose_threshold(near, far))


def crossed(asked: Asked) -> list[list[float]]:
    """The scores at temperatures that were fitted without the utterance; none where there is too little to fit."""
    inside = asked.inside()
    if len(inside) < FEWEST or len(asked.labels.labels) < 2:
        return []
    return metrics.cross_fitted([seen.scores for *_, seen in inside], [gold for gold, *_ in inside])


def sweep(interpreter: Interpreter, asked: Asked) -> list[Table]:
    """Templates, and thresholds of `unknown`, against each other."""
    rows: list[tuple[object, ...]] = []
    for template in TEMPLATES:
        tried = ask(interpreter, asked.name, asked.said, templated(asked.labels, template, interpreter.method))
        found = figures(tried, interpreter)
        rows.append((template, found["accuracy"], found["rejected"], found["lost"]))
    near = [seen.nearness for *_, seen in asked.inside()]
    far = [seen.nearness for _, seen in asked.outside()]
    centre = in_force(asked.labels, interpreter)[1]
    steps: list[tuple[object, ...]] = []
    for step in STEPS:
        rejected, lost = metrics.rejection(near, far, centre + step)
        steps.append((f"{centre + step:.2f}", rejected if far else None, lost))
    return [
        Table(f"{asked.name}: templates", ("template", "accuracy", "rejected", "lost"), rows),
        Table(f"{asked.name}: thresholds of unknown", ("threshold", "rejected", "lost"), steps),
    ]


def curves(asked: Asked) -> dict[str, tuple[list[float], list[bool]]]:
    """For the reliability diagram: scores, and whether they are of the right label, as they are and fitted."""
    inside, fitted = asked.inside(), crossed(asked)
    right = [best(seen) == gold for gold, _, seen in inside]
    found = {"as set": ([max(intent.scores.values(), default=0.0) for _, intent, _ in inside], right)}
    return found | ({"fitted, cross-validated": ([max(row) for row in fitted], right)} if fitted else {})


def _sums(found: dict[str, dict[str, Any]]) -> Table:
    columns = ("utterances", "labels", "accuracy", "ece", "ece_fitted", "out_of_scope", "rejected", "lost")
    heads = (
        "set",
        "utterances",
        "labels",
        "accuracy",
        "ECE",
        "ECE fitted",
        "out of scope",
        "rejected",
        "lost",
    )
    return Table("Intents", heads, [(name, *(one[column] for column in columns)) for name, one in found.items()])


def by_label(asked: Asked) -> dict[str, dict[str, Any]]:
    """For each label its utterances, how many have it as the likeliest, are `unknown`, or have another, by name."""
    found: dict[str, dict[str, Any]] = {}
    for number, label in enumerate(asked.labels.labels):
        mine = [(intent, best(seen)) for gold, intent, seen in asked.inside() if gold == number]
        others = Counter(_name(asked, likeliest) for _, likeliest in mine if likeliest != number)
        found[label.name] = {
            "utterances": len(mine),
            "right": len(mine) - others.total(),
            "unknown": sum(intent.label == "unknown" for intent, _ in mine),
            "taken_for": dict(others.most_common()),
        }
    return found


def _labels(asked: Asked) -> Table:
    rows = [
        (
            name,
            one["utterances"],
            one["right"],
            one["unknown"],
            ", ".join(f"{o} {n}" for o, n in one["taken_for"].items()) or "–",
        )
        for name, one in by_label(asked).items()
    ]
    return Table(f"{asked.name}: by label", ("label", "utterances", "correct", "unknown", "misclassified as"), rows)


def _over_all(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over all utterances of all sets."""
    totals: dict[str, Any] = {}
    for key, weight in (
        ("accuracy", "utterances"),
        ("ece", "utterances"),
        ("lost", "utterances"),
        ("rejected", "out_of_scope"),
    ):
        known = [(one[key], one[weight]) for one in found if one[key] is not None]
        count = sum(weight for _, weight in known)
        totals[key] = round(sum(value * weight for value, weight in known) / count, 4) if count else None
    return totals | {key: sum(one[key] for one in found) for key in ("utterances", "out_of_scope")}


def _name(asked: Asked, number: int) -> str:
    return asked.labels.labels[number].name
