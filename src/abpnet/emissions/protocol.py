"""What the model asks of an emission."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance

__all__ = ["Emission", "check_data"]


@runtime_checkable
class Emission(Protocol):
    """How a measured signal x scatters into the observation y.

    It works on single entries, so that the model can leave out those that were not observed. These hold 0: there, too,
    the log density and its gradient must be finite. It may also have a method `check`, see `check_data`.
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


def check_data(emission: Any, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
    """Refuse observations that an emission cannot have made, if it has `check(y, observed)` to say so.

    Args:
        emission: Of the model.
        y: Observations; what stands at hidden entries does not matter.
        observed: True where an entry was observed, broadcastable to y; None = everywhere.

    Raises:
        ValueError: If one is impossible.
    """
    check = getattr(emission, "check", None)
    if check is not None:
        check(y, observed)
