"""Owns the keys and values of the prefix while the weights are away: in host memory, so that a load does not read the
prefix again. They are no weights, and stay on no card."""

from collections.abc import Callable, Hashable

import torch

from golem_chain.workers.stages.oracle.decoder.cache import Prefix

#: Larger ones are read again after each load. SmolLM2's 214 tokens are 10 MB in float32.
AT_MOST_BYTES = 64_000_000


class KeptPrefix:
    """One prefix at most, of the weights that computed it last."""

    def __init__(self) -> None:
        self._prefix: Prefix | None = None
        self._mark: Hashable = None

    def of(self, mark: Hashable, device: torch.device, read: Callable[[], Prefix]) -> Prefix:
        """The prefix on this device: the kept one if weights with this mark computed it, otherwise a new one, which is
        kept if it is small enough and finite. `mark` changes whenever the weights do."""
        if self._prefix is not None and self._mark == mark:
            return _on(self._prefix, device)
        self.drop()
        prefix = read()
        if prefix.keys.nbytes + prefix.values.nbytes <= AT_MOST_BYTES:
            host = _on(prefix, torch.device("cpu"))
            if bool(host.keys.isfinite().all()) and bool(host.values.isfinite().all()):
                self._prefix, self._mark = host, mark
        return prefix

    def drop(self) -> None:
        """Forget it: the weights that computed it may be damaged."""
        self._prefix = self._mark = None


def _on(prefix: Prefix, device: torch.device) -> Prefix:
    """The same tensors if they are there already."""
    return Prefix(prefix.tokens, prefix.keys.to(device), prefix.values.to(device))
