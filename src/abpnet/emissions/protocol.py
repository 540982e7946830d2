"""What the model asks of an emission."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance

__all__ = ["Emission"]


@runtime_checkable
class Emission(Protocol):
    """How a measured signal x scatters into the observation y.

    It works on single entries, so that the model can leave out those that were not observed. These hold 0: there, too,
    the log density and its gradient must be finite.
    """

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Log density of each entry of y given the measured signal x."""
        ...

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """An observation of the measured signal x; noise comes from `chance.normal` or `chance.uniform`."""
        ...

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """The expected observation of the measured signal x."""
        ...
