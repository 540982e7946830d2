"""Statistics of textures: what two pieces of the same material have in common, whatever their size and position.

A texture is learned as indirect data: not the pixels of the photograph are explained but its filter statistics
`y = A x`, so that every signal f(z) with z from the prior has to look like the material.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["TextureStatistics"]

RADIUS, ORIENTATIONS, FREQUENCY = 3, 8, 0.25
MOST_LEVELS, QUANTILE_LEVELS, QUANTILES = 5, 3, 64
# Distances at which features, averaged over 2x2 positions, are compared; coarser levels reach further.
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
# What a relative error of 1 in one group of statistics adds to the squared error.
WEIGHTS = {"mean": 1.0, "covariance": 1.0, "shifted": 1.0 / len(SHIFTS), "across": 1.0, "quantile": 1.0}
WEAKEST = 0.1
LEVELW = 0.3
# Floors of a feature's standard deviation, and of a colour's as a fraction of the strongest one's.
SMALLEST_STD, SMALLEST_COLOUR = 0.02, 0.15


class Level(NamedTuple):
    """The filters of one level of the pyramid, scaled so that the features of the training image have unit variance.

    Attributes:
        filters: Of the decorrelated colours.
        centres: Mean response of each filter to the training image.
        means: Mean of each of the rectified features.
        whitening: Turns the covariance of the rectified features into the identity, weak directions kept weak.
    """

    filters: Float[Tensor, "filters colours size size"]
    centres: Float[Tensor, "filters"]
    means: Float[Tensor, "features"]
    whitening: Float[Tensor, "features features"]


def gabor_filters() -> Float[Tensor, "18 7 7"]:
    """Even and odd Gabor filters of every orientation, a difference of a pixel from its surround, a checkerboard."""
    line = torch.arange(-RADIUS, RADIUS + 1.0)
    down, right = torch.meshgrid(line, line, indexing="ij")
    filters = []
    for orientation in range(ORIENTATIONS):
        angle = math.pi * orientation / ORIENTATIONS
        across = right * math.cos(angle) + down * math.sin(angle)
        along = down * math.cos(angle) - right * math.sin(angle)
        window = torch.exp(-(across.square() + 0.6 * along.square()) / (2 * 1.4**2))
        even = window * torch.cos(2 * math.pi * FREQUENCY * across)
        filters += [even - window * even.sum() / window.sum(), window * torch.sin(2 * math.pi * FREQUENCY * across)]
    surround = torch.zeros(2, 2 * RADIUS + 1, 2 * RADIUS + 1)
    binomial = torch.tensor([0.25, 0.5, 0.25])
    surround[0, RADIUS, RADIUS] = 1.0
    surround[0, RADIUS - 1 : RADIUS + 2, RADIUS - 1 : RADIUS + 2] -= binomial[:, None] * binomial
    surround[1, RADIUS : RADIUS + 2, RADIUS : RADIUS + 2] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    stacked = torch.cat([torch.stack(filters), surround])
    return stacked / stacked.flatten(1).norm(dim=1)[:, None, None]


def colour_filters(n_colours: int) -> Float[Tensor, "filters colours 7 7"]:
    """All filters of the strongest colour; of the others every second orientation of the even ones, and the surround."""
    bank = gabor_filters()
    fewer = bank[[*range(0, 2 * ORIENTATIONS, 4), 2 * ORIENTATIONS]]
    parts = []
    for colour in range(n_colours):
        chosen = fewer if colour else bank
        filters = torch.zeros(len(chosen), n_colours, *bank.shape[1:])
        filters[:, colour] = chosen
        parts.append(filters)
    return torch.cat(parts)


def features(x: Float[Tensor, "n colours h w"], level: Level, periodic: bool) -> Float[Tensor, "n features h2 w2"]:
    """Both signs of every filter's response, rectified, less the mean in the training image."""
    if periodic:
        x = F.pad(x, (RADIUS,) * 4, mode="circular")
    response = F.conv2d(x, level.filters, -level.centres)
    rectified = torch.cat([response.relu(), (-response).relu()], 1)
    return rectified - level.means[:, None, None]


