"""The import namespace of the four packages, and the public API for producers.

    from golem_chain import Pipeline

`shared`, `broker`, `workers` and `benchmarks` in this folder are symbolic links to the top-level folders of the
repository: the names stay short there and do not collide with other packages once installed. See docs/adr/0007.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golem_chain.broker.asynchronous.group import AsyncGroup as AsyncGroup
    from golem_chain.broker.asynchronous.pipeline import AsyncPipeline as AsyncPipeline
    from golem_chain.broker.jobs.groups import End as End
    from golem_chain.broker.jobs.groups import GroupStatus as GroupStatus
    from golem_chain.broker.jobs.listing import Listed as Listed
    from golem_chain.broker.jobs.options import make_options as make_options
    from golem_chain.broker.pipeline import Group as Group
    from golem_chain.broker.pipeline import Pipeline as Pipeline
    from golem_chain.broker.submission import Submitted as Submitted
    from golem_chain.shared import errors as errors
    from golem_chain.shared.errors import GolemError as GolemError
    from golem_chain.shared.records import Failure as Failure
    from golem_chain.shared.records import Intent as Intent
    from golem_chain.shared.records import JobOptions as JobOptions
    from golem_chain.shared.records import Label as Label
    from golem_chain.shared.records import LabelSet as LabelSet
    from golem_chain.shared.records import OracleParams as OracleParams
    from golem_chain.shared.records import Outcome as Outcome
    from golem_chain.shared.records import Reply as Reply
    from golem_chain.shared.records import Segment as Segment
    from golem_chain.shared.records import StageRun as StageRun
    from golem_chain.shared.records import State as State
    from golem_chain.shared.records import Transcript as Transcript
    from golem_chain.shared.records import Vocabulary as Vocabulary
    from golem_chain.shared.records import Word as Word
    from golem_chain.shared.settings import Settings as Settings

__all__ = (
    "AsyncGroup",
    "AsyncPipeline",
    "End",
    "Failure",
    "GolemError",
    "Group",
    "GroupStatus",
    "Intent",
    "JobOptions",
    "Label",
    "LabelSet",
    "Listed",
    "OracleParams",
    "Outcome",
    "Pipeline",
    "Reply",
    "Segment",
    "Settings",
    "StageRun",
    "State",
    "Submitted",
    "Transcript",
    "Vocabulary",
    "Word",
    "errors",
    "make_options",
)

_RECORDS = (
    "Failure", "Intent", "JobOptions", "Label", "LabelSet", "OracleParams", "Outcome", "Reply", "Segment", "StageRun",
    "State", "Transcript", "Vocabulary", "Word",
)  # fmt: skip
#: Public name -> the module that defines it. Imported on first access, so that `golem --help` loads none of them.
_PUBLIC = {
    "AsyncGroup": "broker.asynchronous.group",
    "AsyncPipeline": "broker.asynchronous.pipeline",
    "End": "broker.jobs.groups",
    "GolemError": "shared.errors",
    "Group": "broker.pipeline",
    "GroupStatus": "broker.jobs.groups",
    "Listed": "broker.jobs.listing",
    "Pipeline": "broker.pipeline",
    "Settings": "shared.settings",
    "Submitted": "broker.submission",
    "errors": "shared",
    "make_options": "broker.jobs.options",
    **dict.fromkeys(_RECORDS, "shared.records"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("golem-chain")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return import_module(f"{__name__}.shared.errors")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
