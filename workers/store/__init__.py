"""The model store on disk: the catalog, and pulling, verifying and loading checkpoints.

`Checkpoint`, `find` and `verify` need no model library; `workers.store.load` does.
"""

from golem_chain.workers.store.manifest import Checkpoint, find, verify

__all__ = ["Checkpoint", "find", "verify"]
