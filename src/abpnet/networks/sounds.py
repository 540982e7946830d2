"""Sounds of any length."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.cochlea import DECIMATION, analyse, cochlea, equivalent_bandwidths, loop, square, synthesise
from abpnet.networks.layers import LEAK, start_fainter

__all__ = ["SOUND_STRIDE", "SoundNetwork"]

# Samples of the sound for each position of the sequence of factors, and for each position of the finest envelopes.
SOUND_STRIDE, FINEST = 4096, 16
# From one scale of the envelopes to the next finer one, and how many positions each has for one of the factors.
UPSAMPLING = 4
SCALES = tuple(UPSAMPLING**step for step in range(1, 1 + round(math.log(SOUND_STRIDE / FINEST, UPSAMPLING))))
KERNEL = 7
# Envelopes stay within this many nepers of 1 before their level is set.
STEEPEST = 6.0
# Levels range over several nepers, and a few hundred small steps of a weight must do: weights are levels in this unit.
STRETCH = 3.0
# How loud a band starts, how loud its steady hiss is within it, and how flat the envelope of its noise.
FIRST_LEVEL, FIRST_HISS, FIRST_FLATNESS = math.log(0.02) / STRETCH, -3.0 / STRETCH, -2.0 / STRETCH
# How faint envelopes start to vary: from too loud ones the first steps would throw the chains far out.
INITIAL_CONTRAST = 0.3
# Frequencies, evenly spaced, at which the colour of the noise is learned.
N_COLOURS = 512
# A cycle is told by this many bumps, one after the other, each as wide as their distance.
N_BEATS = 64
SHARPNESS = (N_BEATS / (2 * math.pi)) ** 2
# Few of the bumps are high at a time: so loud they are heard beside the noise of the same layer.
BEAT_GAIN = 4.0
FAINTEST, SMALLEST = 1e-3, 1e-6
# Bands of the filters for each equivalent rectangular bandwidth of hearing below half of the rate.
BANDS_PER_BANDWIDTH = 1.05


def up_sample(x: Float[Tensor, "n c t"], factor: int) -> Float[Tensor, "n c t2"]:
    """Linear interpolation around a circle: unlike a strided deconvolution it leaves no buzz at the stride's rate."""
    return F.interpolate(F.pad(x, (1, 1), mode="circular"), scale_factor=factor, mode="linear")[..., factor:-factor]


def wrap(x: Float[Tensor, "n c t"], reach: int) -> Float[Tensor, "n c t2"]:
    """The sequence around a circle, continued at both ends, even by more than its length."""
    return x[..., torch.arange(-reach, x.shape[2] + reach, device=x.device) % x.shape[2]]


