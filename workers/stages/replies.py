"""What the Oracle is told, and what of its words becomes the reply. Pure."""

import re
import unicodedata
from collections.abc import Sequence

from shared.labels import spoken
from shared.records import Intent, LabelSet

#: Where neither the label nor the set has a prompt of its own.
DEFAULT_PROMPT = 'I say: "{text}" You are doing what I ask: {intent}. You answer: "'
UNKNOWN_PROMPT = 'I say: "{text}" You do not understand me. You answer: "'

#: Of a long text, the prompt quotes the beginning: a short reply needs no more. Characters.
LONGEST_QUOTE = 400

#: For chat models: what the golem is, and three turns as they should be.
SYSTEM = "You are a golem, a kind servant made of stone. You answer in one short and friendly sentence."
TURNS = (
    ('I say: "Open the gate, please." You are opening the gate.', "I am opening the gate for you."),
    ('I say: "What is beyond the hills?" You do not know the hills.', "I am sorry, I do not know the hills."),
    ('I say: "Dig a well." You are digging a well.', "I am digging a well now."),
)

_SLOT = re.compile(r"\{(text|intent)\}")
_OPENING = re.compile(r'[^.!?"]*:\s*"$')  # `You answer: "`
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]]*(?=\s|$)|[。！？]+")
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|[A-Z])\.$")


def prompt_for(text: str, intent: Intent, labels: LabelSet) -> str:
    """The label's prompt, else the set's, else the default, with what was said and the intent put in their places."""
    own = next((label.prompt for label in labels.labels if label.name == intent.label), None)
    template = own or labels.prompt or (UNKNOWN_PROMPT if intent.label == "unknown" else DEFAULT_PROMPT)
    return fill(template, quoted(text), spoken(intent.label))


def fill(template: str, text: str, intent: str) -> str:
    """`{text}` and `{intent}` replaced in one pass: braces in what was said, or others in the template, stay."""
    return _SLOT.sub(lambda slot: text if slot[1] == "text" else intent, template)


def quoted(text: str) -> str:
    """What was said as one line that can stand between double quotes, cut at a word where it is long."""
    line = one_line(text).replace('"', "'")
    if len(line) <= LONGEST_QUOTE:
        return line
    return line[:LONGEST_QUOTE].rsplit(" ", 1)[0] + "…"


def chat_turns(prompt: str) -> list[dict[str, str]]:
    """System line, three example turns and the prompt, as the chat template takes them. The clause that opens a
    quotation at the end of a prompt is for models that continue a text: it is left out."""
    turns = [{"role": "system", "content": SYSTEM}]
    for asked, answered in TURNS:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return [*turns, {"role": "user", "content": _OPENING.sub("", prompt).strip() or prompt}]


def closes_quote(prompt: str, raw: str) -> bool:
    """Whether the text has closed the quotation that its prompt opened: then the reply is whole."""
    return prompt.endswith('"') and '"' in raw.lstrip()[1:]


def has_sentence(raw: str) -> bool:
    """Whether a sentence has ended and something follows: `3.` may yet become `3.5`."""
    ends = (found for found in _SENTENCE_END.finditer(raw) if found.end() < len(raw))
    return any(not _ABBREVIATION.search(raw[: found.end()]) for found in ends)


def reply_text(raw: str, prompt: str, complete: bool, quotes: bool = True) -> str:
    """One line that ends with a sentence and holds nothing of the prompt.

    `complete` tells that the model ended by itself, `quotes` that it was to close the quotation of its prompt.
    Otherwise what follows the last end of a sentence is cut off; where no sentence ends, the words stay and `…` says
    that more would have come.
    """
    line = one_line(raw)
    if quotes and prompt.endswith('"'):
        before, quote, _ = line.removeprefix('"').partition('"')
        line, complete = before.strip(), complete or bool(quote)
    for echo in (one_line(prompt), one_line(prompt).removesuffix('"').rstrip()):
        line = line.replace(echo, " ") if echo else line
    line = _unquoted(one_line(line))
    if not any(letter.isalnum() for letter in line):
        return ""
    if complete:
        return line
    ends = [found.end() for found in _SENTENCE_END.finditer(line) if not _ABBREVIATION.search(line[: found.end()])]
    if ends:
        return _unquoted(line[: ends[-1]])
    return line.rstrip(" ,;:-–—.…") + "…"


def one_line(text: str) -> str:
    """Printable characters, runs of blanks and line ends as one blank, none at the ends."""
    shown = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Zs") else letter
        for letter in text
        if letter != "\ufffd"  # half a character, where the last token ended
    )
    return " ".join(shown.split())


def _unquoted(line: str) -> str:
    """Without quotation marks around the whole, or one that is left alone at an end."""
    line = line.strip()
    if len(line) > 1 and line[0] in '"“' and line[-1] in '"”' and line[1:-1].count('"') == 0:
        return line[1:-1].strip()
    if line.count('"') == 1:
        line = line.removeprefix('"').removesuffix('"').strip()
    return line


def shared_start(rows: Sequence[Sequence[int]]) -> list[int]:
    """The tokens with which all rows begin."""
    start: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        start.append(column[0])
    return start
