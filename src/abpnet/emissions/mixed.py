"""Tables: blocks of columns, each with an emission of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance
from abpnet.emissions.protocol import Emission, check_data

__all__ = ["Block", "Columns"]


class Block(NamedTuple):
    """Neighbouring columns that scatter by one emission.

    Attributes:
        first: First of them.
        end: The one after the last.
        emission: Takes them as (n, end - first).
    """

    first: int
    end: int
    emission: Emission


@dataclass(frozen=True)
class Columns:
    """A flat vector of numbers, categories, grades and counts.

    Args:
        blocks: From the first column to the last, without a gap.

    Raises:
        ValueError: If there are none, or they leave a gap or overlap.
    """

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        ends = [0, *(block.end for block in self.blocks)]
        firsts = [block.first for block in self.blocks]
        if not firsts or firsts != ends[:-1] or any(block.end <= block.first for block in self.blocks):
            spans = ", ".join(f"{block.first} to {block.end}" for block in self.blocks)
            raise ValueError(f"blocks must follow on one another from column 0 on; got {spans or 'none'}")

    def _check_width(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.blocks[-1].end:
            raise ValueError(f"expected (n, {self.blocks[-1].end}) columns, got {tuple(x.shape)}")

    def check(self, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
        """Refuse what the emission of a block cannot have made; see `check_data`."""
        self._check_width(y)
        seen = None if observed is None else observed.expand_as(y)
        for block in self.blocks:
            span = slice(block.first, block.end)
            try:
                check_data(block.emission, y[:, span], None if seen is None else seen[:, span])
            except ValueError as error:
                raise ValueError(f"columns {block.first} to {block.end - 1}: {error}") from None

    def _joined(self, x: Tensor, part: Callable[[Block, slice], Tensor]) -> Tensor:
        self._check_width(x)
        return torch.cat([part(block, slice(block.first, block.end)) for block in self.blocks], 1)

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Log density of each entry by the emission of its block."""
        return self._joined(x, lambda block, span: block.emission.log_prob(y[:, span], x[:, span]))

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """An observation of each block."""
        return self._joined(x, lambda block, span: block.emission.sample(x[:, span], generator))

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """The expected observation of each block."""
        return self._joined(x, lambda block, span: block.emission.mean(x[:, span]))
