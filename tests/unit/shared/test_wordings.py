"""Wordings: label sets in several languages, their file format, and the choice of a language."""

from pathlib import Path

import pytest

from golem_chain.shared import labels
from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labels import check_labels, in_language, load_labels
from golem_chain.shared.records import (
    AudioRef,
    Handover,
    Intent,
    Job,
    Label,
    LabelSet,
    OracleParams,
    Task,
    Transcript,
    Turn,
    Wording,
)
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.requests import written_in
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter.engine import Interpreter, Utterance
from golem_chain.workers.stages.oracle.engine import Oracle, ReplyRequest
from tests.support.text_models import bert, llama

FILE = """
[home]
template = "This is about {}."
turns = [["Open the gate.", "I open it."]]
[home.labels]
lights_on = { phrasings = ["turning on the lights"], prompt = "Say that the lights go on." }
music_stop = ["stopping the music"]

[home.languages.ru]
template = "Речь о том, чтобы {}."
prompt = "Ответь на: {text}"
turns = [["Открой ворота.", "Открываю."]]
[home.languages.ru.labels]
lights_on = ["включить свет", "зажечь лампу"]

[all]
include = ["home"]
[all.labels]
timer = []
[all.languages.ru.labels]
timer = ["поставить таймер"]
[all.languages.de.labels]
lights_on = ["das Licht einschalten"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "home.toml"
    written.write_text(FILE, encoding="utf-8")
    return written


def said(given: LabelSet) -> dict[str, tuple[str, ...]]:
    return {label.name: label.phrasings for label in given.labels}


def test_a_set_is_asked_in_the_language_that_was_spoken(path: Path) -> None:
    home = load_labels(path, "home")
    russian = in_language(home, "ru")
    assert said(russian) == {
        "lights_on": ("включить свет", "зажечь лампу"),
        "music_stop": ("stopping the music",),  # no Russian wording: as in the set
    }
    assert russian.template == "Речь о том, чтобы {}."
    assert russian.prompt == "Ответь на: {text}"
    assert russian.labels[0].prompt == "Say that the lights go on."
    assert russian.turns == (Turn(prompt="Открой ворота.", reply="Открываю."),)
    for language in ("en", "fr", None):
        plain = in_language(home, language)
        assert (said(plain)["lights_on"], plain.template) == (("turning on the lights",), "This is about {}.")
    assert in_language(russian, "ru") is russian


def test_included_sets_bring_their_languages(path: Path) -> None:
    everything = load_labels(path, "all")
    assert said(in_language(everything, "ru"))["lights_on"] == ("включить свет", "зажечь лампу")
    assert said(in_language(everything, "ru"))["timer"] == ("поставить таймер",)
    assert said(in_language(everything, "de"))["lights_on"] == ("das Licht einschalten",)
    assert check_labels(LabelSet.model_validate_json(everything.model_dump_json())) == everything


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("languages = 3", "must be tables"),
        ("languages.ru = 3", "must be tables"),
        ("languages.ru.other = 3", "unknown key other"),
        ("languages.ru.labels = 3", "must be a table"),
        ("languages.ru.labels.b = ['x']", "not in the set"),
        ("languages.russian.labels.a = ['x']", "ISO 639-1"),
        ("languages.ru.template = 'no place'", "template"),
        ("languages.ru.turns = [['one']]", "pairs"),
        ("turns = 'a'", "pairs"),
        ("turns = [['a', 'b', 'c']]", "pairs"),
        ("turns = [['a', '']]", "reply of an example turn is empty"),
        ("turns = [" + "['a', 'b']," * 17 + "]", "at most 16"),
    ],
)
def test_a_bad_wording_ends_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[s]\n{text}\n[s.labels]\na = ['x']\n", encoding="utf-8")
    with pytest.raises(BadLabels, match=says) as caught:
        load_labels(path)
    assert "\n" not in caught.value.message


def test_the_example_in_the_built_in_file_is_a_set(tmp_path: Path) -> None:
    lines = (Path(labels.__file__).with_name("intents.toml")).read_text(encoding="utf-8").splitlines()
    shown = [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
    path = tmp_path / "kitchen.toml"
    path.write_text("\n".join(["[kitchen.labels]", "oven_on = []", *shown]), encoding="utf-8")
    russian = in_language(load_labels(path, "kitchen"), "ru")
    assert said(russian) == {"oven_on": ("включить духовку", "разогреть печь")}
    assert russian.turns


def test_a_language_is_put_once() -> None:
    twice = LabelSet(labels=(Label(name="a"),), wordings=(Wording(language="ru"), Wording(language="ru")))
    with pytest.raises(BadLabels, match="one for each language"):
        check_labels(twice)


def test_a_translation_is_written_in_english() -> None:
    def handed(task: Task) -> Handover:
        job = Job(id="j", name="a", audio=AudioRef(key="vault:j", size_bytes=1), task=task)
        return Handover(job=job, transcript=Transcript(text="x", language="ru"))

    assert written_in(handed("transcribe")) == "ru"
    assert written_in(handed("translate")) == "en"


def test_the_interpreter_asks_in_the_language_of_the_text(tmp_path: Path, path: Path) -> None:
    engine = Interpreter(bert(tmp_path), Settings.read(_env_file=None))
    home = load_labels(path, "home")
    for language, expected in (("ru", "включить свет"), ("en", "turning on the lights")):
        ready = engine.prepare(Utterance("x y", language, home))
        assert isinstance(ready, Ready)
        assert said(ready.item.labels)["lights_on"][0] == expected


def test_the_oracle_is_shown_the_sets_own_examples_in_its_language(tmp_path: Path, path: Path) -> None:
    engine = Oracle(llama(tmp_path), Settings.read(_env_file=None))
    home = load_labels(path, "home")
    for language, example, prompt in (
        ("ru", "Открой ворота.", "Ответь на: hello"),
        ("en", "Open the gate.", "hello"),
    ):
        cue = ReplyRequest(
            "hello", Intent(label="music_stop", score=1, method="cosine"), home, OracleParams(), 7, language
        )
        ready = engine.prepare(cue)
        assert isinstance(ready, Ready)
        told = engine.tokenizer.decode(ready.item.tokens)
        assert example in told
        assert prompt in told
        assert "Dig a well" not in told
