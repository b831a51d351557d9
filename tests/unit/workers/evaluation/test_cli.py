"""`golem eval` from the command line to the written files, on small random models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from golem_chain.shared.errors import BadRequest
from golem_chain.shared.labels import load_labels
from golem_chain.shared.settings import GUARDS, Settings
from golem_chain.workers.evaluation.cli import app
from golem_chain.workers.stages.interpreter.engine import Interpreter
from golem_chain.workers.stages.scribe.engine import Scribe
from tests.support.text_models import bert
from tests.support.whisper_models import whisper


@pytest.fixture(autouse=True, scope="module")
def _small_models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, settings = tmp_path_factory.mktemp("models"), Settings.read(_env_file=None)
    spoken: Any = whisper(folder / "whisper", multilingual=False)
    spoken.checkpoint = SimpleNamespace(id="small-whisper", revision="local")
    said: Any = bert(folder)
    said.checkpoint, said.device = SimpleNamespace(id="small-bert", revision="local"), torch.device("cpu")
    engines: tuple[Any, Any] = (Scribe(spoken, settings), Interpreter(said, settings))
    for engine in engines:
        engine.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("golem_chain.workers.evaluation.inference.open_scribe", lambda _: engines[0])
        patch.setattr("golem_chain.workers.evaluation.inference.open_interpreter", lambda _: engines[1])
        yield


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A folder with a subfolder for each word."""
    noise = np.random.default_rng(3).normal(0, 0.1, 16000).astype(np.float32)
    for name in ("yes/1.wav", "no/1.wav", "house/1.wav", "_silence_/1.wav"):
        (tmp_path / "words" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "words" / name, noise if name[0] != "_" else 0 * noise, 16000)
    return tmp_path / "words"


def run(*args: object) -> tuple[str, str]:
    """Run a command, return stdout and stderr, and raise its errors."""
    done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False, standalone_mode=False)
    return done.stdout, done.stderr


