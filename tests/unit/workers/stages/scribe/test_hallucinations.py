"""Inventions of Whisper against the same sentences in real speech, distinguished by voice activity."""

import shutil
import subprocess
from typing import Any

import pytest

from golem_chain.shared.settings import GUARDS
from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.hallucinations import is_invention, least_s

EVIDENCE: dict[str, Any] = {"tokens": 3, "no_speech_prob": 0.1, "no_speech_limit": 0.5, "voiced_s": 1.0, "clear_s": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "you",
        "Thank you.",
        "Thanks for watching!",
        "Thank you. Thank you. Bye!",
        "Don’t forget to subscribe.",
        "Subtitles by the Amara.org community",
        "Untertitel im Auftrag des ZDF",
        "Продолжение следует...",
        "谢谢观看。",
    ],
)
def test_known_inventions_are_in_the_bag(text: str) -> None:
    assert is_invention(text)


@pytest.mark.parametrize(
    "text", ["", "...", "Thank you for the music.", "Mead and ale.", "Turn on the lights.", "stop", "up", "no", "yes"]
)
def test_other_texts_are_not(text: str) -> None:
    assert not is_invention(text)


@pytest.mark.parametrize(
    ("text", "clear_s", "no_speech_prob", "invented"),
    [
        ("Thank you.", 0.0, 0.6, True),
        ("Thank you.", 0.2, 0.3, True),
        ("Thank you.", 0.2, 0.1, False),  # whispered: high confidence
        ("Thank you.", 0.45, 0.4, False),  # spoken quickly
        ("Mead", 0.29, 0.4, False),
        ("you", 0.06, 0.4, True),
        ("you", 0.16, 0.4, False),
        ("Thanks for watching!", 0.4, 0.4, True),
        ("Thanks for watching!", 0.83, 0.4, False),
        ("Turn on the lights.", 0.0, 0.6, False),  # not a known invention
    ],
)
def test_a_sentence_is_an_invention_only_where_nobody_had_time_to_say_it(
    text: str, clear_s: float, no_speech_prob: float, invented: bool
) -> None:
    assert guards.is_invented(text, clear_s, no_speech_prob) is invented


def test_nobody_says_thirty_letters_in_a_second() -> None:
    assert least_s("Thank you very much for watching this.") == pytest.approx(31 * 0.03)
    assert least_s("you") == 0.12


@pytest.mark.parametrize(
    ("changed", "guard"),
    [
        ({"no_speech_prob": 0.6}, "no_speech"),
        ({"text": "(applause)"}, "annotation"),
        ({"text": "stop stop stop stop stop stop stop stop", "tokens": 12, "voiced_s": 0.2}, "loop"),
        ({"text": "Thank you.", "clear_s": 0.1, "no_speech_prob": 0.4}, "invention"),
    ],
)
def test_each_guard_can_be_asked_alone_and_be_left_out(changed: dict[str, float | str], guard: str) -> None:
    found = guards.Evidence(**{"text": "Turn on the lights.", **EVIDENCE, **changed})
    assert guards.rejecting(found, GUARDS) == guard
    assert guards.rejecting(found, (guard,)) == guard
    assert guards.rejecting(found, [name for name in GUARDS if name != guard]) is None


def test_a_text_that_nothing_speaks_against_is_believed() -> None:
    assert guards.rejecting(guards.Evidence(text="Thank you.", **EVIDENCE), GUARDS) is None


@pytest.mark.models
def test_who_says_it_aloud_is_heard(bundled_scribe) -> None:
    from golem_chain.workers.stages.engine import Ready
    from golem_chain.workers.stages.scribe.engine import Recording

    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    prepared = []
    for words in ("Thank you.", "Mead."):
        said = subprocess.run(["espeak-ng", "-v", "en-us", "--stdout", words], capture_output=True, check=True).stdout
        prepared.append(bundled_scribe.prepare(Recording(words, said)))
    answers = bundled_scribe.run([one.item for one in prepared if isinstance(one, Ready)])
    assert len(answers) == 2
    assert all(answer.text and not answer.guards for answer in answers)
