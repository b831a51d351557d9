"""Label sets: validation, the `--labels` option, and the built-in sets.

    lights_on="turning on the lights|switching the lamps on",music_stop     labels, phrasings separated by |
    @keywords                                                               a built-in set
    @intents.toml   @intents.toml:kitchen                                   a file, one set in a file

Quotes are needed only around a comma, `=`, `|` or the other kind of quote. (The shell removes unescaped quotes.)
"""

import re
import unicodedata
from pathlib import Path

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labelfile import read_sets
from golem_chain.shared.records import Label, LabelSet, Turn, Wording

#: Limits on a label set: a set within them costs the Interpreter seconds, not hours.
MOST_LABELS = 1000
MOST_PHRASINGS = 32  # of one label
LONGEST_NAME = 200  # characters, as in `records.Label`
LONGEST_PHRASING = 300  # characters
LONGEST_TEMPLATE = 300  # characters
LONGEST_PROMPT = 2000  # characters
MOST_TURNS = 16  # of one set: the Oracle reads all of them for every reply
MOST_WORDINGS = 100  # one per language
LONGEST_OPTION = 256 * 1024  # characters of `--labels`

#: Intents that exist in every set: no label is close enough; nothing was said.
RESERVED = frozenset({"unknown", "noise"})

_BUILT_IN = Path(__file__).with_name("intents.toml")
_QUOTED = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*(?=[,=|]|$)""", re.S)
_BARE = re.compile(r"""(?!\s*")([^,=|]*)""")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_JOINTS = re.compile(r"(?<=[A-Za-z])[-./:]+(?=[A-Za-z])")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[0-9A-Z])(?=[A-Z](?!s\b)[a-z])")  # PlayMusic, FMRadio; not PDFs
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_labels(option: str) -> LabelSet:
    """Parse and check a `--labels` option. Raises BadLabels."""
    if len(option) > LONGEST_OPTION:
        raise BadLabels(f"The labels have {len(option):,} characters; the limit is {LONGEST_OPTION:,}.")
    chosen = option.strip()
    if chosen.startswith("@"):
        return _named(chosen[1:])
    return check_labels(LabelSet.model_construct(labels=tuple(_split(option))))


def load_labels(path: Path, name: str | None = None) -> LabelSet:
    """Load a set from a TOML file: the named one, or without a name the only set or `default`. Raises BadLabels."""
    sets = read_sets(path)
    if name is None:
        name = next(iter(sets)) if len(sets) == 1 else "default"
    if name not in sets:
        raise BadLabels(f"{path} has no label set {_shown(name)}; it has {', '.join(sorted(sets)[:20]) or 'none'}.")
    return check_labels(sets[name])


def default_labels(intents: Path | None = None) -> LabelSet:
    """The set for jobs that name none: `default` in the given file, or in the built-in one. Raises BadLabels."""
    return load_labels(intents or _BUILT_IN)


def built_in() -> tuple[str, ...]:
    """The set names that `--labels @name` accepts."""
    return tuple(read_sets(_BUILT_IN))


def phrasings(label: Label) -> tuple[str, ...]:
    """The label's phrasings, or its name as words if it has none (`lights_on` → `lights on`)."""
    return label.phrasings or (spoken(label.name),)


def spoken(name: str) -> str:
    """A label's name as words.

    It is split at underscores and, if it is in ASCII, at the borders of camel case (`TuneFMRadio` → `Tune FM Radio`)
    and, if it has no spaces of its own, at hyphens, dots, slashes and colons between letters (`order-status`).
    """
    words = name.replace("_", " ")
    if name.isascii():
        words = words if " " in name.strip() else _JOINTS.sub(" ", words)
        words = _CAMEL.sub(" ", words)
    return " ".join(words.split()) or name


def check_template(template: str) -> str:
    """Return the template, normalised. Raises BadLabels unless it holds `{}` exactly once."""
    if template.count("{}") != 1 or len(template) > LONGEST_TEMPLATE:
        raise BadLabels(
            f"The template {_shown(template)} must contain {{}} exactly once, in place of the label, and have at most "
            f"{LONGEST_TEMPLATE} characters."
        )
    return _clean(template, "The template", LONGEST_TEMPLATE)


def check_labels(given: LabelSet) -> LabelSet:
    """Return the set with its text in NFC and trimmed. Raises BadLabels if it exceeds a limit."""
    if not given.labels:
        raise BadLabels("There are no labels: give at least one, as in --labels lights_on,lights_off.")
    if len(given.labels) > MOST_LABELS:
        raise BadLabels(f"There are {len(given.labels):,} labels; the limit is {MOST_LABELS:,}.")
    seen = _checked(given.labels)
    return given.model_copy(
        update={
            "labels": tuple(seen.values()),
            "template": None if given.template is None else check_template(given.template),
            "prompt": _prompt(given.prompt, "The set's prompt"),
            "turns": _turns(given.turns),
            "wordings": _wordings(given.wordings, seen),
        }
    )


def _wordings(given: tuple[Wording, ...], labels: dict[str, Label]) -> tuple[Wording, ...]:
    """Check the wordings in the same way as the set itself; `labels` are the labels of the set by name."""
    if len(given) > MOST_WORDINGS or len({wording.language for wording in given}) < len(given):
        raise BadLabels(f"A label set can have at most {MOST_WORDINGS} wordings, one for each language.")
    found = []
    for wording in given:
        if not _LANGUAGE.fullmatch(wording.language):
            raise BadLabels(f"{_shown(wording.language)} is not a language: use an ISO 639-1 code such as de or ru.")
        said = _checked(wording.labels)
        if unknown := [name for name in said if name not in labels]:
            raise BadLabels(
                f"The wording for {wording.language} has the label {_shown(unknown[0])}, which is not in the set: "
                "use the same label names in every language."
            )
        found.append(
            Wording(
                language=wording.language,
                labels=tuple(said.values()),
                template=None if wording.template is None else check_template(wording.template),
                prompt=_prompt(wording.prompt, f"The prompt for the language {wording.language}"),
                turns=_turns(wording.turns),
            )
        )
    return tuple(found)


