"""The import namespace of the four packages, and the public API for producers.

    from golem_chain import Pipeline

`shared`, `broker`, `workers` and `benchmarks` in this folder are symbolic links to the top-level folders of the
repository: the names stay short there and do not collide with other packages once installed. See docs/adr/0007.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golem_chain.broker.pipeline import Pipeline as Pipeline
    from golem_chain.shared.errors import GolemError as GolemError
    from golem_chain.shared.records import JobOptions as JobOptions
    from golem_chain.shared.records import LabelSet as LabelSet
    from golem_chain.shared.records import Outcome as Outcome
    from golem_chain.shared.records import Vocabulary as Vocabulary
    from golem_chain.shared.settings import Settings as Settings

#: Public name -> the module that defines it. Imported on first access, so that `golem --help` loads none of them.
_PUBLIC = {
    "Pipeline": "broker.pipeline",
    "GolemError": "shared.errors",
    "JobOptions": "shared.records",
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
