"""Other ways to make a texture."""

from __future__ import annotations

import numpy as np

__all__ = ["phase_randomised"]


def phase_randomised(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with the image's power spectrum and correlations of colours, and nothing else of it.

    Args:
        image: (channels, height, width).
        rng: Source of chance.

    Returns:
        Another such image; the same random phases in all channels, values clipped to [-1, 1].
    """
    spectrum = np.fft.fft2(image)
    phases = np.angle(np.fft.fft2(rng.standard_normal(image.shape[1:])))
    phases[0, 0] = 0.0  # the mean colour stays
    return np.clip(np.fft.ifft2(spectrum * np.exp(1j * phases)).real, -1, 1).astype(np.float32)
