"""Options from clients: one clear sentence for what is wrong, and never a file of the server."""

import asyncio

import pytest

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.options import LONGEST, flag, number, options_of
from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import JobOptions


def made(**given):
    return asyncio.run(options_of(**given))


def refused(**given):
    with pytest.raises(HttpError) as error:
        made(**given)
    assert error.value.status == 400
    assert "\n" not in error.value.message
    assert error.value.message.endswith(".")
    return error.value


def test_nothing_given_is_the_default():
    assert made() == made(labels="", word_times="", temperature="", oracle={"seed": ""}) == JobOptions()


def test_texts_of_a_form_and_values_of_json_give_the_same_options():
    texts = {"stop": "scribe", "language": "EN", "word_times": "true", "temperature": "0.5", "hotwords": "Ecobee,Nest"}
    typed = texts | {"word_times": True, "temperature": 0.5, "hotwords": ["Ecobee", "Nest"]}
    found = made(**texts)
    assert found == made(**typed)
    assert (found.stop, found.language, found.word_times, found.hotwords) == ("scribe", "en", True, ("Ecobee", "Nest"))


def test_parameters_of_the_reply_are_read_as_numbers_and_a_large_seed_is_not_rounded():
    oracle = made(oracle={"max_new_tokens": "20", "temperature": "0", "seed": str(2**63 - 1)}).oracle
    assert (oracle.max_new_tokens, oracle.temperature, oracle.seed) == (20, 0.0, 2**63 - 1)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("stop", "nowhere"), ("task", "sing"), ("lane", "fast"), ("word_times", "perhaps"), ("temperature", "warm"),
        ("temperature", "2"), ("temperature", True), ("temperature", "nan"), ("expires_s", "0"), ("expires_s", "inf"),
        ("language", "../../etc"), ("group", "a b"), ("labels", "a,a"), ("labels", '"'), ("labels", 5),
        ("labels", "x" * (LONGEST + 1)), ("labels", ",".join(f"l{n}" for n in range(1001))), ("vocabulary", "..."),
        ("hotwords", ",".join(f"w{n}" for n in range(101))), ("fillers", "@/etc/passwd"), ("prompt", 5),
        ("prompt", "x" * 1001), ("webhook", "https://x.org/" + "x" * 2000),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_field_names_it(field, given):
    assert refused(**{field: given}).param == field


@pytest.mark.parametrize("given", ["0.5", "x", "-1", "1e30"])
def test_a_parameter_of_the_reply_that_is_wrong_is_named(given):
    assert refused(oracle={"max_new_tokens": given}).param == "max_new_tokens"
    assert refused(oracle={"nothing": given}).param == "nothing"


@pytest.mark.parametrize("field", ["labels", "vocabulary", "hotwords", "fillers"])
@pytest.mark.parametrize("before", ["", " ", "\n\t", "\u2003", "\x1f"])
def test_no_file_of_the_server_is_read(field, before, tmp_path):
    secret = tmp_path / "secret.toml"
    secret.write_text('secret = "hush"')
    for name in (secret, f"{secret}:set", "secret.toml", "/etc/passwd", "../x.toml", "/dev/zero"):
        error = refused(**{field: f"{before}@{name}"})
        assert error.param == field
        assert "hush" not in error.message
        assert "file of the server is" in error.message


def test_a_text_that_begins_with_at_is_no_file_where_it_is_one_of_many():
    assert made(hotwords=["@home"]).hotwords == ("@home",)


def test_a_stored_label_set_is_found_by_its_name_before_a_built_in_one():
    async def stored(name):
        return {"mine": parse_labels("a,b"), "keywords": parse_labels("c,d")}.get(name)

    assert [one.name for one in made(labels="@mine", stored=stored).labels.labels] == ["a", "b"]
    assert [one.name for one in made(labels="@keywords", stored=stored).labels.labels] == ["c", "d"]
    assert [one.name for one in made(labels="@keywords").labels.labels] == ["activation", "halt"]
    assert "no stored label set" in refused(labels="@other", stored=stored).message


def test_flags_and_numbers_say_what_they_expect():
    assert [flag("f", given) for given in ("True", "0", "on", "no", None, True)] == [True, False, True, False, None, 1]
    assert number("n", "3", 1, 5) == 3
    with pytest.raises(HttpError, match=r'n="9" must be between 1 and 5'):
        number("n", "9", 1, 5)
