"""How far two images differ as textures, judged by other filters than those that a network is taught with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from abpnet.metrics import difference_of_statistics

__all__ = ["TextureMeasure", "mean_distance"]

# Filters: octaves down from the finest frequency (cycles per pixel), directions, and their widths: standard deviations
# in octaves and in steps from one direction to the next.
N_SCALES, N_DIRECTIONS, FINEST = 4, 6, 0.3
OCTAVES, STEPS = 0.45, 0.7
# Borders are mirrored so far for the filters.
BORDER = 24
N_QUANTILES = 32
# Distances, in pixels, at which a filter's answers are compared with themselves, in four directions each.
REACHES = (4, 8, 16, 32)
# Standard deviations below this share of the strongest colour's are not blown up; nor is what filters answer less
# than FAINTEST to, in standard deviations of the colour.
LEAST_COLOUR, FAINTEST = 0.1, 0.02


def _filters(height: int, width: int) -> Float[np.ndarray, "filters height width"]:
    """Frequency responses of log-Gabor filters (Field 1987), each for half of the directions: answers are complex."""
    down, right = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    frequency, direction = np.maximum(np.hypot(down, right), 1e-9), np.arctan2(down, right)
    responses = []
    for scale in range(N_SCALES):
        radial = np.exp(-np.square(np.log2(frequency * 2**scale / FINEST) / OCTAVES) / 2)
        for step in range(N_DIRECTIONS):
            turned = np.angle(np.exp(1j * (direction - math.pi * step / N_DIRECTIONS)))
            responses.append(radial * np.exp(-np.square(turned * N_DIRECTIONS / (math.pi * STEPS)) / 2))
    return np.stack(responses)


@dataclass(frozen=True, eq=False)
class TextureMeasure:
    """Statistics of images in the decorrelated colours of one of them, those of one kind under one name.

    Kinds, each on a scale where a difference of 0.1 is one of about a tenth: quantiles of the pixels; logarithms of the
    energy behind each filter and of how sparse the magnitudes of its answers are; correlations of the magnitudes behind
    all pairs of filters, scales and colours (a Gram matrix); correlations of the magnitudes with themselves at four
    distances in four directions. After Portilla and Simoncelli (2000).

    Attributes:
        mean: Of the channels.
        unmixing: From channels to decorrelated colours of standard deviation 1, weak ones kept weak.
        truth: Statistics of the image itself.
    """

    mean: Float[np.ndarray, "c"]
    unmixing: Float[np.ndarray, "c c"]
    truth: dict[str, np.ndarray]

    @classmethod
    def of(cls, image: Float[np.ndarray, "c h w"]) -> TextureMeasure:
        """The measure whose zero is this image; its sides must be at least 96 pixels.

        Raises:
            ValueError: If it is smaller.
        """
        if image.ndim != 3 or min(image.shape[1:]) < 4 * BORDER:
            raise ValueError(f"expected (channels, height, width), sides of at least {4 * BORDER}; got {image.shape}")
        pixels = image.reshape(len(image), -1).astype(np.float64)
        variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(pixels)))
        std = np.sqrt(np.maximum(variances, 0))
        unmixing = directions.T / np.maximum(std, LEAST_COLOUR * std.max() + np.finfo(float).tiny)[:, None]
        blank = cls(pixels.mean(1), unmixing, {})
        return cls(blank.mean, unmixing, blank(image))

    def __call__(self, image: Float[np.ndarray, "c h w"]) -> dict[str, np.ndarray]:
        """The statistics of an image of any size."""
        colours = np.einsum("kc,chw->khw", self.unmixing, image - self.mean[:, None, None])
        ordered = np.sort(colours.reshape(len(colours), -1), 1)
        quantiles = [part.mean(1) for part in np.array_split(ordered, N_QUANTILES, 1)]
        magnitudes = np.abs(_answers(colours))
        flat = magnitudes.reshape(len(magnitudes), -1)
        energy = np.square(flat).mean(1)
        standard = magnitudes - flat.mean(1)[:, None, None]
        standard /= flat.std(1)[:, None, None] + FAINTEST**2
        correlations = np.cov(standard.reshape(flat.shape))[np.triu_indices(len(flat), 1)]
        return {
            "pixels": np.stack(quantiles, 1).ravel(),
            "energy": np.log(np.sqrt(energy) + FAINTEST),
            "sparsity": np.log((np.power(flat, 4).mean(1) + FAINTEST**4) / np.square(energy + FAINTEST**2)) / 2,
            "correlation": correlations,
            "reach": np.concatenate([_with_itself(standard, reach) for reach in REACHES]),
        }


def _answers(colours: Float[np.ndarray, "k h w"]) -> Complex[np.ndarray, "filters h2 w2"]:
    """What every filter answers to every colour; as strong on the average as the filtered colour."""
    mirrored = np.pad(colours, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)), mode="symmetric")
    spectra = np.fft.fft2(mirrored)
    filters = _filters(*mirrored.shape[1:])
    inside = slice(BORDER, -BORDER)
    return np.concatenate([math.sqrt(2) * np.fft.ifft2(spectrum * filters)[:, inside, inside] for spectrum in spectra])


def _with_itself(standard: Float[np.ndarray, "filters h w"], reach: int) -> Float[np.ndarray, "n"]:
    """Correlation of each filter's magnitudes with those at a distance, in four directions."""
    found = []
    for down, right in ((0, reach), (reach, 0), (reach, reach), (reach, -reach)):
        h, w = standard.shape[1] - down, standard.shape[2] - abs(right)
        here = standard[:, :h, max(-right, 0) :][:, :, :w]
        there = standard[:, down:, max(right, 0) :][:, :, :w]
        found.append((here * there).mean((1, 2)))
    return np.concatenate(found)


def mean_distance(images: Iterable[np.ndarray], original: Float[np.ndarray, "c h w"]) -> dict[str, float]:
    """The distance of each image from the original, averaged over the images."""
    measure = TextureMeasure.of(original)
    rows = [difference_of_statistics(measure(image), measure.truth) for image in images]
    return {kind: float(np.mean([row[kind] for row in rows])) for kind in rows[0]}
