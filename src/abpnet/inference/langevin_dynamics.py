"""Langevin dynamics: steps along the gradient and chance, with a bias that vanishes with the step, or corrected."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance, normal, uniform
from abpnet.inference.energies import (
    Energy,
    Watch,
    acceptance_of,
    apply,
    choose,
    energy_and_gradient,
    in_precision,
    per_example,
    truncate,
)

__all__ = ["gradient_descent", "langevin", "langevin_noise", "mala"]


def _noise_size(step_size: float | Tensor, temperature: float, root: Tensor | None) -> float | Tensor:
    """`s sqrt(T)`, or `s sqrt(T (1 - s^2 / 4))` in a metric."""
    squared = temperature * (1.0 if root is None else 1 - step_size**2 / 4)
    return step_size * (squared.sqrt() if isinstance(squared, Tensor) else math.sqrt(squared))


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
    return _noise_size(step_size, temperature, root) * apply(root, noise)


class _Step(NamedTuple):
    """A Langevin step in its metric: energies over T where it starts; drift and noise, over the size of the noise."""

    energies: Tensor
    drift: Tensor
    noise: Tensor


def _acceptance(step: _Step, energies: Tensor, drift: Tensor) -> Float[Tensor, "n"]:
    """Probability of accepting a step, by what was found where it led (Roberts and Tweedie 1996, section 1.4.2)."""
    noise_of_return = step.drift + drift - step.noise
    longer = 0.5 * (noise_of_return.square() - step.noise.square()).flatten(1).sum(1)
    return acceptance_of(energies - step.energies + longer)


@torch.no_grad()
def langevin(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float | Float[Tensor, "n"],
    n_steps: int,
    generator: Chance,
    temperature: float = 1.0,
    root: Float[Tensor, "*m d d"] | None = None,
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
        step_size: s, one for all or one for each example in double precision; below 2 with a root.
        n_steps: Number of steps.
        generator: Source of u, on its own device.
        temperature: T; 0 is gradient descent, exactly.
        root: R, the same for all examples and all positions of a map (see `precondition`); or one for each run of rows
            (see `apply`); the identity by default.
        watch: Told of each step but the last, once the next has evaluated where it led, with which probability (n,)
            Metropolis and Hastings would have accepted it: 1 = the step leaves no bias.
    """
    size = per_example(step_size, z)
    noise_size = in_precision(_noise_size(size, temperature, root), z)
    share = in_precision(0.5 * size**2, z)
    before: _Step | None = None
    for _ in range(n_steps):
        energies, gradient = energy_and_gradient(energy, z)
        drift = share * (gradient if root is None else truncate(apply(root.mT, gradient)))
        if watch is not None and before is not None:
            watch(_acceptance(before, energies / temperature, drift / noise_size))
        move = -drift
        if temperature > 0:
            noise = normal(z.shape, generator).to(z)
            if watch is not None:
                before = _Step(energies / temperature, drift / noise_size, noise)
            move = move + noise_size * noise
        z = z + apply(root, move)
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
def mala(
    energy: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float | Float[Tensor, "n"],
    n_steps: int,
    generator: Chance,
    root: Float[Tensor, "d d"] | None = None,
    watch: Watch | None = None,
) -> Float[Tensor, "n *latent"]:
    """Langevin dynamics without bias: Metropolis and Hastings accept each step or not, for each example by itself.

    Steps are those of `langevin` (Roberts and Tweedie 1996, section 1.4). The drift is always truncated, where it would
    be longer than `LONGEST_GRADIENT / 2` times the noise, so that chains which start badly come back. Whatever the step
    size, the equilibrium is p(z | y) exactly; one at which half of the steps or more are accepted moves best.

    Args:
        energy: E(z) of each example.
        z: Where the chains stand.
        step_size: s, one for all or one for each example; below 2 with a root.
        n_steps: Number of steps.
        generator: Source of u and of the decisions, on its own device.
        root: R, as for `langevin`.
        watch: Told with which probability (n,) each step was accepted.
    """
    size = per_example(step_size, z)
    noise_size = size if root is None else size * (1 - size**2 / 4) ** 0.5

    def look(z: Tensor) -> tuple[Tensor, Tensor]:
        """Energies, and drift over the size of the noise."""
        energies, gradient = energy_and_gradient(energy, z)
        whitened = gradient if root is None else apply(root.T, gradient)
        return energies, 0.5 * size / noise_size * truncate(size * whitened)

    energies, drift = look(z)
    for _ in range(n_steps):
        noise = normal(z.shape, generator).to(z)
        proposal = z + apply(root, noise_size * (noise - drift))
        proposed, drift_there = look(proposal)
        acceptance = _acceptance(_Step(energies, drift, noise), proposed, drift_there)
        accepted = uniform((len(z),), generator).to(z) < acceptance
        if watch is not None:
            watch(acceptance)
        z, drift = choose(accepted, proposal, z), choose(accepted, drift_there, drift)
        energies = torch.where(accepted, proposed, energies)
    return z
