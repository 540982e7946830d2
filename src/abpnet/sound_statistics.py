"""Statistics of sounds: what two stretches of the same rain have in common, whatever their length.

A sound is learned as indirect data: not the samples of the recording are explained but statistics `y = A x` of the
envelopes behind cochlear filters, so that every signal f(z) with z from the prior has to sound like it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor

from abpnet.cochlea import DECIMATION, FADE, analyse, cochlea, equivalent_bandwidths, loop, square

__all__ = ["LEAST_SAMPLES", "SoundStatistics"]

# Bands for each equivalent rectangular bandwidth of hearing below half of the rate.
BANDS_PER_BANDWIDTH = 1.0
# Envelopes are compressed as hearing does it, above this fraction of a band's mean power.
COMPRESSION, FLOOR = 0.3, 1e-6
# Bins of the power spectrum, evenly spaced; power fainter than these fractions of the mean is not told apart.
N_BINS, FAINTEST_BIN, FAINTEST_BAND = 512, 1e-5, 1e-2
# Quantiles of an envelope, and as many again as the second number within the highest.
QUANTILES, LOUDEST = 24, 8
# Bands of modulation: the slowest in Hz, how many to the octave, how many; the least share of the variance told apart.
SLOWEST, PER_OCTAVE, N_MODULATIONS, FAINTEST_SHARE = 0.5, 2, 18, 3e-3
# Groups of these bands within which the bands of hearing are compared: first, and first of the next group.
GROUPS = ((0, 4), (4, 7), (7, 10), (10, 13), (13, N_MODULATIONS))
# Steps between neighbours, and between means of 2, 4, ... frames.
N_STEPS = 10
# What a mean squared difference of 1 in a group of statistics adds to the squared error.
WEIGHTS = {
    "spectrum": 1.0,
    "level": 2.0,
    "quantile": 1.0,
    "correlation": 4.0,
    "modulation": 1.0,
    "coherence": 2.0,
    "sparsity": 4.0,
    "asymmetry": 4.0,
}
# Added to spreads of envelopes and to variances: what varies less is taken as steady.
SMALLEST_SPREAD, SMALLEST_VARIANCE, SMALLEST_WAVE = 0.02, 1e-4, 1e-3
# What the slowest steps need.
LEAST_SAMPLES = DECIMATION * 2**N_STEPS


def modulation_filters(n_frames: int, frame_rate: float, device: torch.device) -> Float[Tensor, "modulations f"]:
    """Gains, for power, at the frequencies of `torch.fft.rfft` from the first: triangles on a logarithmic scale."""
    fastest = SLOWEST * 2 ** (N_MODULATIONS / PER_OCTAVE)
    n_frequencies = min(n_frames // 2, math.floor(fastest * n_frames / frame_rate))
    hertz = torch.arange(1, n_frequencies + 1, device=device) * (frame_rate / n_frames)
    place = (PER_OCTAVE * (hertz / SLOWEST).log2()).clamp(min=0)
    return 1 - (place - torch.arange(N_MODULATIONS, device=device)[:, None]).abs().clamp(max=1)


def steps(u: Float[Tensor, "n bands t"]) -> tuple[Float[Tensor, "n _"], Float[Tensor, "n _"]]:
    """How sparse and how unlike upwards and downwards the steps of envelopes are, at scales twice as long each.

    Of the steps s between neighbouring means: `E|s| / sqrt(E s^2)`, and `E(s|s|) / E s^2`, which is 0 of a sound that
    is the same backwards.
    """
    sparsity, asymmetry = [], []
    for _ in range(N_STEPS):
        step = u.roll(-1, 2) - u
        size, variance = step.abs(), step.square().mean(2) + SMALLEST_VARIANCE
        sparsity.append(size.mean(2) / variance.sqrt())
        asymmetry.append((step * size).mean(2) / variance)
        even = u.shape[2] // 2 * 2
        u = 0.5 * (u[..., 0:even:2] + u[..., 1:even:2])
    return torch.cat(sparsity, 1), torch.cat(asymmetry, 1)


@dataclass(frozen=True, eq=False)
class SoundStatistics:
    """Statistics `A x` of a sound x that describe it as a texture: an observation of indirect data.

    After McDermott and Simoncelli (2011): the sound is split by the filters of a `cochlea`, and the compressed
    envelopes of the bands are described by their quantiles, the correlations of all pairs of bands, the share of each
    band of modulation in their variance, and the correlations within groups of these. Besides, the fine power spectrum
    and the power of each band, and how sparse and asymmetric in time the steps of the envelopes are.

    Signals are taken as circles, as `SoundNetwork` makes them; the recording itself is made one by `loop`. A group's
    squared error is the mean square difference of its statistics, logarithms or otherwise relative, times `WEIGHTS`;
    `|y - A x|^2` is the sum over groups. The number of statistics does not depend on the length, nor does what they
    measure, but slow modulations need length.

    Attributes:
        rate: Samples per second.
        power: Mean power of each band in the recording.
        spread: Standard deviation of each compressed envelope in the recording.
        scales: What each statistic is multiplied by.
        target: y, the statistics of the recording itself.
    """

    rate: int
    power: Float[Tensor, "bands"]
    spread: Float[Tensor, "bands"]
    scales: Float[Tensor, "k"]
    target: Float[Tensor, "1 k"]

    @classmethod
    def of(cls, clip: Tensor, rate: int) -> SoundStatistics:
        """The statistics that suit a recording; `target` holds their values.

        Args:
            clip: (samples,) in [-1, 1]; at least `LEAST_SAMPLES` after `loop`.
            rate: Samples per second.

        Raises:
            ValueError: If the clip has another number of axes, is too short, or silent.
        """
        if clip.dim() != 1 or len(clip) < LEAST_SAMPLES + round(FADE * rate):
            least = LEAST_SAMPLES + round(FADE * rate)
            raise ValueError(f"expected a clip of shape (samples,), at least {least:,}; got {tuple(clip.shape)}")
        x = loop(clip.detach().float(), rate)[None]
        n_bands = math.ceil(BANDS_PER_BANDWIDTH * equivalent_bandwidths(rate / 2))
        subbands = analyse(torch.fft.rfft(x), cochlea(x.shape[1], rate, n_bands, x.device))
        power = square(subbands).mean((0, 2))
        if not power.mean() > 0:
            raise ValueError("the clip is silent")
        empty = x.new_zeros(0)
        blank = cls(rate, power + FLOOR * power.mean(), torch.ones_like(power), empty, empty[None])
        fitted = replace(blank, spread=blank.envelopes(subbands)[0].std(1) + SMALLEST_SPREAD)
        groups = fitted.groups(x)
        scales = [x.new_full(values.shape[1:], math.sqrt(WEIGHTS[kind] / values.shape[1])) for kind, values in groups]
        scale = torch.cat(scales)
        fitted = replace(fitted, scales=scale, target=torch.zeros_like(scale)[None])
        return replace(fitted, target=fitted(x))

    @property
    def observed(self) -> None:
        """All statistics were observed."""
        return None

    def __call__(self, x: Float[Tensor, "n samples"]) -> Float[Tensor, "n k"]:
        """The statistics of each sound; of any length that is a multiple of 16 and at least `LEAST_SAMPLES`."""
        return torch.cat([values for _, values in self.groups(x)], 1) * self.scales

    def select(self, index: Int[Tensor, "m"]) -> SoundStatistics:
        """Every sound is measured alike."""
        return self

    def to(self, device: torch.device) -> SoundStatistics:
        """The same statistics on another device."""
        return replace(
            self, **{name: getattr(self, name).to(device) for name in ("power", "spread", "scales", "target")}
        )

    def envelopes(self, subbands: Complex[Tensor, "n bands t"]) -> Float[Tensor, "n bands t"]:
        """Compressed envelopes, relative to the power of the recording."""
        return (square(subbands) / self.power[:, None] + FLOOR) ** (COMPRESSION / 2)

    def groups(self, x: Float[Tensor, "n samples"]) -> list[tuple[str, Float[Tensor, "n _"]]]:
        """The statistics before scaling: what kind, values."""
        spectrum = torch.fft.rfft(x)
        subbands = analyse(spectrum, cochlea(x.shape[1], self.rate, len(self.power), x.device))
        bins = F.adaptive_avg_pool1d(square(spectrum)[:, None], N_BINS)[:, 0] / x.shape[1]
        power = square(subbands).mean(2) / self.power
        envelopes = self.envelopes(subbands)
        ordered = envelopes.sort(2).values
        quantiles = F.adaptive_avg_pool1d(ordered, QUANTILES)
        loudest = F.adaptive_avg_pool1d(ordered[..., -(ordered.shape[2] // QUANTILES) :], LOUDEST)
        centred = envelopes - envelopes.mean(2, keepdim=True)
        u = centred / (centred.square().mean(2, keepdim=True) + SMALLEST_VARIANCE).sqrt()
        sparsity, asymmetry = steps(u)
        first, second = torch.triu_indices(u.shape[1], u.shape[1], 1, device=x.device)
        shares, coherences = self.modulations(u)
        return [
            ("spectrum", (bins + FAINTEST_BIN * self.power.mean()).log()),
            ("level", (power + FAINTEST_BAND).log()),
            ("quantile", (torch.cat([quantiles, loudest], 2) / self.spread[:, None]).flatten(1)),
            ("correlation", (u @ u.mT / u.shape[2])[:, first, second]),
            ("modulation", (shares + FAINTEST_SHARE).log().flatten(1)),
            ("coherence", coherences[:, :, first, second].flatten(1)),
            ("sparsity", sparsity),
            ("asymmetry", asymmetry),
        ]

    def modulations(
        self, u: Float[Tensor, "n bands t"]
    ) -> tuple[Float[Tensor, "n bands modulations"], Float[Tensor, "n groups bands bands"]]:
        """Shares of the bands of modulation in the variance, and correlations of all envelopes within `GROUPS`."""
        filters = modulation_filters(u.shape[2], self.rate / DECIMATION, u.device).to(u)
        waves = torch.fft.rfft(u)[..., 1 : filters.shape[1] + 1] * (math.sqrt(2) / u.shape[2])
        correlations = []
        for start, stop in GROUPS:
            gain = filters[start:stop].sum(0)
            inside = gain.nonzero()[:, 0]
            parts = torch.view_as_real(waves[..., inside] * gain[inside].sqrt()).flatten(2)
            parts = parts / (parts.square().sum(2, keepdim=True) + SMALLEST_WAVE).sqrt()
            correlations.append(parts @ parts.mT)
        return square(waves) @ filters.T, torch.stack(correlations, 1)
