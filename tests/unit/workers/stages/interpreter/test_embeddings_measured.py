"""The bundled sentence encoder on labelled utterances: accuracy with bare labels and with phrasings, and `unknown`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from golem_chain.shared.errors import GolemError
from golem_chain.shared.labels import load_labels, parse_labels
from golem_chain.shared.records import Label, LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter.engine import Interpreter, Utterance, make
from tests.support import paths

pytestmark = [pytest.mark.models, pytest.mark.recordings]

DATA = paths.DATA / "intents"
PHRASINGS = Path(__file__).with_name("intent_phrasings.toml")
NAMES = tomllib.loads(Path(__file__).with_name("bare_names.toml").read_text())


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    from golem_chain.workers.store.load import Weights
    from golem_chain.workers.store.manifest import find

    settings = Settings.read(_env_file=None)
    try:
        made = Interpreter(Weights(find(settings, "interpreter"), make), settings)
        made.load()
    except GolemError as exc:
        pytest.skip(exc.message)
    if made.method != "cosine":
        pytest.skip("the store holds another interpreter than the bundled one")
    return made


def answers(interpreter: Interpreter, name: str, labels: LabelSet) -> list[tuple[str, Any]]:
    """Return (gold, Intent) for every utterance of a set."""
    if not DATA.is_dir():
        pytest.skip("the labelled utterances in ../shared/data/intents are missing")
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
    return answered(interpreter, [(row["text"], row["intent"]) for row in rows], labels)


def answered(interpreter: Interpreter, said: list[tuple[str, str]], labels: LabelSet) -> list[tuple[str, Any]]:
    """Return (gold, Intent) for every (text, gold)."""
    ready = [interpreter.prepare(Utterance(text, "en", labels)) for text, _ in said]
    ran = iter(interpreter.run([entry.item for entry in ready if isinstance(entry, Ready)]))
    found = [next(ran) if isinstance(entry, Ready) else entry for entry in ready]
    return [(gold, intent) for (_, gold), intent in zip(said, found, strict=True)]


def accuracy(pairs: list[tuple[str, Any]]) -> float:
    """Return the share in scope whose best label is correct, `unknown` or not."""
    inside = [(gold, intent) for gold, intent in pairs if gold != "oos"]
    return sum(bool(next(iter(intent.scores)) == gold) for gold, intent in inside) / len(inside)


@pytest.mark.parametrize(
    ("name", "bare", "phrased"),
    [("snips", 0.84, 0.85), ("clinc150_a", 0.92, 0.95), ("home_assistant_en", 0.90, 0.90)],
)
def test_phrasings_make_intents_dependable(interpreter: Interpreter, name: str, bare: float, phrased: float) -> None:
    labels = load_labels(PHRASINGS, name)
    names = LabelSet(labels=tuple(Label(name=label.name) for label in labels.labels))
    measured = (accuracy(answers(interpreter, name, names)), accuracy(answers(interpreter, name, labels)))
    print(f"{name}: bare labels {measured[0]:.3f}, phrasings {measured[1]:.3f}")
    assert measured[0] >= bare
    assert measured[1] >= phrased


@pytest.mark.parametrize(("name", "floor"), [("car", 0.90), ("kitchen", 0.80), ("support", 0.90)])
def test_names_of_any_style_are_understood(interpreter: Interpreter, name: str, floor: float) -> None:
    said = [(text, gold) for gold, texts in NAMES[name].items() for text in texts]
    labels = LabelSet(labels=tuple(Label(name=gold) for gold in NAMES[name] if gold != "oos"))
    pairs = answered(interpreter, said, labels)
    outside = [intent.label == "unknown" for gold, intent in pairs if gold == "oos"]
    lost = [intent.label == "unknown" for gold, intent in pairs if gold != "oos"]
    print(f"{name}: {accuracy(pairs):.3f}, rejected {sum(outside)} of {len(outside)}, lost {sum(lost)} of {len(lost)}")
    assert accuracy(pairs) >= floor
    assert sum(outside) >= 11
    assert sum(lost) / len(lost) <= 0.05


@pytest.mark.parametrize("name", ["snips", "clinc150_a", "home_assistant_en"])
def test_names_without_phrasings_lose_few_to_unknown(interpreter: Interpreter, name: str) -> None:
    names = LabelSet(labels=tuple(Label(name=label.name) for label in load_labels(PHRASINGS, name).labels))
    pairs = answers(interpreter, name, names)
    outside = [intent.label == "unknown" for gold, intent in pairs if gold == "oos"]
    lost = [intent.label == "unknown" for gold, intent in pairs if gold != "oos"]
    print(f"{name}: rejected {sum(outside)} of {len(outside)} out of scope, lost {sum(lost) / len(lost):.3f}")
    assert sum(lost) / len(lost) <= 0.12
    assert sum(outside) >= 0.7 * len(outside)


def test_most_of_what_is_out_of_scope_is_unknown(interpreter: Interpreter) -> None:
    pairs = answers(interpreter, "clinc150_a", load_labels(PHRASINGS, "clinc150_a"))
    outside = [intent.label == "unknown" for gold, intent in pairs if gold == "oos"]
    lost = [intent.label == "unknown" for gold, intent in pairs if gold != "oos"]
    print(f"rejected {sum(outside)} of {len(outside)} out of scope, lost {sum(lost) / len(lost):.3f} of the others")
    assert sum(outside) >= 16
    assert sum(lost) / len(lost) <= 0.08


def test_the_built_in_set_understands_what_people_say(interpreter: Interpreter) -> None:
    said = {
        "Turn on the living room lamp.": "lights_on",
        "Turn the lights off, please.": "lights_off",
        "Play some jazz.": "music_play",
        "A bit quieter, please.": "volume_down",
        "Cancel all timers.": "timer_cancel",
        "What's the weather like in New York?": "weather",
        "Stop.": "halt",
        "Go!": "activation",
        "Cast a fireball at the troll.": "spell_cast",
        "Summon a dragon.": "summon_creature",
        "Brew me a healing potion.": "alchemy",
        "He was born in London in 1845.": "unknown",
    }
    ready = [interpreter.prepare(Utterance(text, "en", parse_labels("@default"))) for text in said]
    found: list[Any] = interpreter.run([entry.item for entry in ready if isinstance(entry, Ready)])
    assert {text: intent.label for text, intent in zip(said, found, strict=True)} == said
