"""How frames follow one another, in numbers: statistics of a video against those of another of the same size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from abpnet.metrics import DYNAMIC_RANGE

__all__ = ["difference_distance", "frame_differences", "spectral_distance", "temporal_spectrum"]

# Frames of one periodogram. Spectra are means over half-overlapping ones.
SEGMENT = 32
# Variance of rounding to 8 bits: the noise under which no file says anything.
ROUNDING = (DYNAMIC_RANGE / 255) ** 2 / 12
N_BINS = 1020


def temporal_spectrum(frames: Float[np.ndarray, "n c h w"], segment: int = SEGMENT) -> Float[np.ndarray, "f h w"]:
    """Power of every pixel's course in time at the frequencies 1/segment, 2/segment, ... 1/2 per frame.

    Welch's method (1967): mean periodogram of half-overlapping pieces under a Hann window, each less its mean; then
    the mean over channels. The noise of rounding to 8 bits is added, so that pixels at rest have a spectrum too.

    Args:
        frames: In [-1, 1].
        segment: Frames of one piece, at most n.

    Raises:
        ValueError: If there are fewer frames than that.
    """
    from scipy.signal import welch

    if len(frames) < segment:
        raise ValueError(f"{len(frames)} frames: {segment} are needed")
    _, power = welch(frames.astype(np.float64), nperseg=segment, axis=0, detrend="constant")
    return power[1:].mean(1) + 2 * ROUNDING


def spectral_distance(
    frames: Float[np.ndarray, "n c h w"], reference: Float[np.ndarray, "m c h w"], segment: int | None = None
) -> float:
    """Mean log spectral distance in dB: root mean square over frequencies of `10 log10(P / P')`, averaged over pixels.

    Args:
        frames: One video.
        reference: Another, with frames of the same size.
        segment: As in `temporal_spectrum`; 32 frames, or what the shorter one has, by default.
    """
    segment = segment or min(SEGMENT, len(frames), len(reference))
    ratio = 10 * np.log10(temporal_spectrum(frames, segment) / temporal_spectrum(reference, segment))
    return float(np.sqrt(np.square(ratio).mean(0)).mean())


def frame_differences(frames: Float[np.ndarray, "n c h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Distribution of `x_(t+1) - x_t` over all pixels, channels and times: values and how often each occurs."""
    edges = np.linspace(-DYNAMIC_RANGE, DYNAMIC_RANGE, N_BINS + 2)
    counts, _ = np.histogram(np.diff(np.clip(frames, -1, 1), axis=0), edges)
    return (edges[:-1] + edges[1:]) / 2, counts / counts.sum()


def difference_distance(frames: Float[np.ndarray, "n c h w"], reference: Float[np.ndarray, "m c h w"]) -> float:
    """Wasserstein distance between the distributions of frame differences, as a fraction of the dynamic range."""
    from scipy.stats import wasserstein_distance

    values, weights = frame_differences(frames)
    other_values, other_weights = frame_differences(reference)
    return float(wasserstein_distance(values, other_values, weights, other_weights)) / DYNAMIC_RANGE
