"""Walks through the space of latent factors: grids, and spheres between given points."""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["latent_grid", "sphere", "sphere_interpolation"]

# Directions closer to parallel or opposite than this (in sine) leave the great circle between them undecided.
SMALLEST_SINE = 1e-4


def latent_grid(latent_dim: int, n: int = 9, reach: float = 2.0) -> np.ndarray:
    """A regular grid over [-reach, reach]^d, (n^d, d): the first factor from left to right, the second downwards.

    Args:
        latent_dim: d.
        n: Points along each factor.
        reach: Standard deviations of the prior.
    """
    line = np.linspace(-reach, reach, n)
    points = np.array(list(itertools.product(line, repeat=latent_dim)))
    return points[:, ::-1].astype(np.float32)


def sphere(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """The point at share t of the way from a to b: directions along their great circle, lengths in proportion.

    `|z| (sin((1 - t) w) a/|a| + sin(t w) b/|b|) / sin w`, `w` the angle between a and b, `|z| = (1 - t) |a| + t |b|`
    (Shoemake 1985). Under N(0, I) in many dimensions all points have a length close to sqrt(d), but points on a
    straight line between two of them do not. Where the circle is undecided (parallel, opposite or zero vectors) the
    line is taken.

    Args:
        a: (d,).
        b: (d,).
        t: 0 to 1.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) == 0:
        return (1 - t) * a + t * b
    first, last = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(first @ last, -1, 1))
    if np.sin(angle) < SMALLEST_SINE:
        return (1 - t) * a + t * b
    direction = (np.sin((1 - t) * angle) * first + np.sin(t * angle) * last) / np.sin(angle)
    return ((1 - t) * lengths[0] + t * lengths[1]) * direction


def sphere_interpolation(corners: np.ndarray, n: int = 8) -> np.ndarray:
    """A square of points between four, (n * n, d), row by row (Han et al. 2017, experiment 3).

    Along the left and right sides first, then from side to side; see `sphere`.

    Args:
        corners: (4, d): top left, top right, bottom left, bottom right.
        n: Points along each side.
    """
    shares = np.linspace(0, 1, n)
    left, right = ([sphere(corners[side], corners[side + 2], t) for t in shares] for side in (0, 1))
    rows = [[sphere(a, b, t) for t in shares] for a, b in zip(left, right, strict=True)]
    return np.array(rows).reshape(n * n, -1).astype(np.float32)
