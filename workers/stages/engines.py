"""The engine of each stage: the one place where all of them are known."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.interpreter import engine as interpreter
from golem_chain.workers.stages.oracle import engine as oracle
from golem_chain.workers.stages.scribe import engine as scribe

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights

#: The engine of each stage, and the function that builds its model's modules from a config.
ENGINES: "dict[str, tuple[Callable[[Weights, Settings], Any], Callable[[Any], Any]]]" = {
    "scribe": (scribe.Scribe, scribe.make),
    "interpreter": (interpreter.Interpreter, interpreter.make),
    "oracle": (oracle.Oracle, oracle.make),
}