def test_keywords_write_figures_table_and_a_confusion_matrix(words: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown, said = run("ks", words, "--words", "yes,no", "--fillers", "speech-commands", "--out", out, "--json")
    found = json.loads(shown)
    assert found["clips"] == 4
    assert found["fillers"] == 25
    assert found["silence_accuracy"] == 1
    assert found["classes"] == ["yes", "no", "_unknown_", "_silence_"]
    assert np.array(found["confusion"]).sum(1).tolist() == [1, 1, 1, 1]
    assert found == json.loads((out / "keywords.json").read_text())
    assert (out / "keywords.png").read_bytes().startswith(b"\x89PNG")
    assert "small-whisper" in (out / "keywords.md").read_text()
    assert all(name in said for name in ("keywords.json", "keywords.md", "keywords.png"))


def test_keywords_are_cross_validated_over_speakers(words: Path, tmp_path: Path) -> None:
    shown, _ = run("ks", words, "--words", "yes,no", "--folds", 2, "--out", tmp_path, "--json")
    found = json.loads(shown)
    assert (found["clips"], found["speakers"], found["folds"]) == (4, 4, 2)
    assert 0.25 <= found["accuracy"] <= 1  # digital silence is always right
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert (tmp_path / "folds.json").exists()
    with pytest.raises(BadRequest, match=r"5 folds need 5 speakers, but there are 4: lower --folds\."):
        run("ks", words, "--words", "yes,no", "--folds", 5, "--out", tmp_path)


def test_keywords_of_other_words_are_asked_for_by_name(words: Path) -> None:
    with pytest.raises(BadRequest, match=r"has no recordings of left, right: list its words with --words"):
        run("ks", words, "--words", "left,right")


def test_guards_are_measured_one_by_one(words: Path, tmp_path: Path) -> None:
    shown, _ = run("guards", words, "--out", tmp_path, "--json")
    found = json.loads(shown)
    assert (found["clips_without_speech"], found["clips_with_speech"]) == (1, 3)
    assert list(found["alone"]) == list(found["all_but"]) == list(GUARDS)
    assert found["alone"]["level"] == found["all"]["gives_words"] == 0
    with pytest.raises(BadRequest, match="None of the recordings is without speech"):
        run("guards", words / "yes")


def test_transcripts_need_reference_words(words: Path) -> None:
    with pytest.raises(BadRequest, match="None of the recordings has reference words"):
        run("asr", words)


def test_noise_and_telephone_add_a_table_and_a_plot_and_are_the_same_twice(words: Path, tmp_path: Path) -> None:
    rows = [{"path": f"{name}/1.wav", "text": name} for name in ("yes", "no")]
    rows += [{"path": "_silence_/1.wav", "text": ""}]
    (words / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ("asr", words, "--noise", "10,-5", "--telephone", "--seed", 7, "--json")
    first, again = (json.loads(run(*asked, "--out", tmp_path / str(n))[0]) for n in range(2))
    assert [one["condition"] for one in first["conditions"]] == ["clean", "10 dB", "-5 dB", "telephone"]
    assert (first["conditions"], first["seed"]) == (again["conditions"], 7)
    assert first["conditions"][0]["wer"] == first["wer"]
    assert (tmp_path / "0" / "conditions.png").read_bytes().startswith(b"\x89PNG")
    assert "| telephone | 2 | 2 |" in (tmp_path / "0" / "transcripts.md").read_text()
    found = json.loads(run("guards", words, "--telephone", "--out", tmp_path, "--json")[0])
    assert [(one["clips_with_speech"], one["clips_without_speech"]) for one in found["conditions"]] == [(2, 1)] * 2


@pytest.mark.parametrize("noise", ["", "loud", "10;5", "10,", "nan", "100"])
def test_a_ratio_that_is_no_number_of_db_is_named(words: Path, noise: str) -> None:
    with pytest.raises(
        BadRequest, match=r"is no list of signal-to-noise ratios: give numbers in dB between -60 and 60"
    ):
        run("asr", words, "--noise", noise)


def test_noise_options_that_lack_another_say_so(words: Path) -> None:
    with pytest.raises(BadRequest, match="--noise-files needs --noise"):
        run("asr", words, "--noise-files", words)
    with pytest.raises(BadRequest, match="--seed -1 is negative"):
        run("asr", words, "--telephone", "--seed", "-1")


def test_intents_are_swept_fitted_and_stored(tmp_path: Path) -> None:
    data, labels, out = tmp_path / "mine.jsonl", tmp_path / "labels.toml", tmp_path / "out"
    rows = [{"text": f"turn on light {n}", "intent": "on"} for n in range(12)]
    rows += [{"text": f"stop the music {n}", "intent": "off"} for n in range(12)]
    rows += [{"text": "what is the weather like", "intent": "oos"}]
    data.write_text("\n".join(map(json.dumps, rows)))
    labels.write_text('[mine.labels]\non = ["turn on the lights"]\noff = ["stop the music"]\n')
    shown, said = run("intents", data, "--labels", f"@{labels}", "--sweep", "--fit", "--out", out)
    assert "mine: thresholds of unknown" in shown
    assert "The user wants to {}." in shown
    assert "for the set mine in" in said
    stored = load_labels(labels, "mine").cosine
    assert stored.temperature
    assert stored.unknown is not None
    again = json.loads(run("intents", data, "--labels", labels, "--out", out, "--json")[0])
    assert (again["temperature"], again["unknown"]) == (stored.temperature, stored.unknown)
    assert again["method"] == "cosine"
    assert (out / "intents-mine.png").is_file()


def test_bare_intents_that_are_fitted_get_a_label_file(tmp_path: Path) -> None:
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(json.dumps({"text": f"say {n}", "intent": "aA"[n % 2]}) for n in range(20)))
    run("intents", data, "--fit", "--out", tmp_path / "out", "--json")
    stored = load_labels(tmp_path / "out" / "mine.toml")
    assert [label.name for label in stored.labels] == ["a", "A"]
    assert stored.cosine.temperature


def test_without_matplotlib_the_rest_is_written_and_one_sentence_says_why(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    _, said = run("ks", words, "--words", "yes,no", "--out", tmp_path / "out", "--json")
    assert said.count("pip install 'golem-chain[monitor]'") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"keywords.json", "keywords.md"}
