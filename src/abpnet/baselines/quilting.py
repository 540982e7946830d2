"""Textures sewn together of pieces of a photograph, without learning."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["quilt"]

PATCH, OVERLAP = 48, 12
# Of so many pieces at random places one is taken that fits nearly as well as the best.
CANDIDATES, TOLERANCE = 400, 0.1


def _beyond_cut(error: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """True right of the path from top to bottom along which the least error adds up (dynamic programming)."""
    cost = error.copy()
    for row in range(1, len(cost)):
        above = np.pad(cost[row - 1], 1, constant_values=np.inf)
        cost[row] += np.minimum(above[1:-1], np.minimum(above[:-2], above[2:]))
    path = int(cost[-1].argmin())
    beyond = np.zeros(error.shape, bool)
    for row in range(len(cost) - 1, -1, -1):
        first = max(path - 1, 0) if row < len(cost) - 1 else 0
        last = path + 2 if row < len(cost) - 1 else cost.shape[1]
        path = first + int(cost[row, first:last].argmin())
        beyond[row, path:] = True
    return beyond


def quilt(
    image: Float[np.ndarray, "c h w"], size: tuple[int, int], rng: np.random.Generator, matched: bool = True
) -> Float[np.ndarray, "c h2 w2"]:
    """Image quilting (Efros and Freeman 2001): overlapping pieces, joined along the path of least difference.

    Args:
        image: The photograph, sides of at least 48 pixels.
        size: Height and width of the result.
        rng: Source of chance.
        matched: Whether pieces are chosen to fit their neighbours; otherwise at random.

    Raises:
        ValueError: If the photograph is too small.
    """
    if image.ndim != 3 or min(image.shape[1:]) < PATCH:
        raise ValueError(f"expected (channels, height, width), sides of at least {PATCH}; got {image.shape}")
    step = PATCH - OVERLAP
    n_down, n_right = (max(1, -(-(side - OVERLAP) // step)) for side in size)
    sewn = np.zeros((len(image), OVERLAP + n_down * step, OVERLAP + n_right * step), np.float32)
    for top, left in np.ndindex(n_down, n_right):
        place = np.s_[:, top * step : top * step + PATCH, left * step : left * step + PATCH]
        overlap = np.zeros((PATCH, PATCH), bool)
        overlap[: OVERLAP * (top > 0)], overlap[:, : OVERLAP * (left > 0)] = True, True
        n_candidates = CANDIDATES if matched and overlap.any() else 1
        corners = rng.integers(0, np.array(image.shape[1:]) - PATCH + 1, (n_candidates, 2))
        pieces = np.stack([image[:, down : down + PATCH, right : right + PATCH] for down, right in corners])
        error = np.square(pieces - sewn[place]).sum(1)
        misfit = error[:, overlap].sum(1)
        chosen = rng.choice(np.flatnonzero(misfit <= (1 + TOLERANCE) * misfit.min()))
        taken = np.ones((PATCH, PATCH), bool)
        if left:
            taken[:, :OVERLAP] &= _beyond_cut(error[chosen][:, :OVERLAP])
        if top:
            taken[:OVERLAP] &= _beyond_cut(error[chosen][:OVERLAP].T).T
        sewn[place] = np.where(taken, pieces[chosen], sewn[place])
    return sewn[:, : size[0], : size[1]]
