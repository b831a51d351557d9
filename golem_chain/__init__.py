"""The import namespace: one name of our own around the four packages, and what a producer imports.

    from golem_chain import Pipeline

`shared`, `broker`, `workers` and `benchmarks` beside this file are symbolic links to the folders of the repository, so
that their everyday names stay short there and collide with nobody's once installed: see docs/adr/0007.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golem_chain.broker.pipeline import Pipeline as Pipeline
    from golem_chain.shared.errors import GolemError as GolemError
    from golem_chain.shared.records import LabelSet as LabelSet
    from golem_chain.shared.records import Outcome as Outcome
    from golem_chain.shared.records import Vocabulary as Vocabulary
    from golem_chain.shared.settings import Settings as Settings

#: Public name -> the module that defines it; imported when first asked for, so that `golem --help` loads none of it.
_PUBLIC = {
    "Pipeline": "broker.pipeline",
    "GolemError": "shared.errors",
    "LabelSet": "shared.records",
    "Outcome": "shared.records",
    "Vocabulary": "shared.records",
    "Settings": "shared.settings",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("golem-chain")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
