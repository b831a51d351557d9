"""The models that the API names, and how jobs that failed are told."""

import pytest
from openai.types import Model

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.openai import failures, models
from golem_chain.shared.errors import LanguageRefused
from golem_chain.shared.records import Failure, Outcome

RUN = {"scribe": "openai/whisper-tiny", "interpreter": "all-MiniLM-L6-v2"}


def test_the_list_has_openais_name_and_the_checkpoints_that_run():
    body = models.listed(RUN)
    found = [Model.model_validate(one, strict=True) for one in body["data"]]
    assert [one.id for one in found] == ["whisper-1", "golem", "openai/whisper-tiny", "all-MiniLM-L6-v2"]
    assert [one.owned_by for one in found[2:]] == ["openai", "golem-chain"]
    assert models.listed({})["data"][0]["id"] == "whisper-1"


def test_every_name_that_is_accepted_can_be_looked_up():
    for name in (*models.ACCEPTED, *RUN.values()):
        assert models.found(name, RUN)["id"] == name
    with pytest.raises(HttpError) as info:
        models.found("gpt-5", RUN)
    assert (info.value.status, info.value.code) == (404, "model_not_found")


@pytest.mark.parametrize("name", [None, "whisper-1", "gpt-4o-mini-transcribe", "openai/whisper-tiny"])
def test_names_of_the_scribe_are_accepted(name):
    models.check(name, RUN)


@pytest.mark.parametrize("name", ["whisper-large-v3", "all-MiniLM-L6-v2", "gpt-4o-transcribe-diarize"])
def test_another_model_is_not_found_and_the_answer_says_what_there_is(name):
    with pytest.raises(HttpError, match=r"use whisper-1, golem or openai/whisper-tiny") as info:
        models.check(name, RUN)
    assert (info.value.status, info.value.kind, info.value.param) == (404, "invalid_request_error", "model")


def test_without_a_worker_a_checkpoint_is_not_called_unknown():
    with pytest.raises(HttpError) as info:
        models.check("openai/whisper-tiny", {})
    assert info.value.status == 503


@pytest.mark.parametrize(("task", "language"), [("translate", None), ("transcribe", "de")])
def test_an_english_only_scribe_refuses_at_once_and_names_the_profile(task, language):
    with pytest.raises(LanguageRefused, match="GOLEM_MODELS=multilingual"):
        models.check_language("a.wav", task, language, {"scribe": "whisper-tiny.en"})
    models.check_language("a.wav", task, language, {"scribe": "openai/whisper-tiny"})
    models.check_language("a.wav", task, language, {})
    models.check_language("a.wav", "transcribe", "en", {"scribe": "whisper-tiny.en"})


def failed(code, state="failed"):
    error = Failure(code=code, message="It failed.") if code else None
    return failures.failed(Outcome(job="j", name="n", state=state, error=error), {"x-golem-job": "j"})


@pytest.mark.parametrize(
    ("code", "state", "status", "param", "again"),
    [
        ("bad-audio", "failed", 400, "file", None),
        ("audio-above-limit", "failed", 413, "file", "false"),
        ("language-refused", "failed", 400, "language", None),
        ("bad-labels", "failed", 400, "labels", None),
        ("time-limit", "failed", 504, None, "false"),
        ("too-many-deliveries", "failed", 500, None, "false"),
        ("model-above-budget", "failed", 500, None, "false"),
        ("out-of-memory", "failed", 503, None, None),
        ("error", "failed", 500, None, "false"),
        ("of-another-release", "failed", 500, None, "false"),
        ("cancelled", "cancelled", 409, None, "false"),
        ("expired", "expired", 504, None, "false"),
        (None, "expired", 504, None, "false"),
    ],
)
def test_a_failed_job_has_the_status_of_its_reason_and_says_whether_a_retry_helps(code, state, status, param, again):
    exc = failed(code, state)
    assert (exc.status, exc.param, exc.headers.get("x-should-retry")) == (status, param, again)
    assert exc.headers["x-golem-job"] == "j"


def test_audio_that_cannot_be_read_is_an_invalid_file_format():
    assert failed("bad-audio").message == "Invalid file format. It failed."
