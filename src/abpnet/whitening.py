"""Observing through a filter that makes correlated residuals white, so that factors are not told the same thing twice.

With residuals r of covariance K at the observed entries, `log p(y | z) = -r^T K^-1 r / 2` up to a constant. That is
about `-|L r|^2 / 2` with a sparse L that predicts each entry from few of its nearest observed neighbours, of those that
come before it (Vecchia 1988): `(L r)_i = (r_i - sum_j w_ij r_j) / s_i`, s_i the standard deviation of what they cannot
predict, along each principal axis of the channels by itself. So coloured noise is white noise on indirect data: y
becomes L y, and A becomes L.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from abpnet.emissions import Emission, Gaussian
from abpnet.errors import InputError
from abpnet.observations import Complete, Observation, unmasked
from abpnet.residuals import ResidualField

__all__ = ["Neighbours", "Whitening", "find_neighbours", "is_pixelwise", "neighbours_of", "whiten", "whitening"]

N_NEIGHBOURS = 10
# Of the nearest pixels in a filled neighbourhood, about half come before a pixel.
N_CANDIDATES = 3 * N_NEIGHBOURS
# Stands for a neighbour that there is not: farther away than any.
NONE = np.iinfo(np.int16).max
# Patterns whose weights are computed at once, and examples that are filtered at once.
BATCH, EXAMPLES = 100_000, 64


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The observed pixels of each image, row by row, and which earlier ones are nearest to each.

    Attributes:
        pixel: Flat index of each; images with fewer than the others are padded with 0.
        neighbour: Flat index of its neighbours; 0 where there are no more.
        pattern: Which pattern these neighbours form around it.
        patterns: Rows and columns from a pixel to its neighbours, each pattern once; `NONE` where there are no more.
    """

    pixel: Int[Tensor, "n p"]
    neighbour: Int[Tensor, "n p m"]
    pattern: Int[Tensor, "n p"]
    patterns: Int[Tensor, "k m 2"]


def _earlier(places: np.ndarray) -> np.ndarray:
    """For each of an image's places (p, 2) its nearest ones among those that come before it, (p, m); -1 = no more."""
    ranks = np.full((len(places), N_NEIGHBOURS), -1)
    if len(places) > 1:
        _, found = KDTree(places).query(places, k=range(2, min(N_CANDIDATES, len(places)) + 1))  # the first is itself
        before = found < np.arange(len(places))[:, None]
        order = np.argsort(~before, axis=1, kind="stable")[:, :N_NEIGHBOURS]
        nearest = np.take_along_axis(np.where(before, found, -1), order, 1)
        ranks[:, : nearest.shape[1]] = nearest
    return ranks


def find_neighbours(observed: Bool[Tensor, "n 1 h w"], length: int | None = None) -> Neighbours:
    """The neighbours by which residuals are made white.

    Args:
        observed: True where a pixel was observed.
        length: p; the most pixels observed in one image by default.
    """
    n, width, seen = len(observed), observed.shape[-1], observed.numpy()[:, 0]
    most = length or max(1, int(seen.sum((1, 2)).max()))
    pixel = np.zeros((n, most), np.int32)
    neighbour = np.zeros((n, most, N_NEIGHBOURS), np.int32)
    # A pixel of padding is a pattern of its own, since no pixel is its own neighbour.
    offset = np.zeros((n, most, N_NEIGHBOURS, 2), np.int16)
    for row, image in enumerate(seen):
        places = np.argwhere(image)
        ranks, count = _earlier(places), len(places)
        flat = places[:, 0] * width + places[:, 1]
        pixel[row, :count] = flat
        neighbour[row, :count] = np.where(ranks < 0, 0, flat[ranks])
        away = places[ranks] - places[:, None]
        offset[row, :count] = np.where(ranks[:, :, None] < 0, NONE, away)
    packed = offset.reshape(n * most, -1).view(f"V{offset.itemsize * 2 * N_NEIGHBOURS}")[:, 0]
    _, first, pattern = np.unique(packed, return_index=True, return_inverse=True)
    patterns = offset.reshape(-1, N_NEIGHBOURS, 2)[first].astype(np.int64)
    pattern = pattern.reshape(n, most).astype(np.int32)
    return Neighbours(*(torch.from_numpy(part) for part in (pixel, neighbour, pattern, patterns)))


