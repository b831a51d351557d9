"""Each end of a job is an event that a client understands, with its sentence."""

import pytest

from golem_chain.broker.doors.wyoming import answers
from golem_chain.shared.errors import BadRequest, BrokerAway
from golem_chain.shared.records import Failure, Intent, Outcome, Reply, Transcript


def ended(state="done", **given):
    return Outcome(job="j", name="n", state=state, **given)


def understood(label, text="Yes."):
    reply = Reply(text=text, prompt="p", seed=1, new_tokens=2) if text else None
    return ended(intent=Intent(label=label, score=0.7, method="cosine"), reply=reply)


def test_a_transcript_is_told_with_its_language():
    event = answers.speech_answer(ended(transcript=Transcript(text="Hallo", language="de")))
    assert (event.type, event.data) == ("transcript", {"text": "Hallo", "language": "de"})


@pytest.mark.parametrize(
    ("label", "text", "type"),
    [("lights_on", "Yes.", "handled"), ("unknown", "Yes.", "not-handled"), ("noise", None, "not-handled")],
)
def test_a_reply_is_handled_unless_the_text_has_no_intent(label, text, type):
    event = answers.text_answer(understood(label, text))
    assert event.type == type
    assert event.data["text"] == (text or "Nothing was said: say it again.")


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
@pytest.mark.parametrize("answer", [answers.speech_answer, answers.text_answer])
def test_any_other_end_is_a_failure_with_its_sentence_even_if_a_stage_was_done(state, answer):
    partly = {"transcript": Transcript(text="so far"), "intent": Intent(label="a", score=1, method="cosine")}
    with pytest.raises(answers.JobFailed) as caught:
        answer(ended(state, error=Failure(code="time-limit", message="It took too long."), **partly))
    assert answers.error_of(caught.value).data == {"text": "It took too long.", "code": "time_limit"}
    assert answers.unable(caught.value).data["text"] == "It took too long."
    with pytest.raises(answers.JobFailed, match="without an answer"):
        answer(ended(state))


def test_no_server_and_no_internal_detail_is_told():
    for exc in (BrokerAway("Redis at redis://10.0.0.1 is down."), ValueError("secret")):
        told = answers.error_of(exc).data["text"]
        assert "10.0.0.1" not in told
        assert "secret" not in told
    assert answers.error_of(BadRequest("Say it so.")).data["text"] == "Say it so."
