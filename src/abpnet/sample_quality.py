"""Quality of samples, judged against real images that the model has not seen.

Distances are taken between features of a random convolutional network, the same for everybody: nothing is downloaded,
nothing is trained on some other kind of pictures, and no method that is compared was trained on them. Random networks
tell good samples from bad ones, and on images unlike photographs of things better than networks trained on those
(Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", section 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["SampleQuality", "compare_samples", "kernel_distance", "precision_recall", "random_features"]

# Channels of each layer; features are means over this many cells a side, since aligned objects have their places.
CHANNELS, CELLS, SMALLEST_SIDE = (32, 64, 128, 128), 4, 4
NEIGHBOURS = 3
# Relative to the mean variance of a layer's features: those that hardly vary do not count more than others.
SMALLEST_VARIANCE = 1e-2
BATCH = 100


class SampleQuality(NamedTuple):
    """How close samples are to real images.

    Attributes:
        kernel_distance: Squared kernel two-sample distance; 0 = the same distribution, and below by chance.
        precision: Share of samples that look like real images.
        recall: Share of real images that the samples come near to.
    """

    kernel_distance: float
    precision: float
    recall: float


def _layers(images: Tensor) -> list[Tensor]:
    """Means over cells of the image, and of the rectified responses of each layer to the one before, (n, k) each."""
    generator = torch.Generator().manual_seed(0)
    hidden, maps = images, [images]
    for n_channels in CHANNELS:
        if min(hidden.shape[-2:]) < SMALLEST_SIDE:
            break
        filters = torch.randn(n_channels, hidden.shape[1], 5, 5, generator=generator)
        filters -= filters.mean((2, 3), keepdim=True)  # blind to brightness, as eyes are
        filters /= filters.flatten(1).norm(dim=1)[:, None, None, None]
        response = F.conv2d(F.pad(hidden, (2, 2, 2, 2), mode="replicate"), filters).abs()
        maps.append(response)
        hidden = F.avg_pool2d(response, 2, ceil_mode=True)
    return [F.adaptive_avg_pool2d(part, min(CELLS, *part.shape[-2:])).flatten(1) for part in maps]


@torch.no_grad()
def random_features(real: Float[Tensor, "n c h w"]) -> Callable[[Tensor], Tensor]:
    """A function from images (m, c, h, w) to features (m, k), in units in which real images vary.

    Layers of random filters (the same ones always), rectified and pooled, as in a scattering transform; features have
    mean 0 and variance 1 over the real images, and every layer counts alike.

    Args:
        real: Images that set the units.
    """

    def layers(images: Tensor) -> list[Tensor]:
        return [torch.cat(parts) for parts in zip(*map(_layers, images.split(BATCH)), strict=True)]

    units = []
    for part in layers(real):
        variance = part.var(0)
        units.append((part.mean(0), (variance + SMALLEST_VARIANCE * variance.mean()).clamp(min=1e-12).rsqrt()))
    size = sum(len(mean) for mean, _ in units)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        parts = zip(layers(images), units, strict=True)
        scaled = [(part - mean) * scale * math.sqrt(size / (len(units) * len(mean))) for part, (mean, scale) in parts]
        return torch.cat(scaled, 1)

    return features


def kernel_distance(x: Float[Tensor, "n k"], y: Float[Tensor, "m k"]) -> float:
    """Unbiased squared maximum mean discrepancy under `(x.y / k + 1)^3` (Binkowski et al. 2018, KID).

    Args:
        x: Features of samples, at least 2.
        y: Features of real images, at least 2.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / a.shape[1] + 1) ** 3

    def mean_of_pairs(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return float(mean_of_pairs(x) + mean_of_pairs(y) - 2 * kernel(x, y).mean())


def precision_recall(
    samples: Float[Tensor, "n k"], real: Float[Tensor, "m k"], n_neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019).

    A set's manifold is the union of balls around its members, each reaching its k-th nearest other member. Precision
    is the share of samples on the manifold of the real images, recall the share of real images on that of the samples.

    Args:
        samples: Features of samples.
        real: Features of real images.
        n_neighbours: k.
    """

    def inside(points: Tensor, centres: Tensor) -> float:
        nearest = torch.cdist(centres, centres).fill_diagonal_(math.inf).sort(1).values
        radii = nearest[:, min(n_neighbours, len(centres) - 1) - 1]
        return float((torch.cdist(points, centres) <= radii).any(1).double().mean())

    samples, real = samples.double(), real.double()
    return inside(samples, real), inside(real, samples)


def compare_samples(samples: np.ndarray, real: np.ndarray) -> SampleQuality:
    """Quality of samples against real images; recall and precision want as many of one as of the other.

    Args:
        samples: (n, channels, height, width) in [-1, 1].
        real: (m, channels, height, width) that no method learned from.
    """
    images = torch.from_numpy(np.ascontiguousarray(real, np.float32))
    features = random_features(images)
    theirs, ours = features(images), features(torch.from_numpy(np.ascontiguousarray(samples, np.float32)))
    return SampleQuality(kernel_distance(ours, theirs), *precision_recall(ours, theirs))
