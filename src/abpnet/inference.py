"""Inferential back-propagation: explain an observation away by its latent factors.

Algorithms are functions: the chains' state comes in and goes out, chance comes from a `torch.Generator`. They know the
model only through its energy `E(z) = -log p(y, z)`, one number per example, so they work for any decoder and any
observation. Gradients are computed for z alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Energy",
    "Preconditioner",
    "energy_and_gradient",
    "find_mode",
    "gradient_descent",
    "langevin",
    "precondition",
]

Energy = Callable[[Tensor], Tensor]


def energy_and_gradient(energy: Energy, z: Float[Tensor, "n *latent"]) -> tuple[Tensor, Tensor]:
    """Energies (n,) and their gradients (n, *latent); examples must not depend on one another."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        energies = energy(z)
        (gradient,) = torch.autograd.grad(energies.sum(), z)
    return energies.detach(), gradient


class Preconditioner(NamedTuple):
    """A change of the metric of latent space, the same for all examples and all positions of a map.

    Attributes:
        matrix: P.
        root: R with `R R^T = P`.
    """

    matrix: Float[Tensor, "d d"]
    root: Float[Tensor, "d d"]


def precondition(precision: Float[Tensor, "d d"]) -> Preconditioner:
    """The metric in which a normal posterior of this precision is round: P is its inverse."""
    matrix = torch.cholesky_inverse(torch.linalg.cholesky(precision))
    return Preconditioner(matrix, torch.linalg.cholesky(matrix))


def _apply(matrix: Tensor, z: Tensor) -> Tensor:
    """The matrix times the factors of each example, at each position of a map."""
    return (matrix @ z.flatten(2)).view_as(z) if z.dim() > 2 else z @ matrix.T


@torch.no_grad()
def langevin(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    n_steps: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    preconditioner: Preconditioner | None = None,
) -> Float[Tensor, "n *latent"]:
    """Langevin dynamics: `z <- z - (s^2 / 2) P dE/dz + s sqrt(T) R u`, `u ~ N(0, I)`.

    Han et al. (2017), equation 8, at T = 1 and P = R = I. Its equilibrium is p(z | y)^(1/T) for every P = R R^T, up to
    a bias that vanishes with s.

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        step_size: s.
        n_steps: Number of steps.
        generator: Source of u, on its own device.
        temperature: T; 0 is gradient descent, exactly.
        preconditioner: P and R; the identity by default.
    """
    for _ in range(n_steps):
        _, gradient = energy_and_gradient(energy, z)
        drift = gradient if preconditioner is None else _apply(preconditioner.matrix, gradient)
        z = z - (0.5 * step_size**2) * drift
        if temperature > 0:
            noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z)
            noise = noise if preconditioner is None else _apply(preconditioner.root, noise)
            z = z + (step_size * math.sqrt(temperature)) * noise
    return z


@torch.no_grad()
def gradient_descent(
    energy: Energy, z: Float[Tensor, "n *latent"], *, step_size: float, n_steps: int
) -> Float[Tensor, "n *latent"]:
    """Alternating gradient descent's inference: `z <- z - (s^2 / 2) dE/dz`, Langevin dynamics without noise.

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        step_size: s.
        n_steps: Number of steps.
    """
    unused = torch.Generator(z.device)
    return langevin(energy, z, step_size=step_size, n_steps=n_steps, generator=unused, temperature=0.0)


@torch.no_grad()
def find_mode(
    energy: Energy, z: Float[Tensor, "n *latent"], *, n_steps: int = 300, learning_rate: float = 0.1
) -> tuple[Float[Tensor, "n *latent"], Float[Tensor, "n"]]:
    """Posterior mode of each example by Adam (Kingma and Ba 2015), every coordinate with a step of its own.

    The learning rate falls linearly to 0. Moments are kept per coordinate, so examples do not depend on one another.

    Args:
        energy: E(z) of each example.
        z: Where to start.
        n_steps: Number of steps.
        learning_rate: Length of the first steps, in standard deviations of the prior.

    Returns:
        The point of lowest energy that each example visited, and that energy.
    """
    first_decay, second_decay, epsilon = 0.9, 0.999, 1e-8
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    best, lowest = z, torch.full(z.shape[:1], math.inf, device=z.device)
    for step in range(n_steps + 1):
        energies, gradient = energy_and_gradient(energy, z)
        better = energies < lowest
        lowest = torch.where(better, energies, lowest)
        best = torch.where(better.view(-1, *[1] * (z.dim() - 1)), z, best)
        first = first_decay * first + (1 - first_decay) * gradient
        second = second_decay * second + (1 - second_decay) * gradient.square()
        unbiased = second / (1 - second_decay ** (step + 1))
        rate = learning_rate * (1 - step / n_steps) / (1 - first_decay ** (step + 1))
        z = z - rate * first / (unbiased.sqrt() + epsilon)
    return best, lowest
