"""Priors of factors that are independent of one another.

All have mean 0 and variance 1, so that settings which suit one suit the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet import student
from abpnet.chance import normal, uniform

__all__ = ["DoubleExponential", "HeavyTailed", "SpikeAndSlab", "StandardNormal"]


def _normal_log_density(square: Tensor, std: float) -> Tensor:
    return square * (-0.5 / std**2) - math.log(std * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class StandardNormal:
    """`z ~ N(0, I)`, the prior of Han et al. (2017), equation 2."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """`-|z|^2 / 2 - (d / 2) log(2 pi)` for each example."""
        factors = z.flatten(1)
        return -0.5 * factors.square().sum(1) - 0.5 * factors.shape[1] * math.log(2 * math.pi)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Independent standard normal factors on the generator's device."""
        return normal(shape, generator)


@dataclass(frozen=True)
class HeavyTailed:
    """Independent factors of heavy tails, by which directions can be told apart: independent component analysis.

    Student's distribution with `df` degrees of freedom, scaled to variance 1.

    Args:
        df: Degrees of freedom, above 2; the fewer, the heavier the tails.

    Raises:
        ValueError: If `df` is not a finite number above 2.
    """

    df: float = 4.0

    def __post_init__(self) -> None:
        student.check_df(self.df)

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Sum of the log densities of each example's factors, see `student.log_density`."""
        return student.log_density(z, self.df).flatten(1).sum(1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Independent factors on the generator's device."""
        return student.sample(shape, self.df, generator)


@dataclass(frozen=True)
class DoubleExponential:
    """Independent factors with a peak at 0 and heavy tails: most are small. Laplace's distribution of variance 1."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Sum of `-sqrt(2) |z_i| - log(2) / 2` for each example."""
        return (-math.sqrt(2) * z.abs() - 0.5 * math.log(2)).flatten(1).sum(1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """`-+ log(1 - u) / sqrt(2)`, u uniform."""
        level = 2 * uniform(shape, generator) - 1
        return -level.sign() * torch.log1p(-level.abs()) / math.sqrt(2)


@dataclass(frozen=True)
class SpikeAndSlab:
    """Sparse factors: most of them next to 0, a few of them large; sparse coding.

    Each factor is normal with the small deviation `spike`, or, with probability `share`, with a large one, such that
    the variance is 1.

    Args:
        share: Of factors that are large, above 0 and below 1.
        spike: Standard deviation of the others, above 0 and below 1.

    Raises:
        ValueError: If one of them is out of its range.
    """

    share: float = 0.2
    spike: float = 0.1

    def __post_init__(self) -> None:
        for name in ("share", "spike"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be above 0 and below 1, got {getattr(self, name)!r}")

    @property
    def slab(self) -> float:
        """Standard deviation of large factors."""
        return math.sqrt((1 - (1 - self.share) * self.spike**2) / self.share)

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Sum of the log densities of a mixture of two normal distributions for each example."""
        square = z.square()
        large = _normal_log_density(square, self.slab) + math.log(self.share)
        small = _normal_log_density(square, self.spike) + math.log1p(-self.share)
        return torch.logaddexp(large, small).flatten(1).sum(1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """A standard normal number times the deviation that was drawn for it."""
        std = torch.where(uniform(shape, generator) < self.share, self.slab, self.spike)
        return std * normal(shape, generator)
