"""Discrete observations: yes or no, one of several categories, ordered grades, counts.

The measured signal x is the natural parameter, any number; y holds the observation as a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot, softplus

from abpnet.chance import Chance, uniform

__all__ = ["Bernoulli", "Categorical", "Ordinal", "Poisson"]

# Counts are drawn up to so many standard deviations, and so many more, above their rate: none lies beyond in practice.
FARTHEST_STDS, FARTHEST = 12.0, 40.0
# Above this logarithm of a rate the energy of a count rises along a line: no step of a chain makes it infinite.
LARGEST_LOG_RATE = 20.0
# Categories that a refusal shows.
SHOWN = 8


def _refuse(name: str, bad: Tensor, y: Tensor, observed: Tensor | None, expected: str) -> None:
    """Name the first observed entry of y that is bad, if one is."""
    wrong = y[bad if observed is None else bad & observed]
    if len(wrong):
        raise ValueError(f"{name} expects {expected}, got {wrong[0]:g}")


@dataclass(frozen=True)
class Bernoulli:
    """y is 0 or 1, and `p(y = 1) = 1 / (1 + exp(-x))`."""

    def check(self, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
        """Refuse anything but 0 and 1; see `check_data`."""
        _refuse("Bernoulli", (y != 0) & (y != 1), y, observed, "0 or 1")

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`y x - log(1 + exp(x))` for each entry."""
        return y * x - softplus(x)

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """0 or 1."""
        return (uniform(x.shape, generator).to(x) < x.sigmoid()).to(x)

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`p(y = 1)`."""
        return x.sigmoid()


@dataclass(frozen=True)
class Categorical:
    """One of several categories: y is 1 at that one along an axis and 0 at all others, p is the softmax of x.

    What is hidden is hidden at all categories at once.

    Args:
        axis: Along which the categories lie.
    """

    axis: int = 1

    def check(self, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
        """Refuse anything but a single 1 and else 0 along the axis, all observed or all hidden; see `check_data`."""
        if observed is not None:
            y = torch.where(observed, y, torch.nan)
        y = y.movedim(self.axis, -1)
        one_of_them = ((y == 0) | (y == 1)).all(-1) & (y.sum(-1) == 1)
        wrong = y[~one_of_them & ~y.isnan().all(-1)]
        if len(wrong):
            raise ValueError(
                f"Categorical expects a single 1 among zeros along axis {self.axis}, or all of them hidden, got "
                + ", ".join(f"{value:g}" for value in wrong[0][:SHOWN])
                + (", ..." if wrong.shape[1] > SHOWN else "")
            )

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`y log softmax(x)` for each entry, which sums to the log probability of the category."""
        return y * x.log_softmax(self.axis)

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """1 at one category, the largest of x with noise of Gumbel's distribution."""
        gumbel = -(-uniform(x.shape, generator).to(x).log()).log()
        chosen = (x + gumbel).argmax(self.axis)
        return one_hot(chosen, x.shape[self.axis]).movedim(-1, self.axis).to(x)

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Probability of each category."""
        return x.softmax(self.axis)


@lru_cache
def _bounds(thresholds: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor([-torch.inf, *thresholds, torch.inf], dtype=torch.float64, device=device)


@dataclass(frozen=True)
class Ordinal:
    """Ordered grades 0 to K - 1 by cumulative logits: `p(y <= k) = 1 / (1 + exp(x - thresholds[k]))` (McCullagh 1980).

    Args:
        thresholds: K - 1 ascending numbers.

    Raises:
        ValueError: If they are none, or do not ascend.
    """

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(map(float, self.thresholds)))
        bounds = (-torch.inf, *self.thresholds, torch.inf)
        if not self.thresholds or not all(low < high for low, high in pairwise(bounds)):
            raise ValueError(f"thresholds must be finite ascending numbers, at least one; got {self.thresholds}")

    def check(self, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
        """Refuse anything but the grades; see `check_data`."""
        highest = len(self.thresholds)
        bad = (y != y.floor()) | (y < 0) | (y > highest)
        _refuse("Ordinal", bad, y, observed, f"whole numbers from 0 to {highest}")

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Log of the difference of two sigmoids for each entry, none of which is taken where it would cancel."""
        bounds, grade = _bounds(self.thresholds, x.device), y.long()
        low, high = bounds[grade], bounds[grade + 1]
        # s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)); the last factor does not depend on x.
        width = (low - high).exp().neg().log1p()
        return logsigmoid(high.to(x) - x) + logsigmoid(x - low.to(x)) + width.to(x)

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """A grade: how many thresholds lie below x with logistic noise."""
        scattered = x + uniform(x.shape, generator).to(x).logit()
        return torch.bucketize(scattered.contiguous(), _bounds(self.thresholds, x.device)[1:-1].to(x)).to(x)

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """The expected grade, from 0 to K - 1."""
        return (x.unsqueeze(-1) - _bounds(self.thresholds, x.device)[1:-1].to(x)).sigmoid().sum(-1)


@dataclass(frozen=True)
class Poisson:
    """Counts y = 0, 1, 2 ... of rate exp(x), for x up to `LARGEST_LOG_RATE`, at which rates stay above it."""

    def check(self, y: Float[Tensor, "n *shape"], observed: Tensor | None) -> None:
        """Refuse anything but counts; see `check_data`."""
        bad = (y != y.floor()) | (y < 0) | ~y.isfinite()
        _refuse("Poisson", bad, y, observed, "whole numbers from 0 on")

    def log_prob(self, y: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`y x - exp(x) - log y!` for each entry."""
        beyond = (x - LARGEST_LOG_RATE).clamp(min=0)
        return y * x - self.mean(x) * (1 + beyond) - (y + 1).lgamma()

    def sample(self, x: Float[Tensor, "n *shape"], generator: Chance) -> Float[Tensor, "n *shape"]:
        """A count: the least k with `p(y <= k) >= u`, by bisection of the incomplete gamma function."""
        rate, level = self.mean(x.double()), uniform(x.shape, generator).to(x.device, torch.float64)
        below, above = torch.full_like(rate, -1), (rate + FARTHEST_STDS * rate.sqrt() + FARTHEST).ceil()
        for _ in range(int(above.max()).bit_length() + 1):
            middle = ((below + above) / 2).floor()
            reached = (torch.special.gammaincc(middle + 1, rate) >= level) & (middle >= 0)
            below, above = torch.where(reached, below, middle), torch.where(reached, middle, above)
        return above.to(x)

    def mean(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """The rate."""
        return x.clamp(max=LARGEST_LOG_RATE).exp()
