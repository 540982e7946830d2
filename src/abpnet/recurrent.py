"""A recurrent transition of latent factors: what a vector auto-regression leaves unexplained, learned by a GRU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.dynamics import matching, matrix_power, stationary_autoregression
from abpnet.memory import HIDDEN_DIM, Memory

__all__ = ["RecurrentProcess", "RecurrentTransition", "fit_recurrent"]

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-2
# Of each segment the last fifth is kept back; learning stops where it is foretold best.
KEPT_BACK, MOST_STEPS = 0.2, 300
# Independent paths and their length, from which the stationary moments are told.
N_PATHS, PATH_LENGTH, BURN_IN = 64, 400, 100


class RecurrentTransition(nn.Module):
    """`E[z_{t+1} | z_1 ... z_t] = A z_t + B h_t`, `h_t = GRU(z_t, h_{t-1})`, for factors of mean 0 (see `Memory`).

    Args:
        transition: A, of spectral radius below 1; not learned.
        hidden_dim: Entries of h.
        generator: Source of the first weights; B starts at 0, where the process is the auto-regression itself.
    """

    transition: Tensor

    def __init__(self, transition: Float[Tensor, "d d"], hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("transition", transition)
        self.memory = Memory(len(transition), hidden_dim, generator)

    def forward(
        self, z: Float[Tensor, "n t d"], hidden: Float[Tensor, "1 n hidden"] | None = None
    ) -> tuple[Float[Tensor, "n t d"], Float[Tensor, "1 n hidden"]]:
        """Expected factors after each of those given, and the state of memory."""
        moved, hidden = self.memory(z, hidden)
        return z @ self.transition.T + moved, hidden


@dataclass(frozen=True)
class RecurrentProcess:
    """`z = m + L s`, `s_{t+1} = F(s_t, h_t) + e_t`, `e_t ~ N(0, Q)`.

    Attributes:
        transition: F.
        mean: m, (d,).
        change: L, (d, d).
        innovation: Q, (d, d).
        held_back: Mean squared error of foretelling states that were kept back from learning, over that of the
            auto-regression; 1 if the network found nothing that holds there.
    """

    transition: RecurrentTransition
    mean: Float[np.ndarray, "d"]
    change: Float[np.ndarray, "d d"]
    innovation: Float[np.ndarray, "d d"]
    held_back: float

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned: those of F, A among them, m and the symmetric Q."""
        d = len(self.mean)
        weights = sum(weight.numel() for weight in self.transition.parameters())
        return weights + self.transition.transition.numel() + d + d * (d + 1) // 2

    def simulate(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """A path of any length, started in the stationary distribution.

        Args:
            n_frames: Its length.
            rng: Source of chance.
        """
        return self.mean + _paths(self.transition, self.innovation, 1, n_frames, rng)[:, 0] @ self.change.T


@torch.no_grad()
def _paths(
    transition: RecurrentTransition, innovation: np.ndarray, n_paths: int, length: int, rng: np.random.Generator
) -> np.ndarray:
    """States (length, n_paths, d) after the start from 0 is forgotten."""
    d = len(innovation)
    noise = rng.standard_normal((BURN_IN + length, n_paths, d)) @ matrix_power(innovation, 0.5)
    state, hidden, path = torch.zeros(n_paths, d), None, []
    for innovations in torch.from_numpy(noise.astype(np.float32)):
        expected, hidden = transition(state[:, None], hidden)
        state = expected[:, 0] + innovations
        path.append(state)
    return torch.stack(path[BURN_IN:]).double().numpy()


def _residuals(transition: RecurrentTransition, segment: Tensor) -> Tensor:
    """What each state of (n, d), but the first, differs by from what was foretold of it."""
    expected, _ = transition(segment[None, :-1])
    return segment[1:] - expected[0]


def fit_recurrent(segments: Sequence[Float[np.ndarray, "_ d"]], generator: torch.Generator) -> RecurrentProcess:
    """Maximum likelihood, with mean and covariance of the segments as stationary ones.

    Starts at the stationary auto-regression of order 1. States are taken in units of its innovations, in which minus
    the log-likelihood is the sum of squared residuals; it is minimised by AdamW on the first four fifths of each
    segment, and the step is kept after which the rest is foretold best. Then follow the innovations' covariance, in
    closed form, and the coordinates in which the stationary moments (of simulated paths) are those of the segments.

    Args:
        segments: (n_i, d) each.
        generator: Source of chance.
    """
    process = stationary_autoregression(segments)
    unit, inverse = matrix_power(process.innovation, 0.5), matrix_power(process.innovation, -0.5)
    states = [torch.from_numpy((segment - process.mean) @ inverse).float() for segment in segments]
    linear = torch.from_numpy(inverse @ process.transitions[0] @ unit).float()
    transition = RecurrentTransition(linear, HIDDEN_DIM, generator)
    optimizer = torch.optim.AdamW(transition.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    n_learned = [len(segment) - max(1, round(KEPT_BACK * len(segment))) for segment in states]
    errors, best = [], copy.deepcopy(transition)
    for _ in range(MOST_STEPS):
        squares = [_residuals(transition, segment).square().sum(1) for segment in states]
        held_back = torch.cat([square[n - 1 :] for square, n in zip(squares, n_learned, strict=True)])
        errors.append(float(held_back.detach().mean()))
        if errors[-1] == min(errors):
            best = copy.deepcopy(transition)
        optimizer.zero_grad(set_to_none=True)
        torch.cat([square[: n - 1] for square, n in zip(squares, n_learned, strict=True)]).mean().backward()
        optimizer.step()
    with torch.no_grad():
        residuals = torch.cat([_residuals(best, segment) for segment in states]).double().numpy()
    innovation = residuals.T @ residuals / len(residuals)
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    paths = _paths(best, innovation, N_PATHS, PATH_LENGTH, rng)
    mean, change = matching([paths.reshape(-1, len(process.mean))], segments)
    return RecurrentProcess(best, mean, change, innovation, min(errors) / errors[0])
