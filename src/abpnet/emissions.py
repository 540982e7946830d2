"""Emissions p(y | x): how a measured signal x scatters into the observation y.

An emission is any object with an element-wise `log_prob(y, x)` and `sample(x, generator)`. It works on single
entries so that the model can leave out those that were not observed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance, normal

__all__ = ["Emission", "Gaussian"]


@runtime_checkable
class Emission(Protocol):
    """What the model asks of an emission."""

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Log density of each entry of y given the measured signal x."""
        ...

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """An observation of the measured signal x; noise comes from `chance.normal` or `chance.uniform`."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """White noise: `y = x + e`, `e ~ N(0, noise_std^2)`, Han et al. (2017), equation 2.

    Args:
        noise_std: Standard deviation of the noise in the units of the data, above 0.

    Raises:
        ValueError: If `noise_std` is not a finite number above 0.
    """

    noise_std: float = 0.3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_std) and self.noise_std > 0):
            raise ValueError(f"noise_std must be a finite number above 0, got {self.noise_std!r}")

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`-(y - x)^2 / (2 noise_std^2) - log(noise_std sqrt(2 pi))` for each entry."""
        normaliser = math.log(self.noise_std) + 0.5 * math.log(2 * math.pi)
        return (y - x).square() * (-0.5 / self.noise_std**2) - normaliser

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """`x` plus white noise."""
        return x + self.noise_std * normal(x.shape, generator).to(x)
