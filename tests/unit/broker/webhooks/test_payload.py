"""The body of a message: type, time and Outcome, bounded, and an id that is the same at each try."""

import json
import re

from golem_chain.broker.webhooks.payload import BODY_MOST, body, message_id
from golem_chain.shared.records import Failure, Intent, Outcome, Segment, Transcript

DONE = Outcome(job="j1", name="a.wav", state="done", transcript=Transcript(text="grüße"))


def test_the_body_is_the_outcome_as_results_prints_it_with_type_and_time():
    told = json.loads(body(DONE, "1700000000123-4"))
    assert told == {
        "type": "job.done",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "data": DONE.model_dump(mode="json"),
    }


def test_each_state_has_a_type():
    for state in ("failed", "cancelled", "expired"):
        outcome = Outcome(job="j", name="n", state=state, error=Failure(code="c", message="m"))
        assert json.loads(body(outcome, "1-0"))["type"] == f"job.{state}"


def test_the_id_is_that_of_one_end_of_one_job_and_has_no_full_stop():
    assert message_id("j.1", "5-0") == message_id("j.1", "5-0")
    assert len({message_id("j.1", "5-0"), message_id("j.1", "6-0"), message_id("j.2", "5-0")}) == 3
    assert re.fullmatch(r"msg_[0-9a-f]{32}", message_id("j.1", "5-0"))


def test_a_long_body_loses_its_segments_first_and_its_answers_last():
    one = Segment(start_s=0, end_s=1, text="x" * 1000, avg_logprob=0, no_speech_prob=0, compression_ratio=1)
    long = DONE.model_copy(update={"transcript": Transcript(text="all", segments=(one,) * 300)})
    sent = body(long, "1-0")
    assert len(sent) <= BODY_MOST
    told = json.loads(sent)
    assert (told["shortened"], told["data"]["transcript"]["text"]) == (True, "all")
    assert told["data"]["transcript"]["segments"] == []
    huge = long.model_copy(update={"intent": Intent(label="x" * BODY_MOST, score=1, method="given")})
    sent = body(huge, "1-0")
    assert len(sent) < 2000
    told = json.loads(sent)
    assert (told["shortened"], told["data"]["job"], told["data"]["intent"]) == (True, "j1", None)


def test_a_name_that_is_no_unicode_does_not_stop_its_message():
    assert json.loads(body(DONE.model_copy(update={"name": "\udcff.wav"}), "1-0"))["data"]["job"] == "j1"
