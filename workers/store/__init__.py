"""The weights on disk: what can be pulled, pulling it, verifying it, loading it at the speed of copying.

`Checkpoint`, `find` and `verify` need no model library; `workers.store.load` does.
"""

from golem_chain.workers.store.manifest import Checkpoint, find, verify

__all__ = ["Checkpoint", "find", "verify"]
