"""Label sets: what may stand in one, how `--labels` is read, and the sets that are built in.

    lights_on="turning on the lights|switching the lamps on",music_stop     labels, phrasings divided by |
    @keywords                                                               a built-in set
    @intents.toml   @intents.toml:kitchen                                   a file, a set of it

Quotes are needed only around a comma, `=`, `|` or a quote of the other kind; a shell takes them off anyway.
"""

import re
import unicodedata
from pathlib import Path

from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labelfile import read_sets
from golem_chain.shared.records import Label, LabelSet, Turn, Wording

#: Bounds of what is accepted: a set that stays within them costs the Interpreter seconds, not hours.
MOST_LABELS = 1000
MOST_PHRASINGS = 32  # of one label
LONGEST_NAME = 200  # characters, as in `records.Label`
LONGEST_PHRASING = 300  # characters
LONGEST_TEMPLATE = 300  # characters
LONGEST_PROMPT = 2000  # characters
MOST_TURNS = 16  # of one set: each is read anew for every reply
MOST_WORDINGS = 100  # a language each
LONGEST_OPTION = 256 * 1024  # characters of `--labels`

#: Answers that are ours whatever the set: none is near enough; nothing was said.
RESERVED = frozenset({"unknown", "noise"})

_BUILT_IN = Path(__file__).with_name("intents.toml")
_QUOTED = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*(?=[,=|]|$)""", re.S)
_BARE = re.compile(r"""(?!\s*")([^,=|]*)""")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_labels(option: str) -> LabelSet:
    """The label set of a `--labels` option, checked. Raises BadLabels with one sentence."""
    if len(option) > LONGEST_OPTION:
        raise BadLabels(f"The labels have {len(option):,} characters, at most {LONGEST_OPTION:,} are accepted.")
    chosen = option.strip()
    if chosen.startswith("@"):
        return _named(chosen[1:])
    return check_labels(LabelSet.model_construct(labels=tuple(_split(option))))


def load_labels(path: Path, name: str | None = None) -> LabelSet:
    """A set of a TOML file: the one of that name, else `default`, else the only one. Raises BadLabels."""
    sets = read_sets(path)
    if name is None:
        name = next(iter(sets)) if len(sets) == 1 else "default"
    if name not in sets:
        raise BadLabels(f"{path} has no label set {_shown(name)}; it has {', '.join(sorted(sets)[:20]) or 'none'}.")
    return check_labels(sets[name])


def default_labels(intents: Path | None = None) -> LabelSet:
    """The set of a job that names none: `default` of that file, or of the built-in one."""
    return load_labels(intents or _BUILT_IN)


def built_in() -> tuple[str, ...]:
    """The names that `--labels @name` knows."""
    return tuple(read_sets(_BUILT_IN))


def phrasings(label: Label) -> tuple[str, ...]:
    """How the label is put into words: its phrasings, or its name with blanks (`lights_on` → `lights on`)."""
    return label.phrasings or (spoken(label.name),)


