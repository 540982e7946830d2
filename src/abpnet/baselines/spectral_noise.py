"""What synthesised textures and sounds are compared with: noise of the same spectrum."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["phase_randomised"]


def phase_randomised(signal: Float[np.ndarray, "c *shape"], rng: np.random.Generator) -> Float[np.ndarray, "c *shape"]:
    """Stationary noise with the signal's power spectrum and correlations of channels, and nothing else of it.

    Args:
        signal: An image (channels, height, width), or a sound (1, samples).
        rng: Source of chance.

    Returns:
        Another such signal; the same random phases in all channels, values clipped to [-1, 1].
    """
    axes = tuple(range(1, signal.ndim))
    spectrum = np.fft.fftn(signal, axes=axes)
    phases = np.angle(np.fft.fftn(rng.standard_normal(signal.shape[1:])))
    phases[(0,) * len(axes)] = 0.0  # the mean stays
    return np.clip(np.fft.ifftn(spectrum * np.exp(1j * phases), axes=axes).real, -1, 1).astype(np.float32)
