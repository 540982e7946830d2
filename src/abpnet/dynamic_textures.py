"""A learned network and how its factors move: videos of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from abpnet.dynamics import stationary_autoregression
from abpnet.estimator import GeneratorNetwork
from abpnet.explaining import decode, explain, infer
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import FRAMES_PER_POSITION, FrameByFrame, SpaceTimeNetwork
from abpnet.observations import Complete
from abpnet.recurrent import fit_recurrent

__all__ = ["DynamicTexture", "Process", "infer_paths", "learn_motion", "pieces"]

# Frames of a piece that is learned as a whole, and positions of its factors that are decoded at a time, with as
# many more on each side as a frame depends on.
PIECE, WINDOW, CONTEXT = 32, 64, 4
# Chains stand near the modes.
MODE_STEPS = 60


@runtime_checkable
class Process(Protocol):
    """How factors move."""

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned."""
        ...

    def simulate(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """A path of any length."""
        ...


def pieces(frames: Float[np.ndarray, "n c *rest"]) -> Float[np.ndarray, "m c t *rest"]:
    """Pieces of equal length that cover a clip, overlapping as little as they can; what networks of clips learn.

    Args:
        frames: At least `FRAMES_PER_POSITION`; or a path of factors, (n, d), cut at the same places.
    """
    starts, length = _cuts(len(frames))
    return np.stack([frames[start : start + length].swapaxes(0, 1) for start in starts])


def _cuts(n_frames: int) -> tuple[np.ndarray, int]:
    """Where pieces start, and how long they are."""
    length = min(PIECE, n_frames // FRAMES_PER_POSITION * FRAMES_PER_POSITION)
    return np.linspace(0, n_frames - length, math.ceil(n_frames / length)).round().astype(int), length


def _joined(parts: Sequence[np.ndarray], n: int) -> np.ndarray:
    """The whole of which these are the `pieces`, each put back into the order of time."""
    starts, length = _cuts(n)
    whole = np.empty((n, *parts[0].shape[1:]), parts[0].dtype)
    for start, part in zip(starts, parts, strict=True):
        whole[start : start + length] = part
    return whole


def infer_paths(network: GeneratorNetwork, frames: Float[np.ndarray, "n c h w"]) -> list[Float[np.ndarray, "_ d"]]:
    """Paths of the factors that explain a clip.

    Of a network of frames, the posterior mode of each, found from where its chain stands: chains, being drawn, tremble.
    Of frames learned together with their motion, the modes of the pieces, joined. Of a space-time network, where the
    chains of the pieces stand: one path for each.

    Args:
        network: Just learned from these frames, or from their `pieces`.
        frames: In the order of time.
    """
    if len(network.signal_shape_) == 3:
        start = torch.from_numpy(network.latents_)
        modes = infer(network.model_, torch.from_numpy(frames), start=start, n_steps=MODE_STEPS)
        return [modes.double().numpy()]
    if isinstance(network.model_.network, FrameByFrame):
        y, start = torch.from_numpy(pieces(frames)), torch.from_numpy(network.latents_)
        modes = explain(network.model_, y, Complete(), start, n_steps=MODE_STEPS)
        return [_joined(list(modes.mT.double().numpy()), len(frames))]
    return [piece.T.astype(np.float64) for piece in network.latents_]


def learn_motion(
    paths: list[Float[np.ndarray, "_ d"]], transition: str, order: int, generator: torch.Generator
) -> Process:
    """A process with the mean and the covariance of the paths.

    Args:
        paths: From `infer_paths`.
        transition: "linear" or "recurrent".
        order: Of the linear one.
        generator: Source of chance of the recurrent one.
    """
    if transition == "recurrent":
        return fit_recurrent(paths, generator)
    return stationary_autoregression(paths, order)


def _windows(z: np.ndarray) -> Iterator[tuple[np.ndarray, slice]]:
    """Parts of a sequence with their context, and which of their frames are new."""
    for first in range(0, len(z), WINDOW):
        start = max(0, first - CONTEXT)
        skipped, kept = first - start, min(WINDOW, len(z) - first)
        part = slice(skipped * FRAMES_PER_POSITION, (skipped + kept) * FRAMES_PER_POSITION)
        yield z[start : first + WINDOW + CONTEXT], part


@dataclass(frozen=True)
class DynamicTexture:
    """Frames `f(z_t)`, z a stationary process.

    Attributes:
        network: f, of frames or of clips.
        paths: Inferred z, see `infer_paths`.
        process: How z moves.
    """

    network: GeneratorNetwork
    paths: list[Float[np.ndarray, "_ d"]]
    process: Process

    @property
    def _of_frames(self) -> bool:
        return not isinstance(self.network.model_.network, SpaceTimeNetwork)

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned."""
        weights = sum(weight.numel() for weight in self.network.model_.network.parameters())
        return weights + self.process.n_parameters

    def frames(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m c h w"]:
        """Frames of factors: one for each, or `FRAMES_PER_POSITION` of a space-time network."""
        z = z.astype(np.float32)
        if isinstance(self.network.model_.network, FrameByFrame):
            return decode(GeneratorModel(self.network.model_.network.network, z.shape[1:]), torch.from_numpy(z)).numpy()
        if self._of_frames:
            return self.network.inverse_transform(z)
        decoder = frozen_decoder(self.network.model_.network)
        device = next(self.network.model_.parameters()).device
        parts = []
        with torch.no_grad():
            for part, kept in _windows(z):
                clip = decoder(torch.from_numpy(part.T.copy())[None].to(device))[0].cpu().numpy()
                parts.append(clip.swapaxes(0, 1)[kept])
        return np.concatenate(parts)

    def synthesise(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n c h w"]:
        """A new video of any length.

        Args:
            n_frames: Its length.
            rng: Source of chance.
        """
        per_position = 1 if self._of_frames else FRAMES_PER_POSITION
        return self.frames(self.process.simulate(math.ceil(n_frames / per_position), rng))[:n_frames]

    def reconstruct(self, n_frames: int) -> Float[np.ndarray, "n c h w"]:
        """The clip learned from, as its factors explain it.

        Args:
            n_frames: Its length.
        """
        parts = [self.frames(path) for path in self.paths]
        return parts[0] if self._of_frames else _joined(parts, n_frames)
