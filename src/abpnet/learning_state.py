"""What changes while learning: one object that can be written down and restored to the bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from abpnet import parallel
from abpnet.convergence import effective_draws, split_r_hat
from abpnet.durable import by_part
from abpnet.emissions import noise_stds, with_noise, with_noise_moved
from abpnet.errors import InputError
from abpnet.history import History, Row
from abpnet.latents import Latents
from abpnet.model import GeneratorModel
from abpnet.residuals import ResidualField

__all__ = ["Iteration", "LearningState"]

# Decay per weight update of the running mean of the noise variance.
NOISE_DECAY = 0.98
# Whose ways are kept, to tell whether chains have come to rest.
PASSES_TRACED, CHAINS_TRACED, FACTORS_TRACED = 20, 16, 256


@dataclass(frozen=True)
class Iteration:
    """What one pass over all training examples did.

    Attributes:
        iteration: Passes so far, this one included.
        seconds: Spent so far, in all sessions of the run.
        energy: Mean `-log p(y, z)` per example, in nats; of whitened residuals up to a constant that goes with them.
        error: Mean absolute difference of f(z), or of what it lets expect, from the observed entries, as a fraction of
            the dynamic range; of indirect data half of that of the measurements, in their own units.
        latent_mean: Mean of all chains' factors.
        latent_std: Their standard deviation; the prior's is 1.
        latent_divergence: Distance of the chains from the prior, see `metrics.latent_moments`.
        acceptance: Mean probability with which Metropolis and Hastings would accept a step of the chains, see
            `inference.langevin`; None where no step was looked at.
        r_hat: Whether chains are still on their way, see `convergence.split_r_hat`; of the latest passes, None in the
            first of them.
        effective_draws: How many independent draws these passes are worth.
        diverged: How many chains ran away and were put back; see `divergence`.
    """

    iteration: int
    seconds: float
    energy: float
    error: float
    latent_mean: float
    latent_std: float
    latent_divergence: float
    acceptance: float | None
    r_hat: float | None
    effective_draws: float | None
    diverged: int

    def row(self) -> Row:
        """The same as a dictionary; None stands for what is no number, as nothing does in JSON."""
        values = asdict(self)
        return {name: None if value is None or not isfinite(value) else value for name, value in values.items()}


@dataclass
class LearningState:
    """All that changes while learning.

    Attributes:
        model: Whose weights are learned.
        latents: Chains of the training examples.
        optimizer: Of the weights.
        generator: Source of all chance.
        averaged: Running mean of the weights, by name; what is kept in the end.
        latent_precision: Running mean of the latent factors' posterior precision, (d, d); or of what each entry of a
            signal adds to it, (D, d, d), see `Recipe.masked_metric`.
        step_shares: (n,) which share of the step size each chain takes; less than 1 after it ran away.
        updates: Weight updates so far.
        iteration: Passes so far.
        seconds: Spent so far.
        history: One row per pass, see `Iteration.row`.
        residuals: Their field; None = white.
        trace: (passes, factors) where factors of some chains stood after each of the latest passes.
    """

    model: GeneratorModel
    latents: Latents
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    averaged: dict[str, Tensor]
    latent_precision: Tensor
    step_shares: Tensor
    updates: int = 0
    iteration: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=History)
    residuals: ResidualField | None = None
    trace: Tensor = field(default_factory=lambda: torch.empty(0, 0))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, by name."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.items()}
        for index, memory in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in memory.items() if value is not None}
        if self.residuals is not None:
            tensors["residuals"] = self.residuals.spectrum
        return tensors | {
            "latents": self.latents.values,
            "latent_precision": self.latent_precision,
            "step_shares": self.step_shares,
            "generator": self.generator.get_state(),
            "trace": self.trace,
        }

    def facts(self) -> dict[str, Any]:
        """Everything else of the state."""
        return {
            "iteration": self.iteration,
            "updates": self.updates,
            "seconds": self.seconds,
            "noise_stds": list(noise_stds(self.model.emission)),
            "history": self.history.packed(),
            "optimizer": sorted(part for part in self.tensors() if part.startswith("optimizer.")),
        }

    def follow_chains(self) -> None:
        """Add where some of the chains stand now to the trace."""
        some = torch.arange(min(CHAINS_TRACED, len(self.latents)))
        stand = self.latents.read(some, torch.device("cpu")).flatten(1)[:, :FACTORS_TRACED].reshape(1, -1)
        self.trace = torch.cat([self.trace.reshape(-1, stand.shape[1]), stand])[-PASSES_TRACED:]

    def convergence(self) -> tuple[float | None, float | None]:
        """`r_hat` and `effective_draws` of the trace, see `Iteration`."""
        if len(self.trace) < PASSES_TRACED:
            return None, None
        return split_r_hat(self.trace), effective_draws(self.trace)

    def learn_noise(self, sums: Tensor) -> None:
        """Move the noise towards the residuals of the last batch, of which these are the `residual_sums`."""
        self.model.emission = with_noise_moved(self.model.emission, sums, NOISE_DECAY)

    def follow_first(self) -> None:
        """Where several processes learn as one: stand where the first of them does."""
        tensors = self.tensors()  # in an order that differs between processes once they were read from a file
        names = sorted(tensors.keys() - {"latents"})
        self._restore({name: parallel.from_first(tensors[name]) for name in names}, self.facts())
        self.latents.follow_first()

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go back to what `tensors` and `facts` of an equally built state said.

        Raises:
            InputError: If they belong to another model or other data.
        """
        try:
            self.latents.copy_from(tensors["latents"])
            self._restore(tensors, facts)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the checkpoint does not fit this model and these data: {reason}") from None

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go back in all but the chains."""
        parts = by_part(tensors)
        self.model.load_state_dict(parts["model"])
        for name, tensor in self.averaged.items():
            tensor.copy_(parts["averaged"][name])
        self.latent_precision.copy_(tensors["latent_precision"])
        self.step_shares.copy_(tensors["step_shares"])
        self.generator.set_state(tensors["generator"])
        self.trace = tensors["trace"].clone()
        self.residuals = ResidualField(tensors["residuals"].clone()) if "residuals" in tensors else None
        self.iteration, self.updates, self.seconds = facts["iteration"], facts["updates"], facts["seconds"]
        self.history = History.unpacked(facts["history"])
        self.model.emission = with_noise(self.model.emission, tuple(facts["noise_stds"]))
        self._restore_optimizer(parts["optimizer"], facts["optimizer"])

    def _restore_optimizer(self, tensors: dict[str, Tensor], names: list[str]) -> None:
        if {f"optimizer.{name}" for name in tensors} != set(names):
            raise ValueError(f"{len(tensors)} of {len(names)} tensors of the optimizer are there")
        memories = {int(index): memory for index, memory in by_part(tensors).items()}
        weights = list(self.model.parameters())
        for index, memory in memories.items():
            for name, value in memory.items():
                if not value.dim():
                    memory[name] = value.clone()
                    continue
                if value.shape != weights[index].shape:
                    raise ValueError(f"the optimizer's {name} of weight {index} has shape {tuple(value.shape)}")
                # Files keep no memory layout; on a GPU the optimizer wants that of the weight.
                memory[name] = torch.empty_like(weights[index]).copy_(value)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": memories, "param_groups": groups})
