"""What all of inference shares: energies, their gradients, and metrics in which they are round."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abpnet.arithmetic import reproducible

__all__ = [
    "Energy",
    "Watch",
    "acceptance_of",
    "apply",
    "choose",
    "energy_and_gradient",
    "in_precision",
    "per_example",
    "precondition",
    "truncate",
]

Energy = Callable[[Tensor], Tensor]
# Takes acceptance probabilities (n,).
Watch = Callable[[Tensor], None]
SHRINKAGE = 0.05
# In units of its length in equilibrium, where whitened gradients are standard normal.
LONGEST_GRADIENT = 10.0


def energy_and_gradient(energy: Energy, z: Float[Tensor, "n *latent"]) -> tuple[Tensor, Tensor]:
    """Energies (n,) and their gradients (n, *latent); examples must not depend on one another."""
    with torch.enable_grad(), reproducible(z.device):
        z = z.detach().requires_grad_()
        energies = energy(z)
        (gradient,) = torch.autograd.grad(energies.sum(), z)
    return energies.detach(), gradient


def precondition(precision: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Root R of the metric P = R R^T in which a normal posterior of this precision is round: P is its inverse.

    With the Cholesky factor L of the precision, R is `L^-T`. The precision is shrunk a little towards a multiple of the
    identity: directions that look flat in an estimate from few examples then get no huge steps.
    """
    identity = torch.eye(len(precision), device=precision.device)
    shrunk = torch.lerp(precision, precision.diagonal().mean() * identity, SHRINKAGE)
    # A check would make the processor wait for a GPU; what fails there is no number from here on.
    factor, _ = torch.linalg.cholesky_ex(shrunk, check_errors=not shrunk.is_cuda)
    return torch.linalg.solve_triangular(factor, identity, upper=False).mT.contiguous()


def in_precision(size: float | Tensor, z: Tensor) -> float | Tensor:
    """A step size, of double precision where there is one for each example, as a factor of what is as precise as z."""
    return size.to(z.dtype) if isinstance(size, Tensor) else size


def per_example(values: float | Float[Tensor, "n"], z: Float[Tensor, "n *latent"]) -> float | Tensor:
    """One number for all examples as it is; one for each so that it multiplies the factors of its example."""
    return values.view(-1, *[1] * (z.dim() - 1)) if isinstance(values, Tensor) else values


def acceptance_of(excess: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """With which probability a move is accepted that costs so much energy, `min(1, exp(-excess))`; 0 if it diverged."""
    return (-excess).exp().clamp(max=1.0).nan_to_num(0.0)


def choose(
    accepted: Bool[Tensor, "n"], proposal: Float[Tensor, "n *latent"], z: Float[Tensor, "n *latent"]
) -> Float[Tensor, "n *latent"]:
    """The proposal where it is accepted, z elsewhere."""
    return torch.where(accepted.view(-1, *[1] * (z.dim() - 1)), proposal, z)


def truncate(whitened: Float[Tensor, "n *latent"]) -> Float[Tensor, "n *latent"]:
    """Whitened gradients, shortened where they are much longer than any that a chain in equilibrium meets."""
    length = whitened.flatten(1).norm(dim=1) / math.sqrt(whitened[0].numel())
    return whitened * (LONGEST_GRADIENT / length).clamp(max=1).view(-1, *[1] * (whitened.dim() - 1))


def apply(matrix: Tensor | None, z: Tensor) -> Tensor:
    """The matrix times the factors of each example, at each position of a map; None is the identity.

    Args:
        matrix: (d, d), the same for all examples; or (m, d, d) for vectors of factors in m runs of equally many rows,
            one matrix for each run.
        z: (n, *latent) factors.
    """
    if matrix is None:
        return z
    if matrix.dim() == 3:
        # In double precision, whose last bits are dropped: they depend on the place of a row in the batch.
        runs = z.view(len(matrix), -1, z.shape[1]).double()
        return (runs @ matrix.mT.double()).view_as(z).to(z)
    return (matrix @ z.flatten(2)).view_as(z) if z.dim() > 2 else z @ matrix.T
