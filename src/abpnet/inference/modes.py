"""Posterior modes: the factors that explain an observation best."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.inference.energies import Energy, choose, energy_and_gradient

__all__ = ["find_mode", "ridge"]

# Dampings that each step of ridge regression tries, in units of the prior's precision.
DAMPINGS = (0.0, 1.0, 10.0, 1e2, 1e3, 1e4, 1e5)


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
        best = choose(better, z, best)
        first = first_decay * first + (1 - first_decay) * gradient
        second = second_decay * second + (1 - second_decay) * gradient.square()
        unbiased = second / (1 - second_decay ** (step + 1))
        rate = learning_rate * (1 - step / n_steps) / (1 - first_decay ** (step + 1))
        z = z - rate * first / (unbiased.sqrt() + epsilon)
    return best, lowest


@torch.no_grad()
def ridge(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    precision: Callable[[Tensor], Tensor],
    n_steps: int = 10,
) -> tuple[Float[Tensor, "n *latent"], Float[Tensor, "n"]]:
    """Posterior mode of each example by iterated ridge regression on the piece of the network where z stands.

    Networks of rectified units are piecewise linear: around z they are a factor analysis with the Jacobian J for
    loadings, whose posterior mean is a ridge regression, `z <- z - (I + J^T J / sigma^2)^-1 dE/dz` (Gauss and Newton).
    A mean on another piece may explain less. So each step tries dampings m as well, `(m I + I + J^T J / sigma^2)^-1`
    (Levenberg 1944), and goes where the energy is lowest; it never rises. A linear network takes one step.

    Args:
        energy: E(z) of each example.
        z: Where to start.
        precision: (n, k, k) of the flattened factors at z, such as `GeneratorModel.local_precision`.
        n_steps: Number of steps; each takes k times as long as f(z), and a few gradients.

    Returns:
        Where each example ends, and its energy there.
    """
    for _ in range(n_steps):
        energies, gradient = energy_and_gradient(energy, z)
        # Energies that bend downwards, as those of heavy tails do, count as flat but for the prior.
        bends, axes = torch.linalg.eigh(precision(z).double())
        slope = (axes.mT @ gradient.double().flatten(1).unsqueeze(2)).squeeze(2)
        lowest, best = energies, z
        for damping in DAMPINGS:
            move = axes @ (slope / (bends.clamp(min=1.0) + damping)).unsqueeze(2)
            trial = z - move.to(z).view_as(z)
            reached = energy(trial)
            better = reached < lowest
            lowest, best = torch.where(better, reached, lowest), choose(better, trial, best)
        z = best
    return z, energy(z)
