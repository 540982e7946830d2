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

__all__ = ["DoubleExponential", "HeavyTailed", "SpikeAndSlab", "StandardNormal"]


def _normal_log_density(square: Tensor, std: float) -> Tensor:
    return square * (-0.5 / std**2) - math.log(std * math.sqrt(2 * math.pi))


def _uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.rand(tuple(shape), generator=generator, device=generator.device)


@dataclass(frozen=True)
class StandardNormal:
    """`z ~ N(0, I)`, the prior of Han et al. (2017), equation 2."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """`-|z|^2 / 2 - (d / 2) log(2 pi)` for each example."""
        factors = z.flatten(1)
        return -0.5 * factors.square().sum(1) - 0.5 * factors.shape[1] * math.log(2 * math.pi)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Independent standard normal factors on the generator's device."""
        return torch.randn(tuple(shape), generator=generator, device=generator.device)


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
        if not (math.isfinite(self.df) and self.df > 2):
            raise ValueError(f"df must be a finite number above 2, got {self.df!r}")

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Sum of `-(df + 1) / 2 log(1 + z_i^2 / (df - 2))`, normalised, for each example."""
        half, spread = 0.5 * (self.df + 1), self.df - 2
        normaliser = math.lgamma(half) - math.lgamma(0.5 * self.df) - 0.5 * math.log(math.pi * spread)
        return (normaliser - half * torch.log1p(z.square() / spread)).flatten(1).sum(1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """By Bailey's polar method (1994): `sqrt((df - 2) (u^(-2 / df) - 1)) cos(2 pi v)`, u and v uniform."""
        u, v = _uniform(shape, generator), _uniform(shape, generator)
        radius = ((self.df - 2) * torch.expm1((-2 / self.df) * torch.log1p(-u))).sqrt()
        return radius * (2 * math.pi * v).cos()


@dataclass(frozen=True)
class DoubleExponential:
    """Independent factors with a peak at 0 and heavy tails: most are small. Laplace's distribution of variance 1."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Sum of `-sqrt(2) |z_i| - log(2) / 2` for each example."""
        return (-math.sqrt(2) * z.abs() - 0.5 * math.log(2)).flatten(1).sum(1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """`-+ log(1 - u) / sqrt(2)`, u uniform."""
        level = 2 * _uniform(shape, generator) - 1
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
        std = torch.where(_uniform(shape, generator) < self.share, self.slab, self.spike)
        return std * torch.randn(tuple(shape), generator=generator, device=generator.device)
