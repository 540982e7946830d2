"""Walks in the latent space of a run: along the main directions of its chains, and on the sphere between examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.interpolation import latent_grid, sphere, sphere_interpolation
from abpnet.web.pictures import as_images

__all__ = [
    "Axes",
    "Place",
    "along",
    "corners_square",
    "decoded",
    "grid_images",
    "grid_point",
    "main_axes",
    "place_of",
    "point_of",
    "reach_of",
]

# Cells of the grid of two factors along each of them, and how far it reaches.
GRID, REACH = 9, 2.0
MOST_CORNERS = 4
# Of sliders; and variances, relative to the largest, of directions along which chains do not differ.
LEAST_REACH, FLAT = 3, 1e-9


class Axes(NamedTuple):
    """The main directions of a cloud of chains.

    Attributes:
        mean: (d,).
        directions: (k, d), of unit length, that of largest variance first.
        deviations: (k,), standard deviations of the chains along them.
        shares: (k,), of the variance of the chains.
    """

    mean: Float[np.ndarray, "d"]
    directions: Float[np.ndarray, "k d"]
    deviations: Float[np.ndarray, "k"]
    shares: Float[np.ndarray, "k"]


class Place(NamedTuple):
    """A point of the latent space: coordinates along the main directions, and what they leave.

    Attributes:
        coordinates: (k,), in standard deviations of the chains from their mean.
        rest: (d,), at right angles to the directions.
    """

    coordinates: Float[np.ndarray, "k"]
    rest: Float[np.ndarray, "d"]


def main_axes(latents: Float[np.ndarray, "n d"], most: int) -> Axes:
    """Principal directions of where the chains of the training examples stand.

    Of one or two factors they are the factors themselves, in units of the prior: the axes of the grid.

    Args:
        latents: `net.latents_`.
        most: How many directions.
    """
    n_factors = latents.shape[1]
    if n_factors <= 2:
        shares = latents.var(0) / max(latents.var(0).sum(), np.finfo(np.float32).tiny)
        return Axes(np.zeros(n_factors), np.eye(n_factors), np.ones(n_factors), shares.astype(float))
    mean = latents.mean(0, dtype=np.float64)
    variances, directions = np.linalg.eigh(np.cov(latents.T, bias=True))
    variances, directions = variances[::-1], directions.T[::-1]
    kept = min(most, int((variances > FLAT * max(variances[0], FLAT)).sum()))
    return Axes(mean, directions[:kept], np.sqrt(variances[:kept]), variances[:kept] / max(variances.sum(), FLAT))


def reach_of(latents: Float[np.ndarray, "n d"], axes: Axes) -> int:
    """How far sliders have to go along the axes, so that every chain can be reached; in standard deviations."""
    farthest = np.abs((latents - axes.mean) @ axes.directions.T / axes.deviations).max(initial=LEAST_REACH)
    return math.ceil(farthest)


def place_of(z: Float[np.ndarray, "d"], axes: Axes) -> Place:
    """Where a point stands on the axes."""
    along_axes = axes.directions @ (z - axes.mean)
    return Place(along_axes / axes.deviations, z - axes.mean - along_axes @ axes.directions)


def point_of(place: Place, axes: Axes) -> Float[np.ndarray, "d"]:
    """The point that stands there; the inverse of `place_of`."""
    return axes.mean + (place.coordinates * axes.deviations) @ axes.directions + place.rest


def decoded(network: GeneratorNetwork, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c h w"]:
    """Images f(z)."""
    return as_images(network.inverse_transform(np.ascontiguousarray(z, np.float32)))


def grid_images(network: GeneratorNetwork) -> Float[np.ndarray, "n c h w"]:
    """Images of the grid over [-2, 2]^d, d = 1 or 2: the first factor to the right, the second downwards."""
    return decoded(network, latent_grid(network.model_.latent_shape[0], GRID, REACH))


def grid_point(right: float, down: float, n_factors: int) -> Float[np.ndarray, "d"]:
    """The factors of the cell of the grid at these shares, 0 to 1, of the way to the right and downwards."""
    cells = [min(int(np.clip(share, 0, 1) * GRID), GRID - 1) for share in (right, down)]
    return np.linspace(-REACH, REACH, GRID)[cells][:n_factors]


def along(corners: Sequence[Float[np.ndarray, "d"]], share: float | int) -> Float[np.ndarray, "d"]:
    """The point on the way through all corners in turn, on the sphere from each to the next.

    Args:
        corners: Two to four of them.
        share: 0 = the first, 1 = the last.

    Raises:
        InputError: If there are fewer or more corners.
    """
    if not 2 <= len(corners) <= MOST_CORNERS:
        raise InputError(f"a way needs 2 to {MOST_CORNERS} examples, got {len(corners)}")
    way = float(np.clip(share, 0, 1)) * (len(corners) - 1)
    leg = min(int(way), len(corners) - 2)
    return sphere(corners[leg], corners[leg + 1], way - leg)


def corners_square(corners: Sequence[Float[np.ndarray, "d"]], n: int = 8) -> Float[np.ndarray, "m d"]:
    """Points between the corners: a square between four; else a row along the way."""
    if len(corners) == MOST_CORNERS:
        return sphere_interpolation(np.stack(corners), n)
    return np.stack([along(corners, share) for share in np.linspace(0, 1, n)])
