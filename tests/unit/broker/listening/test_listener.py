"""The listener: which jobs are submitted while somebody speaks, and what is shown of their answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.listening.listener import (
    WAITING_MOST,
    Cancel,
    Failed,
    Final,
    Heard,
    Listener,
    Lost,
    Over,
    Partial,
    Submit,
    Words,
)
from golem_chain.broker.listening.sound import FRAME_BYTES
from golem_chain.shared.records import Outcome, Transcript

FRAME = bytes(FRAME_BYTES)
VOICE, QUIET = 0.9, 0.05


def said(text):
    return Transcript(text=text)


def done(text, state="done"):
    return Outcome(job="j", name="n", state=state, transcript=said(text))


def hear(listener, *parts):
    """Feed (chance, seconds) parts; return what is decided."""
    return [
        one for chance, seconds in parts for _ in range(round(seconds / 0.032)) for one in listener.hear(FRAME, chance)
    ]


def told(listener, news):
    """Tell news; return what is decided."""
    return listener.told(news)


def submits(decided, *, final):
    return [one for one in decided if isinstance(one, Submit) and one.final == final]


def test_an_utterance_is_one_final_job_submitted_before_the_pause_is_over():
    listener = Listener(partials=False)
    decided = hear(listener, (QUIET, 1), (VOICE, 2), (QUIET, 0.2))
    [job] = decided
    assert job.final
    assert len(job.pcm) // FRAME_BYTES == round(0.3 / 0.032) + round(2 / 0.032) + round(0.16 / 0.032)
    assert hear(listener, (QUIET, 1)) == [], "the end of the pause submits nothing more"
    assert listener.waiting == 1


def test_words_that_come_before_the_end_of_the_pause_are_shown_at_its_end():
    listener = Listener(partials=False)
    [job] = hear(listener, (VOICE, 1), (QUIET, 0.2))
    assert told(listener, Heard(job.key, said("turn it on"))) == [Partial(1, "", "turn it on")]
    [words] = hear(listener, (QUIET, 0.5))
    assert (words.text, words.start_s) == ("turn it on", 0.0)
    [final] = told(listener, Over(job.key, done("turn it on")))
    assert isinstance(final, Final)
    assert listener.waiting == 0


def test_words_and_outcome_together_are_shown_as_words_first():
    listener = Listener(partials=False)
    [job] = hear(listener, (VOICE, 1), (QUIET, 1))
    shown = told(listener, Over(job.key, done("hi")))
    assert [type(one) for one in shown] == [Words, Final]


def test_voice_that_goes_on_cancels_the_final_job_and_the_next_one_hears_all():
    listener = Listener(partials=False)
    [first, cancel, second] = hear(listener, (VOICE, 1), (QUIET, 0.2), (VOICE, 1), (QUIET, 0.2))
    assert cancel == Cancel(first.key)
    assert second.final
    assert second.number == first.number
    assert len(second.pcm) > 2 * FRAME_BYTES * 31
    assert told(listener, Over(first.key, done("half"))) == [], "what was cancelled is not shown"


def test_one_partial_job_is_under_way_at_a_time():
    listener = Listener()
    [first] = hear(listener, (VOICE, 5))
    assert not first.final
    assert told(listener, Over(first.key, done("turn it"))) == [Partial(1, "", "turn")]
    [second] = hear(listener, (VOICE, 5))
    assert len(second.pcm) > len(first.pcm)
    assert told(listener, Over(second.key, done("turn it on please"))) == [Partial(1, "turn it", "on")]


@pytest.mark.parametrize(("took_s", "least", "most"), [(0.1, 26, 29), (1.0, 9, 11), (3.0, 3, 5)])
def test_partial_jobs_of_a_slow_worker_become_fewer(took_s, least, most):
    listener, jobs = Listener(), []
    for n in range(round(20 / 0.032)):
        jobs += [(n, one) for one in hear(listener, (VOICE, 0.032))]
        if jobs and n - jobs[-1][0] == round(took_s / 0.032):
            told(listener, Over(jobs[-1][1].key, done("turn it on please")))
    assert least <= len(jobs) <= most, "such a job is under way for half of the time at most"


def test_a_partial_job_that_is_late_is_cancelled_at_the_pause():
    listener = Listener()
    [partial, cancel, final] = hear(listener, (VOICE, 2), (QUIET, 0.2))
    assert cancel == Cancel(partial.key)
    assert final.final
    assert told(listener, Over(partial.key, done("late"))) == []


def test_no_partial_job_is_submitted_while_an_earlier_utterance_waits_for_its_words():
    listener = Listener()
    decided = hear(listener, (VOICE, 1), (QUIET, 1))
    [final] = submits(decided, final=True)
    assert submits(hear(listener, (VOICE, 3)), final=False) == []
    told(listener, Heard(final.key, said("one")))
    assert len(submits(hear(listener, (VOICE, 1)), final=False)) == 1


def test_a_failed_partial_job_shows_nothing_and_the_next_one_is_submitted():
    listener = Listener()
    [partial] = hear(listener, (VOICE, 1.5))
    assert told(listener, Over(partial.key, None)) == []
    [again] = hear(listener, (VOICE, 1.5))
    assert told(listener, Over(again.key, done("x", "expired"))) == []


def test_a_short_utterance_without_words_is_heard_once_more_with_its_silence():
    listener = Listener(partials=False)
    [first] = hear(listener, (VOICE, 0.4), (QUIET, 1))
    cancel, again = told(listener, Heard(first.key, said("")))
    assert cancel == Cancel(first.key)
    assert len(again.pcm) > len(first.pcm)
    assert [type(one) for one in told(listener, Over(again.key, done("")))] == [Words, Final], "and only once"
    assert listener.waiting == 0


def test_an_utterance_is_heard_once_more_as_well_if_its_silence_came_after_its_answer():
    listener = Listener(partials=False)
    [first] = hear(listener, (VOICE, 0.4), (QUIET, 0.2))
    told(listener, Over(first.key, done("")))
    cancel, again = hear(listener, (QUIET, 1))
    assert (cancel, again.final) == (Cancel(first.key), True)
    assert [type(one) for one in told(listener, Over(again.key, done("Pause.")))] == [Words, Final]


def test_a_job_that_was_not_submitted_is_told_as_lost():
    listener = Listener(partials=False)
    [job] = hear(listener, (VOICE, 1), (QUIET, 1))
    assert told(listener, Failed(job.key, "no room")) == [Lost(1, "no room")]
    assert listener.waiting == 0


def test_a_final_job_that_failed_during_the_pause_is_submitted_again_at_its_end():
    listener = Listener(partials=False)
    [first] = hear(listener, (VOICE, 1), (QUIET, 0.2))
    assert told(listener, Failed(first.key, "no room")) == []
    [again] = hear(listener, (QUIET, 1))
    assert again.pcm == first.pcm


def test_utterances_above_the_limit_are_lost_and_do_not_pile_up():
    listener = Listener(partials=False)
    decided = hear(listener, *[(VOICE, 0.5), (QUIET, 1)] * (WAITING_MOST + 2))
    lost = [one for one in decided if isinstance(one, Lost)]
    cancelled = [one for one in decided if isinstance(one, Cancel)]
    assert [one.number for one in lost] == [WAITING_MOST + 1, WAITING_MOST + 2]
    assert len(cancelled) == 2
    assert listener.waiting == WAITING_MOST


def test_an_hour_of_silence_keeps_less_than_a_second_of_sound():
    listener = Listener()
    hear(listener, (QUIET, 3600))
    assert len(listener._before) * 0.032 < 1


def test_ten_minutes_of_noise_that_passes_for_speech_become_utterances_of_at_most_28_s():
    listener = Listener(partials=False)
    finals = []
    for _ in range(600):
        for one in submits(hear(listener, (VOICE, 1)), final=True):
            finals.append(one)
            told(listener, Over(one.key, done("noise")))
    assert 600 / 28 - 2 < len(finals) < 26
    assert max(len(one.pcm) for one in finals) <= 28.1 * 32_000


def test_a_hard_cut_loses_no_frame():
    listener = Listener(partials=False)
    numbered = [n.to_bytes(4, "big") * (FRAME_BYTES // 4) for n in range(2000)]
    decided = [one for frame in numbered for one in listener.hear(frame, VOICE)] + listener.finish()
    heard = b"".join(one.pcm for one in submits(decided, final=True))
    assert heard == b"".join(numbered)


@given(st.data())
def test_every_utterance_ends_as_final_or_lost_whatever_happens(data):
    """Random speech, answers in random order: each number is told once at the end, and its words before it."""
    listener = Listener()
    open_, ends, words = {}, [], []

    def take(decided):
        for one in decided:
            match one:
                case Submit():
                    open_[one.key] = one
                case Cancel(key):
                    open_.pop(key, None)
                case Final() | Lost():
                    ends.append(one.number)
                case Words():
                    words.append(one.number)
                    assert one.number not in ends

    for _ in range(data.draw(st.integers(1, 25))):
        chance = data.draw(st.sampled_from([VOICE, QUIET]))
        for _ in range(data.draw(st.integers(1, 40))):
            take(listener.hear(FRAME, chance))
        assert sum(not one.final for one in open_.values()) <= 1, "partial jobs pile up"
        for key in data.draw(st.lists(st.sampled_from(sorted(open_)), unique=True)) if open_ else []:
            if key not in open_:
                continue
            one, text = open_[key], data.draw(st.sampled_from(["", "a b", "a b c"]))
            match data.draw(st.sampled_from(["heard", "over", "failed"])):
                case "heard" if one.final:
                    take(told(listener, Heard(key, said(text))))
                case "failed" if one.final:
                    del open_[key]
                    take(told(listener, Failed(key, "why")))
                case _:
                    del open_[key]
                    take(told(listener, Over(key, done(text))))
    take(listener.finish())
    while open_:
        key, _ = open_.popitem()
        take(told(listener, Over(key, done("x"))))
    assert listener.waiting == 0
    assert sorted(ends) == list(range(1, listener._numbers + 1))
    assert len(words) == len(set(words))


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_a_job_that_did_not_end_as_done_is_told_with_its_outcome(state):
    listener = Listener(partials=False)
    [job] = hear(listener, (VOICE, 1), (QUIET, 1))
    [final] = told(listener, Over(job.key, Outcome(job="j", name="n", state=state)))
    assert final.outcome.state == state
