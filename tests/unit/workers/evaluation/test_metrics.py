"""Metrics: rates, calibration, thresholds; and the storage of a calibration in label files."""

import math
import random
import tomllib
from pathlib import Path

import pytest

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labels import load_labels, parse_labels
from golem_chain.shared.records import Calibration, LabelSet
from golem_chain.workers.evaluation import calibration, metrics


def drawn(temperature: float, count: int = 3000) -> tuple[list[list[float]], list[int]]:
    """Return evidence, and labels drawn from its softmax at a temperature."""
    chance = random.Random(5)
    evidence = [[chance.gauss(0, 1) for _ in range(4)] for _ in range(count)]
    gold = [chance.choices(range(4), metrics.softmax(row, temperature))[0] for row in evidence]
    return evidence, gold


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0])
def test_the_temperature_that_made_the_answers_is_found_again(temperature: float) -> None:
    assert metrics.fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.1)


def test_a_fitted_temperature_is_where_the_loss_is_least() -> None:
    evidence, gold = drawn(0.4, 300)
    fitted_at = metrics.fit_temperature(evidence, gold)
    least = metrics.log_loss(evidence, gold, fitted_at)
    assert all(least <= metrics.log_loss(evidence, gold, fitted_at * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_labels_that_are_all_told_apart_end_cold_but_above_nothing() -> None:
    assert metrics.COLDEST <= metrics.fit_temperature([[1.0, 0.0], [0.0, 1.0]] * 20, [0, 1] * 20) < 0.05


def test_scores_as_good_as_they_say_have_no_calibration_error() -> None:
    assert metrics.calibration_error([0.75] * 4, [True, True, True, False]) == 0
    assert metrics.calibration_error([1.0] * 4, [True, True, False, False]) == pytest.approx(0.5)
    assert metrics.calibration_error([0.9, 0.1], [False, True]) == pytest.approx(0.9)
    assert metrics.calibration_error([], []) == 0


def test_fitting_without_the_utterance_itself_makes_scores_of_drawn_answers_honest() -> None:
    evidence, gold = drawn(0.3, 1000)
    right = [row.index(max(row)) == label for row, label in zip(evidence, gold, strict=True)]
    scores = [max(row) for row in metrics.cross_fitted(evidence, gold)]
    cold = [max(metrics.softmax(row, 0.05)) for row in evidence]
    assert metrics.calibration_error(scores, right) < 0.03 < 0.15 < metrics.calibration_error(cold, right)


def test_a_threshold_rejects_the_most_that_the_bound_on_losses_allows() -> None:
    inside, outside = [0.3, *(0.5 + 0.01 * n for n in range(19))], [0.1, 0.2, 0.4, 0.6]
    chosen = metrics.choose_threshold(inside, outside, most_lost=0.05)
    assert chosen is not None
    assert 0.4 < chosen < 0.5
    assert metrics.rejection(inside, outside, chosen) == (0.75, 0.05)
    assert metrics.choose_threshold(inside, []) is None
    assert metrics.choose_threshold([0.1, 0.2], [0.3, 0.4], most_lost=0.0) == 0.1


@pytest.mark.parametrize("name", ["home", "my set"])
def test_what_was_fitted_is_stored_in_the_sets_own_table_and_read_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "labels.toml"
    key = name if " " not in name else f'"{name}"'
    text = f'# mine\n[{key}.labels]\non = ["light on"]  # kept\noff = []\n\n[other.labels]\ngo = []\n'
    path.write_text(text)
    calibration.store(path, name, "cosine", Calibration(temperature=0.03, unknown=0.2))
    calibration.store(path, name, "entailment", Calibration(temperature=1.5))
    calibration.store(path, name, "cosine", Calibration(temperature=0.04, unknown=0.25))
    assert path.read_text().startswith(text)
    assert path.read_text().count("cosine") == 1
    labels = load_labels(path, name)
    assert (labels.cosine, labels.entailment) == (
        Calibration(temperature=0.04, unknown=0.25),
        Calibration(temperature=1.5),
    )
    assert load_labels(path, "other").cosine == Calibration()
    assert [file.name for file in tmp_path.iterdir()] == ["labels.toml"]


def test_a_file_that_is_one_set_gets_its_table_at_the_top() -> None:
    text = calibration.put('template = "{}"\n[labels]\na = []\n', "default", "cosine", Calibration(temperature=0.03))
    assert tomllib.loads(text)["cosine"] == {"temperature": 0.03}


def test_labels_without_a_file_get_one(tmp_path: Path) -> None:
    labels = parse_labels('on="light on|lamp on",off')
    calibration.create(tmp_path / "new" / "x.toml", "x", labels, "cosine", Calibration(temperature=0.03))
    assert load_labels(tmp_path / "new" / "x.toml") == labels.model_copy(
        update={"cosine": Calibration(temperature=0.03)}
    )


def test_a_table_in_another_form_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "labels.toml"
    path.write_text("[x]\ncosine = { temperature = 0.1 }\n[x.labels]\na = []\n")
    before = path.read_bytes()
    with pytest.raises(BadLabels, match="delete it and fit again"):
        calibration.store(path, "x", "cosine", Calibration(temperature=0.03))
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", ["temperature = 0", 'temperature = "warm"', "warmth = 1.0", "unknown = true"])
def test_a_calibration_that_is_none_is_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "labels.toml"
    path.write_text(f"[x.labels]\na = []\n[x.cosine]\n{table}\n")
    with pytest.raises(BadLabels, match=r"\[x\.cosine\] may only hold the numbers `temperature` \(above 0\)"):
        load_labels(path)


def test_a_calibration_travels_with_its_labels() -> None:
    labels = parse_labels("a,b").model_copy(update={"cosine": Calibration(temperature=0.03, unknown=0.2)})
    assert LabelSet.model_validate(labels.wire()) == labels
    assert hash(labels) != hash(parse_labels("a,b"))
    assert math.isclose(labels.wire()["cosine"]["temperature"], 0.03)
