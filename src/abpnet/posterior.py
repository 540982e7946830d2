"""Latent factors drawn from their posterior, by several chains of each example."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.explaining import batch_size, explain, random_starts, weights_device
from abpnet.inference import adapt_step_size, hamiltonian, precondition
from abpnet.model import SCORES_PER_FACTOR, GeneratorModel, frozen_decoder
from abpnet.observations import Observation

__all__ = ["chain_starts", "posterior_draws"]

# Proposals of the warm-up, and gradients taken for each proposal.
WARM_UP, N_LEAPFROG, FIRST_STEP_SIZE = 20, 4, 0.5


def chain_starts(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    start: Float[Tensor, "n *latent"],
    n_chains: int,
    generator: torch.Generator,
    precision: str = "float32",
) -> Float[Tensor, "n_chains n *latent"]:
    """Where several chains of each example start: at modes of its posterior, drawn by how probable they are.

    As many modes are looked for as there are chains, from draws of the prior on. Of a posterior with several modes each
    chain finds one, as a rule; several show how sure the factors are.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere.
        observation: How they came about.
        start: A mode that is known.
        n_chains: Chains of each example; of a single one that is the start.
        generator: Source of chance, on the model's device.
        precision: Arithmetic inside the network.
    """
    if n_chains == 1:
        return start.unsqueeze(0)
    places = random_starts(model, n_chains - 1, generator).cpu()
    rivals = [explain(model, y, observation, place.expand_as(start).contiguous(), precision) for place in places]
    modes = torch.stack([start, *rivals])
    energies = torch.stack([_energies(model, y, observation, mode, precision) for mode in modes])
    weights = (-energies).softmax(0).T.to(generator.device)
    picked = torch.multinomial(weights, n_chains, replacement=True, generator=generator).T.cpu()
    return modes[picked, torch.arange(len(y))]


def posterior_draws(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    starts: Float[Tensor, "n_chains n *latent"],
    generator: torch.Generator,
    precision: str = "float32",
) -> Iterator[Float[Tensor, "n *latent"]]:
    """Latent factors drawn from their posterior by Hamiltonian Monte Carlo, without end; chains take turns.

    Each chain finds its own step size while it warms up; after that its equilibrium is the posterior, without bias.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere.
        observation: How they came about.
        starts: Where the chains start, best at posterior modes (see `chain_starts`).
        generator: Source of chance, on the model's device.
        precision: Arithmetic inside the network.
    """
    decoder, device = frozen_decoder(model.network, precision), weights_device(model)
    observation, batches = observation.to(device), []
    for start in starts:
        for index in torch.arange(len(y)).split(batch_size(model.latent_shape)):
            seen, z = observation.select(index), start[index].to(device)
            root = precondition(model.latent_precision(z, generator, seen, decoder, SCORES_PER_FACTOR))
            energy = partial(model.energy, y=y[index].to(device), observation=seen, decoder=decoder)
            move = partial(hamiltonian, energy, generator=generator, root=root, n_leapfrog=N_LEAPFROG)
            batches.append((move, adapt_step_size(move, z, step_size=FIRST_STEP_SIZE, n_steps=WARM_UP)))
    while True:
        for position, (move, chains) in enumerate(batches):
            batches[position] = (move, chains._replace(z=move(chains.z, step_size=chains.step_size, n_steps=1)))
        drawn = torch.cat([chains.z.cpu() for _, chains in batches])
        yield from drawn.unflatten(0, (len(starts), len(y)))


def _energies(
    model: GeneratorModel, y: Tensor, observation: Observation, z: Tensor, precision: str
) -> Float[Tensor, "n"]:
    """-log p(y, z) of each example."""
    decoder, device = frozen_decoder(model.network, precision), weights_device(model)
    observation, found = observation.to(device), []
    with torch.no_grad():
        for index in torch.arange(len(y)).split(batch_size(model.latent_shape)):
            seen = observation.select(index)
            found.append(model.energy(z[index].to(device), y[index].to(device), seen, decoder).cpu())
    return torch.cat(found)
