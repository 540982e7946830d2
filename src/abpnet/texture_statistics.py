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
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["TextureStatistics"]

# Filters of 7x7 pixels; how often their wave repeats per pixel.
RADIUS, ORIENTATIONS, FREQUENCY = 3, 4, 0.25
# Levels of the pyramid at most, and the least side of the coarsest.
MOST_LEVELS, SMALLEST_SIDE = 5, 16
QUANTILE_LEVELS, QUANTILES = 3, 64
# Distances at which features, averaged over 2x2 positions, are compared; coarser levels reach further.
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
# What a relative error of 1 in a group of statistics adds to the squared error. A coarser level has a quarter of the
# positions, so its statistics scatter more from piece to piece of the material, and count less by LEVEL_WEIGHT.
WEIGHTS = {"mean": 1.0, "covariance": 1.0, "distant": 1.0 / len(SHIFTS), "across": 1.0, "quantile": 1.0}
LEVEL_WEIGHT = 0.3
# A photograph of less contrast than this is taken as constant.
FAINTEST = 0.02
# Directions weaker than this fraction of the mean variance are not blown up by whitening.
WEAKEST = 0.1
# Floors of the standard deviation of a filter or feature, and of a colour relative to the strongest, which has 1.
SMALLEST_STD, SMALLEST_COLOUR = 0.1, 0.3


class Level(NamedTuple):
    """The filters of one level of the pyramid, and what they answer to the training image.

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


def gabor_filters() -> Float[Tensor, "filters 7 7"]:
    """Even and odd Gabor filters of all orientations, a pixel less its surround, a checkerboard; each of length 1."""
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
    """All filters of the strongest colour; of the others the even ones and the surround, to stay cheap."""
    bank = gabor_filters()
    fewer = bank[[*range(0, 2 * ORIENTATIONS, 2), 2 * ORIENTATIONS]]
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


def shifted(x: Float[Tensor, "n h w p"], periodic: bool) -> tuple[Tensor, Tensor]:
    """The features at all positions, and next to them, one distance after the other, those of `SHIFTS` from there.

    Where the image is not periodic, positions go whose partners would lie outside.
    """
    if periodic:
        return x, torch.cat([x.roll((-down, -right), (1, 2)) for down, right in SHIFTS], 3)
    reach = max(max(shift) for shift in SHIFTS)
    h, w = (side - side_reach for side, side_reach in zip(x.shape[1:3], (reach, 2 * reach), strict=True))
    windows = [x[:, down : down + h, reach + right : reach + right + w] for down, right in SHIFTS]
    return x[:, :h, reach : reach + w], torch.cat(windows, 3)


def products(a: Float[Tensor, "n h w p"], b: Float[Tensor, "n h w q"]) -> Float[Tensor, "n p q"]:
    """Mean over all positions of the products of all pairs of features."""
    a, b = a.flatten(1, 2), b.flatten(1, 2)
    return a.mT @ b / a.shape[1]


def fit_level(x: Float[Tensor, "n colours h w"]) -> Level:
    """The filters for one level of the training images' pyramids."""
    filters = colour_filters(x.shape[1]).to(x)
    response = F.conv2d(x, filters)
    # Responses are centred, so that both signs fire about half of the time.
    scale = response.std((0, 2, 3)) + SMALLEST_STD
    blank = scale.new_zeros(2 * len(filters))
    raw = Level(filters / scale[:, None, None, None], response.mean((0, 2, 3)) / scale, blank, torch.diag(blank))
    rectified = features(x, raw, periodic=False).movedim(1, 0).flatten(1)
    variances, directions = torch.linalg.eigh(torch.cov(rectified))
    floor = WEAKEST * variances.mean() + SMALLEST_STD**2
    return raw._replace(means=rectified.mean(1), whitening=((variances.clamp(min=0) + floor).rsqrt() * directions).T)


