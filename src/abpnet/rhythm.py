"""Whether a sound has a rhythm, and its period."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.cochlea import DECIMATION, analyse, cochlea, loop
from abpnet.sound_statistics import SoundStatistics

__all__ = ["find_period"]

# Periods in seconds; the longest must fit this often into the sound.
SHORTEST, LONGEST, FEWEST_CYCLES = 0.08, 1.6, 3.5
# The autocorrelation is smoothed over so many seconds.
SMOOTHING = 0.01
# A rhythm is a peak of it this high, and this far above the valleys around it. Of several peaks it is the first that
# is nearly as high as the highest, since multiples of a period are periods as well.
LEAST_CORRELATION, LEAST_PROMINENCE, NEARLY = 0.15, 0.1, 0.7
# Events at random have peaks, too, but not at twice and three times the period and in both halves of the sound, where
# a rhythm has them at least so high, relative to the first, and so near, relative to the period.
LASTING, DRIFT = 0.5, 0.04


def _autocorrelation(envelopes: Float[np.ndarray, "bands t"], width: int) -> Float[np.ndarray, "t"]:
    """Of the envelopes' variations, averaged over the bands and smoothed over a few lags; 1 at lag 0 before that."""
    n_frames = envelopes.shape[1]
    centred = envelopes - envelopes.mean(1, keepdims=True)
    centred /= envelopes.std(1, keepdims=True) + 1e-2
    power = np.square(np.abs(np.fft.rfft(centred, 2 * n_frames))).mean(0)
    correlation = np.fft.irfft(power)[:n_frames] / (n_frames - np.arange(n_frames))
    return np.convolve(correlation, np.full(width, 1 / width), "same")


def _lasts(correlation: np.ndarray, halves: list[np.ndarray], lag: int) -> bool:
    """Whether a peak of the autocorrelation is found again at its multiples and in the halves of the sound."""

    def highest(where: np.ndarray, multiple: int) -> float:
        nearest, furthest = round(multiple * lag * (1 - DRIFT)), round(multiple * lag * (1 + DRIFT))
        return float(where[nearest : furthest + 1].max())

    again = [highest(correlation, 2), highest(correlation, 3), *(highest(half, 1) for half in halves)]
    return min(again) >= LASTING * float(correlation[lag])


def find_period(clip: Float[Tensor, "samples"], statistics: SoundStatistics) -> float | None:
    """Samples of one cycle of a sound with a rhythm, such as a clock's; None for a sound without.

    A peak of the autocorrelation of the compressed envelopes, averaged over the bands.

    Args:
        clip: The recording.
        statistics: Those of this recording.
    """
    from scipy.signal import find_peaks

    x = loop(clip.float(), statistics.rate)[None]
    subbands = analyse(torch.fft.rfft(x), cochlea(x.shape[1], statistics.rate, len(statistics.power)))
    envelopes = statistics.envelopes(subbands)[0].double().numpy()
    n_frames, frame_rate = envelopes.shape[1], statistics.rate / DECIMATION
    width, half = round(SMOOTHING * frame_rate), n_frames // 2
    correlation = _autocorrelation(envelopes, width)
    halves = [_autocorrelation(part, width) for part in (envelopes[:, :half], envelopes[:, half:])]
    longest = min(round(LONGEST * frame_rate), round(n_frames / FEWEST_CYCLES))
    peaks, properties = find_peaks(correlation[:longest], height=LEAST_CORRELATION, prominence=LEAST_PROMINENCE)
    lasting = [peak >= SHORTEST * frame_rate and _lasts(correlation, halves, int(peak)) for peak in peaks]
    heights = np.where(lasting, properties["peak_heights"], 0.0)
    if not heights.any():
        return None
    return float(peaks[heights >= NEARLY * heights.max()][0] * DECIMATION)
