"""What is done with one batch of examples: explain it away, then update the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from abpnet import inference, parallel
from abpnet.arithmetic import autocast, reproducible
from abpnet.chance import Share
from abpnet.divergence import exploded, put_back
from abpnet.emissions import ADDITIVE
from abpnet.entrywise import entry_information, masked_roots
from abpnet.holding_out import hold_out
from abpnet.inference import choose
from abpnet.learning_state import LearningState
from abpnet.model import SCORES_PER_FACTOR, Decoder, GeneratorModel, frozen_decoder
from abpnet.observations import Complete, Mask, Observation, Projection, unmasked
from abpnet.optimizing import set_rate, step_if
from abpnet.priors import StandardNormal
from abpnet.recipes import Recipe
from abpnet.recording import Recorded

__all__ = ["Learned", "batch_step"]

# What entries tell about the factors is looked at in every so-manieth batch.
INFORMED_EVERY = 8
# The running mean of the latent factors' posterior precision: of each batch every fourth example adds to it, and it
# decays as if all of them did, by this much per batch.
SCORED_EVERY, PRECISION_DECAY = 4, 0.95


class Learned(NamedTuple):
    """What learning from a batch gives.

    Attributes:
        z: Where the chains stand then.
        energies: Of each example there, before the weights moved.
        acceptance: How probably its steps would have been accepted; NaN where none was looked at.
        signal: f(z), before the weights moved.
        diverged: Which chains ran away; they stand where they did before.
        n_diverged: How many did in the whole batch, in all processes.
        finite: Whether the gradient of the weights is; else they did not move.
    """

    z: Tensor
    energies: Tensor
    acceptance: Tensor
    signal: Tensor
    diverged: Tensor
    n_diverged: Tensor
    finite: Tensor


def _track_precision(state: LearningState, z: Tensor, observation: Observation, share: Share, decoder: Decoder) -> None:
    """Move the running mean of the posterior precision of the latent factors; the first batch sets it."""
    if not state.updates:
        latest = state.model.latent_precision(z, share, observation, decoder, SCORES_PER_FACTOR)
        state.latent_precision.copy_(parallel.mean(latest, share))
        return
    rows, few = share.thinned(SCORED_EVERY)
    index = torch.arange(len(z), device=z.device)[rows]
    latest = state.model.latent_precision(z[rows], few, observation.select(index), decoder)
    state.latent_precision.lerp_(parallel.mean(latest, few), 1 - PRECISION_DECAY ** (few.n / share.n))


def _masked_roots(state: LearningState, z: Tensor, observation: Observation, share: Share, decoder: Decoder) -> Tensor:
    """Roots of each example's metric, from a running mean of what each entry tells; the first batch sets it."""
    if state.updates % INFORMED_EVERY == 0:
        rows, few = share.thinned(SCORED_EVERY)
        latest = parallel.mean(entry_information(state.model, z[rows], few, decoder), few)
        kept = PRECISION_DECAY ** (INFORMED_EVERY * few.n / share.n) if state.updates else 0.0
        state.latent_precision.lerp_(latest, 1 - kept)
    return masked_roots(state.latent_precision, observation.observed, len(z))


def _explain_away(
    state: LearningState,
    z: Tensor,
    y: Tensor,
    observation: Observation,
    share: Share,
    recipe: Recipe,
    precision: str,
    step_shares: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inferential back-propagation: where chains stand then, how probably steps were accepted, and energies before.

    Energies are None where the sampler does not need them.
    """
    model, accepted = state.model, [torch.full((len(z),), torch.nan, device=z.device)]
    decoder, energies = frozen_decoder(model.network, precision), list[Tensor]()
    steps: dict[str, Any] = {"n_steps": recipe.n_steps, "generator": share, "watch": accepted.append}
    if recipe.inference == "metropolis":

        def misfit(factors: Tensor) -> Tensor:
            return -model.log_likelihood(factors, y, observation, decoder)

        z = inference.metropolis(misfit, z, step_size=recipe.step_size, **steps)
    else:

        def energy(factors: Tensor) -> Tensor:
            energies.append((found := model.energy(factors, y, observation, decoder)).detach())
            return found

        root = None
        if recipe.masked_metric:
            root = _masked_roots(state, z, observation, share, decoder)
        elif recipe.preconditioned:
            _track_precision(state, z, observation, share, decoder)
            root = inference.precondition(state.latent_precision)
        step_size = recipe.step_size * step_shares
        z = inference.langevin(energy, z, step_size=step_size, temperature=recipe.temperature, root=root, **steps)
    return z, torch.stack(accepted).nanmean(0), energies[0] if energies else None


def _update_weights(
    state: LearningState,
    energies: Tensor,
    diverged: Tensor,
    most_diverged: int,
    share: Share,
    rate: float | Tensor,
    pull: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Learning back-propagation: one step along the gradient of the energies.

    None is taken if the gradient is not finite, or too many chains diverged.

    Args:
        state: Whose weights move.
        energies: Of the share's examples.
        diverged: Which of their chains ran away.
        most_diverged: How many may, in the whole batch.
        share: Rows of this process.
        rate: The learning rate.
        pull: The running mean of the weights moves by so much of the way towards the new ones.

    Returns:
        How many diverged in the whole batch, and whether the gradient is finite.
    """
    state.optimizer.zero_grad(set_to_none=True)
    weights = [weight for weight in state.model.parameters() if weight.requires_grad]
    mean = energies[share.kept].sum() / share.n
    mean.backward(inputs=weights)  # those of a foreign observation are its owner's
    n_diverged = parallel.sum_gradients(weights, diverged[share.kept].sum().float())
    finite = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None]).isfinite()
    sound = finite & (n_diverged <= most_diverged)
    set_rate(state.optimizer, rate)
    step_if(sound, state.optimizer)
    with torch.no_grad():
        for name, weight in state.model.named_parameters():
            state.averaged[name].lerp_(weight, (sound * pull).to(weight))
    return n_diverged, finite


