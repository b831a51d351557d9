"""What to tell when a model gives numbers that are not finite: NaN would pass for silence, a label or a word."""

from typing import TYPE_CHECKING

from golem_chain.shared.errors import ModelCorrupt

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights


class NotFinite(ArithmeticError):
    """A model's logits are not finite; its engine makes the error for the job."""


def not_finite(weights: "Weights", what: str) -> ModelCorrupt:
    """The error for a job. Half precision overflows, float16 beyond 65,504, and some cards compute it wrongly; weights
    that do it in float32 are damaged."""
    dtype = str(weights.dtype).removeprefix("torch.")
    told = f"The weights in {weights.folder} produce {what} that are not finite in {dtype}"
    if dtype == "float32":
        return ModelCorrupt(f"{told}: run `golem models verify`.")
    return ModelCorrupt(f"{told}: set GOLEM_DTYPE=float32, and if that does not help, run `golem models verify`.")
