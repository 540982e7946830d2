"""What the factors leave unexplained, as a stationary Gaussian field: neighbours tell about hidden entries.

Under `y = f(z) + e` with white noise e, an observed residual says nothing about a hidden one. The residuals of real
images are correlated in space and between channels, so the best guess of hidden entries is f(z) plus the conditional
mean of their residuals: simple kriging (Cressie 1993, *Statistics for Spatial Data*, section 3.4).

Signals are zero-padded to twice their size, where the covariance of a stationary field is circulant (Dietrich and
Newsam 1997): a product with it is a product with its spectrum, by fast Fourier transforms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = [
    "WHITE",
    "ResidualField",
    "apply_covariance",
    "conditional_draw",
    "conditional_mean",
    "equivalent_noise",
    "estimate",
    "estimate_in_parts",
]

# Examples handled at once: all batches have this size, the last one padded, so that no row depends on the others.
BATCH = 50
# Correlations fade out at this share of the shorter side: beyond it, estimates are mostly noise.
REACH = 0.5
# White noise in every field, relative to its mean variance, which keeps the systems solvable.
WHITE = 3e-3
# Conjugate gradients end at this length of what is left, relative to where they began.
TOLERANCE, MOST_STEPS = 1e-3, 500


class ResidualField(NamedTuple):
    """A stationary Gaussian field of mean 0.

    Attributes:
        spectrum: Fourier transform of the autocovariance on the padded grid (of 2h x 2w; the upper half of the last
            axis): at each frequency a symmetric positive definite matrix over channels.
    """

    spectrum: Float[Tensor, "c c rows columns"]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the padded grid."""
        return self.spectrum.shape[2], 2 * (self.spectrum.shape[3] - 1)

    @property
    def covariance(self) -> Float[Tensor, "c c rows columns"]:
        """Autocovariance of channels a and b at each lag, negative ones at the end."""
        return torch.fft.irfft2(self.spectrum, self.grid)


def _add_pairs(total: Tensor, values: Tensor, grid: Sequence[int]) -> None:
    """Add the Fourier transform of the products `values[a, x] values[b, x + lag]`, summed over examples and places."""
    waves = torch.fft.rfft2(values.double(), tuple(grid))
    for part in (waves.real, waves.imag):
        total += torch.einsum("nahw,nbhw->abhw", part, part)


def _fading(height: int, width: int) -> Float[Tensor, "rows columns"]:
    """Hann window over lags: 1 at lag 0, 0 from `REACH` on."""
    down, along = (torch.fft.fftfreq(2 * side, 1 / (2 * side)).double() for side in (height, width))
    distance = torch.hypot(down[:, None], along[None]) / (REACH * min(height, width))
    return 0.5 * (1 + torch.cos(torch.pi * distance.clamp(max=1)))


def _of_matrices(field: ResidualField, values: Tensor, vectors: Tensor) -> ResidualField:
    matrices = (vectors * values.unsqueeze(-2)) @ vectors.mT
    return ResidualField(matrices.permute(2, 3, 0, 1).to(field.spectrum).contiguous())


def estimate(residual: Float[Tensor, "n c h w"], observed: Bool[Tensor, "n #c h w"]) -> ResidualField:
    """The field whose autocovariance is that of the observed residuals.

    At each lag: the sum of products of observed pairs over their number, faded out with distance. Negative parts of its
    spectrum, which no field has, are set to 0 (Hall, Fisher and Hoffmann 1994).

    Args:
        residual: `y - f(z)`; hidden entries do not matter.
        observed: True where an entry was observed.
    """
    return estimate_in_parts([(residual, observed)])


def estimate_in_parts(parts: Iterable[tuple[Tensor, Tensor]]) -> ResidualField:
    """The same of residuals that come some at a time; how many at a time makes no difference.

    Args:
        parts: (n, c, h, w) residuals and what of them was observed, as for `estimate`.
    """
    examples = (example for residual, seen in parts for example in zip(residual, seen.expand_as(residual), strict=True))
    products = pairs = torch.empty(0)
    while some := list(islice(examples, BATCH)):
        residual, observed = map(torch.stack, zip(*some, strict=True))
        n_channels, height, width = residual.shape[1:]
        if not len(products):
            products, pairs = torch.zeros(2, n_channels, n_channels, 2 * height, width + 1, dtype=torch.float64)
        _add_pairs(products, torch.where(observed, residual, 0.0), (2 * height, 2 * width))
        _add_pairs(pairs, observed, (2 * height, 2 * width))
    products, pairs = (torch.fft.irfft2(sums, (2 * height, 2 * width)) for sums in (products, pairs))
    covariance = torch.where(pairs > 0.5, products / pairs.clamp(min=1), 0.0) * _fading(height, width)
    spectrum = torch.fft.rfft2(covariance).real
    values, vectors = torch.linalg.eigh(spectrum.permute(2, 3, 0, 1))
    variance = covariance[:, :, 0, 0].diagonal().mean().clamp(min=1e-6)
    return _of_matrices(ResidualField(spectrum.float()), values.clamp(min=0) + WHITE * variance, vectors)