def _is_steady(model: GeneratorModel, observation: Observation, recipe: Recipe) -> bool:
    """Whether nothing but tensors changes from batch to batch, as far as the parts are known."""
    known = isinstance(model.prior, StandardNormal) and isinstance(model.emission, ADDITIVE)
    changing = recipe.learn_noise or recipe.masked_metric
    known = known and isinstance(unmasked(observation), Complete | Projection)
    return known and recipe.inference == "langevin" and recipe.optimizer == "adam" and not changing


def batch_step(
    state: LearningState, observation: Observation, recipe: Recipe, precision: str, held_out: float
) -> Callable[[Tensor, Tensor, Observation, Share, Tensor], Learned]:
    """A function that learns from one batch: factors, observations, and how these came about, on the state's device.

    What it takes are the rows of this process's share of the batch, that share, and its `step_shares`. Weights and
    running means are changed in place. On a GPU it is recorded where nothing but tensors changes from batch to batch.

    Args:
        state: What is learned.
        observation: How all observations came about.
        recipe: How to learn.
        precision: Arithmetic inside the network.
        held_out: See `Recipe.held_out`; 0 where nothing is.
    """
    measured = unmasked(observation)

    def decode(z: Tensor) -> Tensor:
        state.model.network.train()
        with autocast(z.device, precision):
            return state.model.network(z).float()

    def learn(
        z: Tensor,
        y: Tensor,
        seen: Observation,
        share: Share,
        step_shares: Tensor,
        rate: float | Tensor,
        pull: float | Tensor,
        *,
        looks: bool = True,
    ) -> Learned:
        """Without a look at whether chains diverge, which cannot be recorded, nothing is learned if any does."""
        model, n_numbers = state.model, y[0].numel() + z[0].numel()
        with reproducible(z.device):
            shown = hold_out(seen, y, held_out, share) if held_out else seen
            moved, acceptance, before = _explain_away(state, z, y, shown, share, recipe, precision, step_shares)
            moved, lost = put_back(moved, z)
            signal = decode(moved)
            energies = model.energy(moved, y, seen, lambda _: signal)
            with torch.no_grad():
                after = energies if shown is seen else model.energy(moved, y, shown, lambda _: signal)
                diverged = lost | exploded(after, before, n_numbers)
            if looks and diverged.any():
                moved = choose(diverged, z, moved)
                signal = decode(moved)
                energies = model.energy(moved, y, seen, lambda _: signal)
            most = share.n - 1 if looks else 0
            n_diverged, finite = _update_weights(state, energies, diverged, most, share, rate, pull)
        return Learned(moved, energies.detach(), acceptance, signal.detach(), diverged, n_diverged, finite)

    def learn_tensors(
        z: Tensor, y: Tensor, step_shares: Tensor, rate: Tensor, pull: Tensor, observed: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        whole = parallel.share_of(len(z), state.generator)
        seen = measured if observed is None else Mask(observed, measured)
        return learn(z, y, seen, whole, step_shares, rate, pull, looks=False)

    recorded = Recorded(learn_tensors, state.generator)
    # What several processes say to one another could be recorded too; whether that pays was not measured.
    is_recorded = recorded.can_record and _is_steady(state.model, observation, recipe) and parallel.n_processes() == 1

    def step(z: Tensor, y: Tensor, seen: Observation, share: Share, step_shares: Tensor) -> Learned:
        rate = recipe.rate(state.updates)
        pull = 1 - min(recipe.average_decay, state.updates / (state.updates + 10))
        if is_recorded and state.updates:  # the first batch is explained in a way of its own
            observed = () if seen.observed is None else (seen.observed,)
            numbers = [torch.full((), number, device=z.device) for number in (rate, pull)]
            learned = Learned(*recorded(z, y, step_shares, *numbers, *observed))
            if learned.n_diverged:
                learned = learn(z, y, seen, share, step_shares, rate, pull)
        else:
            learned = learn(z, y, seen, share, step_shares, rate, pull)
        state.updates += 1
        return learned

    return step