def spoken(name: str) -> str:
    """A label's name as words; an underscore is a blank, and so is a change of case inside a word."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " ")) if name.isascii() else name.replace("_", " ")
    return " ".join(words.split()) or name


def check_template(template: str) -> str:
    """The template itself, if it holds `{}` once. Raises BadLabels."""
    if template.count("{}") != 1 or len(template) > LONGEST_TEMPLATE:
        raise BadLabels(
            f"The template {_shown(template)} must hold {{}} once, where the label goes, "
            f"in at most {LONGEST_TEMPLATE} characters."
        )
    return _clean(template, "The template", LONGEST_TEMPLATE)


def check_labels(given: LabelSet) -> LabelSet:
    """The same set with Unicode composed and blanks trimmed, if it is within bounds. Raises BadLabels."""
    if not given.labels:
        raise BadLabels("There are no labels: name at least one, as in --labels lights_on,lights_off.")
    if len(given.labels) > MOST_LABELS:
        raise BadLabels(f"There are {len(given.labels):,} labels, at most {MOST_LABELS:,} are accepted.")
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
    """The set in other languages, checked as the set itself."""
    if len(given) > MOST_WORDINGS or len({wording.language for wording in given}) < len(given):
        raise BadLabels(f"A label set is put in at most {MOST_WORDINGS} languages, in each of them once.")
    found = []
    for wording in given:
        if not _LANGUAGE.fullmatch(wording.language):
            raise BadLabels(f"{_shown(wording.language)} is no language: give an ISO 639-1 code as de or ru.")
        said = _checked(wording.labels)
        if unknown := [name for name in said if name not in labels]:
            raise BadLabels(
                f"The label {_shown(unknown[0])} is put in the language {wording.language} and is not in the set: "
                "use the names of the set in every language."
            )
        found.append(
            Wording(
                language=wording.language,
                labels=tuple(said.values()),
                template=None if wording.template is None else check_template(wording.template),
                prompt=_prompt(wording.prompt, f"The prompt in the language {wording.language}"),
                turns=_turns(wording.turns),
            )
        )
    return tuple(found)


def _turns(given: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if len(given) > MOST_TURNS:
        raise BadLabels(f"There are {len(given)} example turns, at most {MOST_TURNS} are accepted.")
    return tuple(
        Turn(
            prompt=_clean(turn.prompt, "The prompt of an example turn", LONGEST_PROMPT, lines=True),
            reply=_clean(turn.reply, "The reply of an example turn", LONGEST_PROMPT, lines=True),
        )
        for turn in given
    )


def _checked(labels: tuple[Label, ...]) -> dict[str, Label]:
    """The labels by name, each checked by itself."""
    seen: dict[str, Label] = {}
    for place, label in enumerate(labels, start=1):
        name = _clean(label.name, f"Label {place}", LONGEST_NAME)
        if name in seen:
            raise BadLabels(f"The label {_shown(name)} is there twice: name each label once.")
        if name.casefold() in RESERVED:
            raise BadLabels(f"The label {_shown(name)} is an answer of the program itself: choose another name.")
        if len(label.phrasings) > MOST_PHRASINGS:
            raise BadLabels(f"The label {_shown(name)} has more than {MOST_PHRASINGS} phrasings.")
        where = f"A phrasing of the label {_shown(name)}"
        words = tuple(dict.fromkeys(_clean(phrase, where, LONGEST_PHRASING) for phrase in label.phrasings))
        seen[name] = Label(name=name, phrasings=words, prompt=_prompt(label.prompt, f"The prompt of {_shown(name)}"))
    return seen


def _named(reference: str) -> LabelSet:
    """`keywords`, `file.toml` or `file.toml:kitchen`."""
    path, _, name = reference.partition(".toml")
    if _ and (not name or name.startswith(":")):
        return load_labels(Path(path + ".toml"), name[1:] or None)
    if reference not in built_in():
        raise BadLabels(
            f"There is no built-in label set {_shown(reference)}; there are {', '.join(built_in())}, "
            "and a file is given as @file.toml."
        )
    return load_labels(_BUILT_IN, reference)


def _split(option: str) -> list[Label]:
    """The labels of `a,b="says|means"`, unchecked, in time linear in the text."""
    labels: list[Label] = []
    name: str | None = None
    phrases: list[str] = []
    at = 0
    while len(labels) <= MOST_LABELS:
        found = _QUOTED.match(option, at) or _BARE.match(option, at)
        if not found:
            raise BadLabels(f"The labels cannot be read at {_shown(option[at:].strip())}: close the quote.")
        text = next(group for group in found.groups() if group is not None)
        text = re.sub(r"\\(.)", r"\1", text, flags=re.S) if found.re is _QUOTED else text.strip()
        mark = option[found.end() : found.end() + 1]
        if name is None:
            if mark == "|":
                raise BadLabels(f"A | divides phrasings, but {_shown(text)} is a label: write name=phrasing|phrasing.")
            name = text
        elif mark == "=":
            raise BadLabels(f"The label {_shown(name)} has two =: put its phrasing in quotes.")
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
    """The text composed (NFC) and trimmed. Raises BadLabels where it is empty, too long or not printable."""
    if len(text) > longest:
        raise BadLabels(f"{what} has {len(text):,} characters, at most {longest} are accepted.")
    kept = unicodedata.normalize("NFC", text).strip()
    if not kept:
        raise BadLabels(f"{what} is empty.")
    for letter in kept:
        kind = unicodedata.category(letter)
        if (kind in ("Cc", "Cs", "Zl", "Zp") and not (lines and letter == "\n")) or letter in _BIDI:
            raise BadLabels(f"{what} holds the control character {letter!a}: take it out.")
    return kept


def _shown(text: str) -> str:
    """A user's text in a message: quoted, printable, short."""
    return (
        ascii(text if len(text) <= 60 else text[:57] + "...")
        if not text.isprintable()
        else (f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."')
    )


def in_language(labels: LabelSet, language: str | None) -> LabelSet:
    """The set as its wording for that language puts it; the set itself where it has none, or the language is unknown.

    Phrasings, prompts, template and examples of the wording stand in the place of the set's own, and what the wording
    leaves out stays. Names stay in every case: an intent has one name in all languages. The result has no wordings.
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
