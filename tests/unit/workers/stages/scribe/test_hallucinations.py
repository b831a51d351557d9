"""Inventions of Whisper against the same sentences in real speech, distinguished by voice activity."""

import shutil
import subprocess
from typing import Any

import pytest

from golem_chain.shared.settings import GUARDS
from golem_chain.workers.evaluation import conditions
from golem_chain.workers.stages.scribe import guards
from golem_chain.workers.stages.scribe.hallucinations import is_invention, least_s
from tests.support.paths import DATA

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
        "Shh.",
        "Shh, shh. Mhm.",
        "Mm-hmm.",
        "Hahaha!",
        "Zzz...",
    ],
)
def test_known_inventions_are_in_the_bag(text: str) -> None:
    assert is_invention(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "Thank you for the music.",
        "Mead and ale.",
        "Turn on the lights.",
        "stop",
        "up",
        "no",
        "yes",
        "Hash.",
        "Mum.",
        "Shh, don't.",
        "Push",
        "Haste",
    ],
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


@pytest.mark.parametrize(
    ("text", "clear_s", "no_speech_prob", "avg_logprob", "invented"),
    [  # measured with tiny.en
        ("Music", 0.03, 0.15, -1.96, True),  # 20 s of an orchestra
        ("you", 0.54, 0.53, -1.63, True),  # jazz, which the detector takes for a clear voice
        ("you", 2.78, 0.62, -1.68, True),
        ("you", 0.64, 0.70, -1.37, True),
        ("music", 0.54, 0.45, -2.04, True),  # Whisper base
        ("Ah", 0.22, 0.29, -1.64, False),  # "up", as a speaker said it
        ("Oh", 0.29, 0.40, -1.27, False),  # synthetic voices from here on
        ("music", 0.48, 0.15, -1.19, False),
        ("Okay", 0.42, 0.25, -0.83, False),
        ("Thank you.", 0.54, 0.6, -0.3, False),  # the model is sure of the text
        ("Love.", 0.35, 0.6, -1.1, False),  # not a known invention
    ],
)
def test_a_sentence_is_an_invention_where_the_model_believes_neither_it_nor_that_anyone_speaks(
    text: str, clear_s: float, no_speech_prob: float, avg_logprob: float, invented: bool
) -> None:
    assert guards.is_invented(text, clear_s, no_speech_prob, avg_logprob=avg_logprob) is invented


@pytest.mark.parametrize(
    ("changed", "believed"),
    [
        ({}, True),
        ({"no_speech_prob": 0.75}, False),
        ({"clear_s": 0.06}, False),  # nobody had time to say it
        ({"text": "you"}, False),
        ({"prompt": "a song of love"}, False),
        ({"chosen": True}, False),  # any sound is one of the phrases
    ],
)
def test_in_noise_a_text_is_believed_that_nobody_invents_and_somebody_had_time_to_say(
    changed: dict[str, Any], believed: bool
) -> None:
    found = guards.Evidence(**{"text": "Love.", **EVIDENCE, "no_speech_prob": 0.61, "clear_s": 0.35, **changed})
    assert (guards.rejecting(found, GUARDS) is None) is believed


@pytest.mark.parametrize(
    ("text", "no_speech_prob", "avg_logprob", "guard"),
    [  # measured with tiny.en at 20 dB
        ("I'm going to go to the next one.", 0.696, -1.64, "no_speech"),  # jazz and babble
        ("Bye.", 0.602, -0.60, "no_speech"),  # a beep and pink noise
        ("Ah.", 0.5002, -0.97, None),  # "off", as a speaker said it
        ("for", 0.54, -1.88, None),  # "four", at 0 dB
    ],
)
def test_a_certain_voice_does_not_excuse_an_invention_or_a_doubted_text(
    text: str, no_speech_prob: float, avg_logprob: float, guard: str | None
) -> None:
    measured = {"text": text, "no_speech_prob": no_speech_prob, "avg_logprob": avg_logprob, "no_speech_limit": 0.7}
    found = guards.Evidence(**{**EVIDENCE, "voiced_s": 2.2, "clear_s": 2.2, **measured})
    assert guards.rejecting(found, GUARDS) == guard
    off = guards.Evidence(**{**vars(found), "no_speech_limit": 1.0, "no_speech_prob": 0.999})
    assert guards.rejecting(off, ("no_speech",)) is None  # 1 disables the guard


@pytest.mark.models
@pytest.mark.skipif(not DATA.exists(), reason=f"no recordings at {DATA}")
def test_crops_of_music_give_no_words(bundled_scribe) -> None:
    from golem_chain.workers.stages.engine import Ready
    from golem_chain.workers.stages.scribe.audio.decode import RATE, decode
    from golem_chain.workers.stages.scribe.engine import Recording

    crops = {
        "Hungarian_Dance_number_5_Allegro_in_F_sh.ogg": [(0, 20)],
        "Kevin_MacLeod_Vibe_Ace.ogg": [(0, 2), (0, 3), (5, 20)],
    }
    prepared = []
    for name, spans in crops.items():
        samples = decode((DATA / "nonspeech" / name).read_bytes(), name, bundled_scribe.settings)
        for start_s, length_s in spans:
            crop = conditions.wav(samples[start_s * RATE : (start_s + length_s) * RATE])
            prepared.append(bundled_scribe.prepare(Recording(f"{name} from {start_s} s", crop)))
    answers = bundled_scribe.run([one.item for one in prepared if isinstance(one, Ready)])
    assert len(answers) == 4  # the detector takes all for a voice
    assert [answer.text for answer in answers] == [""] * 4


def test_nobody_says_thirty_letters_in_a_second() -> None:
    assert least_s("Thank you very much for watching this.") == pytest.approx(31 * 0.03)
    assert least_s("you") == 0.12


@pytest.mark.parametrize(
    ("changed", "guard"),
    [
        ({"no_speech_prob": 0.75}, "no_speech"),
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