def _mapped(field: ResidualField, function: Callable[[Tensor], Tensor]) -> ResidualField:
    """The field whose covariance on the padded grid is a function of this one's, such as its inverse or root."""
    values, vectors = torch.linalg.eigh(field.spectrum.permute(2, 3, 0, 1))
    return _of_matrices(field, function(values), vectors)


def apply_covariance(field: ResidualField, values: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """The covariance times the values."""
    waves = torch.fft.rfft2(values, field.grid)
    mixed = torch.stack([(row * waves).sum(1) for row in field.spectrum], 1)
    return torch.fft.irfft2(mixed, field.grid)[..., : values.shape[-2], : values.shape[-1]]


def equivalent_noise(
    field: ResidualField, patterns: Float[Tensor, "d c h w"], observed: Bool[Tensor, "n #c h w"]
) -> float:
    """Standard deviation of the white noise that disturbs the weights of patterns as much as the field does.

    Measured through the observed entries, m, a weight of pattern w is disturbed by `w^T M K M w`, and by white noise of
    variance v by `v w^T M w`; both are summed over patterns and images.

    Args:
        field: Of covariance K.
        patterns: Such as loadings of factors.
        observed: True where an entry was observed.
    """
    disturbance, length = torch.zeros(2, dtype=torch.float64)
    for mask in observed:
        for some in patterns.split(BATCH):
            seen = torch.where(mask, some, 0.0)
            disturbance += _dot(seen, apply_covariance(field, seen)).sum()
            length += _dot(seen, seen).sum()
    return float((disturbance / length.clamp(min=1e-12)).sqrt())


def _dot(a: Tensor, b: Tensor) -> Float[Tensor, "n 1 1 1"]:
    return (a * b).sum((1, 2, 3), keepdim=True)


def _krige(field: ResidualField, inverse: ResidualField, residual: Tensor, observed: Tensor) -> Tensor:
    """Conditional mean of one batch by conjugate gradients; a row that has converged stays as it is.

    They are preconditioned by the observed part of the inverse of the whole field's covariance.
    """
    left = torch.where(observed, residual, 0.0)
    goal = TOLERANCE**2 * _dot(left, left)
    weights = torch.zeros_like(left)
    direction = torch.where(observed, apply_covariance(inverse, left), 0.0)
    descent = _dot(left, direction)
    for _ in range(MOST_STEPS):
        unfinished = _dot(left, left) > goal
        if not unfinished.any():
            break
        product = torch.where(observed, apply_covariance(field, direction), 0.0)
        step = torch.where(unfinished, descent / _dot(direction, product), 0.0)
        weights, left = weights + step * direction, left - step * product
        towards = torch.where(observed, apply_covariance(inverse, left), 0.0)
        before, descent = descent, torch.where(unfinished, _dot(left, towards), descent)
        direction = towards + torch.where(unfinished, descent / before, 0.0) * direction
    else:
        warnings.warn(f"kriging ended after {MOST_STEPS} steps, short of its tolerance", stacklevel=2)
    return apply_covariance(field, weights)


def conditional_mean(
    field: ResidualField, residual: Float[Tensor, "n c h w"], observed: Bool[Tensor, "#n #c h w"]
) -> Float[Tensor, "n c h w"]:
    """Mean of the field given its observed entries, `K_ho K_oo^-1 r_o`, everywhere; no row depends on another.

    Args:
        field: The field.
        residual: Its values; hidden entries do not matter.
        observed: True where they were observed.
    """
    observed = observed.expand_as(residual)
    n, means = len(residual), torch.empty_like(residual)
    inverse = _mapped(field, lambda values: 1 / values.clamp(min=1e-12))
    for first in range(0, n, BATCH):
        rows = torch.arange(first, first + BATCH)
        rows = torch.where(rows < n, rows, first)
        means[first : first + BATCH] = _krige(field, inverse, residual[rows], observed[rows])[: n - first]
    return means


def _draw(root: ResidualField, n: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Unconditional fields: white noise on the padded grid, filtered by the root of the spectrum."""
    noise = torch.randn(n, shape[0], *root.grid, generator=generator)
    return apply_covariance(root, noise)[..., : shape[1], : shape[2]]


def conditional_draw(
    field: ResidualField,
    residual: Float[Tensor, "n c h w"],
    observed: Bool[Tensor, "#n #c h w"],
    generator: torch.Generator,
) -> Float[Tensor, "n c h w"]:
    """A draw of the field given its observed entries: any draw, moved by the conditional mean of the difference.

    Hoffman and Ribak (1991); arguments as `conditional_mean`, and a source of chance.
    """
    root = _mapped(field, lambda values: values.clamp(min=0).sqrt())
    draw = torch.cat([_draw(root, len(some), residual.shape[1:], generator) for some in residual.split(BATCH)])
    return draw + conditional_mean(field, residual - draw, observed)
