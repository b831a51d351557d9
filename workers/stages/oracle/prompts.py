"""Builds the Oracle's prompt and extracts the reply from its output. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from golem_chain.shared.labels import spoken
from golem_chain.shared.records import Intent, LabelSet, Turn

#: Used if neither the label nor the set has a prompt.
DEFAULT_PROMPT = 'I say: "{text}" Your task is: {intent}. You answer: "'
UNKNOWN_PROMPT = 'I say: "{text}" You do not understand me. You answer: "'

#: Maximum characters of the transcript that the prompt quotes: a short reply needs only the start of a long text.
LONGEST_QUOTE = 400

#: For chat models: the golem's role, and example turns for prompts like the default and for prompts that state what the
#: golem does. The order matters: a small model copies the last example most.
SYSTEM = "You are a golem, a kind servant made of stone. You answer in one short and friendly sentence."
TURNS = tuple(
    Turn(prompt=prompt, reply=reply)
    for prompt, reply in (
        ('I say: "Open the gate, please." You are opening the gate.', "I am opening the gate for you."),
        ('I say: "Is the bridge open today?" Your task is: Bridge Status.', "I am looking at the bridge for you."),
        ('I say: "Ring the bell in ten minutes." Your task is: bell ring.', "I am ringing the bell in ten minutes."),
        (
            'I say: "What is beyond the hills?" You do not know the hills.',
            "I am sorry, I do not know what is beyond the hills.",
        ),
        ('I say: "Dig a well." You are digging a well.', "I am digging a well now."),
    )
)

_SLOT = re.compile(r"\{(text|intent)\}")
_OPENING = re.compile(r'[^.!?"]*:\s*"$')  # `You answer: "`
_CLAUSE = re.compile(r'[^\s"][^".!?:]*(?:[.!?]+(?=\s|$)|:(?: "[^"]*")?)')  # `I say: "…"`, `You answer:`, a sentence
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]]*(?=\s|$)|[。！？]+")
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|[A-Z])\.$")


def prompt_for(text: str, intent: Intent, labels: LabelSet) -> str:
    """The prompt of the label, of the set, or the default, with the transcript and the intent filled in."""
    own = next((label.prompt for label in labels.labels if label.name == intent.label), None)
    template = own or labels.prompt or (UNKNOWN_PROMPT if intent.label == "unknown" else DEFAULT_PROMPT)
    return fill(template, quoted(text), spoken(intent.label))


def fill(template: str, text: str, intent: str) -> str:
    """Replace `{text}` and `{intent}` in one pass, so that other braces in the template or the transcript stay."""
    return _SLOT.sub(lambda slot: text if slot[1] == "text" else intent, template)


def quoted(text: str) -> str:
    """The transcript as one line without double quotes, cut at a word if it is too long."""
    line = one_line(text).replace('"', "'")
    if len(line) <= LONGEST_QUOTE:
        return line
    return line[:LONGEST_QUOTE].rsplit(" ", 1)[0] + "…"


def chat_turns(prompt: str, examples: Sequence[Turn] = TURNS) -> list[dict[str, str]]:
    """The system message, example turns and prompt for the chat template. The clause that opens a quotation at the end
    of a prompt is removed: it is meant for plain language models."""
    turns = [{"role": "system", "content": SYSTEM}]
    for example in examples:
        turns += [
            {"role": "user", "content": _without_opening(example.prompt)},
            {"role": "assistant", "content": example.reply},
        ]
    return [*turns, {"role": "user", "content": _without_opening(prompt)}]


def _without_opening(prompt: str) -> str:
    """The prompt without the clause that opens a quotation at its end."""
    return _OPENING.sub("", prompt).strip() or prompt


def closes_quote(prompt: str, raw: str) -> bool:
    """Whether the text has closed the quotation that the prompt opened, which completes the reply."""
    return prompt.endswith('"') and '"' in raw.lstrip()[1:]


def has_sentence(raw: str, prompt: str = "") -> bool:
    """Whether the text has a complete sentence with more after it (`3.` may still become `3.5`). Sentences that repeat
    the prompt do not count."""
    said = without_echo(raw, prompt) if prompt else raw
    ends = (found for found in _SENTENCE_END.finditer(said) if found.end() < len(said))
    return any(not _ABBREVIATION.search(said[: found.end()]) for found in ends)


def without_echo(line: str, prompt: str) -> str:
    """The text without full copies of the prompt anywhere and without clauses of the prompt at the start."""
    whole, clauses = _echoes(prompt)
    for echo in whole:
        line = line.replace(echo, " ")
    while True:
        line = line.lstrip()
        echo = max((clause for clause in clauses if line.startswith(clause)), key=len, default="")
        if not echo:
            return line
        line = line[len(echo) :]


@lru_cache(maxsize=64)
def _echoes(prompt: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The prompt with and without its last quote, and its clauses. Sentences of two words are left out, since they may
    be a genuine reply. Cached because it is called after each token of each row."""
    whole = one_line(prompt)
    clauses = (clause for clause in _CLAUSE.findall(whole) if clause.endswith((":", '"')) or clause.count(" ") > 1)
    return tuple(filter(None, (whole, whole.removesuffix('"').rstrip()))), tuple(clauses)


def reply_text(raw: str, prompt: str, complete: bool, quotes: bool = True) -> str:
    """Extract the reply: one line of whole sentences, without echoes of the prompt.

    `complete`: the model emitted an end token; `quotes`: it was expected to close the quotation of its prompt. If the
    reply is incomplete, text after the last sentence is cut off; if no sentence is complete, `…` is appended.
    """
    line = one_line(raw)
    if quotes and prompt.endswith('"'):
        before, quote, _ = line.removeprefix('"').partition('"')
        line, complete = before.strip(), complete or bool(quote)
    line = _unquoted(one_line(without_echo(line, prompt)))
    if not any(letter.isalnum() for letter in line):
        return ""
    if complete:
        return line
    ends = [found.end() for found in _SENTENCE_END.finditer(line) if not _ABBREVIATION.search(line[: found.end()])]
    if ends:
        return _unquoted(line[: ends[-1]])
    return line.rstrip(" ,;:-–—.…") + "…"


def one_line(text: str) -> str:
    """The text on one line, without control characters, with whitespace collapsed and trimmed."""
    shown = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Zs") else letter
        for letter in text
        if letter != "\ufffd"  # an incomplete character at the end of the last token
    )
    return " ".join(shown.split())


def _unquoted(line: str) -> str:
    """Remove quotation marks around the whole text, or a single one at either end."""
    line = line.strip()
    if len(line) > 1 and line[0] in '"“' and line[-1] in '"”' and line[1:-1].count('"') == 0:
        return line[1:-1].strip()
    if line.count('"') == 1:
        line = line.removeprefix('"').removesuffix('"').strip()
    return line


def shared_start(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest common prefix of the rows."""
    start: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        start.append(column[0])
    return start
