"""Outcomes in the shapes of OpenAI's audio API, checked by the types of OpenAI's own client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import audio

from golem_chain.broker.doors.intake.forms import Form
from golem_chain.broker.doors.intake.uploads import Upload
from golem_chain.broker.doors.openai import answers
from golem_chain.broker.doors.openai.asked import read
from golem_chain.shared.records import Choice, Intent, Outcome, Reply, Segment, Transcript, Word

FILE = Upload("clip.wav", 4, "0" * 64, b"RIFF")
WORDS = tuple(Word(word=word, start_s=n, end_s=n + 0.5, prob=0.9) for n, word in enumerate(("Turn", "it", "on.")))


def asked(format="json", task="transcribe", **fields):
    return read(Form((("response_format", format), *fields.items()), (FILE,)), task)


def segment(text, start_s=0.0, end_s=2.5, words=()):
    return Segment(
        start_s=start_s,
        end_s=end_s,
        text=text,
        avg_logprob=-0.2,
        no_speech_prob=0.1,
        compression_ratio=0.9,
        words=words,
    )


def outcome(*segments, **more):
    text = " ".join(one.text for one in segments)
    said = Transcript(text=text, segments=segments, duration_s=7.2, language="en" if segments else None)
    return Outcome(job="j1", name="clip.wav", state="done", transcript=said, **more)


TWO = outcome(segment("Turn it on.", words=WORDS), segment("Now.", 3.0, 3.5))
QUIET = outcome()


def strict(kind, body):
    """Validate by OpenAI's type without leniency: what the client itself does not do."""
    return kind.model_validate(body, strict=True)


@pytest.mark.parametrize("heard", [TWO, QUIET])
def test_json_is_openais_transcription(heard):
    found = strict(audio.Transcription, answers.json_of(heard, asked()))
    assert found.text == heard.transcript.text
    assert found.usage.seconds == 8


@pytest.mark.parametrize("heard", [TWO, QUIET])
def test_verbose_json_has_every_field_of_every_segment(heard):
    body = answers.json_of(heard, asked("verbose_json"))
    found = strict(audio.TranscriptionVerbose, body)
    assert found.duration == 7.2
    assert [one.id for one in found.segments] == list(range(len(heard.transcript.segments)))
    assert "words" not in body
    for one in body["segments"]:
        assert set(one) == set(audio.TranscriptionSegment.model_fields)


def test_the_texts_of_segments_joined_are_the_text_as_at_openai():
    found = answers.json_of(TWO, asked("verbose_json"))
    assert "".join(one["text"] for one in found["segments"]) == found["text"] == "Turn it on. Now."


def test_words_alone_come_without_segments():
    found = answers.json_of(TWO, asked("verbose_json", **{"timestamp_granularities[]": "word"}))
    strict(audio.TranscriptionVerbose, found)
    assert "segments" not in found
    assert found["words"][1] == {"word": "it", "start": 1.0, "end": 1.5}


def test_a_language_is_named_in_english():
    assert answers.json_of(TWO, asked("verbose_json"))["language"] == "english"
    assert answers.json_of(QUIET, asked("verbose_json", language="de"))["language"] == "german"
    assert answers.json_of(QUIET, asked("verbose_json"))["language"] == "unknown"


def test_a_translation_is_english_whatever_was_spoken():
    body = answers.json_of(TWO, asked("verbose_json", "translate", language="de"))
    assert (body["task"], strict(audio.TranslationVerbose, body).language) == ("translate", "english")
    assert strict(audio.Translation, answers.json_of(TWO, asked(task="translate"))).text == "Turn it on. Now."


def test_text_and_subtitles_are_plain():
    assert answers.text_of(TWO, asked("text")) == "Turn it on. Now.\n"
    assert answers.text_of(TWO, asked("srt")).startswith("1\n00:00:00,000 --> 00:00:02,")
    assert answers.text_of(QUIET, asked("vtt")) == "WEBVTT\n"
    assert answers.text_of(QUIET, asked("text")) == "\n"


def test_the_deltas_of_a_stream_are_its_text_and_the_last_event_the_whole():
    deltas, done = list(answers.deltas_of(TWO.transcript)), answers.done_of(TWO, asked(stream="true"))
    for one in deltas:
        strict(audio.TranscriptionTextDeltaEvent, one)
    assert [one["delta"] for one in deltas] == ["Turn it on.", " Now."]
    assert strict(audio.TranscriptionTextDoneEvent, done).text == "Turn it on. Now."
    assert [(one["start"], one["end"]) for one in done["segments"]] == [(0.0, 2.5), (3.0, 3.5)]


def test_a_silent_stream_has_its_end_alone():
    assert list(answers.deltas_of(QUIET.transcript)) == []
    done = answers.done_of(QUIET, asked(stream="true"))
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


@given(st.lists(st.text("ab .", max_size=5), max_size=6), st.text("ab .", max_size=20))
def test_the_pieces_of_any_transcript_are_its_text(texts, other):
    for text in (" ".join(texts), "".join(texts), other):
        said = Transcript(text=text, segments=tuple(map(segment, texts)))
        assert "".join(answers.pieces(said)) == text


def test_intent_reply_and_costs_have_a_place_of_their_own():
    intent = Intent(label="lights_on", score=0.9, method="cosine")
    told = answers.golem_of(outcome(intent=intent, reply=Reply(text="Done.", prompt="p", seed=1, new_tokens=2)))
    assert (told["job"], told["intent"]["label"], told["reply"]["text"]) == ("j1", "lights_on", "Done.")
    assert answers.golem_of(QUIET)["reply"] is None


def test_the_choice_of_a_vocabulary_is_told():
    choice = Choice(phrase="yes", posterior=0.9, margin=3, free_margin=1)
    said = Transcript(text="yes", choice=choice, free_text="Yes!")
    told = answers.golem_of(Outcome(job="j", name="n", state="done", transcript=said))
    assert (told["choice"]["phrase"], told["free_text"]) == ("yes", "Yes!")
    assert "choice" not in answers.golem_of(TWO)