def shifted_pairs(x: Tensor, down: int, right: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """The values at all positions and those at a distance; where the image ends, positions without a partner go."""
    if periodic:
        return x, x.roll((-down, -right), (2, 3))
    h, w = x.shape[2:]
    left, far = max(-right, 0), max(right, 0)
    return x[:, :, : h - down, left : w - far], x[:, :, down:, far : w - left]


def products(a: Float[Tensor, "n p h w"], b: Float[Tensor, "n q h w"]) -> Float[Tensor, "n p q"]:
    """Mean over all positions of the products of all pairs of features."""
    a, b = (x.movedim(1, -1).flatten(1, 2) for x in (a, b))
    return a.mT @ b / a.shape[1]


def fit_level(x: Float[Tensor, "1 colours h w"]) -> Level:
    """The filters for one level of the training image's pyramid."""
    filters = colour_filters(x.shape[1]).to(x)
    response = F.conv2d(x, filters)
    # One scale for a filter and its negative; the centre is removed so that both signs fire half of the time.
    scale = response.std((0, 2, 3)) + SMALLEST_STD
    blank = scale.new_zeros(2 * len(filters))
    raw = Level(filters / scale[:, None, None, None], response.mean((0, 2, 3)) / scale, blank, torch.diag(blank))
    rectified = features(x, raw, periodic=False)[0].flatten(1)
    variances, directions = torch.linalg.eigh(torch.cov(rectified))
    floor = WEAKEST * variances.mean()
    return raw._replace(means=rectified.mean(1), whitening=((variances.clamp(min=0) + floor).rsqrt() * directions).T)


@dataclass(frozen=True, eq=False)
class TextureStatistics:
    """Statistics `A x` of an image x that describe its material: an observation of indirect data.

    The image is split into decorrelated colours and these into the levels of a pyramid. At each level the responses of
    Gabor filters are rectified, and the statistics are, averaged over all positions: the means of these features,
    their covariances at some distances and with the features of the next coarser level, and the quantiles of the
    pixels (after Portilla and Simoncelli 2000, with covariances of rectified responses in place of magnitudes).

    Each group is divided by its length in the training image (means and quantiles by that of unit variances), so that
    `|y - A x|^2` is the sum over groups of relative squared errors, each weighted as in `WEIGHTS`. The number of
    statistics does not depend on the image's size. Shifts around a torus by multiples of the coarsest pixel leave
    the statistics as they are.

    Attributes:
        mean: Of each channel.
        unmixing: From channels to decorrelated colours, strongest first.
        levels: The filters, fine to coarse.
        scales: What each statistic is multiplied by.
        target: y, the statistics of the training image itself, its borders left out.
        periodic: Whether images are taken as periodic, as those of `TextureNetwork` are by default.
    """

    mean: Float[Tensor, "c"]
    unmixing: Float[Tensor, "colours c"]
    levels: tuple[Level, ...]
    scales: Float[Tensor, "k"]
    target: Float[Tensor, "1 k"]
    periodic: bool = True

    @classmethod
    def of(cls, image: Float[Tensor, "c h w"]) -> TextureStatistics:
        """The statistics that suit a training image; `target` holds their values.

        Args:
            image: The photograph, in [-1, 1]; sides of at least 32 pixels.

        Raises:
            ValueError: If the image has another number of axes or is too small.
        """
        if image.dim() != 3 or min(image.shape[1:]) < 32:
            raise ValueError(
                f"expected an image of shape (channels, height, width), sides of at least 32; got {tuple(image.shape)}"
            )
        x = image.detach().float()[None]
        pixels = x[0].flatten(1)
        variances, directions = torch.linalg.eigh(torch.cov(pixels).reshape(len(pixels), len(pixels)))
        stds = variances.flip(0).clamp(min=0).sqrt()
        unmixing = directions.flip(1).T / stds.clamp(min=SMALLEST_COLOUR * stds[0])[:, None].clamp(min=SMALLEST_STD)
        empty = x.new_zeros(0)
        blank = cls(pixels.mean(1), unmixing, (), empty, empty, periodic=False)
        n_levels = min(MOST_LEVELS, int(math.log2(min(x.shape[2:]) / (4 * RADIUS))) + 1)
        fitted = replace(blank, levels=tuple(fit_level(level) for level in blank.pyramid(x, n_levels)))
        scales = [
            x.new_full(values.shape[1:], math.sqrt(WEIGHTS[kind] * LEVELW**level/ (values.shape[1] if kind in ("mean","quantile") else values.shape[1]**.5))) for kind, level, values in fitted.groups(x)
        ]
        fitted = replace(fitted, scales=torch.cat(scales))
        return replace(fitted, target=fitted(x), periodic=True)

    @property
    def observed(self) -> None:
        """All statistics were observed."""
        return None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The statistics of each image, of any size of at least that of the coarsest level's filters."""
        return torch.cat([values for _, _, values in self.groups(x)], 1) * self.scales

    def select(self, index: Int[Tensor, "m"]) -> TextureStatistics:
        """Every image is measured alike."""
        return self

    def to(self, device: torch.device) -> TextureStatistics:
        """The same statistics on another device."""
        levels = tuple(Level(*(tensor.to(device) for tensor in level)) for level in self.levels)
        moved = {name: getattr(self, name).to(device) for name in ("mean", "unmixing", "scales", "target")}
        return replace(self, levels=levels, **moved)

    def pyramid(self, x: Float[Tensor, "n c h w"], n_levels: int) -> list[Tensor]:
        """Decorrelated colours, each level half the size of the one before."""
        levels = [torch.einsum("kc,nchw->nkhw", self.unmixing, x - self.mean[:, None, None])]
        while len(levels) < n_levels:
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels

    def groups(self, x: Float[Tensor, "n c h w"]) -> list[tuple[str, int, Float[Tensor, "n m"]]]:
        """The statistics before scaling: what kind, of which level, values."""
        levels = self.pyramid(x, len(self.levels))
        maps = [features(level, settings, self.periodic) for level, settings in zip(levels, self.levels, strict=True)]
        groups = []
        for index, (level, values) in enumerate(zip(levels, maps, strict=True)):
            white = self.levels[index].whitening
            groups.append(("mean", index, values.mean((2, 3)) @ white.T))
            groups.append(("covariance", index, (white @ products(values, values) @ white.T).flatten(1)))
            # Pooled, every position counts at a quarter of the cost. Valid convolution left out RADIUS pixels at this
            # level and twice as many of them at the next one.
            pooled = F.avg_pool2d(values if self.periodic else values[:, :, RADIUS:, RADIUS:], 2)
            for shift in SHIFTS:
                pairs = products(*shifted_pairs(pooled, *shift, self.periodic))
                groups.append(("shifted", index, (white @ pairs @ white.T).flatten(1)))
            if index + 1 < len(maps):
                coarse = maps[index + 1]
                h, w = min(pooled.shape[2], coarse.shape[2]), min(pooled.shape[3], coarse.shape[3])
                pairs = products(pooled[:, :, :h, :w], coarse[:, :, :h, :w])
                groups.append(("across", index, (white @ pairs @ self.levels[index + 1].whitening.T).flatten(1)))
            if index < QUANTILE_LEVELS:
                ordered = level.flatten(2).sort(2).values
                groups.append(("quantile", index, F.adaptive_avg_pool1d(ordered, QUANTILES).flatten(1)))
        return groups
