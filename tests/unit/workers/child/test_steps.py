"""What follows a stage: decided without a broker or a model."""

import json
from typing import Any

import pytest

from golem_chain.broker.queues import STAGES
from golem_chain.shared.errors import BadAudio, OutOfMemory
from golem_chain.shared.records import AudioRef, Handover, Intent, Job, Reply, StageRun, Transcript, Vocabulary
from golem_chain.workers.child import steps
from golem_chain.workers.stages.scribe.engine import Recording

JOB = Job(id="a", name="a.wav", audio=AudioRef(key="vault:a", size_bytes=1))
HEARD = Handover(job=JOB, transcript=Transcript(text="hi"), stages={"scribe": StageRun(load_s=1.0)})
MEANT = HEARD.model_copy(update={"intent": Intent(label="x", score=0.5, method="cosine")})
DONE = MEANT.model_copy(update={"reply": Reply(text="yes", prompt="hi", seed=1, new_tokens=1)})


def outcome_of(step) -> Any:
    return step.outcome


def headers(step):
    return json.loads(step.message)["headers"]


def test_an_answer_is_stored_and_the_next_stage_is_published_for_the_same_job():
    step = steps.after("scribe", HEARD)
    assert (step.follows, step.queue, step.outcome) == ("publish", "interpreter", None)
    assert headers(step)["id"] == "a.interpreter"
    assert Transcript.model_validate_json(step.answer["transcript"]) == HEARD.transcript
    assert StageRun.model_validate_json(step.answer["run:scribe"]).load_s == 1.0


def test_what_would_resume_a_long_recording_is_dropped_with_its_answer():
    assert "heard-so-far" not in steps.after("scribe", HEARD).answer
    long = HEARD.model_copy(update={"transcript": Transcript(text="hi", duration_s=90.0)})
    assert steps.after("scribe", long).answer["heard-so-far"] == ""


def test_an_answer_that_was_stored_already_is_not_stored_again():
    step = steps.after("scribe", HEARD, computed=False)
    assert (step.follows, dict(step.answer)) == ("publish", {})


def test_the_last_stage_ends_the_job_with_every_answer():
    step = steps.after(STAGES[-1], DONE)
    assert step.follows == "end"
    assert outcome_of(step).state == "done"
    assert (outcome_of(step).transcript, outcome_of(step).intent, outcome_of(step).reply) == (
        DONE.transcript,
        DONE.intent,
        DONE.reply,
    )


@pytest.mark.parametrize(
    ("stop", "stage", "handover"), [("scribe", "scribe", HEARD), ("interpreter", "interpreter", MEANT)]
)
def test_the_stage_at_which_a_job_stops_ends_it_with_the_answers_so_far(stop, stage, handover):
    handover = handover.model_copy(update={"job": JOB.model_copy(update={"stop": stop})})
    step = steps.after(stage, handover)
    assert (step.follows, step.message, outcome_of(step).state) == ("end", "", "done")
    assert (outcome_of(step).transcript, outcome_of(step).intent) == (handover.transcript, handover.intent)


def test_a_job_that_wants_no_intent_gets_none_for_silence():
    quiet = Handover(job=JOB.model_copy(update={"stop": "scribe"}), transcript=Transcript())
    assert outcome_of(steps.after("scribe", quiet)).intent is None


@pytest.mark.parametrize(
    ("stage", "handover"),
    [
        ("scribe", Handover(job=JOB, transcript=Transcript())),
        ("interpreter", HEARD.model_copy(update={"intent": Intent(label="noise", score=1, method="silence")})),
    ],
)
def test_silence_ends_the_job_without_the_later_stages(stage, handover):
    step = steps.after(stage, handover)
    assert (step.follows, outcome_of(step).state) == ("end", "done")
    assert (outcome_of(step).intent.label, outcome_of(step).intent.method, outcome_of(step).reply) == (
        "noise",
        "silence",
        None,
    )


def test_a_retryable_error_is_tried_three_times_each_later_and_then_ends_the_job():
    waits = []
    for retries in range(steps.RETRIES):
        step = steps.after_error("oracle", "a", MEANT, OutOfMemory("No room."), retries)
        assert (step.follows, step.queue) == ("publish", "oracle")
        assert headers(step)["retries"] == retries + 1
        waits.append(headers(step)["delay_s"])
    assert waits == [1.0, 2.0, 4.0]
    step = steps.after_error("oracle", "a", MEANT, OutOfMemory("No room."), steps.RETRIES)
    assert (step.follows, outcome_of(step).error.code) == ("end", "out-of-memory")


def test_a_permanent_error_ends_the_job_with_what_the_earlier_stages_gave():
    step = steps.after_error("interpreter", "a", HEARD, BadAudio("No."), 0)
    assert (outcome_of(step).state, outcome_of(step).error.message) == ("failed", "No.")
    assert (outcome_of(step).transcript, outcome_of(step).stages) == (HEARD.transcript, HEARD.stages)


def test_a_job_whose_record_cannot_be_read_ends_under_its_id():
    step = steps.after_error("scribe", "a", None, BadAudio("No."), 0)
    assert (outcome_of(step).job, outcome_of(step).name, outcome_of(step).state) == ("a", "a", "failed")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadAudio("No."), "bad-audio"),
        (MemoryError(), "out-of-memory"),
        (KeyError("the user's words"), "error"),
    ],
)
def test_every_error_has_a_code_and_one_sentence(error, code):
    failure = steps.failure_of(error, "scribe")
    assert failure.code == code
    assert failure.message.endswith(".")
    assert "words" not in failure.message


@pytest.mark.parametrize(
    ("stage", "jobs", "expected"),
    [
        ("scribe", [(None, None)], "interpreter"),
        ("scribe", [("scribe", None)], None),
        ("scribe", [("scribe", None), ("interpreter", None)], "interpreter"),
        ("scribe", [(None, Vocabulary(phrases=("lamp", "radio")))], "interpreter"),
        ("scribe", [(None, Vocabulary(from_labels=True))], "oracle"),
        ("scribe", [("interpreter", Vocabulary(from_labels=True))], None),
        ("scribe", [(None, Vocabulary(from_labels=True)), (None, None)], "interpreter"),
        ("interpreter", [(None, None)], "oracle"),
        ("interpreter", [("interpreter", None)], None),
        ("oracle", [(None, None)], None),
        ("scribe", [], None),
    ],
)
def test_the_model_that_is_read_in_advance_is_the_next_one_that_a_job_needs(stage, jobs, expected):
    asked = [
        (JOB.model_copy(update={"stop": stop}), Recording("a", b"", vocabulary=words) if stage == "scribe" else None)
        for stop, words in jobs
    ]
    assert steps.next_needed(stage, asked) == expected
