"""Frames learned together with how they move: pieces of a clip, whose factors are an auto-regression or a recurrence.

Two steps learn frames as if each were alone, and fit the motion to whatever paths their factors take. Together, the
motion is the prior of the factors, so that the network comes to explain frames by factors that can be foretold.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.dynamics import matching, matrix_power, stationary_autoregression
from abpnet.explaining import decode, explain, weights_device
from abpnet.model import GeneratorModel
from abpnet.networks import FrameByFrame, FrameNetwork
from abpnet.observations import Complete, hide_missing
from abpnet.priors import Autoregression, Motion

__all__ = ["LearnedProcess", "Together", "foretell", "join", "process_of", "track"]

# Frames before a frame that tell its factors as well, and steps of the search for them.
SEEN_BEFORE, MODE_STEPS = 7, 60
# Frames whose factors are searched for at a time.
AT_ONCE = 16
# Steps after which a recurrence has forgotten where it started; paths, and their length, that tell its moments.
BURN_IN, N_PATHS, PATH_LENGTH = 100, 64, 2000


class Together(NamedTuple):
    """Where learning frames and motion together starts.

    Attributes:
        network: Of clips; a copy.
        prior: How their factors move.
        path: (n, d) factors of the frames, of mean 0 and covariance I.
    """

    network: FrameByFrame
    prior: Autoregression
    path: Float[Tensor, "n d"]


def join(network: FrameNetwork, path: Float[np.ndarray, "n d"]) -> Together:
    """A network of frames and the motion of their factors as one model, which says what the two of them said.

    The motion is that of `stationary_autoregression`, `z_(t+1) - m = A (z_t - m) + e_t` with covariance G; in the
    factors `u = G^(-1/2) (z - m)` it is an `Autoregression`, whose transition is `G^(-1/2) A G^(1/2)`.

    Args:
        network: Learned from single frames.
        path: Their factors, in the order of time.

    Raises:
        ValueError: If the path is too short.
    """
    process = stationary_autoregression([path])
    covariance = process.covariance()
    root, inverse = matrix_power(covariance, 0.5), matrix_power(covariance, -0.5)
    device = weights_device(network)
    moved = copy.deepcopy(network)
    moved.change_factors(torch.from_numpy(process.mean).float().to(device), torch.from_numpy(root).float().to(device))
    prior = Autoregression(torch.from_numpy(inverse @ process.transitions[0] @ root).float())
    return Together(FrameByFrame(moved), prior, torch.from_numpy((path - process.mean) @ inverse).float())


@dataclass(frozen=True)
class LearnedProcess:
    """`z = m + L s`, s a sequence of the prior that started long before.

    Attributes:
        prior: On the CPU, so that the same chance gives the same path wherever it was learned.
        mean: m, (d,).
        change: L, (d, d).
        n_parameters: Numbers that were learned.
    """

    prior: Motion
    mean: Float[np.ndarray, "d"]
    change: Float[np.ndarray, "d d"]
    n_parameters: int

    def simulate(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """A path of any length.

        Args:
            n_frames: Its length.
            rng: Source of chance.
        """
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        return self.mean + _states(self.prior, 1, n_frames, generator)[0] @ self.change.T


def _states(prior: Motion, n: int, length: int, generator: torch.Generator) -> Float[np.ndarray, "n length d"]:
    """States after the start is forgotten."""
    return prior.sample((n, prior.latent_dim, BURN_IN + length), generator)[:, :, BURN_IN:].mT.double().numpy()


def _motion_of(model: GeneratorModel) -> tuple[FrameByFrame, Motion]:
    """Network and prior of a model that foretells.

    Raises:
        TypeError: If it is none.
    """
    network, prior = model.network, model.prior
    if not isinstance(network, FrameByFrame) or not isinstance(prior, Motion):
        raise TypeError(
            "expected a model of FrameByFrame(network) under an Autoregression or a Recurrence, such as learning "
            f"frames and motion together gives; got {type(network).__name__} under {type(prior).__name__}"
        )
    return network, prior


def process_of(model: GeneratorModel, paths: Sequence[Float[np.ndarray, "_ d"]]) -> LearnedProcess:
    """How the factors of a model move, with the mean and the covariance of the paths that were found.

    Pieces of a clip are too short to tell a recurrence where it is led in the long run.

    Args:
        model: Of clips, as `track` takes it.
        paths: Factors of the frames learned from.

    Raises:
        TypeError: If the model has another network or prior.
    """
    prior = copy.deepcopy(_motion_of(model)[1])
    weights = prior.cpu().parameters() if isinstance(prior, nn.Module) else ()
    states = _states(prior, N_PATHS, PATH_LENGTH, torch.Generator().manual_seed(0))
    mean, change = matching(list(states), paths)
    d = len(mean)
    return LearnedProcess(prior, mean, change, sum(weight.numel() for weight in weights) + d + d * (d + 1) // 2)


def _past(n: int, length: int) -> Tensor:
    """Indices of each frame and of those just before it, (n, length); below 0 where there are none."""
    return torch.arange(n)[:, None] + torch.arange(1 - length, 1)


def track(
    model: GeneratorModel,
    frames: Float[Tensor, "n *shape"],
    *,
    start: Float[Tensor, "n d"] | None = None,
    seen_before: int = SEEN_BEFORE,
    n_steps: int = MODE_STEPS,
) -> Float[Tensor, "n d"]:
    """Factors of each frame of a clip, told by it and some before it: z_t of the posterior mode of z_(t-k) ... z_t.

    No frame says anything about those before it.

    Args:
        model: Of clips, with a `FrameByFrame` network and a prior of sequences.
        frames: In the order of time, NaN = missing.
        start: Where the search for each frame's factors starts; zero by default.
        seen_before: k; 0 = each frame is explained by itself.
        n_steps: Steps of the search.

    Raises:
        TypeError: If the model has another network or prior.
    """
    network, prior = _motion_of(model)
    n_factors, past = model.latent_shape[0], _past(len(frames), seen_before + 1)
    known = past >= 0
    clips = torch.where(known.view(*known.shape, *[1] * (frames.dim() - 1)), frames[past.clamp(min=0)], torch.nan)
    starts = torch.zeros(len(frames), n_factors) if start is None else start
    sequences = torch.where(known[..., None], starts[past.clamp(min=0)], 0.0)
    told = GeneratorModel(network, (n_factors, seen_before + 1), prior, model.emission)
    y, seen = hide_missing(clips.movedim(1, 2), Complete())
    return explain(told, y, seen, sequences.mT, n_steps=n_steps, at_once=AT_ONCE)[:, :, -1]


def foretell(
    model: GeneratorModel,
    frames: Float[Tensor, "n *shape"],
    z: Float[Tensor, "n d"],
    *,
    keep_residual: bool = False,
) -> Float[Tensor, "n *shape"]:
    """What is to be expected after each frame: f of `E[z_(t+1) | z_1 ... z_t]`.

    What the factors leave of a frame may be taken to stay: `y_t - f(z_t)` is added. Where frames come that are unlike
    those learned from, that is most of what is to be foretold.

    Args:
        model: As `track` takes it.
        frames: y, in the order of time, NaN = missing.
        z: Their factors, from `track`.
        keep_residual: Whether residuals stay; those of missing values are 0.

    Raises:
        TypeError: If the model has another network or prior.
    """
    network, prior = _motion_of(model)
    by_frame = GeneratorModel(network.network, z.shape[1:])
    with torch.no_grad():
        (following,) = prior.expected_next(z.T[None].to(weights_device(model)))
        ahead = decode(by_frame, following.T.cpu())
    if not keep_residual:
        return ahead
    return ahead + torch.where(frames.isnan(), 0.0, frames - decode(by_frame, z))
