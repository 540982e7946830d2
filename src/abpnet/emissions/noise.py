"""Numbers with noise: `y = x + e`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real

import torch
from jaxtyping import Float
from scipy.special import kve
from torch import Tensor

from abpnet import student
from abpnet.chance import Chance, normal, uniform
from abpnet.errors import InputError
from abpnet.values import shown

__all__ = ["ADDITIVE", "EMISSIONS", "ChannelGaussian", "Gaussian", "Laplace", "Noise", "StudentT"]

# Of the Laplace distribution, in units of its scale: how round its peak is, and the table of its quantiles.
ROUNDING, FARTHEST, TABLE, FINER = 0.2, 17.0, 512, 16


@dataclass(frozen=True)
class Noise:
    """What is added to every entry: `y = x + e`, all e alike and independent.

    Args:
        noise_std: Standard deviation of e in the units of the data, above 0.

    Raises:
        ValueError: If `noise_std` is not a finite number above 0.
    """

    noise_std: float = 0.3

    def __post_init__(self) -> None:
        if not (isinstance(self.noise_std, Real) and math.isfinite(self.noise_std) and self.noise_std > 0):
            raise InputError(f"noise_std must be a finite number above 0, got {shown(self.noise_std)}")

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`x` itself."""
        return x


@dataclass(frozen=True)
class Gaussian(Noise):
    """White noise, `e ~ N(0, noise_std^2)`: Han et al. (2017), equation 2; see `Noise`."""

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`-(y - x)^2 / (2 noise_std^2) - log(noise_std sqrt(2 pi))` for each entry."""
        normaliser = math.log(self.noise_std) + 0.5 * math.log(2 * math.pi)
        return (y - x).square() * (-0.5 / self.noise_std**2) - normaliser

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """`x` plus white noise."""
        return x + self.noise_std * normal(x.shape, generator).to(x)


@lru_cache
def _quantiles(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the absolute value of Laplace noise in units of its scale: probabilities from 0 to 1, and their quantiles."""
    values = FARTHEST * torch.linspace(0, 1, FINER * TABLE + 1, dtype=torch.float64) ** 2
    density = (ROUNDING - (values.square() + ROUNDING**2).sqrt()).exp()
    below = torch.cumulative_trapezoid(density, values)
    probabilities = torch.cat([torch.zeros(1), below / below[-1]])
    return probabilities[::FINER].float().to(device), values[::FINER].float().to(device)


@dataclass(frozen=True)
class Laplace(Noise):
    """Noise of heavier tails, so that a few entries far off pull less: p(e) ~ exp(-sqrt(e^2 + r^2) / b); see `Noise`.

    A hyperbolic distribution (Barndorff-Nielsen 1977), symmetric: Laplace's with its peak rounded off, r = b / 5, where
    it has no gradient. What explains observations best then has about the least sum of absolute errors.
    """

    @property
    def scale(self) -> float:
        """b, of which the standard deviation is `b sqrt(q K_2(q) / K_1(q))`, q = r / b."""
        return self.noise_std / math.sqrt(ROUNDING * kve(2, ROUNDING) / kve(1, ROUNDING))

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`-sqrt((y - x)^2 + r^2) / b - log(2 r K_1(r / b))` for each entry."""
        scale = self.scale
        normaliser = math.log(2 * ROUNDING * scale * kve(1, ROUNDING)) - ROUNDING
        return ((y - x).square() + (ROUNDING * scale) ** 2).sqrt() * (-1 / scale) - normaliser

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """`x` plus such noise."""
        level = 2 * uniform(x.shape, generator).to(x) - 1
        probabilities, quantiles = (table.to(x) for table in _quantiles(x.device))
        above = torch.searchsorted(probabilities, level.abs().contiguous()).clamp(1, TABLE)
        below = above - 1
        within = (level.abs() - probabilities[below]) / (probabilities[above] - probabilities[below])
        distance = torch.lerp(quantiles[below], quantiles[above], within)
        return x + self.scale * level.sign() * distance


@dataclass(frozen=True)
class StudentT(Noise):
    """Noise of heavy tails, Student's t, so that outliers hardly pull at all.

    Args:
        noise_std: Standard deviation, see `Noise`.
        df: Degrees of freedom, above 2; the fewer, the heavier the tails.

    Raises:
        ValueError: If `df` is not a finite number above 2, or `noise_std` not one above 0.
    """

    df: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        student.check_df(self.df)

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """That of Student's t for each entry, see `student.log_density`."""
        return student.log_density((y - x) / self.noise_std, self.df) - math.log(self.noise_std)

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """`x` plus such noise."""
        return x + self.noise_std * student.sample(x.shape, self.df, generator).to(x)


@lru_cache
def _along_channels(values: tuple[float, ...], n_axes: int, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, *[1] * (n_axes - 2))


@dataclass(frozen=True)
class ChannelGaussian:
    """White noise whose size differs between channels, or between the columns of a table: e ~ N(0, noise_stds[c]^2).

    Args:
        noise_stds: Standard deviations along axis 1, each above 0.

    Raises:
        ValueError: If one of them is not a finite number above 0.
    """

    noise_stds: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_stds", tuple(map(float, self.noise_stds)))
        if not self.noise_stds or not all(math.isfinite(std) and std > 0 for std in self.noise_stds):
            raise ValueError(f"noise_stds must be finite numbers above 0, one for each channel; got {self.noise_stds}")

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`-(y - x)^2 / (2 noise_stds^2) - log(noise_stds sqrt(2 pi))` for each entry."""
        std = _along_channels(self.noise_stds, x.dim(), x.device).to(x)
        return ((y - x) / std).square() * -0.5 - std.log() - 0.5 * math.log(2 * math.pi)

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """`x` plus such noise."""
        return x + _along_channels(self.noise_stds, x.dim(), x.device).to(x) * normal(x.shape, generator).to(x)

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`x` itself."""
        return x


# Whose observations are the signal itself, and noise.
ADDITIVE = (Noise, ChannelGaussian)
EMISSIONS: dict[str, type[Gaussian | Laplace | StudentT]] = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "student-t": StudentT,
}
