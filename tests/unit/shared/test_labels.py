"""Label sets: valid contents, and parsing of `--labels` and label files."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labels import (
    RESERVED,
    built_in,
    check_labels,
    check_template,
    default_labels,
    load_labels,
    parse_labels,
    phrasings,
    spoken,
)
from golem_chain.shared.records import Label, LabelSet


def shape(option: str) -> dict[str, tuple[str, ...]]:
    return {label.name: label.phrasings for label in parse_labels(option).labels}


def test_labels_with_several_phrasings_are_read() -> None:
    assert shape('lights_on="turning on the lights",music_stop,other="a|b|c"') == {
        "lights_on": ("turning on the lights",),
        "music_stop": (),
        "other": ("a", "b", "c"),
    }


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("a=turn on the lights,b", {"a": ("turn on the lights",), "b": ()}),
        (" a = x | y , b ", {"a": ("x", "y"), "b": ()}),
        ("a='with, comma'", {"a": ("with, comma",)}),
        ("a=what's up", {"a": ("what's up",)}),
        (r'a="say \"hi\""', {"a": ('say "hi"',)}),
        ('a="x"|"y, z"', {"a": ("x", "y, z")}),
        ("'a, b',c", {"a, b": (), "c": ()}),
        ("свет=включи свет|зажги лампу", {"свет": ("включи свет", "зажги лампу")}),
        ("a=x|x", {"a": ("x",)}),
    ],
)
def test_quotes_are_needed_only_where_they_decide(option: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert shape(option) == expected


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("", "empty"),
        ("a,,b", "Label 2 is empty"),
        ("a=", "phrasing of the label"),
        ("a=x||y", "empty"),
        ("a,b,a", "twice"),
        ("e\u0301,\u00e9", "twice"),  # the same letter, decomposed and composed
        ("Unknown", "is reserved"),
        ("noise", "is reserved"),
        ('a="x', "close the quote"),
        ("a|b", "separates phrasings"),
        ("a=b=c", "two ="),
        ("a\x1b[31m", "control character"),
        ("a\u202eb", "control character"),
        ("a\udcff", "control character"),
        ("x" * 201, "201 characters"),
        ("a=" + "x" * 301, "301 characters"),
        ("a=" + "|".join(f"p{n}" for n in range(33)), "more than 32"),
        (",".join(f"l{n}" for n in range(1001)), "1,001 labels"),
        ("@nothing", "no built-in label set"),
        ("@missing.toml", "does not exist"),
    ],
)
def test_a_bad_option_ends_in_one_sentence(option: str, says: str) -> None:
    with pytest.raises(BadLabels) as caught:
        parse_labels(option)
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    caught.value.message.encode()  # can be encoded, so printed and stored


@pytest.mark.parametrize("piece", ["x", ",", '"', "'", "\\", '\\"', "a,", "a=", "a=|", "|", 'a="', "e\u0301", " ", "@"])
def test_a_megabyte_of_anything_is_refused_at_once(piece: str) -> None:
    for length in (250_000, 1 << 20):
        started = time.thread_time()  # CPU time, so that other programs do not count
        with pytest.raises(BadLabels):
            parse_labels("a," + piece * (length // len(piece)))
        assert time.thread_time() - started < 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_a_set_or_bad_labels(text: str) -> None:
    try:
        found = parse_labels(text)
    except BadLabels as exc:
        exc.message.encode()
        return
    assert found.labels
    assert check_labels(found) == found
    assert LabelSet.model_validate_json(found.model_dump_json()) == found


def test_a_template_must_say_where_the_label_goes() -> None:
    assert check_template("This is about {}.") == "This is about {}."
    for bad in ("no place", "{} and {}", "{0}", "x" * 400 + "{}"):
        with pytest.raises(BadLabels, match="template"):
            check_template(bad)
    with pytest.raises(BadLabels):
        check_labels(LabelSet(labels=(Label(name="a"),), template="none"))


def test_the_built_in_sets_are_usable_at_once() -> None:
    assert built_in() == ("default", "voice", "keywords", "quest")
    everything = default_labels()
    names = {label.name for label in everything.labels}
    for part in ("voice", "keywords", "quest"):
        assert {label.name for label in parse_labels(f"@{part}").labels} < names
    assert {"spell_cast", "summon_creature", "alchemy", "activation", "halt", "lights_on", "weather"} < names
    assert not names & RESERVED
    for label in everything.labels:
        assert 2 <= len(label.phrasings) <= 4
        assert label.prompt
        assert label.prompt.count('"') % 2 == 1, "a prompt ends by opening the quotation of the reply"
    heard = {label.name: label.phrasings for label in parse_labels("@keywords").labels}
    assert heard == {"activation": ("up", "go", "start"), "halt": ("stop", "off", "no")}


def test_a_name_is_spoken_with_blanks() -> None:
    assert spoken("lights_on") == "lights on"
    assert spoken("PlayMusic") == "Play Music"
    assert spoken("___") == "___"
    assert spoken("TuneFMRadio") == "Tune FM Radio"
    assert spoken("Room2Light") == "Room2 Light"
    assert spoken("sendPDFs") == "send PDFs"
    assert spoken("order-status") == "order status"
    assert spoken("light.turn_on") == "light turn on"
    assert spoken("media/play:next") == "media play next"
    assert spoken("read my to-do list") == "read my to-do list", "words of a sentence keep their hyphens"
    assert spoken("version-1.5") == "version-1.5"
    assert spoken("веб-сайт") == "веб-сайт"
    assert phrasings(Label(name="lights_on")) == ("lights on",)
    assert phrasings(Label(name="a", phrasings=("b",))) == ("b",)


FILE = """
[kitchen]
template = "The cook wants {}."
prompt = "Answer {text}"
multi_label = true
[kitchen.labels]
oven_on = ["heating the oven"]
bell = "ringing"
[kitchen.labels.boil]
phrasings = ["boiling water", "making tea"]
prompt = "The kettle answers {text}:"
[all]
include = ["kitchen"]
labels.stop = []
"""


def test_a_file_gives_sets_with_templates_and_prompts(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(FILE)
    kitchen = parse_labels(f"@{path}:kitchen")
    assert kitchen == load_labels(path, "kitchen")
    assert kitchen.multi_label
    assert kitchen.template == "The cook wants {}."
    assert {label.name: label.phrasings for label in kitchen.labels} == {
        "oven_on": ("heating the oven",),
        "bell": ("ringing",),
        "boil": ("boiling water", "making tea"),
    }
    assert kitchen.labels[2].prompt == "The kettle answers {text}:"
    assert [label.name for label in load_labels(path, "all").labels] == ["oven_on", "bell", "boil", "stop"]
    with pytest.raises(BadLabels, match="has no label set"):
        load_labels(path)


def test_a_file_may_be_one_set(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text('labels.a = ["x"]\nprompt = "p"')
    assert default_labels(path) == LabelSet(labels=(Label(name="a", phrasings=("x",)),), prompt="p")


@pytest.mark.parametrize(
    "text",
    [
        "a = 1",
        "[a]",
        "[a]\nlabels = 3",
        "[a]\nlabels.x = 3",
        "[a]\nlabels.x = [3]",
        "[a]\nlabels.x = {phrase = 'y'}",
        "[a]\nlabels.x = {phrasings = 3}",
        "[a]\nlabels.unknown = []",
        "[a]\nother = 3",
        "[a]\nlabels.x = []\ntemplate = 'no place'",
        "[a]\nlabels.x = []\nprompt = 3",
        "[a]\nlabels.x = []\nmulti_label = 'yes'",
        "[a]\ninclude = ['a']",
        "[a]\ninclude = ['b']\n[b]\ninclude = ['a']",
        "[a]\ninclude = ['gone']",
        "[a]\ninclude = 'a'",
        "not toml",
        "x = " + "[" * 5000,
        "\udcff",
    ],
)
def test_a_bad_file_ends_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadLabels) as caught:
        load_labels(path)
    assert "\n" not in caught.value.message


def test_a_folder_or_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLabels, match="not a file"):
        load_labels(tmp_path)
    with pytest.raises(BadLabels):
        load_labels(Path("a\0b"))
    path = tmp_path / "huge.toml"
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(BadLabels, match="MiB"):
        load_labels(path)
