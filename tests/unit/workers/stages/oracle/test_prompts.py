"""The Oracle's pure parts: prompts, and clean-up of the reply."""

import pytest

from golem_chain.shared.labels import default_labels, parse_labels
from golem_chain.shared.records import Intent, Label, LabelSet, Turn
from golem_chain.workers.stages.oracle import prompts


@pytest.mark.parametrize(
    ("raw", "complete", "expected"),
    [
        ("I am here. And there is", False, "I am here."),
        ("I am here. And there is", True, "I am here. And there is"),
        ("It costs 3.50 in all", False, "It costs 3.50 in all…"),
        ("Ask Dr. Stone about", False, "Ask Dr. Stone about…"),
        ("so many words,", False, "so many words…"),
        ('He said "stop!" and then', False, 'He said "stop!"'),
        ("  one\n\ntwo\t three. ", False, "one two three."),
        ("Да. Нет", False, "Да."),
        ("好的。但是", False, "好的。"),
        ("...", False, ""),
        ("", True, ""),
        ("half\ufffd", True, "half"),
        ('"All of it."', True, "All of it."),
        ("\x1b[31mred.", False, "[31mred."),
        ("Say it: I am a stone. Yes. Then", False, "I am a stone. Yes."),
    ],
)
def test_a_reply_ends_with_a_sentence(raw: str, complete: bool, expected: str) -> None:
    assert prompts.reply_text(raw, "Say it:", complete) == expected


def test_a_reply_in_quotation_ends_with_it() -> None:
    prompt = 'I say: "go" You answer: "'
    assert prompts.reply_text('Yes, at once" he said', prompt, False) == "Yes, at once"
    assert prompts.reply_text('"Yes." No', prompt, False) == "Yes."
    assert prompts.reply_text("Yes. And I", prompt, False) == "Yes."
    assert prompts.reply_text('He says "yes" to it.', prompt, True, quotes=False) == 'He says "yes" to it.'
    assert prompts.closes_quote(prompt, 'Yes" he')
    assert not prompts.closes_quote(prompt, "Yes")
    assert not prompts.closes_quote("Say:", 'Yes" he')


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("You are going to town. I am going.", "I am going."),
        ('I say: "go now. Quick!" I am on it.', "I am on it."),
        ('You answer: "I am going."', "I am going."),
        ('I say: "go now. Quick!" You are going to town. You answer: "Yes.', "Yes."),
        ("I am going to town.", "I am going to town."),
        ("Quick! I run.", "Quick! I run."),  # repeats the speaker's words, which is allowed
        ("You are going to town.", ""),
    ],
)
def test_a_reply_does_not_begin_with_what_it_was_told(raw: str, expected: str) -> None:
    prompt = 'I say: "go now. Quick!" You are going to town. You answer: "'
    assert prompts.reply_text(raw, prompt, True, quotes=False) == expected


def test_an_echo_does_not_end_a_reply() -> None:
    prompt = 'I say: "go" You are going to town.'
    assert not prompts.has_sentence("You are going to town. I", prompt)
    assert prompts.has_sentence("You are going to town. I am going. And", prompt)


def test_a_sentence_has_ended_when_something_follows() -> None:
    assert prompts.has_sentence("I am here. And")
    for text in ("I am here.", "It is 3.5 m", "Ask Dr. Stone", "no end"):
        assert not prompts.has_sentence(text)


def test_braces_in_a_text_stay_braces() -> None:
    assert (
        prompts.fill("{text}|{intent}|{other}|{0}|{", "{intent} {x", "a{text}") == "{intent} {x|a{text}|{other}|{0}|{"
    )


def test_the_prompt_is_the_labels_then_the_sets_then_the_default() -> None:
    def prompt(label: str, labels: LabelSet) -> str:
        return prompts.prompt_for('say "hi"', Intent(label=label, score=1, method="cosine"), labels)

    bare = parse_labels("lights_on,b")
    own = LabelSet(labels=(Label(name="lights_on", prompt="own {text}"), Label(name="b")), prompt="set {intent}")
    assert prompt("lights_on", own) == "own say 'hi'"
    assert prompt("b", own) == "set b"
    assert prompt("lights_on", bare) == prompts.fill(prompts.DEFAULT_PROMPT, "say 'hi'", "lights on")
    assert "not understand" in prompt("unknown", bare)
    assert "lights" in prompt("lights_on", default_labels())


def test_a_chat_model_gets_example_turns_and_no_open_quotation() -> None:
    turns = prompts.chat_turns('I say: "go: now" You are going. You answer: "')
    assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * len(prompts.TURNS), "user"]
    own = prompts.chat_turns("Say it.", [Turn(prompt='You hear: "hi" You answer: "', reply="Hello.")])
    assert [turn["content"] for turn in own[1:]] == ['You hear: "hi"', "Hello.", "Say it."]
    assert turns[-1]["content"] == 'I say: "go: now" You are going.'
    assert prompts.chat_turns("Say it.")[-1]["content"] == "Say it."
    assert prompts.chat_turns('"')[-1]["content"] == '"'


def test_a_long_quotation_is_cut_at_a_word() -> None:
    cut = prompts.quoted("word " * 1000)
    assert cut.endswith("word…")
    assert len(cut) <= prompts.LONGEST_QUOTE + 1
    assert prompts.shared_start([[1, 2, 3], [1, 2, 4, 5]]) == [1, 2]
