"""Data that comes with the libraries abpnet stands on: nothing is downloaded."""

from __future__ import annotations

import numpy as np

__all__ = ["BUILTIN_PREFIX", "TEXTURES", "digits", "spots", "texture_photograph"]

BUILTIN_PREFIX = "builtin:"
TEXTURES = ("brick", "grass", "gravel")


def digits() -> np.ndarray:
    """The 1,797 handwritten digits of scikit-learn: float32 (1797, 1, 8, 8) in [-1, 1]."""
    from sklearn.datasets import load_digits

    return (load_digits().images[:, None] / 8.0 - 1.0).astype(np.float32)


def texture_photograph(name: str, size: int) -> np.ndarray:
    """A grey photograph of a material that comes with scikit-image, its central square reduced by half.

    Args:
        name: "brick", "grass" or "gravel".
        size: Side of the result in pixels, at most 256.

    Returns:
        float32 (1, size, size) in [-1, 1].

    Raises:
        ValueError: If the name or the size is none of these.
    """
    if name not in TEXTURES or not 1 <= size <= 256:
        raise ValueError(f"expected one of {', '.join(TEXTURES)} and a size of 1 to 256, got {name!r} and {size}")
    import skimage.data

    photograph = getattr(skimage.data, name)().astype(np.float32)
    halved = photograph.reshape(256, 2, 256, 2).mean((1, 3))
    start = (256 - size) // 2
    return halved[None, start : start + size, start : start + size] / 127.5 - 1.0


def spots(n: int, side: int = 16, random_state: int = 0) -> np.ndarray:
    """Images of one round bright spot each, of random place and size: three factors, known to be three.

    Args:
        n: How many.
        side: Pixels of a side.
        random_state: Seed.

    Returns:
        float32 (n, 1, side, side), in -0.9 to 0.9.
    """
    line = np.linspace(-1, 1, side)
    rng = np.random.default_rng(random_state)
    x, y, radius = rng.uniform([-0.6, -0.6, 0.2], [0.6, 0.6, 0.45], (n, 3)).T[:, :, None, None]
    distance = (line[None, None, :] - x) ** 2 + (line[None, :, None] - y) ** 2
    return (1.8 * np.exp(-distance / (2 * radius**2)) - 0.9).astype(np.float32)[:, None]
