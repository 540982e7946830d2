"""Whether a material repeats in two directions, like bricks, tiles and weaves, and after how many pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Float

__all__ = ["find_lattice", "fitting_map"]

# Variations wider than this many pixels are light and shade, not the material.
SHADE = 24
# A repetition is a peak of the autocorrelation this high, on the average over the whole lattice. Photographs of random
# materials had no peak above .15.
LEAST_CORRELATION = 0.25
# Peaks nearer than this many pixels are the same detail; of all peaks at least half as high as the highest, this many
# of the highest and of the nearest are tried.
NEAREST, TRIED = 3.0, 16
# A finer lattice is taken if it is nearly as good, of those that peaks span and of those between. Directions at a
# smaller angle do not span one, and fewer points than these say nothing.
NEARLY, AS_GOOD, LEAST_SINE, FEWEST = 0.9, 0.92, 0.3, 4
# Photographs of less contrast than this, in standard deviations, are taken as constant.
FAINTEST = 1e-3
# A torus is at most so many positions larger than asked for, if it holds whole cells better then.
MOST_LARGER = 2


def _autocorrelation(image: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "h w"]:
    """Of all channels together, without light and shade; lag 0 at [h // 2, w // 2], where it is 1."""
    from scipy.ndimage import gaussian_filter

    h, w = image.shape[1:]
    detail = image - gaussian_filter(image.astype(np.float64), (0, SHADE, SHADE))
    if detail.std() < FAINTEST:
        return np.zeros((h, w))
    power = np.square(np.abs(np.fft.rfft2(detail, (2 * h, 2 * w)))).sum(0)
    pairs = np.outer(h - np.abs(np.arange(-(h // 2), h - h // 2)), w - np.abs(np.arange(-(w // 2), w - w // 2)))
    lags = np.fft.fftshift(np.fft.irfft2(power, (2 * h, 2 * w)))[
        h - h // 2 : 2 * h - h // 2, w - w // 2 : 2 * w - w // 2
    ]
    correlation = lags / pairs
    return correlation / max(correlation[h // 2, w // 2], np.finfo(float).tiny)


def _reduced(one: np.ndarray, other: np.ndarray) -> Float[np.ndarray, "2 2"]:
    """The shortest basis of the same lattice (Lagrange and Gauss)."""
    while True:
        if one @ one > other @ other:
            one, other = other, one
        multiple = round(float(one @ other) / float(one @ one))
        if multiple == 0:
            return np.stack([one, other])
        other = other - multiple * one


def _points(basis: Float[np.ndarray, "2 2"], h: int, w: int) -> Float[np.ndarray, "n 2"]:
    """All points of a lattice but 0 that are lags of `_autocorrelation`."""
    bound = np.ceil(np.abs(np.linalg.inv(basis)).T @ [h / 2, w / 2]).astype(int)
    first, second = (np.arange(-n, n + 1) for n in bound)
    multiples = np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)
    points = multiples[multiples.any(1)] @ basis
    return points[(np.abs(points) < [h // 2 - 1, w // 2 - 1]).all(1)]


def _finer(basis: Float[np.ndarray, "2 2"]) -> Iterator[Float[np.ndarray, "2 2"]]:
    """Bases of the lattices that have two or three points for each point of this one."""
    one, other = basis
    for prime in (2, 3):
        yield _reduced(one, other / prime)
        for k in range(prime):
            yield _reduced((one + k * other) / prime, other)


def find_lattice(image: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "2 2"] | None:
    """Two displacements (down, right) in pixels after which a photograph looks alike; None if there are none.

    Peaks of the autocorrelation, two at a time, span lattices. The one is taken over whose points the autocorrelation
    is highest on the average, or the finest of several nearly as good; it is adjusted to fractions of a pixel, and made
    finer as long as that is nearly as good.

    Args:
        image: The photograph.
    """
    from scipy.ndimage import map_coordinates, maximum_filter
    from scipy.optimize import minimize

    correlation = _autocorrelation(image)
    h, w = correlation.shape
    centre = np.array([h // 2, w // 2])
    lags = np.argwhere(maximum_filter(correlation, 5) == correlation) - centre
    half = (lags[:, 0] > 0) | ((lags[:, 0] == 0) & (lags[:, 1] > 0))
    lags = lags[half & (np.linalg.norm(lags, axis=1) >= NEAREST)]
    heights = correlation[tuple((lags + centre).T)]
    if not len(heights) or heights.max() < LEAST_CORRELATION:
        return None
    high = heights > heights.max() / 2
    lags, heights = lags[high], heights[high]
    tried = {*np.argsort(-heights)[:TRIED], *np.argsort(np.linalg.norm(lags, axis=1))[:TRIED]}
    # Peaks of real lattices lie a pixel beside its points.
    tolerant = maximum_filter(correlation, 3)

    def height(basis: np.ndarray, of: np.ndarray, order: int) -> float:
        points = _points(basis, h, w)
        return float(map_coordinates(of, (points + centre).T, order=order).mean()) if len(points) >= FEWEST else 0.0

    def adjusted(basis: np.ndarray) -> tuple[np.ndarray, float]:
        start = basis.ravel() + np.concatenate([np.zeros((1, 4)), 0.5 * np.eye(4)])
        settings = {"initial_simplex": start, "xatol": 1e-2, "fatol": 1e-5}
        found = minimize(
            lambda flat: -height(flat.reshape(2, 2), correlation, 1), start[0], method="Nelder-Mead", options=settings
        )
        return _reduced(*found.x.reshape(2, 2)), -float(found.fun)

    pairs = [lags[list(pair)].astype(float) for pair in combinations(sorted(tried), 2)]
    bases = [
        _reduced(*pair) for pair in pairs if abs(np.linalg.det(pair)) > LEAST_SINE * np.linalg.norm(pair, axis=1).prod()
    ]
    if not bases:
        return None
    heights = np.array([height(basis, tolerant, 0) for basis in bases])
    good = np.flatnonzero(heights >= NEARLY * heights.max())
    best, score = adjusted(min((bases[index] for index in good), key=lambda basis: abs(np.linalg.det(basis))))
    finer = True
    while finer:
        finer = False
        for basis in _finer(best):
            if np.linalg.norm(basis[0]) >= NEAREST and height(basis, correlation, 1) >= AS_GOOD * score:
                (best, _), finer = adjusted(basis), True
                break
    return best if score >= LEAST_CORRELATION else None


def fitting_map(lattice: Float[np.ndarray, "2 2"] | None, least: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width of the map, little larger than asked for if at all, whose torus holds whole cells best.

    Args:
        lattice: From `find_lattice`; without one nothing is enlarged.
        least: Positions of the map at least.
        stride: Pixels for each position.
    """
    if lattice is None:
        return least

    def misfit(size: tuple[int, int]) -> float:
        cells = stride * np.diag(size) @ np.linalg.inv(lattice)
        # How far each position has to give way, in pixels; more of them cost more to compute.
        return float((np.linalg.norm((cells.round() - cells) @ lattice, axis=1) / size).max()) * math.prod(size)

    larger = range(MOST_LARGER + 1)
    return min(((least[0] + down, least[1] + right) for down in larger for right in larger), key=misfit)
