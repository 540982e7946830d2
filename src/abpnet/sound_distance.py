"""How far two sounds differ as textures, judged by other filters than those that a network is taught with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from abpnet.metrics import difference_of_statistics

__all__ = ["mean_distance", "measure"]

# Gammatone filters from this frequency to this fraction of the rate, evenly spaced in octaves.
N_FILTERS, LOWEST, HIGHEST = 24, 60.0, 0.43
# Envelopes are sampled about this often a second; this many seconds at each end are left out.
FRAME_RATE, EDGE = 400, 0.05
# Modulations faster than these: each band reaches to the next, in Hz.
MODULATIONS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
# Seconds of envelope in each window of the modulation spectrum.
WINDOW = 2.5
# Envelopes this much fainter than the loudest are not heard beside it.
FAINTEST, FAINTEST_SHARE, SILENCE = 1e-2, 1e-3, 1e-6
# Noise added to envelopes, relative to the faintest, so that those of digital silence have moments.
DITHER = 1e-3


def _envelopes(sound: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Square roots of the magnitudes behind each filter, (filters, frames), and frames per second.

    A gammatone filter of order 4 is `(1 + i (f - centre) / b)^-4` at the frequencies f above 0; b from Glasberg and
    Moore (1990). Recursive filters of that order are not stable in double precision at 60 Hz of 48,000.
    """
    from scipy import fft, signal

    step = max(1, round(rate / FRAME_RATE))
    length = fft.next_fast_len(len(sound) + round(EDGE * rate))
    spectrum, hertz = fft.rfft(sound, length), fft.rfftfreq(length, 1 / rate)
    envelopes = []
    for centre in np.geomspace(LOWEST, HIGHEST * rate, N_FILTERS):
        bandwidth = 1.019 * 24.7 * (1 + 0.00437 * centre)
        response = 2 * spectrum * (1 + 1j * (hertz - centre) / bandwidth) ** -4.0
        magnitude = np.abs(fft.ifft(response, length))[: len(sound)]
        envelopes.append(signal.resample_poly(np.sqrt(magnitude), 1, step))
    edge = round(EDGE * rate / step)
    return np.maximum(np.stack(envelopes), 0)[:, edge:-edge], rate / step


def measure(sound: Float[np.ndarray, "samples"], rate: int) -> dict[str, np.ndarray]:
    """Statistics of a sound, those of one kind under one name (after McDermott and Simoncelli 2011).

    Each is on a scale where a difference of 0.1 is one of about a tenth: logarithms of the envelopes' level,
    variation (standard deviation over mean) and kurtosis; the inverse hyperbolic sine of their skewness; correlations
    of the envelopes of all pairs of filters; logarithms of the shares of octaves of modulation in the
    variance of each envelope.

    Args:
        sound: At least one second.
        rate: Samples per second.
    """
    from scipy import signal, stats

    envelopes, frame_rate = _envelopes(np.asarray(sound, np.float64), rate)
    mean, std = envelopes.mean(1), envelopes.std(1)
    floor = FAINTEST * mean.max() + SILENCE
    varying = envelopes + DITHER * floor * np.random.default_rng(0).standard_normal(envelopes.shape)
    n_window = min(round(WINDOW * frame_rate), envelopes.shape[1])
    hertz, power = signal.welch(varying, frame_rate, nperseg=n_window, axis=1)
    octaves = [power[:, (hertz > low) & (hertz <= high)].sum(1) for low, high in pairwise(MODULATIONS)]
    shares = np.stack(octaves, 1) / np.sum(octaves, 0)[:, None]
    return {
        "level": np.log(mean + floor),
        "variation": np.log((std + FAINTEST * floor) / (mean + floor)),
        "skewness": np.arcsinh(stats.skew(varying, axis=1)),
        "kurtosis": np.log(stats.kurtosis(varying, axis=1, fisher=False)),
        "correlation": np.corrcoef(varying)[np.triu_indices(len(envelopes), 1)],
        "modulation": np.log(shares + FAINTEST_SHARE).ravel(),
    }


def mean_distance(sounds: Iterable[np.ndarray], original: Float[np.ndarray, "samples"], rate: int) -> dict[str, float]:
    """The distance of each sound from the original, averaged over the sounds."""
    truth = measure(original, rate)
    rows = [difference_of_statistics(measure(sound, rate), truth) for sound in sounds]
    return {kind: float(np.mean([row[kind] for row in rows])) for kind in rows[0]}
