"""A text being generated, and when it ends. Decided on the host from the tokens that were read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from golem_chain.workers.stages.sampling import Rules


@dataclass(eq=False)
class Row:
    """A text being generated."""

    prompt: Sequence[int]  # what follows the shared prefix; at least one token
    rules: Rules
    seed: int
    ended: Callable[[Sequence[int]], bool] = lambda new: False  # noqa: ARG005  called after each new token
    new: list[int] = field(default_factory=list)
    complete: bool = False  # ended by an end token
    enough: bool = False  # ended by `ended`
    broken: bool = False  # ended by logits that are not finite

    @property
    def done(self) -> bool:
        """Whether the row has ended."""
        return self.complete or self.enough or self.broken or len(self.new) >= self.rules.max_new_tokens

    @property
    def longest(self) -> int:
        """Its tokens at most, without the prefix."""
        return len(self.prompt) + self.rules.max_new_tokens

    def advance(self, token: int, ends: frozenset[int]) -> None:
        """Add a token, or end with an end token, or with -1: the logits were not finite."""
        if token < 0:
            self.broken = True
        elif token in ends:
            self.complete = True
        else:
            self.new.append(token)
            self.enough = self.ended(self.new)
