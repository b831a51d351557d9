"""The loop: a stream of frames ends with all answers shown, also if the microphone breaks."""

import pytest

from golem_chain.broker.listening import session as module
from golem_chain.broker.listening.listener import Cancel, Final, Heard, Listener, Over, Partial, Words
from golem_chain.broker.listening.session import Session
from golem_chain.broker.listening.sound import FRAME_BYTES, level_db
from golem_chain.shared.errors import GolemError, NoMicrophone
from golem_chain.shared.records import Outcome, Transcript

VOICE = b"\x01\x10" * (FRAME_BYTES // 2)
QUIET = bytes(FRAME_BYTES)
SENTENCE = VOICE * 60 + QUIET * 20


class Sound:
    """A source that gives its bytes in uneven blocks, and then ends or breaks."""

    name = "fake"

    def __init__(self, pcm, broken=False, dropped_s=0.0, patient=False):
        self.left, self.broken, self.dropped, self.patient = pcm, broken, dropped_s, patient
        self.reads = 0

    def read(self, timeout_s):
        self.reads += 1
        if not self.left:
            if self.broken:
                raise NoMicrophone("It is gone: connect it again.")
            return None
        block, self.left = self.left[:1500], self.left[1500:]
        return block

    def dropped_s(self):
        lost, self.dropped = self.dropped, 0.0
        return lost

    def close(self):
        pass


class Sender:
    """Answers each job at the next look, unless it was cancelled or is not to answer."""

    def __init__(self, silent=False, says=()):
        self.silent, self.says = silent, list(says)
        self.jobs, self.open = [], {}

    def do(self, action):
        if isinstance(action, Cancel):
            self.open.pop(action.key, None)
        else:
            self.jobs.append(action)
            self.open[action.key] = action

    def news(self):
        found, self.says = list(self.says), []
        for key, job in ({} if self.silent else self.open).items():
            transcript = Transcript(text="turn it on")
            found += [Heard(key, transcript)] if job.final else []
            found.append(Over(key, Outcome(job=str(key), name="n", state="done", transcript=transcript)))
        if not self.silent:
            self.open.clear()
        return found


class Screen:
    def __init__(self):
        self.shown, self.told, self.levels = [], [], []

    def show(self, event):
        self.shown.append(event)

    def level(self, db, *, speaking):
        self.levels.append(db)

    def tell(self, sentence):
        self.told.append(sentence)


def voice(frame):
    return 0.9 if level_db(frame) > -60 else 0.0


def session(source, sender, screen, **more):
    return Session(source, voice, Listener(), sender, screen, **more)


def test_words_are_shown_while_they_are_said_and_once_more_at_the_end():
    screen = Screen()
    session(Sound(SENTENCE), Sender(), screen).run()
    kinds = list(dict.fromkeys(type(one) for one in screen.shown))
    assert kinds == [Partial, Words, Final]
    assert len(screen.levels) == len(SENTENCE) // FRAME_BYTES


def test_what_is_being_said_when_the_stream_ends_is_answered():
    screen = Screen()
    session(Sound(VOICE * 40), Sender(), screen).run()
    assert [type(one) for one in screen.shown][-2:] == [Words, Final]


def test_what_was_said_is_answered_before_a_broken_microphone_is_told():
    screen = Screen()
    with pytest.raises(NoMicrophone, match="connect it again"):
        session(Sound(VOICE * 40, broken=True), Sender(), screen).run()
    assert isinstance(screen.shown[-1], Final)


def test_lost_sound_is_told():
    screen = Screen()
    session(Sound(SENTENCE, dropped_s=0.5), Sender(), screen).run()
    assert screen.told == ["0.50 s of sound were lost: this machine is too busy."]


def test_sentences_of_the_sender_are_told():
    screen = Screen()
    session(Sound(SENTENCE), Sender(says=["Redis is gone."]), screen).run()
    assert screen.told == ["Redis is gone."]


def test_answers_that_never_come_end_the_session_in_one_sentence(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with pytest.raises(GolemError, match="1 utterances without one are cancelled: see with golem status"):
        session(Sound(SENTENCE), Sender(silent=True), Screen()).run()


def test_a_worker_that_ended_ends_the_session(monkeypatch):
    monkeypatch.setattr(module, "CHECK_S", -1.0)

    def check():
        raise GolemError("The worker stopped.")

    with pytest.raises(GolemError, match="The worker stopped"):
        session(Sound(SENTENCE), Sender(), Screen(), check=check).run()


def test_a_source_that_can_wait_is_not_read_faster_than_it_is_answered():
    class Slow(Sender):
        looks = 0

        def news(self):
            self.looks += 1
            self.silent = self.looks % 300 != 0
            return super().news()

    screen, sender = Screen(), Slow(silent=True)
    session(Sound(SENTENCE * 30, patient=True), sender, screen).run()
    assert sum(isinstance(one, Final) for one in screen.shown) == 30, "nothing is lost"


def test_what_has_no_answer_is_counted():
    sender = Sender(silent=True)
    made = session(Sound(SENTENCE + VOICE * 20), sender, Screen())
    while made._listen():
        pass
    assert made.unanswered == 2
