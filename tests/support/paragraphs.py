"""One paragraph of everyday speech in many languages and scripts: equally much to say in each."""

import tomllib
from pathlib import Path

#: Language → the paragraph.
PARAGRAPHS: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
#: How long the paragraph takes, seconds: the English one at 20 letters per second, which is fast. Information is spoken
#: at about the same rate in all languages (Coupé et al., "Different languages, similar encoding efficiency", 2019).
FAST_S = 8.0
