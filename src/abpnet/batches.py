"""What is done with one batch of examples: explain it away, then update the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from abpnet import inference, parallel
from abpnet.arithmetic import autocast, reproducible
from abpnet.chance import Share
from abpnet.holding_out import hold_out
from abpnet.learning_state import LearningState
from abpnet.model import SCORES_PER_FACTOR, frozen_decoder
from abpnet.observations import Complete, Mask, Observation, Projection, unmasked
from abpnet.optimizing import set_rate
from abpnet.recipes import Recipe
from abpnet.recording import Recorded

__all__ = ["batch_step"]

# Decay per batch of the running mean of the latent factors' posterior precision.
PRECISION_DECAY = 0.95


def _explain_away(
    state: LearningState, z: Tensor, y: Tensor, observation: Observation, share: Share, recipe: Recipe, precision: str
) -> Tensor:
    """Inferential back-propagation: where the chains stand then."""
    model = state.model
    decoder = frozen_decoder(model.network, precision)
    if recipe.inference == "metropolis":
        return inference.metropolis(
            lambda factors: -model.log_likelihood(factors, y, observation, decoder),
            z,
            step_size=recipe.step_size,
            n_steps=recipe.n_steps,
            generator=share,
        )
    root = None
    if recipe.preconditioned:
        decay = PRECISION_DECAY if state.updates else 0.0
        n_scores = 0 if state.updates else SCORES_PER_FACTOR
        latest = model.latent_precision(z, share, observation, decoder, n_scores)
        state.latent_precision.lerp_(parallel.mean(latest, share), 1 - decay)
        root = inference.precondition(state.latent_precision)
    return inference.langevin(
        lambda factors: model.energy(factors, y, observation, decoder),
        z,
        step_size=recipe.step_size,
        n_steps=recipe.n_steps,
        generator=share,
        temperature=recipe.temperature,
        root=root,
    )


def _update_weights(
    state: LearningState,
    z: Tensor,
    y: Tensor,
    observation: Observation,
    share: Share,
    precision: str,
    rate: float | Tensor,
    pull: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Learning back-propagation: energies, and signals f(z) before the step.

    The learning rate is `rate`; the running mean of the weights moves by `pull` of the way towards the new ones.
    """
    model = state.model
    model.network.train()
    with autocast(z.device, precision):
        signal = model.network(z).float()
    energies = model.energy(z, y, observation, lambda _: signal)
    set_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    weights = [weight for weight in model.network.parameters() if weight.requires_grad]
    mean = energies[share.kept].sum() / share.n
    mean.backward(inputs=weights)  # those of a foreign observation are its owner's
    parallel.sum_gradients(weights)
    state.optimizer.step()
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            state.averaged[name].lerp_(weight, pull)
    return energies.detach(), signal.detach()


def _is_steady(observation: Observation, recipe: Recipe) -> bool:
    """Whether nothing but tensors changes from batch to batch."""
    known = isinstance(unmasked(observation), Complete | Projection)
    return known and recipe.inference == "langevin" and recipe.optimizer == "adam" and not recipe.learn_noise


def batch_step(
    state: LearningState, observation: Observation, recipe: Recipe, precision: str, held_out: float
) -> Callable[[Tensor, Tensor, Observation, Share], tuple[Tensor, Tensor, Tensor]]:
    """A function that learns from one batch: factors, observations, and how these came about, on the state's device.

    What it takes are the rows of this process's share of the batch, and that share. It returns where the chains stand
    then, energies, and signals f(z) before the weights moved. These and running means are changed in place. On a GPU it
    is recorded where nothing but tensors changes from batch to batch.

    Args:
        state: What is learned.
        observation: How all observations came about.
        recipe: How to learn.
        precision: Arithmetic inside the network.
        held_out: See `Recipe.held_out`; 0 where nothing is.
    """
    measured = unmasked(observation)

    def learn(
        z: Tensor, y: Tensor, seen: Observation, share: Share, rate: float | Tensor, pull: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with reproducible(z.device):
            shown = hold_out(seen, y, held_out, share) if held_out else seen
            z = _explain_away(state, z, y, shown, share, recipe, precision)
            energies, signal = _update_weights(state, z, y, seen, share, precision, rate, pull)
        return z, energies, signal

    def learn_tensors(
        z: Tensor, y: Tensor, rate: Tensor, pull: Tensor, observed: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        whole = parallel.share_of(len(z), state.generator)
        return learn(z, y, measured if observed is None else Mask(observed, measured), whole, rate, pull)

    recorded = Recorded(learn_tensors, state.generator)
    # What several processes say to one another could be recorded too; whether that pays was not measured.
    is_recorded = recorded.can_record and _is_steady(observation, recipe) and parallel.n_processes() == 1

    def step(z: Tensor, y: Tensor, seen: Observation, share: Share) -> tuple[Tensor, Tensor, Tensor]:
        rate = recipe.rate(state.updates)
        pull = 1 - min(recipe.average_decay, state.updates / (state.updates + 10))
        if is_recorded and state.updates:  # the first batch is explained in a way of its own
            observed = () if seen.observed is None else (seen.observed,)
            numbers = [torch.full((), number, device=z.device) for number in (rate, pull)]
            z, energies, signal = recorded(z, y, *numbers, *observed)
        else:
            z, energies, signal = learn(z, y, seen, share, rate, pull)
        state.updates += 1
        return z, energies, signal

    return step
