"""`golem eval`: the figures, on made-up answers, on small random models, and on real models."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from golem_chain.shared.errors import BadLabels, BadRequest
from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Calibration, Candidate, Choice, Transcript
from golem_chain.shared.settings import GUARDS, Settings
from golem_chain.workers.evaluation import asr, datasets, guards, inference, intents, keywords
from golem_chain.workers.evaluation.datasets import Clip, Said
from golem_chain.workers.evaluation.inference import Heard, Hearing, hear_batch
from golem_chain.workers.evaluation.report import Report, Table, write
from golem_chain.workers.stages.interpreter.engine import Interpreter, Utterance
from golem_chain.workers.stages.scribe.audio.windows import Window
from golem_chain.workers.stages.scribe.engine import Scribe
from golem_chain.workers.stages.scribe.prepared import PreparedAudio
from golem_chain.workers.stages.scribe.transcribe import Transcriber, Work
from tests.support.paths import SAMPLES
from tests.support.text_models import bart, bert
from tests.support.whisper_models import whisper

WORDS = ("yes", "no")


def heard(label: str, phrase: str | None, *, text: str = "x", likeliest: str = "yes") -> Heard:
    """Return a clip of a word with its choice: a word, `unknown`, or None for silence."""
    if phrase is None:
        return Heard(Clip(Path(label), label=label), Transcript())
    choice = Choice(
        phrase=phrase, posterior=1, margin=1, free_margin=0, candidates=(Candidate(phrase=likeliest, posterior=0.5),)
    )
    return Heard(Clip(Path(label), label=label), Transcript(text=text, choice=choice))


def test_keywords_count_words_unknown_and_silence_apart() -> None:
    all_heard = [
        heard("yes", "yes"),
        heard("no", "yes"),
        heard("no", "unknown", likeliest="no"),
        heard("yes", None),
        heard("_unknown_", "unknown"),
        heard("house", "no"),
        heard("_silence_", None),
        heard("_background_noise_", "unknown", text="you"),
    ]
    golds = [keywords.gold(one.clip, WORDS) for one in all_heard]
    answers = [keywords.answer(one) for one in all_heard]
    found = keywords.figures(golds, answers, Hearing(all_heard, 4.0), WORDS)
    assert found | {"accuracy": 0.375, "closed_accuracy": 0.5, "words_accuracy": 0.25} == found
    assert found | {"unknown_accuracy": 0.5, "silence_accuracy": 0.5, "silence_with_words": 1} == found
    assert found | {"silence_clips": 2, "words_silenced": 1, "clips": 8, "clip_s": 0.5} == found
    classes = (*WORDS, "_unknown_", "_silence_")
    assert keywords.confusion(classes, golds, answers) == [[1, 0, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_a_clip_is_of_the_class_of_its_label_or_else_of_its_words() -> None:
    assert keywords.gold(Clip(Path("a"), text="Yes", label="YES"), WORDS) == "yes"
    assert keywords.gold(Clip(Path("a"), text="no"), WORDS) == "no"
    assert keywords.gold(Clip(Path("a"), text="house", label="_unknown_"), WORDS) == "_unknown_"
    assert keywords.gold(Clip(Path("a"), language="zxx", label="hum"), WORDS) == "_silence_"
    with pytest.raises(BadRequest, match="neither a label nor a text"):
        keywords.gold(Clip(Path("a")), WORDS)


def test_word_error_rates_are_those_of_all_words_not_means_of_files() -> None:
    pairs = [("turn on the light", "turn on a light"), ("stop", ""), ("", "you"), (None, "who knows")]
    scored = [
        one
        for text, said in pairs
        if (one := asr.score(Heard(Clip(Path("a"), text=text, language="en"), Transcript(text=said))))
    ]
    assert asr.rates(scored) == {"wer": 40.0, "words": 5, "edits": 2, "files": 2, "exact": 0, "silent": 1}


def test_guards_are_told_by_what_they_leave_and_what_they_lose() -> None:
    silent, spoken = Clip(Path("noise.wav"), text=""), Clip(Path("word.wav"), text="yes")
    words, nothing = Transcript(text="you"), Transcript(guards=("vad",))
    found = {name: [Heard(silent, words), Heard(spoken, words)] for name in guards.combinations()}
    found |= {
        "vad": [Heard(silent, nothing), Heard(spoken, nothing)],
        "all": [Heard(silent, nothing), Heard(spoken, words)],
    }
    figures = guards.report(found, {}).figures
    assert figures["all"] == {"gives_words": 0.0, "silences_speech": 0.0}
    assert figures["none"] == {"gives_words": 1.0, "silences_speech": 0.0}
    assert figures["alone"] == dict.fromkeys(GUARDS, 1.0) | {"vad": 0.0}
    assert figures["alone_silences"]["vad"] == 1.0
    assert set(guards.combinations()) == {"all", "none", *GUARDS, *(f"all but {name}" for name in GUARDS)}


def test_remembered_windows_give_what_hearing_them_anew_gives(tmp_path: Path) -> None:
    scribe = Scribe(whisper(tmp_path / "m", multilingual=False), Settings.read(_env_file=None))
    scribe.load()
    noise = np.random.default_rng(1).normal(0, 0.1, 16000 * 33).astype(np.float32)
    soundfile.write(tmp_path / "short.wav", noise[:16000], 16000)
    soundfile.write(tmp_path / "long.wav", noise, 16000)
    clips = [Clip(tmp_path / "short.wav", text=""), Clip(tmp_path / "long.wav", text="")]
    passes, listener = [], scribe.transcriber
    settings = scribe.settings
    for chosen in ((), ("loop",), ("annotation", "invention")):
        scribe.settings = settings.model_copy(update={"guards": chosen})
        anew = hear_batch(scribe, clips)
        with guards.remembering(scribe):
            first, again = hear_batch(scribe, clips), hear_batch(scribe, clips)
            passes.append(len(vars(scribe.transcriber)["_known"]))
        assert (
            [one.transcript for one in first] == [one.transcript for one in again] == [one.transcript for one in anew]
        )
    assert scribe.transcriber is listener
    assert all(passes)


@pytest.mark.parametrize("anew", [False, True], ids=["cut back, and its rest", "in two halves"])
def test_windows_that_hearing_cuts_in_two_are_remembered_in_two(anew: bool) -> None:
    class Halving(Transcriber):
        def __init__(self) -> None:
            self.rounds = 0

        def hear(self, model: Any, work: Sequence[Work], meter: Any = None) -> list[Work]:
            self.rounds += len(work)
            found = []
            for item in work:
                whole, middle = item.window, item.window.end_s / 2
                item.window = Window(0.0, middle)
                first = Work(item.sound, item.window, timestamps=True) if anew else item
                found += [first, Work(item.sound, Window(middle, whole.end_s), timestamps=True)]
            return found

    class Remembering(guards.Memory, Halving):
        pass

    def asked() -> list[Work]:
        return [Work(sound, Window(0.0, end_s), timestamps=True) for end_s in (8.0, 20.0, 8.0)]

    sound = PreparedAudio(
        np.zeros(9, np.float32), np.zeros(1, np.float32), [], [], None, "transcribe", 1.0, 0.5, False, False, None
    )
    memory = Remembering(Halving())
    expected = [(0.0, 4.0), (4.0, 8.0), (0.0, 10.0), (10.0, 20.0), (0.0, 4.0), (4.0, 8.0)]
    for _ in range(2):
        found = memory.hear(None, asked())
        assert [(one.window.start_s, one.window.end_s) for one in found] == expected
    assert memory.rounds == 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    made = Interpreter(bert(tmp_path_factory.mktemp("bert")), Settings.read(_env_file=None))
    made.load()
    return made


def test_a_sets_own_temperature_and_threshold_stand_before_the_settings(small: Interpreter) -> None:
    said, labels = [Said("turn on the lights", "lights"), Said("play music", "music")], parse_labels("lights,music")
    plain = inference.ask(small, "x", said, labels)
    warm = inference.ask(
        small, "x", said, labels.model_copy(update={"cosine": Calibration(temperature=5.0, unknown=-1.0)})
    )
    far = inference.ask(small, "x", said, labels.model_copy(update={"cosine": Calibration(unknown=1.0)}))
    assert [one.scores for one in plain.evidence] == [one.scores for one in warm.evidence]
    assert all(abs(value - 0.5) < 0.2 for intent in warm.intents for value in intent.scores.values())
    assert plain.intents != warm.intents
    assert [intent.label for intent in far.intents] == ["unknown", "unknown"]
    assert inference.in_force(warm.labels, small) == (5.0, -1.0)


def test_scores_are_the_softmax_of_the_evidence(small: Interpreter) -> None:
    from golem_chain.workers.evaluation.metrics import softmax

    labels = parse_labels("lights,music=play some music|stop the music")
    asked = inference.ask(small, "x", [Said("turn on the lights in the kitchen", "lights")], labels)
    (intent,), (seen,) = asked.intents, asked.evidence
    expected = softmax(seen.scores, small.settings.temperature)
    assert [intent.scores[name] for name in ("lights", "music")] == pytest.approx(expected, abs=1e-5)
    assert seen.nearness == max(seen.scores)
    assert small.evidence([Utterance("…", "en", labels)])


def test_entailment_is_fitted_by_its_logits_and_rejected_by_its_belief(tmp_path: Path) -> None:
    from golem_chain.workers.evaluation.metrics import softmax

    made = Interpreter(bart(tmp_path, full=False), Settings.read(_env_file=None))
    made.load()
    said = [Said("turn on the lights in the kitchen", "lights")]
    labels = parse_labels("lights,music=play some music|stop the music")
    own = labels.model_copy(update={"entailment": Calibration(temperature=3.0, unknown=0.0)})
    strict = labels.model_copy(update={"entailment": Calibration(unknown=1.0)})
    for asked, temperature in ((labels, 1.0), (own, 3.0)):
        found = inference.ask(made, "x", said, asked)
        expected = softmax(found.evidence[0].scores, temperature)
        assert [found.intents[0].scores[name] for name in ("lights", "music")] == pytest.approx(expected, abs=1e-5)
        assert 0 < found.evidence[0].nearness < 1
    assert inference.ask(made, "x", said, own).intents[0].label != "unknown"
    assert inference.ask(made, "x", said, strict).intents[0].label == "unknown"


def test_intents_that_the_labels_lack_or_too_few_to_fit_are_refused(small: Interpreter) -> None:
    said = [Said("turn on the lights", "lights"), Said("play music", "oos")]
    with pytest.raises(BadRequest, match="x has the intent lights, which the labels lack"):
        inference.ask(small, "x", said, parse_labels("music,weather"))
    with pytest.raises(BadRequest, match="--fit needs two labels and 20 utterances in scope, here are 1"):
        intents.fit(inference.ask(small, "x", said, parse_labels("lights,music")))
    with pytest.raises(BadRequest, match="out of scope"):
        inference.bare(said[1:])
    assert inference.bare(said) == parse_labels("lights")


def test_a_report_is_written_whole_and_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    report = Report(
        "x", {"accuracy": 0.5}, (Table("T", ("a", "b"), [(None, 0.12345), ("p|q", 3)]),), run_on={"m": "model 1"}
    )
    assert [path.name for path in write(report, tmp_path / "a/b")] == ["x.json", "x.md"]
    assert json.loads((tmp_path / "a/b/x.json").read_text()) == {
        "evaluation": "x",
        "accuracy": 0.5,
        "run_on": {"m": "model 1"},
    }
    assert "| – | 0.123 |\n| p/q | 3 |\n" in (tmp_path / "a/b/x.md").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match="Cannot write"):
        write(report, tmp_path / "file" / "below")


def evaluate(*args: object, cwd: Path) -> Any:
    """Run `golem eval …` in a process."""
    command = [sys.executable, "-m", "golem_chain.broker.cli", "eval", *map(str, args)]
    env = os.environ | {"GOLEM_MODELS": "bundled", "PYTHONPATH": str(SAMPLES.parent)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=200)


def test_wrong_data_ends_in_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = evaluate("ks", "gone", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "golem: There is no file or folder gone.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.models
def test_the_samples_are_evaluated_by_one_command(tmp_path: Path) -> None:
    done = evaluate("asr", SAMPLES, "--json", cwd=tmp_path)
    if "models pull" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == sum(bool(clip.text) for clip in datasets.read_clips([SAMPLES]))
    assert found["wer"] < 15
    assert found["words"] > 30
    assert set(found["run_on"]) == {"model", "versions", "hardware"}
    assert {path.name for path in (tmp_path / "eval-asr").iterdir()} == {"transcripts.json", "transcripts.md"}
    assert "eval-asr/transcripts.json" in done.stderr


def test_a_label_file_without_the_set_is_refused(tmp_path: Path) -> None:
    from golem_chain.workers.evaluation.cli import _labels

    path = tmp_path / "labels.toml"
    path.write_text("[a.labels]\nx = []\n[b.labels]\ny = []\n")
    assert _labels(str(path), "b") == parse_labels("y")
    assert _labels(f"@{path}:a", "b") == parse_labels("x")
    assert _labels("x,y", "b") == parse_labels("x,y")
    with pytest.raises(BadLabels, match="no label set"):
        _labels(f"@{path}", "c")