def _turns(given: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if len(given) > MOST_TURNS:
        raise BadLabels(f"There are {len(given)} example turns; at most {MOST_TURNS} are allowed.")
    return tuple(
        Turn(
            prompt=_clean(turn.prompt, "The prompt of an example turn", LONGEST_PROMPT, lines=True),
            reply=_clean(turn.reply, "The reply of an example turn", LONGEST_PROMPT, lines=True),
        )
        for turn in given
    )


def _checked(labels: tuple[Label, ...]) -> dict[str, Label]:
    """The checked labels by name."""
    seen: dict[str, Label] = {}
    for place, label in enumerate(labels, start=1):
        name = _clean(label.name, f"Label {place}", LONGEST_NAME)
        if name in seen:
            raise BadLabels(f"The label {_shown(name)} is given twice: use each name once.")
        if name.casefold() in RESERVED:
            raise BadLabels(f"The label name {_shown(name)} is reserved: choose another name.")
        if len(label.phrasings) > MOST_PHRASINGS:
            raise BadLabels(f"The label {_shown(name)} has more than {MOST_PHRASINGS} phrasings.")
        where = f"A phrasing of the label {_shown(name)}"
        words = tuple(dict.fromkeys(_clean(phrase, where, LONGEST_PHRASING) for phrase in label.phrasings))
        seen[name] = Label(name=name, phrasings=words, prompt=_prompt(label.prompt, f"The prompt of {_shown(name)}"))
    return seen


def _named(reference: str) -> LabelSet:
    """Load `keywords`, `file.toml` or `file.toml:kitchen`."""
    path, _, name = reference.partition(".toml")
    if _ and (not name or name.startswith(":")):
        return load_labels(Path(path + ".toml"), name[1:] or None)
    if reference not in built_in():
        raise BadLabels(
            f"There is no built-in label set {_shown(reference)}: use one of {', '.join(built_in())}, or a file as "
            "@file.toml."
        )
    return load_labels(_BUILT_IN, reference)


def _split(option: str) -> list[Label]:
    """Parse `a,b="one phrasing|another"` without checking it, in time linear in the length of the text."""
    labels: list[Label] = []
    name: str | None = None
    phrases: list[str] = []
    at = 0
    while len(labels) <= MOST_LABELS:
        found = _QUOTED.match(option, at) or _BARE.match(option, at)
        if not found:
            raise BadLabels(f"The labels cannot be parsed at {_shown(option[at:].strip())}: close the quote.")
        text = next(group for group in found.groups() if group is not None)
        text = re.sub(r"\\(.)", r"\1", text, flags=re.S) if found.re is _QUOTED else text.strip()
        mark = option[found.end() : found.end() + 1]
        if name is None:
            if mark == "|":
                raise BadLabels(f"| separates phrasings, but {_shown(text)} is a label: write name=phrasing|phrasing.")
            name = text
        elif mark == "=":
            raise BadLabels(f"The label {_shown(name)} has two = signs: put its phrasing in quotes.")
        else:
            phrases += text.split("|")
        if mark in (",", ""):
            labels.append(Label.model_construct(name=name, phrasings=tuple(phrases), prompt=None))
            name, phrases = None, []
            if not mark:
                break
        at = found.end() + 1
    return labels


def _prompt(prompt: str | None, what: str) -> str | None:
    return None if prompt is None else _clean(prompt, what, LONGEST_PROMPT, lines=True)


def _clean(text: str, what: str, longest: int, *, lines: bool = False) -> str:
    """The text in NFC and trimmed. Raises BadLabels if it is empty, too long or has control characters."""
    if len(text) > longest:
        raise BadLabels(f"{what} has {len(text):,} characters; the limit is {longest}.")
    kept = unicodedata.normalize("NFC", text).strip()
    if not kept:
        raise BadLabels(f"{what} is empty.")
    for letter in kept:
        kind = unicodedata.category(letter)
        if (kind in ("Cc", "Cs", "Zl", "Zp") and not (lines and letter == "\n")) or letter in _BIDI:
            raise BadLabels(f"{what} contains the control character {letter!a}: remove it.")
    return kept


def _shown(text: str) -> str:
    """A user's text as shown in a message: quoted, printable, at most 60 characters."""
    return (
        ascii(text if len(text) <= 60 else text[:57] + "...")
        if not text.isprintable()
        else (f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."')
    )


def in_language(labels: LabelSet, language: str | None) -> LabelSet:
    """The set in its wording for a language, or unchanged if it has no such wording or the language is not known.

    The wording's phrasings, prompts, template and turns replace those of the set; what the wording omits stays. Label
    names never change: an intent has the same name in every language. The result has no wordings.
    """
    if not labels.wordings:
        return labels
    wording = next((wording for wording in labels.wordings if wording.language == language), None)
    if wording is None:
        return labels.model_copy(update={"wordings": ()})
    said = {label.name: label for label in wording.labels}
    return labels.model_copy(
        update={
            "labels": tuple(_reworded(label, said.get(label.name)) for label in labels.labels),
            "template": wording.template or labels.template,
            "prompt": wording.prompt or labels.prompt,
            "turns": wording.turns or labels.turns,
            "wordings": (),
        }
    )


def _reworded(label: Label, said: Label | None) -> Label:
    if said is None:
        return label
    return Label(name=label.name, phrasings=said.phrasings or label.phrasings, prompt=said.prompt or label.prompt)
