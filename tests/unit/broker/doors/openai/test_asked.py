"""What a form of OpenAI's audio API asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.forms import Form
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.broker.doors.openai.asked import read
from golem_chain.shared.records import PROMPT_MOST

FILE = Upload("clip.wav", 4, "0" * 64, b"RIFF")


def form(*fields, files=(FILE,)):
    return Form(tuple(fields), files)


def refused(*fields, files=(FILE,)):
    with pytest.raises(HttpError) as info:
        read(form(*fields, files=files), "transcribe")
    assert info.value.status == 400
    return info.value


def test_a_file_alone_is_a_request_for_json_by_the_scribe():
    asked = read(form(), "transcribe")
    assert (asked.format, asked.segments, asked.words, asked.stream, asked.model) == ("json", True, False, False, None)
    assert asked.options["stop"] == "scribe"


def test_empty_fields_count_as_missing():
    names = ["model", "language", "prompt", "response_format", "temperature", "stream", "timestamp_granularities[]"]
    asked = read(
        form(*((name, "") for name in (*names, "labels", "stop", "vocabulary", "hotwords", "keywords[]"))), "transcribe"
    )
    assert asked == read(form(), "transcribe")


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
@pytest.mark.parametrize(
    ("values", "segments", "words"),
    [(["word"], False, True), (["segment"], True, False), (["word", "segment"], True, True)],
)
def test_granularities_are_read_under_both_spellings(name, values, segments, words):
    fields = [(name, value) for value in values]
    asked = read(form(("response_format", "verbose_json"), *fields), "transcribe")
    assert (asked.segments, asked.words, asked.options["word_times"]) == (segments, words, words)


def test_words_can_time_subtitles_too():
    assert read(form(("response_format", "vtt"), ("timestamp_granularities[]", "word")), "transcribe").words


@pytest.mark.parametrize("format", ["json", "text"])
def test_granularities_need_a_format_that_has_times(format):
    exc = refused(("response_format", format), ("timestamp_granularities[]", "word"))
    assert (exc.param, exc.code) == ("timestamp_granularities[]", "invalid_value")
    assert "`response_format` must be `verbose_json`" in exc.message


def test_temperature_0_is_greedy_with_fallbacks_as_at_openai():
    assert read(form(("temperature", "0.0")), "transcribe").options["temperature"] is None
    assert read(form(("temperature", "0.4")), "transcribe").options["temperature"] == 0.4


def test_labels_ask_for_the_intent_and_stop_for_the_reply():
    assert read(form(("labels", "a,b")), "transcribe").options["stop"] == "interpreter"
    assert read(form(("labels", "a,b"), ("stop", "oracle")), "transcribe").options["stop"] == "oracle"
    assert read(form(("stop", "oracle")), "transcribe").options["stop"] == "oracle"


@pytest.mark.parametrize(("given", "code"), [("auto", None), ("en-US", "en"), ("German", "de"), ("", None)])
def test_languages_are_understood_as_clients_send_them(given, code):
    assert read(form(("language", given)), "transcribe").options["language"] == code


def test_keywords_are_hotwords_and_a_single_possible_language_is_the_language():
    fields = [("keywords[]", "Ecobee"), ("keywords[]", "Kitchener, Ontario"), ("languages[]", "de")]
    options = read(form(*fields), "transcribe").options
    assert (options["hotwords"], options["language"]) == (["Ecobee", "Kitchener, Ontario"], "de")
    assert read(form(*fields, ("languages[]", "fr")), "transcribe").options["language"] is None


@given(st.text(st.characters(codec="utf-8"), min_size=PROMPT_MOST + 1, max_size=PROMPT_MOST + 300))
def test_the_end_of_a_long_prompt_counts(prompt):
    kept = read(form(("prompt", prompt)), "transcribe").options["prompt"]
    assert kept
    assert 0 < len(kept) <= PROMPT_MOST
    assert kept in prompt[-PROMPT_MOST:]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ([("response_format", "xml")], "response_format", "invalid_value"),
        ([("response_format", "diarized_json")], "response_format", "invalid_value"),
        ([("temperature", "hot")], "temperature", "invalid_type"),
        ([("temperature", "nan")], "temperature", "invalid_type"),
        ([("temperature", "1.01")], "temperature", "decimal_above_max_value"),
        ([("temperature", "-0.1")], "temperature", "decimal_below_min_value"),
        ([("stream", "maybe")], "stream", "invalid_type"),
        ([("stream", "true"), ("response_format", "srt")], "stream", "invalid_value"),
        ([("language", "klingon")], "language", "invalid_language_format"),
        (
            [("response_format", "verbose_json"), ("timestamp_granularities[]", "letter")],
            "timestamp_granularities[]",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_field_is_named_with_openais_code(fields, param, code):
    exc = refused(*fields)
    assert (exc.param, exc.code) == (param, code)


def test_a_file_that_is_missing_a_text_or_empty_is_told_apart():
    assert refused(files=()).code == "missing_required_parameter"
    assert refused(("file", "RIFF"), files=()).code == "invalid_type"
    assert refused(files=(Upload("a.wav", 0, "0" * 64, b""),)).code == "audio_too_short"


def test_what_is_wrong_is_shown_on_one_line():
    exc = refused(("response_format", "a\r\n\x1b[31m" + "x" * 1000))
    assert len(exc.message) < 200
    assert "\n" not in exc.message
    assert "\x1b" not in exc.message
