"""What synthesised sounds are compared with."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["phase_randomised_sound"]


def phase_randomised_sound(
    sound: Float[np.ndarray, "samples"], rng: np.random.Generator
) -> Float[np.ndarray, "samples"]:
    """Stationary noise with the sound's power spectrum, and nothing else of it; values clipped to [-1, 1].

    Args:
        sound: The original.
        rng: Source of chance.
    """
    spectrum = np.fft.rfft(sound)
    phases = np.angle(np.fft.rfft(rng.standard_normal(len(sound))))
    phases[0] = 0.0  # the mean stays
    noise = np.fft.irfft(np.abs(spectrum) * np.exp(1j * phases), len(sound))
    return np.clip(noise, -1, 1).astype(np.float32)
