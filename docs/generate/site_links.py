"""Links of the site (a hook of mkdocs.yml): what a page links to outside docs/ becomes its path, for want of a page.

The pages are written to be read in the checkout too, where they link to source files and to the pages at its top. Three
of the latter are pages of the site as well: MIRRORED.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Page of the site → the file at the top of the checkout that it shows.
MIRRORED = {"contributing.md": "CONTRIBUTING.md", "security-policy.md": "SECURITY.md", "changelog.md": "CHANGELOG.md"}

#: A fenced block; a link (its text may hold code); other code. Whichever begins first, so that no code is rewritten.
_PARTS = re.compile(
    r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence) *$"
    r"|(?<!!)\[(?P<text>(?:`[^`]*`|[^\[\]`])*)\]\((?P<target>[^)\s]+)\)"
    r"|(?P<ticks>`+).+?(?P=ticks)(?!`)",
    re.M | re.S,
)


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the mirrored pages."""
    from mkdocs.structure.files import File

    for page, source in MIRRORED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - mkdocs names them
    """The page with its links as the site has them."""
    return for_the_site(markdown, page.file.src_uri)


def for_the_site(markdown: str, page: str) -> str:
    """The text of a page, named as on the site, with links to pages of the site and paths instead of other links."""
    source = MIRRORED.get(page, f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        if target is None or target.startswith("#") or re.match(r"[a-z]+:", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / path).exists():
            return found[0]  # mkdocs reports it
        shown = {file: name for name, file in MIRRORED.items()}.get(path) or path.removeprefix("docs/")
        if shown == path:
            return named(text, path + "/" * target.endswith("/"))
        if text.endswith(".md"):  # a file name says little where there are no files
            text = title(path)
        return f"[{text}]({posixpath.relpath(shown, posixpath.dirname(page) or '.')}{hash_}{anchor})"

    return _PARTS.sub(link, markdown)


def title(path: str) -> str:
    """The heading of a page, named as in the checkout."""
    return (ROOT / path).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def named(text: str, path: str) -> str:
    """What stands for a link to a file that is no page: its path as code, after the link's text if that says more."""
    bare = text.strip("`")
    return f"`{path}`" if path.rstrip("/").endswith(bare.rstrip("/")) else f"{text} (`{path}`)"
