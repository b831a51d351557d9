"""Requests and handovers: what an engine is asked, and what ends a job early."""

from typing import Any

import pytest

from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import (
    AudioRef,
    Candidate,
    Choice,
    Handover,
    Intent,
    Job,
    Label,
    LabelSet,
    Reply,
    Segment,
    StageRun,
    Transcript,
    Vocabulary,
)
from golem_chain.shared.settings import Settings
from golem_chain.workers.child.requests import RequestBuilder, silent, taken

JOB = Job(id="a", name="a.wav", audio=AudioRef(key="vault:a", size_bytes=1))
SEGMENT = Segment(start_s=0, end_s=1, text="hi", avg_logprob=0, no_speech_prob=0, compression_ratio=1)
FULL = Handover(
    job=JOB,
    transcript=Transcript(text="hi", segments=(SEGMENT,), duration_s=1.0),
    intent=Intent(label="x", score=0.5, scores={"x": 0.5}, method="cosine"),
    stages={"scribe": StageRun()},
)


def test_a_silent_transcript_or_intent_ends_a_job_and_words_do_not():
    assert silent(Handover(job=JOB, transcript=Transcript(text=" \n")))
    assert silent(
        Handover(job=JOB, transcript=Transcript(text="?"), intent=Intent(label="noise", score=1, method="silence"))
    )
    assert not silent(Handover(job=JOB, transcript=Transcript(text="no")))
    assert not silent(Handover(job=JOB))


def test_an_answer_of_the_wrong_type_is_the_engines_fault():
    with pytest.raises(GolemError, match="oracle returned a Transcript"):
        taken(FULL, "oracle", Transcript(), StageRun())
    reply = Reply(text="yes", prompt="hi", seed=1, new_tokens=1)
    assert taken(FULL, "oracle", reply, StageRun(load_s=2)).stages["oracle"].load_s == 2


class Stored:
    """A stand-in for vault and records: no audio, one vocabulary."""

    def read(self, audio):
        return b""

    def get_labels(self, name):
        raise AssertionError

    def get_vocabulary(self, name):
        return Vocabulary(from_labels=True, fillers=("maybe",))


def test_a_prompt_hotwords_and_a_temperature_are_passed_on_and_sampling_depends_on_the_jobs_id():
    stored: Any = Stored()
    asks: Any = RequestBuilder(Settings.read(_env_file=None), stored, stored)
    asked = JOB.model_copy(
        update={"initial_prompt": "Shabata", "scribe_temperature": 0.4, "hotwords": ("Ecobee", "Kitchener")}
    )
    first, again, other = (
        asks.of("scribe", Handover(job=job)) for job in (asked, asked, asked.model_copy(update={"id": "b"}))
    )
    assert (first.prompt, first.temperature, first.hotwords) == ("Shabata", 0.4, ("Ecobee", "Kitchener"))
    assert first.seed == again.seed != other.seed
    plain = asks.of("scribe", Handover(job=JOB))
    assert (plain.prompt, plain.temperature, plain.seed, plain.hotwords) == (None, 0.0, 0, ())


def test_a_vocabulary_from_labels_is_their_phrasings_and_its_choice_tells_the_intent():
    labels = LabelSet(labels=(Label(name="lights_on", phrasings=("turn it on", "lights on")), Label(name="stop")))
    stored: Any = Stored()
    asks: Any = RequestBuilder(Settings.read(_env_file=None), stored, stored)
    for job in (
        JOB.model_copy(update={"labels": labels, "vocabulary": Vocabulary(from_labels=True, fillers=("maybe",))}),
        JOB.model_copy(update={"labels": labels, "vocabulary_key": "golem:vocabulary:x"}),
    ):
        recording = asks.of("scribe", Handover(job=job))
        assert recording.vocabulary.phrases == ("turn it on", "lights on", "stop")
        assert recording.vocabulary.fillers == ("maybe",)
        likely = (Candidate(phrase="lights on", posterior=0.7), Candidate(phrase="turn it on", posterior=0.2))
        choice = Choice(phrase="lights on", posterior=0.7, margin=1, free_margin=0, candidates=likely)
        heard = Handover(job=job, transcript=Transcript(text="lights on", choice=choice, free_text="Light's on."))
        assert asks.of("interpreter", heard).shares == pytest.approx({"lights_on": 0.9})
        unknown = choice.model_copy(update={"phrase": "unknown"})
        freely = Handover(job=job, transcript=Transcript(text="make it bright", choice=unknown))
        assert asks.of("interpreter", freely).shares is None, "the interpreter's model decides"
    own = JOB.model_copy(update={"labels": labels, "vocabulary": Vocabulary(phrases=("lights on",))})
    assert asks.of("interpreter", Handover(job=own, transcript=heard.transcript)).shares is None
