"""The sender: jobs are submitted and followed in its thread, also while Redis is away."""

import threading

import pytest

from golem_chain.broker.listening import sender as module
from golem_chain.broker.listening.listener import Cancel, Failed, Heard, Over, Submit
from golem_chain.broker.listening.sender import Sender, State
from golem_chain.shared.errors import BadRequest, BrokerAway, VaultFull
from golem_chain.shared.records import Outcome, Transcript


class Desk:
    """A broker whose jobs end when the test says so."""

    def __init__(self):
        self.submitted, self.cancelled, self.states = {}, [], {}
        self.fails, self.away, self.closed = None, False, threading.Event()
        self.tries = 0

    def submit(self, job, name, recording, *, final):
        self.tries += 1
        if self.away or self.fails:
            raise self.fails or BrokerAway("Redis cannot be reached.")
        self.submitted[job] = (name, recording, final)
        self.states[job] = State(True, None, None)

    def look(self, jobs):
        if self.away:
            raise BrokerAway("Redis cannot be reached.")
        return [self.states.get(job, State(False, None, None)) for job in jobs]

    def cancel(self, job):
        if self.away:
            raise BrokerAway("Redis cannot be reached.")
        self.cancelled.append(job)

    def close(self):
        self.closed.set()


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    return Desk()


@pytest.fixture
def sender(desk):
    made = Sender(desk)
    yield made
    made.close()
    assert desk.closed.wait(5)


@pytest.fixture
def news(sender, eventually):
    """Returns the next news."""
    found = []

    def read():
        found.extend(sender.news())
        return found.pop(0) if found else None

    return lambda: eventually(read)


def final(key=1):
    return Submit(key, 1, bytes(1024), final=True)


def partial(key=1):
    return Submit(key, 1, bytes(1024), final=False)


def outcome(text="hi"):
    return Outcome(job="j", name="n", state="done", transcript=Transcript(text=text))


def test_the_words_are_told_before_the_outcome(sender, desk, news, eventually):
    sender.do(final())
    [job] = eventually(lambda: list(desk.submitted))
    name, recording, is_final = desk.submitted[job]
    assert (name, recording[:4], is_final) == ("utterance 1", b"RIFF", True)
    desk.states[job] = State(True, Transcript(text="hi"), None)
    assert news() == Heard(1, Transcript(text="hi"))
    desk.states[job] = State(True, None, outcome())
    assert news() == Over(1, outcome())


def test_a_cancelled_job_is_cancelled_in_redis_and_not_told(sender, desk, eventually):
    sender.do(final())
    [job] = eventually(lambda: list(desk.submitted))
    sender.do(Cancel(1))
    eventually(lambda: desk.cancelled == [job])
    desk.states[job] = State(True, None, outcome())
    assert sender.news() == []


def test_a_final_job_is_submitted_when_redis_is_back_and_that_is_said(sender, desk, news, eventually):
    desk.away = True
    sender.do(final())
    assert "cannot be reached. Listening goes on" in news()
    eventually(lambda: desk.tries > 2)
    assert sender.news() == [], "it is said once"
    desk.away = False
    assert news() == "Redis takes jobs again."
    [job] = desk.submitted
    desk.states[job] = State(True, None, outcome())
    assert news() == Over(1, outcome())


def test_a_partial_job_is_not_kept_for_a_redis_that_is_away(sender, desk, news):
    desk.away = True
    sender.do(partial())
    assert news() == Over(1, None)
    assert "Listening goes on" in news()
    desk.away = False
    assert news() == "Redis takes jobs again."
    assert desk.submitted == {}


def test_a_full_vault_is_waited_for(sender, desk, news):
    desk.fails = VaultFull("The vault is full.")
    sender.do(final())
    assert "The vault is full. Listening goes on" in news()
    desk.fails = None
    assert news() == "Redis takes jobs again."
    assert len(desk.submitted) == 1


def test_a_final_job_that_redis_does_not_take_in_time_is_told_as_lost(sender, desk, news, monkeypatch):
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    desk.away = True
    sender.do(final())
    assert news() == Failed(1, "Redis did not take it within 0 s")


def test_a_refused_job_is_told_with_the_reason(sender, desk, news):
    desk.fails = BadRequest("No.")
    sender.do(final())
    assert news() == Failed(1, "No.")
    sender.do(partial(2))
    assert news() == Over(2, None)


def test_a_final_job_that_redis_has_lost_is_submitted_again_under_its_id(sender, desk, news, eventually):
    sender.do(final())
    [job] = eventually(lambda: list(desk.submitted))
    desk.submitted.clear()
    desk.states.clear()
    eventually(lambda: list(desk.submitted) == [job])
    desk.states[job] = State(True, None, outcome())
    assert news() == Over(1, outcome())


def test_the_end_cancels_what_has_no_outcome(desk, eventually):
    sender = Sender(desk)
    sender.do(final())
    [job] = eventually(lambda: list(desk.submitted))
    sender.close()
    assert desk.closed.wait(5)
    assert desk.cancelled == [job]


def test_a_bug_in_the_thread_ends_the_listener_instead_of_hanging_it(desk, eventually):
    sender = Sender(desk)
    desk.fails = ZeroDivisionError("a bug")
    sender.do(final())
    assert desk.closed.wait(5)
    with pytest.raises(ZeroDivisionError):
        sender.news()
