"""Factors that move with a momentum: they go far in one direction before chance turns them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance, normal, uniform
from abpnet.inference.energies import Energy, Watch, acceptance_of, apply, choose, energy_and_gradient, per_example

__all__ = ["Moving", "hamiltonian", "underdamped"]


def _force(gradient: Tensor, root: Tensor | None) -> Tensor:
    """What acts on the momentum: the gradient downwards, `-R^T dE/dz`."""
    return -gradient if root is None else -apply(root.mT, gradient)


def _kinetic(momentum: Tensor) -> Float[Tensor, "n"]:
    """`|p|^2 / 2` of each example."""
    return 0.5 * momentum.square().flatten(1).sum(1)


@torch.no_grad()
def hamiltonian(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float | Float[Tensor, "n"],
    n_steps: int,
    generator: Chance,
    n_leapfrog: int = 8,
    jitter: float = 0.2,
    root: Float[Tensor, "*m d d"] | None = None,
    watch: Watch | None = None,
) -> Float[Tensor, "n *latent"]:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011, section 3): far steps, accepted or not example by example.

    A momentum `p ~ N(0, I)` carries z along for L leapfrog steps of size s,

        p <- p - (s/2) R^T dE/dz,    z <- z + s R p,    p <- p - (s/2) R^T dE/dz,

    in the metric `P = R R^T`. Where that leads is accepted with probability `min(1, exp(H - H'))`, with the energy
    `H = E(z) + |p|^2 / 2`.
    The equilibrium is p(z | y) exactly, at every step size.

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        step_size: s, one for all or one for each example; see `adapt_step_size`.
        n_steps: Number of proposals.
        generator: Source of momenta and decisions, on its own device.
        n_leapfrog: L, gradients taken for each proposal.
        jitter: Each proposal's s is drawn from within this share of the given one, for each example, so that no orbit
            is met that returns to where it began; 0 to 1.
        root: R, the same for all examples and all positions of a map; or one for each run of rows (see `apply`); the
            identity by default.
        watch: Told with which probability (n,) each proposal was accepted.
    """
    energies, gradient = energy_and_gradient(energy, z)
    for _ in range(n_steps):
        start = momentum = normal(z.shape, generator).to(z)
        level, spread = (uniform((len(z),), generator).to(z) for _ in range(2))
        size = per_example(step_size * (1 + jitter * (2 * spread - 1)), z)
        proposal, proposed, slope = z, energies, gradient
        for _ in range(n_leapfrog):
            momentum = momentum + 0.5 * size * _force(slope, root)
            proposal = proposal + apply(root, size * momentum)
            proposed, slope = energy_and_gradient(energy, proposal)
            momentum = momentum + 0.5 * size * _force(slope, root)
        acceptance = acceptance_of(proposed + _kinetic(momentum) - energies - _kinetic(start))
        accepted = level < acceptance
        if watch is not None:
            watch(acceptance)
        z, gradient = choose(accepted, proposal, z), choose(accepted, slope, gradient)
        energies = torch.where(accepted, proposed, energies)
    return z


class Moving(NamedTuple):
    """Chains with a momentum.

    Attributes:
        z: Where they stand.
        momentum: Where they are going, in the metric's coordinates; N(0, I) in equilibrium.
    """

    z: Float[Tensor, "n *latent"]
    momentum: Float[Tensor, "n *latent"]


@torch.no_grad()
def underdamped(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    momentum: Float[Tensor, "n *latent"] | None = None,
    *,
    step_size: float,
    n_steps: int,
    generator: Chance,
    friction: float = 1.0,
    root: Float[Tensor, "d d"] | None = None,
    watch: Watch | None = None,
) -> Moving:
    """Underdamped Langevin dynamics: factors with a momentum that friction and chance change a little at every step.

    One step of the splitting BAOAB (Leimkuhler and Matthews 2013, equation 7), one gradient each:

        p <- p - (s/2) R^T dE/dz,    z <- z + (s/2) R p,    p <- c p + sqrt(1 - c^2) u,    z <- z + (s/2) R p,
        p <- p - (s/2) R^T dE/dz,    c = exp(-friction s),    u ~ N(0, I).

    Nothing is rejected. The equilibrium of z is p(z | y) up to a bias of order s^2, which vanishes at any s below the
    stable 2 where the posterior is normal and, with a root, P = R R^T its covariance (without one, below 2 of its
    smallest standard deviations).

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        momentum: Where they are going; drawn anew by default.
        step_size: s.
        n_steps: Number of steps.
        generator: Source of u, on its own device.
        friction: How soon a direction is forgotten, per unit of s; above 0.
        root: R, the same for all examples and all positions of a map (see `precondition`); the identity by default.
        watch: Told of each step with which probability (n,) Metropolis and Hastings would have accepted it: 1 = it
            leaves no bias.
    """
    momentum = normal(z.shape, generator).to(z) if momentum is None else momentum
    kept = math.exp(-friction * step_size)
    energies, gradient = energy_and_gradient(energy, z)
    for _ in range(n_steps):
        pushed = momentum + 0.5 * step_size * _force(gradient, root)
        z = z + apply(root, 0.5 * step_size * pushed)
        turned = kept * pushed + math.sqrt(1 - kept**2) * normal(z.shape, generator).to(z)
        z = z + apply(root, 0.5 * step_size * turned)
        reached, gradient = energy_and_gradient(energy, z)
        moved = turned + 0.5 * step_size * _force(gradient, root)
        if watch is not None:
            work = reached - energies + _kinetic(pushed) - _kinetic(momentum) + _kinetic(moved) - _kinetic(turned)
            watch(acceptance_of(work))
        momentum, energies = moved, reached
    return Moving(z, momentum)
