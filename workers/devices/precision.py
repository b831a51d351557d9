"""Names the forms in which a stage can run: the dtype of its rows, packed weights, products in another dtype. Pure and
without torch, so that a worker's parent can compare them."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"(float32|bfloat16|float16)(?: (8|4) bit)?(?: with (bfloat16|float16) products)?")


@dataclass(frozen=True)
class Precision:
    """A form in which a stage runs. Dtypes are torch's names."""

    dtype: str  # of activations, and of weights that are not packed
    bits: int | None = None  # 8 or 4: weights are packed; None: they are not
    product: str | None = None  # of the matrix products of the Scribe's encoder, if not `dtype`

    @property
    def name(self) -> str:
        """`float32`, `bfloat16 8 bit`, `float32 with bfloat16 products`."""
        packed = f" {self.bits} bit" if self.bits else ""
        products = f" with {self.product} products" if self.product else ""
        return f"{self.dtype}{packed}{products}"

    @classmethod
    def parse(cls, name: str) -> "Precision":
        """The form with this name. Raises ValueError."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(name)
        return cls(found[1], int(found[2]) if found[2] else None, found[3])