@dataclass(frozen=True, eq=False)
class Whitening:
    """The observation L x of each image; see the top of this file.

    Attributes:
        axes: Principal axes of the channels at lag 0, in columns; along each, the field is made white by itself.
        pixel: See `Neighbours`.
        neighbour: See `Neighbours`.
        pattern: See `Neighbours`.
        weight: w of each pattern along each axis; 0 where there is no neighbour.
        gain: 1 / s of each, in units that give whitened residuals the emission's standard deviation; 0 for padding.
    """

    axes: Float[Tensor, "c c"]
    pixel: Int[Tensor, "n p"]
    neighbour: Int[Tensor, "n p m"]
    pattern: Int[Tensor, "n p"]
    weight: Float[Tensor, "c k m"]
    gain: Float[Tensor, "c k"]

    @property
    def observed(self) -> None:
        """What was hidden is left out by L."""
        return None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p"]:
        """L x of each image."""
        # Not a matrix product: those of few columns round by a row's place in the batch.
        turned = torch.stack([(x * axis.view(-1, 1, 1)).sum(1) for axis in self.axes.T], 1).flatten(2)
        (n, p, m), c = self.neighbour.shape, len(self.axes)
        own = turned.gather(2, self.pixel.long().unsqueeze(1).expand(n, c, p))
        near = turned.gather(2, self.neighbour.long().view(n, 1, p * m).expand(n, c, p * m)).view(n, c, p, m)
        pattern = self.pattern.long()
        predicted = (near * self.weight[:, pattern].transpose(0, 1)).sum(3)
        return (own - predicted) * self.gain[:, pattern].transpose(0, 1)

    def select(self, index: Int[Tensor, "i"]) -> Whitening:
        """The filters of the examples in `index`."""
        index = index.to(self.pixel.device)
        return replace(self, pixel=self.pixel[index], neighbour=self.neighbour[index], pattern=self.pattern[index])

    def to(self, device: torch.device) -> Whitening:
        """The same on another device."""
        parts = (self.axes, self.pixel, self.neighbour, self.pattern, self.weight, self.gain)
        return Whitening(*(part.to(device) for part in parts))


def _predict(covariance: Float[Tensor, "c rows columns"], patterns: Int[Tensor, "k m 2"]) -> tuple[Tensor, Tensor]:
    """Simple kriging of a pixel from its neighbours: their weights (c, k, m), and the variance (c, k) that is left."""
    rows, columns = covariance.shape[1:]
    there = (patterns[..., 0] != NONE) & (patterns != 0).any(-1)
    lag = patterns.unsqueeze(-2) - patterns.unsqueeze(-3)
    matrix = covariance[:, lag[..., 0] % rows, lag[..., 1] % columns]
    matrix = torch.where(there.unsqueeze(-1) & there.unsqueeze(-2), matrix, torch.eye(patterns.shape[1]))
    vector = torch.where(there, covariance[:, patterns[..., 0] % rows, patterns[..., 1] % columns], 0.0)
    weight = torch.cholesky_solve(vector.unsqueeze(-1), torch.linalg.cholesky(matrix)).squeeze(-1)
    return weight, covariance[:, :1, 0] - (weight * vector).sum(-1)


def whitening(field: ResidualField, neighbours: Neighbours, noise_std: float) -> Whitening:
    """L for residuals that are draws of a field.

    Args:
        field: The field.
        neighbours: Of the observed pixels.
        noise_std: Standard deviation that whitened residuals are to have.
    """
    covariance = field.covariance
    axes = torch.linalg.eigh(covariance[:, :, 0, 0]).eigenvectors
    along = torch.einsum("ak,abhw,bk->khw", axes, covariance, axes)
    predictions = [_predict(along, some) for some in neighbours.patterns.split(BATCH)]
    weight, variance = (torch.cat(parts, 1) for parts in zip(*predictions, strict=True))
    padding = (neighbours.patterns == 0).all(2).all(1)
    gain = torch.where(padding, 0.0, noise_std / variance.clamp(min=1e-10).sqrt())
    return Whitening(axes, neighbours.pixel, neighbours.neighbour, neighbours.pattern, weight, gain)


def is_pixelwise(observed: Bool[Tensor, "n c h w"]) -> bool:
    """Whether every pixel was observed in all channels or in none."""
    return bool((observed == observed[:, :1]).all())


def neighbours_of(y: Float[Tensor, "n c h w"], observation: Observation, whole: bool = False) -> Neighbours:
    """Neighbours among the observed pixels.

    Args:
        y: Observations.
        observation: How they came about.
        whole: Whether to pad to the size of the images, so that sums over pixels are rounded alike whatever is observed
            of other images.

    Raises:
        InputError: If some pixels were observed in some channels and not in others.
    """
    observed = torch.ones(len(y), 1, *y.shape[2:], dtype=torch.bool)
    if observation.observed is not None:
        if not is_pixelwise(observation.observed.expand(y.shape)):
            raise InputError(
                "residuals='whitened' needs pixels that are observed in all channels or in none; choose 'kriged'"
            )
        observed = observation.observed.cpu().expand(y.shape)[:, :1]
    return find_neighbours(observed, observed[0].numel() if whole else None)


def whiten(
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    field: ResidualField | None,
    emission: Emission,
    neighbours: Neighbours | None = None,
    whole: bool = False,
) -> tuple[Tensor, Observation]:
    """Observations and how they came about, such that the emission's white noise stands for residuals of the field.

    Unchanged where residuals are white: without a field, and for indirect data.

    Args:
        y: Observations, finite everywhere.
        observation: How they came about.
        field: Of the residuals.
        emission: Of the model.
        neighbours: `neighbours_of` y, if they are known.
        whole: See `neighbours_of`.
    """
    if field is None or not isinstance(emission, Gaussian) or not isinstance(unmasked(observation), Complete):
        return y, observation
    filters = whitening(field, neighbours or neighbours_of(y, observation, whole), emission.noise_std)
    white = [filters.select(rows)(y[rows].cpu()) for rows in torch.arange(len(y)).split(EXAMPLES)]
    return torch.cat(white).to(y.device), filters