class SoundNetwork(nn.Module):
    """Sounds of any length: envelopes made from a sequence of factors, and noise that they shape.

    In the place of the strided deconvolutions of Han et al. (2017), experiment 2.

    The sequence holds the noise of all scales, so that the prior stays N(0, I) on one tensor. Its first channels are
    the coarse sequence itself; others, unfolded to sequences 4, 16, 64 and 256 times as long, join the layer of that
    scale; the last 4,096 are the noise at the rate of the sound. Each layer lengthens the sequence by 4, by linear
    interpolation, and convolves it with basis functions 7 long; normalisation (of every example by itself) and leaky
    ReLU follow. Every scale adds its share to the logarithms of the envelopes of the bands of a `cochlea`, so that
    normal factors become envelopes as sparse as those of clicks.

    The fine noise gets unit power and the learned colour at every frequency, is split into the bands, freed there
    of a learned part of its own envelope, multiplied by the envelope and a learned level, and superposed; tanh at the
    bottom. The sound is a circle: it can be repeated without a seam.

    Of a rhythm the network is told the period; each sound takes its place in the cycle from its factors.

    Args:
        latent_dim: Channels of the sequence of factors, more than `4096 + 340 * n_fine`.
        rate: Samples per second.
        width: Channels of each layer.
        n_fine: Channels of noise at each scale between the coarse one and the sound's.
        period: Samples of one cycle, for sounds that have a rhythm.

    Raises:
        ValueError: If `latent_dim` leaves fewer than the two coarse channels that place a cycle, or the period is
            shorter than what the finest envelopes resolve.
    """

    def __init__(
        self, latent_dim: int, rate: int = 11025, width: int = 48, n_fine: int = 8, period: float | None = None
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "rate": rate,
            "width": width,
            "n_fine": n_fine,
            "period": period,
        }
        self.latent_dim, self.rate, self.period = latent_dim, rate, period
        n_coarse = latent_dim - n_fine * sum(SCALES) - SOUND_STRIDE
        if n_coarse < 2:
            raise ValueError(
                f"latent_dim must exceed {latent_dim - n_coarse + 1} with n_fine={n_fine}, got {latent_dim}"
            )
        if period is not None and not period > 2 * FINEST:
            raise ValueError(f"the period must exceed {2 * FINEST} samples, got {period}")
        self.parts = [n_coarse, *(n_fine * scale for scale in SCALES), SOUND_STRIDE]
        n_bands = math.ceil(BANDS_PER_BANDWIDTH * equivalent_bandwidths(rate / 2))
        inputs = [n_coarse, *[width + n_fine] * len(SCALES)]
        inputs[-1] += 0 if period is None else N_BEATS
        self.convolutions = nn.ModuleList(nn.Conv1d(count, width, KERNEL) for count in inputs)
        self.normalisations = nn.ModuleList(nn.GroupNorm(1, width) for _ in inputs)
        self.shares = nn.ModuleList(nn.Conv1d(width, n_bands, 1) for _ in inputs)
        for share in self.shares:
            start_fainter(share, INITIAL_CONTRAST)
        self.level, self.hiss, self.flatness = (nn.Parameter(torch.zeros(n_bands)) for _ in range(3))
        self.colour = nn.Parameter(torch.zeros(N_COLOURS))

    @classmethod
    def with_noise(
        cls, rate: int = 11025, width: int = 48, n_coarse: int = 16, n_fine: int = 8, period: float | None = None
    ) -> SoundNetwork:
        """The network with `n_coarse` channels of noise at the coarsest scale and `n_fine` at each of the next."""
        return cls(n_coarse + n_fine * sum(SCALES) + SOUND_STRIDE, rate, width, n_fine, period)

    def initialise(self) -> None:
        """Set the weights that are no layer's to where they start; `abpnet.networks.initialise` asks for it."""
        nn.init.constant_(self.level, FIRST_LEVEL)
        nn.init.constant_(self.hiss, FIRST_HISS)
        nn.init.constant_(self.flatness, FIRST_FLATNESS)
        nn.init.zeros_(self.colour)

    @torch.no_grad()
    def start_from(self, clip: Float[Tensor, "samples"]) -> None:
        """Set colour and level of the noise to those of a recording, where learning starts best.

        Args:
            clip: The recording, made a circle by `loop`.
        """
        clip = loop(clip.float(), self.rate)
        spectrum = torch.fft.rfft(clip[None])
        power = F.adaptive_avg_pool1d(square(spectrum)[:, None], N_COLOURS)[0, 0]
        self.colour.copy_((power / power.mean() + SMALLEST).log() / (2 * STRETCH))
        levels = square(analyse(spectrum, cochlea(len(clip), self.rate, len(self.level), clip.device))).mean(2)[0]
        self.level.copy_((levels + SMALLEST * levels.mean()).log() / (2 * STRETCH))

    def forward(self, z: Float[Tensor, "n latent_dim length"]) -> Float[Tensor, "n samples"]:
        """Sounds of the factors, 4,096 samples for each position."""
        sequences = z.split(self.parts, 1)
        n_samples = SOUND_STRIDE * z.shape[2]
        bank = cochlea(n_samples, self.rate, len(self.level), z.device)
        noise = torch.fft.rfft(sequences[-1].float().transpose(1, 2).flatten(1))
        colour = F.interpolate(STRETCH * self.colour[None, None], size=noise.shape[1], mode="linear")[0, 0]
        carriers = analyse(noise / (noise.abs() + SMALLEST) * colour.exp(), bank)
        power = square(carriers) / square(carriers).mean(2, keepdim=True)
        flatness = torch.sigmoid(STRETCH * self.flatness)[:, None]
        envelopes = up_sample(self.envelopes(sequences), FINEST // DECIMATION)
        subbands = carriers * (envelopes * (power + FAINTEST) ** (-0.5 * flatness))
        loudness = square(subbands).mean(2, keepdim=True).sqrt()
        gain = (STRETCH * self.level).exp()[:, None] / (loudness + torch.finfo(loudness.dtype).tiny)
        return synthesise(subbands * gain, bank).tanh()

    def envelopes(self, sequences: tuple[Tensor, ...]) -> Float[Tensor, "n bands t"]:
        """Envelope of each band, before its level is set: steady hiss, and what the factors make."""
        hidden, logarithms = sequences[0], torch.zeros((), device=sequences[0].device)
        for layer, convolution in enumerate(self.convolutions):
            if layer:
                noise = sequences[layer].unflatten(1, (-1, SCALES[layer - 1])).transpose(2, 3).flatten(2)
                parts = [up_sample(hidden, UPSAMPLING), noise]
                if self.period is not None and layer == len(SCALES):
                    parts.append(self.beats(sequences[0], noise.shape[2]))
                hidden, logarithms = torch.cat(parts, 1), up_sample(logarithms, UPSAMPLING)
            hidden = self.normalisations[layer](convolution(wrap(hidden, KERNEL // 2)))
            hidden = F.leaky_relu(hidden, LEAK)
            logarithms = logarithms + self.shares[layer](hidden)
        steady = (STRETCH * self.hiss).exp()[:, None]
        return (STEEPEST * (logarithms.float() / STEEPEST).tanh()).exp() + steady

    def beats(self, coarse: Float[Tensor, "n c length"], n_positions: int) -> Float[Tensor, "n beats t"]:
        """Where in the cycle each position is: bumps that come round with the period, as whole cycles fill the circle.

        The angle at which a sound begins is that of two sums of factors, so it is uniform under the prior.
        """
        assert self.period is not None
        n_cycles = max(1, round(n_positions * FINEST / self.period))
        first, second = coarse[:, :2].float().sum(2).unbind(1)
        beginning = torch.atan2(second, first)[:, None, None]
        angle = torch.arange(n_positions, device=coarse.device) * (2 * math.pi * n_cycles / n_positions)
        place = torch.arange(N_BEATS, device=coarse.device)[:, None] * (2 * math.pi / N_BEATS)
        return BEAT_GAIN * (SHARPNESS * ((angle + beginning - place).cos() - 1)).exp()
