"""Priors of sequences of factors, (n, d, length): what comes next depends on what went before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.chance import normal

__all__ = ["Autoregression"]


class Autoregression(nn.Module):
    """Vector auto-regression `z_(t+1) = A z_t + e_t`, `e_t ~ N(0, Q)`, stationary with covariance I: `A A^T + Q = I`.

    Its parameter M may be any matrix: with the Cholesky factor L of `I + M M^T`, `A = L^-1 M` and `Q = (L^T L)^-1`, so
    that `L z_(t+1) - M z_t ~ N(0, I)`. Every stationary auto-regression of first order is one of these in suitable
    coordinates of z, which the network is free to choose.

    Args:
        transition: (d, d) A to start from, of singular values below 1.

    Raises:
        ValueError: If it has a singular value of 1 or more.
    """

    def __init__(self, transition: Float[Tensor, "d d"]) -> None:
        super().__init__()
        largest = float(torch.linalg.matrix_norm(transition, 2))
        if not largest < 1:
            raise ValueError(f"transition must have singular values below 1, got {largest:.4g}")
        innovation = torch.eye(len(transition)) - transition.double() @ transition.double().mT
        root = torch.linalg.cholesky(innovation)
        self.coupling = nn.Parameter(
            torch.linalg.solve_triangular(root, transition.double(), upper=False).float().contiguous()
        )

    def _root(self) -> Float[Tensor, "d d"]:
        identity = torch.eye(len(self.coupling), device=self.coupling.device)
        return torch.linalg.cholesky(identity + self.coupling @ self.coupling.mT)

    @property
    def transition(self) -> Float[Tensor, "d d"]:
        """A."""
        return torch.linalg.solve_triangular(self._root(), self.coupling, upper=False)

    def log_prob(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n"]:
        """`log N(z_1; 0, I) + sum_t (log det L - |L z_(t+1) - M z_t|^2 / 2 - (d / 2) log(2 pi))`."""
        root, n_steps = self._root(), z.shape[2] - 1
        surprise = root @ z[:, :, 1:] - self.coupling @ z[:, :, :-1]
        squares = z[:, :, 0].square().sum(1) + surprise.square().sum((1, 2))
        normaliser = 0.5 * z[0].numel() * math.log(2 * math.pi)
        return -0.5 * squares + n_steps * root.diagonal().log().sum() - normaliser

    @torch.no_grad()
    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Stationary sequences.

        Args:
            shape: (n, d, length).
            generator: Source of chance.
        """
        noise = normal(shape, generator)
        root, transition = self._root(), self.transition
        states = [noise[:, :, 0]]
        for step in noise.unbind(2)[1:]:
            fresh = torch.linalg.solve_triangular(root, step.mT, upper=False).mT
            states.append(states[-1] @ transition.mT + fresh)
        return torch.stack(states, 2)
