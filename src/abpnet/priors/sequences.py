"""Priors of sequences of factors, (n, d, length): what comes next depends on what went before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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

    @classmethod
    def of_size(cls, latent_dim: int) -> Autoregression:
        """One that says nothing yet, A = 0, such as the weights of a file replace."""
        return cls(torch.zeros(latent_dim, latent_dim))

    @property
    def size(self) -> dict[str, int]:
        """What `of_size` takes."""
        return {"latent_dim": self.latent_dim}

    @property
    def latent_dim(self) -> int:
        """d."""
        return len(self.coupling)

    def _root(self) -> Float[Tensor, "d d"]:
        identity = torch.eye(len(self.coupling), device=self.coupling.device)
        return torch.linalg.cholesky(identity + self.coupling @ self.coupling.mT)

    @property
    def transition(self) -> Float[Tensor, "d d"]:
        """A."""
        return torch.linalg.solve_triangular(self._root(), self.coupling, upper=False)

    def log_prob(
        self, z: Float[Tensor, "n d length"], moved: Float[Tensor, "n d steps"] | None = None
    ) -> Float[Tensor, "n"]:
        """`log N(z_1; 0, I) + sum_t (log det L - |L z_(t+1) - M z_t - u_t|^2 / 2 - (d / 2) log(2 pi))`.

        Args:
            z: Sequences.
            moved: u_t, what else moves the factors on, told by z_1 ... z_t; nothing by default.
        """
        self.check(z.shape)
        root, n_steps = self._root(), z.shape[2] - 1
        surprise = root @ z[:, :, 1:] - self.coupling @ z[:, :, :-1]
        if moved is not None:
            surprise = surprise - moved
        squares = z[:, :, 0].square().sum(1) + surprise.square().sum((1, 2))
        normaliser = 0.5 * z[0].numel() * math.log(2 * math.pi)
        return -0.5 * squares + n_steps * root.diagonal().log().sum() - normaliser

    def check(self, shape: Sequence[int]) -> None:
        """Refuse sequences of other shapes than (n, d, length).

        Raises:
            ValueError: If they have one.
        """
        if len(shape) != 3 or shape[1] != self.latent_dim:
            raise ValueError(
                f"a prior of sequences of {self.latent_dim} factors needs latent_dim=({self.latent_dim}, length), "
                f"got factors of shape {tuple(shape[1:])}"
            )

    def mover(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The function that takes z_t and u_t, (n, ..., d), to the z_(t+1) of `L z_(t+1) - M z_t = u_t`."""
        root, transition = self._root(), self.transition
        inverse = torch.linalg.solve_triangular(root, torch.eye(len(root), device=root.device), upper=False)
        return lambda z, moved: z @ transition.mT + moved @ inverse.mT

    def expected_next(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n d length"]:
        """`E[z_(t+1) | z_1 ... z_t] = A z_t` for each t."""
        return self.transition @ z

    @torch.no_grad()
    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Stationary sequences.

        Args:
            shape: (n, d, length).
            generator: Source of chance; the sequences are on its device.
        """
        self.check(shape)
        start, *noise = normal(shape, generator).to(self.coupling.device).unbind(2)
        move, states = self.mover(), [start]
        for fresh in noise:
            states.append(move(states[-1], fresh))
        return torch.stack(states, 2).to(generator.device)
