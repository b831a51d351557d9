"""The languages that Whisper knows: their codes, their English names, and what else clients call them.

The table is that of openai/whisper (whisper/tokenizer.py, MIT).
"""

import re
from collections.abc import Mapping

#: The English name of each language, by Whisper's code: ISO 639-1 but for `haw`, `yue` and `jw`.
NAMES: Mapping[str, str] = {
    "en": "english", "zh": "chinese", "de": "german", "es": "spanish", "ru": "russian", "ko": "korean", "fr": "french",
    "ja": "japanese", "pt": "portuguese", "tr": "turkish", "pl": "polish", "ca": "catalan", "nl": "dutch",
    "ar": "arabic", "sv": "swedish", "it": "italian", "id": "indonesian", "hi": "hindi", "fi": "finnish",
    "vi": "vietnamese", "he": "hebrew", "uk": "ukrainian", "el": "greek", "ms": "malay", "cs": "czech",
    "ro": "romanian", "da": "danish", "hu": "hungarian", "ta": "tamil", "no": "norwegian", "th": "thai", "ur": "urdu",
    "hr": "croatian", "bg": "bulgarian", "lt": "lithuanian", "la": "latin", "mi": "maori", "ml": "malayalam",
    "cy": "welsh", "sk": "slovak", "te": "telugu", "fa": "persian", "lv": "latvian", "bn": "bengali", "sr": "serbian",
    "az": "azerbaijani", "sl": "slovenian", "kn": "kannada", "et": "estonian", "mk": "macedonian", "br": "breton",
    "eu": "basque", "is": "icelandic", "hy": "armenian", "ne": "nepali", "mn": "mongolian", "bs": "bosnian",
    "kk": "kazakh", "sq": "albanian", "sw": "swahili", "gl": "galician", "mr": "marathi", "pa": "punjabi",
    "si": "sinhala", "km": "khmer", "sn": "shona", "yo": "yoruba", "so": "somali", "af": "afrikaans", "oc": "occitan",
    "ka": "georgian", "be": "belarusian", "tg": "tajik", "sd": "sindhi", "gu": "gujarati", "am": "amharic",
    "yi": "yiddish", "lo": "lao", "uz": "uzbek", "fo": "faroese", "ht": "haitian creole", "ps": "pashto",
    "tk": "turkmen", "nn": "nynorsk", "mt": "maltese", "sa": "sanskrit", "lb": "luxembourgish", "my": "myanmar",
    "bo": "tibetan", "tl": "tagalog", "mg": "malagasy", "as": "assamese", "tt": "tatar", "haw": "hawaiian",
    "ln": "lingala", "ha": "hausa", "ba": "bashkir", "jw": "javanese", "su": "sundanese", "yue": "cantonese",
}  # fmt: skip
#: Other names of some, as openai/whisper accepts them.
_ALSO = {
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "pushto": "ps",
    "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si", "castilian": "es", "mandarin": "zh",
}  # fmt: skip
#: Codes of other standards, or older ones, for the same languages: Bokmål, Javanese, Filipino, Mandarin, Hebrew,
#: Indonesian.
_SAME = {"nb": "no", "jv": "jw", "fil": "tl", "cmn": "zh", "iw": "he", "in": "id"}
_CODES = {name: code for code, name in NAMES.items()} | _ALSO
#: A tag of BCP 47 such as `pt-BR` or `zh_Hans`: its first part is the language.
_TAG = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{1,8})*")


def code_of(given: str) -> str | None:
    """Return Whisper's code of a language that is named by its code, a tag such as `pt-BR`, or its English name; None
    if it is none of Whisper's."""
    said = " ".join(given.casefold().split())
    if said in _CODES:
        return _CODES[said]
    found = _TAG.fullmatch(said)
    code = _SAME.get(found[1], found[1]) if found else ""
    return code if code in NAMES else None


def name_of(code: str) -> str:
    """Return the English name of a language in lower case, such as `german`; the code itself if it is none of
    Whisper's."""
    return NAMES.get(code, code)
