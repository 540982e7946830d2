"""Inferential back-propagation: explain an observation away by its latent factors.

Algorithms are functions: the chains' state comes in and goes out, chance comes from a `torch.Generator` or a share of
one (see `chance`). They know the model only through its energy `E(z) = -log p(y, z)`, one number per example, so they
work for any decoder and any observation. Gradients are computed for z alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.arithmetic import reproducible
from abpnet.chance import Chance, normal, uniform

__all__ = [
    "Energy",
    "Watch",
    "energy_and_gradient",
    "find_mode",
    "gradient_descent",
    "langevin",
    "langevin_noise",
    "metropolis",
    "precondition",
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


def _truncate(whitened: Float[Tensor, "n *latent"]) -> Float[Tensor, "n *latent"]:
    """Whitened gradients, shortened where they are much longer than any that a chain in equilibrium meets."""
    length = whitened.flatten(1).norm(dim=1) / math.sqrt(whitened[0].numel())
    return whitened * (LONGEST_GRADIENT / length).clamp(max=1).view(-1, *[1] * (whitened.dim() - 1))


def _apply(matrix: Tensor, z: Tensor) -> Tensor:
    """The matrix times the factors of each example, at each position of a map."""
    return (matrix @ z.flatten(2)).view_as(z) if z.dim() > 2 else z @ matrix.T


def _noise_size(step_size: float, temperature: float, root: Tensor | None) -> float:
    """`s sqrt(T)`, or `s sqrt(T (1 - s^2 / 4))` in a metric."""
    return step_size * math.sqrt(temperature * (1.0 if root is None else 1 - step_size**2 / 4))


def langevin_noise(
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    generator: Chance,
    temperature: float = 1.0,
    root: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, "n *latent"]:
    """What chance adds to z in one step: `s sqrt(T) u`, or `s sqrt(T (1 - s^2 / 4)) R u`; arguments as `langevin`."""
    noise = normal(z.shape, generator).to(z)
    return _noise_size(step_size, temperature, root) * (noise if root is None else _apply(root, noise))


class _Step(NamedTuple):
    """A Langevin step in its metric: energies over T where it starts; drift and noise, over the size of the noise."""

    energies: Tensor
    drift: Tensor
    noise: Tensor


def _acceptance(step: _Step, energies: Tensor, drift: Tensor) -> Float[Tensor, "n"]:
    """Probability of accepting a step, by what was found where it led (Roberts and Tweedie 1996, section 1.4.2)."""
    noise_of_return = step.drift + drift - step.noise
    excess = 0.5 * (noise_of_return.square() - step.noise.square()).flatten(1).sum(1)
    return (step.energies - energies - excess).exp().clamp(max=1.0).nan_to_num(0.0)


@torch.no_grad()
def langevin(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    n_steps: int,
    generator: Chance,
    temperature: float = 1.0,
    root: Float[Tensor, "d d"] | None = None,
    watch: Watch | None = None,
) -> Float[Tensor, "n *latent"]:
    """Langevin dynamics: `z <- z - (s^2 / 2) dE/dz + s sqrt(T) u`, `u ~ N(0, I)` (Han et al. 2017, equation 8).

    In the metric P = R R^T of a given R: `z <- z - (s^2 / 2) P dE/dz + s sqrt(T (1 - s^2 / 4)) R u`. The equilibrium is
    p(z | y)^(1/T) up to a bias that vanishes with s; with R, none is left at any s below 2 where the posterior is
    normal and P its covariance: a step then goes the share s^2 / 2 of the way to the mode, and the noise makes up for
    exactly that. There the drift is truncated far from equilibrium (Roberts and Tweedie 1996, section 1.4.1), so that
    chains which start badly come back instead of blowing up.

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        step_size: s; below 2 with a root.
        n_steps: Number of steps.
        generator: Source of u, on its own device.
        temperature: T; 0 is gradient descent, exactly.
        root: R, the same for all examples and all positions of a map (see `precondition`); the identity by default.
        watch: Told of each step but the last, once the next has evaluated where it led, with which probability (n,)
            Metropolis and Hastings would have accepted it: 1 = the step leaves no bias.
    """
    noise_size = _noise_size(step_size, temperature, root)
    before: _Step | None = None
    for _ in range(n_steps):
        energies, gradient = energy_and_gradient(energy, z)
        drift = (0.5 * step_size**2) * (gradient if root is None else _truncate(_apply(root.T, gradient)))
        if watch is not None and before is not None:
            watch(_acceptance(before, energies / temperature, drift / noise_size))
        move = -drift
        if temperature > 0:
            noise = normal(z.shape, generator).to(z)
            if watch is not None:
                before = _Step(energies / temperature, drift / noise_size, noise)
            move = move + noise_size * noise
        z = z + (move if root is None else _apply(root, move))
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
def metropolis(
    misfit: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    n_steps: int,
    generator: Chance,
    watch: Watch | None = None,
) -> Float[Tensor, "n *latent"]:
    """Random steps that keep the prior N(0, I), taken or not as the observations say.

    `z' = sqrt(1 - s^2) z + s u`, `u ~ N(0, I)`, is accepted with probability `min(1, p(y | z') / p(y | z))` (Neal 1998,
    equation 15; Cotter et al. 2013). Its equilibrium is p(z | y) exactly, at every step size and for every network, one
    of whose outputs jump with z included; it uses no gradient and suits observations that say little about z.

    Args:
        misfit: `-log p(y | z)` of each example, up to a constant.
        z: Where the chains stand.
        step_size: s, 0 to 1; at 1 every proposal is a fresh draw from the prior.
        n_steps: Number of steps.
        generator: Source of u and of the decisions, on its own device.
        watch: Told with which probability (n,) each step was accepted.
    """
    standing = misfit(z)
    for _ in range(n_steps):
        step = langevin_noise(z, step_size=step_size, generator=generator)
        proposal = math.sqrt(1 - step_size**2) * z + step
        proposed = misfit(proposal)
        level = uniform((len(z),), generator).to(z)
        accepted = level.log() < standing - proposed
        if watch is not None:
            watch((standing - proposed).exp().clamp(max=1.0))
        z = torch.where(accepted.view(-1, *[1] * (z.dim() - 1)), proposal, z)
        standing = torch.where(accepted, proposed, standing)
    return z


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
