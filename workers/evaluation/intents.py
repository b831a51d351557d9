"""`golem eval intents`: accuracy of the label, calibration of the scores, and rejection as `unknown`."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Calibration
from golem_chain.workers.evaluation import metrics, plots
from golem_chain.workers.evaluation.inference import Asked, ask, best, in_force, run_on, templated
from golem_chain.workers.evaluation.metrics import rate
from golem_chain.workers.evaluation.report import Report, Table
from golem_chain.workers.stages.interpreter.engine import Interpreter

#: The templates of `--sweep`: an NLI model's hypothesis; for cosines each phrasing is inserted.
TEMPLATES = ("{}", "The user wants to {}.", "This text is about {}.", "Someone says: {}")
#: Minimum number of utterances for a fit.
FEWEST = 20
#: The thresholds of `--sweep`, relative to the one in force.
STEPS = tuple(round(0.02 * step, 2) for step in range(-5, 6))


def evaluate(interpreter: Interpreter, asked: Sequence[Asked], tables: Sequence[Table] = ()) -> Report:
    """Return the report on all sets; the figures of a single set are also at the top level."""
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


def figures(asked: Asked, interpreter: Interpreter) -> JsonObject:
    """Return the `--json` figures of one set; shares are between 0 and 1, None if there are no such utterances."""
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
    """Fit the temperature with the lowest log loss and, if there are utterances out of scope, the threshold. Raises
    BadRequest if there are too few utterances or labels."""
    inside = asked.inside()
    if len(inside) < FEWEST or len(asked.labels.labels) < 2:
        raise BadRequest(
            f"{asked.name}: --fit needs two labels and {FEWEST} utterances in scope, here are {len(inside)}."
        )
    temperature = metrics.fit_temperature([seen.scores for *_, seen in inside], [gold for gold, *_ in inside])
    near, far = [seen.nearness for *_, seen in inside], [seen.nearness for _, seen in asked.outside()]
    return Calibration(temperature=float(f"{temperature:.4g}"), unknown=metrics.choose_threshold(near, far))


def crossed(asked: Asked) -> list[list[float]]:
    """Return the scores at cross-validated temperatures; empty if there are too few utterances or labels."""
    inside = asked.inside()
    if len(inside) < FEWEST or len(asked.labels.labels) < 2:
        return []
    return metrics.cross_fitted([seen.scores for *_, seen in inside], [gold for gold, *_ in inside])


def sweep(interpreter: Interpreter, asked: Asked) -> list[Table]:
    """Return tables that compare templates and thresholds of `unknown`."""
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
    """Return the curves of the reliability diagram, as set and fitted: scores, and whether the label was correct."""
    inside, fitted = asked.inside(), crossed(asked)
    right = [best(seen) == gold for gold, _, seen in inside]
    found = {"as set": ([max(intent.scores.values(), default=0.0) for _, intent, _ in inside], right)}
    return found | ({"fitted, cross-validated": ([max(row) for row in fitted], right)} if fitted else {})


def _sums(found: dict[str, JsonObject]) -> Table:
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


def by_label(asked: Asked) -> dict[str, JsonObject]:
    """Return for each label its utterances, how many are correct or `unknown`, and the labels they were taken for."""
    found: dict[str, JsonObject] = {}
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


def _over_all(found: Sequence[JsonObject]) -> JsonObject:
    """Return the means over the utterances of all sets."""
    totals: JsonObject = {}
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