@dataclass(frozen=True, eq=False)
class TextureStatistics:
    """Statistics `A x` of an image x that describe its material: an observation of indirect data.

    The image is split into decorrelated colours and these into the levels of a pyramid. At each level the responses of
    Gabor filters are rectified, and the statistics are, averaged over all positions: the means of these features,
    their covariances at some distances and with the features of the next coarser level, and the quantiles of the
    pixels (after Portilla and Simoncelli 2000, with covariances of rectified responses in place of magnitudes).

    Features are compared after whitening for the training image, so that what tells a material from noise of the same
    spectrum counts as much as the spectrum. A group's squared error is relative to that of whitened features being
    all 0 (covariances) or off by one standard deviation (means, quantiles), and `|y - A x|^2` is the sum over groups,
    weighted by `WEIGHTS` and `LEVEL_WEIGHT`. Two pieces of one photograph differ by about 0.05 at 128x128 pixels.

    The number of statistics does not depend on the image's size. Shifts around a torus by multiples of twice the
    coarsest pixel leave them as they are.

    Attributes:
        mean: Of each channel.
        unmixing: From channels to decorrelated colours, strongest first.
        levels: The filters, fine to coarse.
        scales: What each statistic is multiplied by.
        target: y, the statistics of the training images themselves, their borders left out.
        periodic: Whether images are taken as periodic, as those of `TextureNetwork` are by default.
    """

    mean: Float[Tensor, "c"]
    unmixing: Float[Tensor, "colours c"]
    levels: tuple[Level, ...]
    scales: Float[Tensor, "k"]
    target: Float[Tensor, "n k"]
    periodic: bool = True

    @classmethod
    def of(cls, images: Tensor) -> TextureStatistics:
        """The statistics that suit training images of one material; `target` holds their values.

        Args:
            images: (n, c, h, w) photographs in [-1, 1], or one (c, h, w); sides of at least 32 pixels.

        Raises:
            ValueError: If the images have another number of axes or are too small.
        """
        x = images.detach().float()
        x = x[None] if x.dim() == 3 else x
        if x.dim() != 4 or min(x.shape[2:]) < 32:
            raise ValueError(
                "expected images of shape (n, channels, height, width), sides of at least 32; "
                f"got {tuple(images.shape)}"
            )
        pixels = x.movedim(1, 0).flatten(1)
        variances, directions = torch.linalg.eigh(torch.cov(pixels).reshape(len(pixels), len(pixels)))
        stds = variances.flip(0).clamp(min=0).sqrt()
        unmixing = directions.flip(1).T / stds.clamp(min=SMALLEST_COLOUR * stds[0])[:, None].clamp(min=FAINTEST)
        empty = x.new_zeros(0)
        blank = cls(pixels.mean(1), unmixing, (), empty, empty[None], periodic=False)
        n_levels = min(MOST_LEVELS, int(math.log2(min(x.shape[2:]) / SMALLEST_SIDE)) + 1)
        fitted = replace(blank, levels=tuple(fit_level(level) for level in blank.pyramid(x, n_levels)))
        scales = []
        for kind, level, values in fitted.groups(x):
            # Whitened, the covariances of the training image are close to the identity, of this squared length.
            length = values.shape[1] if kind in ("mean", "quantile") else len(fitted.levels[level].means)
            scales.append(x.new_full(values.shape[1:], math.sqrt(WEIGHTS[kind] * LEVEL_WEIGHT**level / length)))
        scale = torch.cat(scales)
        fitted = replace(fitted, scales=scale, target=torch.zeros_like(scale)[None])
        return replace(fitted, target=fitted(x), periodic=True)

    @property
    def observed(self) -> None:
        """All statistics were observed."""
        return None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The statistics of each image; of any size of which the coarsest level has sides of at least 3."""
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

    def groups(self, x: Float[Tensor, "n c h w"]) -> list[tuple[str, int, Float[Tensor, "n _"]]]:
        """The statistics before scaling: what kind, of which level, values."""
        levels = self.pyramid(x, len(self.levels))
        maps = [features(level, settings, self.periodic) for level, settings in zip(levels, self.levels, strict=True)]
        groups = []
        for index, (level, values) in enumerate(zip(levels, maps, strict=True)):
            white = self.levels[index].whitening
            fine = values.movedim(1, 3).contiguous()
            groups.append(("mean", index, fine.mean((1, 2)) @ white.T))
            groups.append(("covariance", index, (white @ products(fine, fine) @ white.T).flatten(1)))
            if index + 1 < len(maps):
                # Pooled, every position counts at a quarter of the cost. Valid convolution left out RADIUS pixels at
                # this level and twice as many of them at the next one.
                pooled = F.avg_pool2d(values if self.periodic else values[:, :, RADIUS:, RADIUS:], 2).movedim(1, 3)
                distant = (white @ products(*shifted(pooled, self.periodic))).unflatten(2, (len(SHIFTS), -1))
                groups.append(("distant", index, (distant @ white.T).flatten(1)))
                coarse = maps[index + 1].movedim(1, 3)
                h, w = min(pooled.shape[1], coarse.shape[1]), min(pooled.shape[2], coarse.shape[2])
                pairs = products(pooled[:, :h, :w], coarse[:, :h, :w])
                groups.append(("across", index, (white @ pairs @ self.levels[index + 1].whitening.T).flatten(1)))
            if index < QUANTILE_LEVELS:
                ordered = level.flatten(2).sort(2).values
                groups.append(("quantile", index, F.adaptive_avg_pool1d(ordered, QUANTILES).flatten(1)))
        return groups
