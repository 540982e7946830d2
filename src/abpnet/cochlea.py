"""A bank of cochlear filters that takes signals of any length apart into subbands, and puts them together again."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

__all__ = [
    "DECIMATION",
    "FADE",
    "Cochlea",
    "analyse",
    "cochlea",
    "equivalent_bandwidths",
    "loop",
    "square",
    "synthesise",
]

# A subband is sampled once every so many samples of the signal. No filter is wider than the band that this holds.
DECIMATION = 8
# Seconds of a recording's end that are faded into its beginning.
FADE = 0.025


class Cochlea(NamedTuple):
    """The filters for signals of one length, as windows of their discrete spectrum.

    Attributes:
        place: Which entries of the spectrum each filter passes.
        weight: The filter's gain there; squares of all filters' gains add up to 1 at every frequency.
    """

    place: Int[Tensor, "bands m"]
    weight: Float[Tensor, "bands m"]


def equivalent_bandwidths(hertz: float) -> float:
    """How many equivalent rectangular bandwidths of hearing lie below a frequency (Glasberg and Moore 1990)."""
    return 21.4 * math.log10(1 + 0.00437 * hertz)


@lru_cache(maxsize=4)
def cochlea(n_samples: int, rate: int, n_bands: int, device: torch.device | None = None) -> Cochlea:
    """Filters of half-cosine shape, evenly spaced in equivalent rectangular bandwidths (McDermott and Simoncelli 2011).

    The first passes everything below the second, the last everything up to half of the rate.

    Args:
        n_samples: Length of the signals, a multiple of twice `DECIMATION`.
        rate: Samples per second.
        n_bands: Number of filters.
        device: Where they are to be used.

    Raises:
        ValueError: If the length is no such multiple, or there are so few filters that one is too wide.
    """
    n_subband = n_samples // DECIMATION
    if n_samples % (2 * DECIMATION) or n_samples < 2 * DECIMATION:
        raise ValueError(f"expected a multiple of {2 * DECIMATION} samples, got {n_samples}")
    hertz = torch.arange(n_samples // 2 + 1, dtype=torch.float64, device=device) * (rate / n_samples)
    place = 21.4 * torch.log10(1 + 0.00437 * hertz) * ((n_bands - 1) / equivalent_bandwidths(rate / 2))
    distance = (place - torch.arange(n_bands, device=device)[:, None]).abs()
    gain = torch.where(distance < 1, torch.cos(0.5 * math.pi * distance.clamp(max=1)), 0.0)
    first = (gain > 0).int().argmax(1)
    if int((gain > 0).sum(1).max()) > n_subband:
        raise ValueError(f"{n_bands} filters are too few: one is wider than a {DECIMATION}th of the rate")
    index = (first[:, None] + torch.arange(n_subband, device=device)) % len(hertz)
    inside = first[:, None] + torch.arange(n_subband, device=device) < len(hertz)
    return Cochlea(index, (gain.gather(1, index) * inside).float())


def analyse(spectrum: Complex[Tensor, "n f"], bank: Cochlea) -> Complex[Tensor, "n bands m"]:
    """Subbands of a signal whose `torch.fft.rfft` is given: analytic, each moved down to frequency 0.

    Their magnitudes are the envelopes of the filtered signals, sampled every `DECIMATION` samples.
    """
    return torch.fft.ifft(spectrum[:, bank.place] * bank.weight) * (2 / DECIMATION)


def synthesise(subbands: Complex[Tensor, "n bands m"], bank: Cochlea) -> Float[Tensor, "n samples"]:
    """The signal whose subbands, each filtered once more, are superposed; undoes `analyse`."""
    n_samples = subbands.shape[2] * DECIMATION
    parts = torch.fft.fft(subbands) * bank.weight * (DECIMATION / 2)
    spectrum = parts.new_zeros(len(parts), n_samples // 2 + 1)
    spectrum = spectrum.index_add(1, bank.place.flatten(), parts.flatten(1))
    return torch.fft.irfft(spectrum, n=n_samples)


def square(x: Tensor) -> Tensor:
    """Squared magnitude of complex numbers."""
    return x.real.square() + x.imag.square()


def loop(clip: Float[Tensor, "samples"], rate: int) -> Float[Tensor, "looped"]:
    """The clip as a circle without a click at the seam: its end is faded into its beginning.

    Args:
        clip: A recording.
        rate: Samples per second.

    Returns:
        A multiple of 16 samples, fewer than the clip has.
    """
    n_fade = round(FADE * rate)
    n_samples = (len(clip) - n_fade) // (2 * DECIMATION) * (2 * DECIMATION)
    angle = torch.linspace(0, 0.5 * math.pi, n_fade).to(clip)
    beginning = clip[:n_fade] * angle.sin() + clip[n_samples : n_samples + n_fade] * angle.cos()
    return torch.cat([beginning, clip[n_fade:n_samples]])
