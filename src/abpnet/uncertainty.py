"""What imputations say about how sure they are: intervals, how often these are right, and pooled estimates."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t as student

__all__ = ["Interval", "Pooled", "coverage", "credible_interval", "noise_scale", "pool"]

# The largest scale of noise that is looked for, and halvings of the interval it lies in.
LARGEST_SCALE, HALVINGS = 20.0, 20
# Imputations from which their spread can be told.
FEWEST_IMPUTATIONS = 2


class Interval(NamedTuple):
    """Bounds within which each entry lies with a given probability.

    Attributes:
        low: Lower bound of each entry.
        high: Upper bound of each entry.
    """

    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]


def check_level(level: float) -> None:
    """Refuse what is no probability of an interval.

    Raises:
        ValueError: If it is not above 0 and below 1.
    """
    if not (isinstance(level, Real) and 0 < level < 1):
        raise ValueError(f"level must be above 0 and below 1, got {' '.join(repr(level).split())}")


def fewest_draws(level: float) -> int:
    """Draws that an interval of a level, above 0 and below 1, needs: `2 / (1 - level) - 1`."""
    return math.ceil(2 / (1 - level) - 1 - 1e-9)


def credible_interval(draws: Float[np.ndarray, "m *shape"], level: float = 0.9) -> Interval:
    """Central interval of draws from the posterior: as much is left out below as above.

    Bounds are the order statistics of rank `p (m + 1)`, interpolated (Hyndman and Fan 1996, definition 6), so
    that another draw falls between them with the probability `level`, however few draws there are; there have to be
    `2 / (1 - level) - 1` at least.

    Args:
        draws: m of each entry, such as `GeneratorNetwork.impute(X, n_imputations=m)`.
        level: Probability, above 0 and below 1.

    Raises:
        ValueError: If the level is none, or there are too few draws for it.
    """
    check_level(level)
    tail = (1 - level) / 2
    if len(draws) < fewest_draws(level):
        raise ValueError(f"an interval of level {level:g} needs {fewest_draws(level)} draws or more, got {len(draws)}")
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return Interval(low, high)


def coverage(
    truth: Float[np.ndarray, "*shape"], interval: Interval, where: Bool[np.ndarray, "*shape"] | None = None
) -> float:
    """Share of the true values that lie within their intervals; that of calibrated ones is their level.

    Args:
        truth: The values.
        interval: Theirs.
        where: Entries to look at, such as hidden ones; all by default.

    Raises:
        ValueError: If there are none.
    """
    inside = (truth >= interval.low) & (truth <= interval.high)
    inside = inside if where is None else inside[where]
    if not inside.size:
        raise ValueError("there are no entries to look at")
    return float(inside.mean())


def noise_scale(
    signals: Float[np.ndarray, "m k"],
    draws: Float[np.ndarray, "m k"],
    truth: Float[np.ndarray, "k"],
    level: float = 0.9,
) -> float:
    """What noise is to be multiplied by for intervals to hold the truth as often as their level says; 0 to 20.

    The intervals are those of `signals + scale (draws - signals)`: what the factors leave open stays as it is.

    Args:
        signals: What m draws expect of k entries.
        draws: The same with noise.
        truth: The entries, which none of the draws has seen.
        level: Of the intervals, above 0 and below 1.

    Raises:
        ValueError: If the level is none, or there are no entries or too few draws for it.
    """
    low, high = 0.0, LARGEST_SCALE
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        held = coverage(truth, credible_interval(signals + middle * (draws - signals), level))
        low, high = (middle, high) if held < level else (low, middle)
    return (low + high) / 2


class Pooled(NamedTuple):
    """An estimate from several imputations.

    Attributes:
        estimate: Mean of the estimates.
        std_error: Its standard error, what is missing taken into account.
        df: Degrees of freedom of its t distribution.
        low: Lower bound of its confidence interval.
        high: Upper bound.
    """

    estimate: np.ndarray
    std_error: np.ndarray
    df: np.ndarray
    low: np.ndarray
    high: np.ndarray


def pool(
    estimates: Float[np.ndarray, "m *parameters"], variances: Float[np.ndarray, "k *others"], level: float = 0.95
) -> Pooled:
    """Rubin's rules: one analysis done with each of m completed data sets becomes one result (Rubin 1987, section 3.1).

    With the mean variance U within imputations and the variance B between the m estimates, the variance of the mean
    estimate is `T = U + (1 + 1 / m) B`, with `(m - 1) (1 + U / ((1 + 1 / m) B))^2` degrees of freedom.

    Args:
        estimates: From each completed data set, such as a mean or a regression coefficient.
        variances: Their squared standard errors, as the analysis of complete data tells them.
        level: Of the confidence interval, above 0 and below 1.

    Raises:
        ValueError: If there is but one imputation, shapes differ, or the level is none.
    """
    if len(estimates) < FEWEST_IMPUTATIONS or estimates.shape != variances.shape:
        raise ValueError(
            f"estimates and variances must have one shape (m, ...), m at least {FEWEST_IMPUTATIONS}; got "
            f"{estimates.shape} and {variances.shape}"
        )
    check_level(level)
    m, estimate = len(estimates), np.asarray(estimates.mean(0))
    within, between = variances.mean(0), (1 + 1 / m) * estimates.var(0, ddof=1)
    with np.errstate(divide="ignore"):
        df = np.asarray((m - 1) * (1 + within / between) ** 2)
    std_error = np.asarray(np.sqrt(within + between))
    reach = student.ppf((1 + level) / 2, df) * std_error
    return Pooled(estimate, std_error, df, estimate - reach, estimate + reach)
