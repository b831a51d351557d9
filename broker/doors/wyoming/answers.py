"""Outcomes and errors as the events that clients understand. Pure.

A recording that fails is answered with `error`, after which the connection has to be closed: clients that do not know
this event would go on to wait for a transcript. A text that cannot be answered is `not-handled` with the sentence,
which Home Assistant shows and speaks; so is the reply to a text of no intent (`unknown`).
"""

from wyoming.asr import Transcript
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, NotHandled

from golem_chain.broker.doors import errors
from golem_chain.shared.errors import GolemError
from golem_chain.shared.records import Failure, Outcome

_ENDED = Failure(code="failed", message="The job ended without an answer: try again.")
#: The answer to a recording without a sample, and to a text without a word.
NO_SPEECH = Transcript("").event()
NO_WORDS = NotHandled("Nothing was said: say it again.").event()


class JobFailed(GolemError):
    """The job has failed, with the sentence and the code of its Outcome."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.code = failure.code


def speech_answer(outcome: Outcome) -> Event:
    """Return the answer to a recording: its transcript, which is empty without speech. Raises JobFailed."""
    if outcome.state != "done" or outcome.transcript is None:
        raise JobFailed(outcome.error or _ENDED)
    return Transcript(outcome.transcript.text, language=outcome.transcript.language).event()


def text_answer(outcome: Outcome) -> Event:
    """Return the answer to a text: its reply, with the intent as context. Raises JobFailed."""
    if outcome.state != "done" or outcome.intent is None:
        raise JobFailed(outcome.error or _ENDED)
    if outcome.reply is None:
        return NO_WORDS
    intent = outcome.intent
    context = {"job": outcome.job, "intent": intent.label, "score": intent.score}
    kind = NotHandled if intent.label == "unknown" else Handled
    return kind(outcome.reply.text, context).event()


def error_of(exc: Exception) -> Event:
    """Return the error that ends a connection."""
    told = errors.of(exc).body["error"]
    return Error(told["message"], told["code"]).event()


def unable(exc: Exception) -> Event:
    """Return the answer to a text that became no reply."""
    return NotHandled(errors.of(exc).body["error"]["message"]).event()
