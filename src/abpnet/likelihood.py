"""How probable a model finds what was observed: log p(y) by annealed importance sampling.

A chain walks from a distribution whose density a(z) is known, and from which it can be drawn, to the joint density
p(y, z) of the observation and its factors, through `a^(1 - t) p(y, z)^t` at temperatures t from 0 to 1. Its weight, the
product of `(p(y, z) / a(z))^dt` over the places where it stands when t rises by dt, is p(y) on average (Neal 2001). So
the logarithm of the mean weight of several chains is a lower bound of log p(y) on average. Chains that walk back from a
draw of the posterior give an upper one (Grosse, Ghahramani and Adams 2015): for an observation simulated with the model
itself, the factors that it was simulated with are such a draw.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Streams, normal, seed_for
from abpnet.explaining import padded_batches, weights_device
from abpnet.inference import Energy, hamiltonian
from abpnet.inference.energies import apply
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.observations import Observation
from abpnet.priors import StandardNormal
from abpnet.values import check_count, shown

__all__ = ["Annealing", "Bounds", "bounds", "log_likelihood"]

# Chains of all examples that are walked with at once.
ROWS = 256
# The pilot's steps: how far one may go, in standard deviations of its log weights and in temperature, and how many.
FARTHEST, LARGEST_RISE, MOST_STEPS = 0.5, 0.05, 2000
# Transitions of the pilot at each temperature, its first step size, and how its logarithm follows acceptance.
TRANSITIONS, FIRST_SIZE, TARGET, GAIN = 2, 0.5, 0.8, 0.5


@dataclass(frozen=True)
class Annealing:
    """How log p(y) is computed.

    Args:
        n_chains: Chains of each example, whose weights are averaged; 2 to 256.
        n_temperatures: Rises of the temperature; more of them make bounds tighter.
        n_leapfrog: Steps of Hamiltonian dynamics at each.
        start: Where chains come from: "prior", or "posterior", the normal approximation of the posterior around its
            mode; by default the latter under a standard normal prior, which alone it knows.

    Raises:
        ValueError: If one of them cannot be used.
    """

    n_chains: int = 16
    n_temperatures: int = 100
    n_leapfrog: int = 4
    start: str | None = None

    def __post_init__(self) -> None:
        for name in ("n_chains", "n_temperatures", "n_leapfrog"):
            check_count(name, getattr(self, name))
        if not 2 <= self.n_chains <= ROWS:
            raise ValueError(f"n_chains must be 2 to {ROWS}, got {self.n_chains}")
        if not isinstance(self.start, str | None) or self.start not in (None, "prior", "posterior"):
            raise ValueError(f"start must be None, 'prior' or 'posterior'; got {shown(self.start)}")


class Bounds(NamedTuple):
    """Bounds of log p(y) of each example, each on average over chance.

    Attributes:
        lower: From chains that walk to the posterior; the estimate of log p(y).
        upper: From chains that walk back from it.
    """

    lower: Float[Tensor, "n"]
    upper: Float[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class _Path:
    """From a known distribution to the posterior; each of m examples has a run of c rows, one for each chain.

    Attributes:
        known: -log a(z).
        joint: -log p(y, z).
        bends: Of the posterior's local precision the eigenvalues, at least those of the prior.
        axes: Its eigenvectors.
        mode: Around which it is local.
        is_from_prior: Whether a is the prior; or else normal with that precision and mode.
    """

    known: Energy
    joint: Energy
    bends: Float[Tensor, "m d"]
    axes: Float[Tensor, "m d d"]
    mode: Float[Tensor, "m d"]
    is_from_prior: bool

    def energy(self, temperature: Float[Tensor, "m"]) -> Energy:
        """The negative logarithm of `a^(1 - t) p(y, z)^t`."""

        def between(z: Tensor) -> Tensor:
            weight = temperature.repeat_interleave(len(z) // len(temperature))
            return torch.lerp(self.known(z), self.joint(z), weight)

        return between

    def root(self, temperature: Float[Tensor, "m"]) -> Float[Tensor, "m d d"]:
        """Of a metric in which that is about round."""
        bends = (
            torch.lerp(torch.ones_like(self.bends), self.bends, temperature[:, None])
            if self.is_from_prior
            else self.bends
        )
        return self.axes / bends.sqrt().unsqueeze(1)

    def ratio(self, z: Float[Tensor, "r d"]) -> Float[Tensor, "r"]:
        """`log p(y, z) - log a(z)`."""
        return self.known(z) - self.joint(z)


class _Schedule(NamedTuple):
    """Temperatures from 0 to 1, and the step sizes of the dynamics at each."""

    temperatures: Float[Tensor, "t m"]
    step_sizes: Float[Tensor, "t m"]


def _move(
    path: _Path, z: Tensor, temperature: Tensor, step_size: Tensor, chance: Streams, n_leapfrog: int, n_steps: int = 1
) -> tuple[Tensor, Tensor]:
    """Where chains go at a temperature, and the mean acceptance of each example."""
    told: list[Tensor] = []
    z = hamiltonian(
        path.energy(temperature),
        z,
        step_size=step_size.repeat_interleave(len(z) // len(step_size)),
        n_steps=n_steps,
        generator=chance,
        n_leapfrog=n_leapfrog,
        root=path.root(temperature),
        watch=told.append,
    )
    return z, torch.stack(told).view(n_steps, len(step_size), -1).mean((0, 2))


def _plan(path: _Path, z: Tensor, chance: Streams, annealing: Annealing) -> _Schedule:
    """A pilot's walk, and temperatures and step sizes taken from it: those of the walk that counts must not adapt.

    Each rise of the temperature changes log weights by the same standard deviation, which is the shortest way there is
    (Gelman and Meng 1998, section 4.1).
    """
    temperature, size = z.new_zeros(len(path.mode)), z.new_full((len(path.mode),), FIRST_SIZE)
    temperatures, sizes = [temperature], [size]
    while bool((temperature < 1).any()) and len(sizes) <= MOST_STEPS:
        spread = path.ratio(z).view(len(size), -1).std(1)
        rise = (FARTHEST / spread).nan_to_num(0.0).clamp(max=LARGEST_RISE)
        temperature = (temperature + rise).clamp(max=1.0)
        z, acceptance = _move(path, z, temperature, size, chance, annealing.n_leapfrog, TRANSITIONS)
        temperatures.append(temperature)
        sizes.append(size)
        # A quarter of an orbit, after which a normal distribution has forgotten where it was.
        size = (size * (GAIN * (acceptance - TARGET)).exp()).clamp(max=0.5 * math.pi / annealing.n_leapfrog)
    temperatures.append(torch.ones_like(temperature))
    sizes.append(sizes[-1])
    walked, log_size = torch.stack(temperatures), torch.stack(sizes).log()
    # Equally many parts of the pilot's steps up to the one at which it arrived.
    place = torch.linspace(0, 1, annealing.n_temperatures + 1)[:, None].to(z) * (walked < 1).sum(0)
    before = place.long().clamp(max=len(walked) - 2)
    planned = (
        torch.lerp(values.gather(0, before), values.gather(0, before + 1), place - before)
        for values in (walked, log_size)
    )
    rising, log_size = planned
    rising[-1] = 1.0
    return _Schedule(rising, log_size.exp())


def _walk(path: _Path, z: Tensor, schedule: _Schedule, chance: Streams, n_leapfrog: int) -> Float[Tensor, "m"]:
    """The logarithm of the mean weight of chains that start at z, of each example."""
    log_weight = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    temperatures, last = schedule.temperatures, len(schedule.temperatures) - 1
    for step in range(1, last + 1):
        rise = (temperatures[step] - temperatures[step - 1]).repeat_interleave(len(z) // temperatures.shape[1])
        log_weight += rise * path.ratio(z)
        if step < last:
            z, _ = _move(path, z, temperatures[step], schedule.step_sizes[step], chance, n_leapfrog)
    log_weight = torch.where(log_weight.isnan(), -math.inf, log_weight).view(temperatures.shape[1], -1)
    return (log_weight.logsumexp(1) - math.log(log_weight.shape[1])).float()


def _path(
    model: GeneratorModel, y: Tensor, observation: Observation, near: Tensor, annealing: Annealing, precision: str
) -> _Path:
    decoder, n_chains = frozen_decoder(model.network, precision), annealing.n_chains
    bends, axes = torch.linalg.eigh(model.local_precision(near, y, observation, decoder).double())
    bends, axes, mode = bends.clamp(min=1.0).float(), axes.float(), near.flatten(1)
    rows = torch.arange(len(y), device=y.device).repeat_interleave(n_chains)
    energy = partial(model.energy, y=y[rows], observation=observation.select(rows), decoder=decoder)
    whitening, centre = axes.mT * bends.sqrt().unsqueeze(2), mode[rows]
    normaliser = (0.5 * (math.log(2 * math.pi) - bends.log()).sum(1))[rows]

    def joint(z: Tensor) -> Tensor:
        return energy(z.unflatten(1, model.latent_shape))

    def prior(z: Tensor) -> Tensor:
        return -model.prior.log_prob(z.unflatten(1, model.latent_shape))

    def posterior(z: Tensor) -> Tensor:
        return 0.5 * apply(whitening, z - centre).square().sum(1) + normaliser

    is_known = isinstance(model.prior, StandardNormal)
    if annealing.start == "posterior" and not is_known:
        raise ValueError(f"start='posterior' needs a standard normal prior, got {model.prior}; choose start='prior'")
    is_from_prior = annealing.start == "prior" or not is_known
    return _Path(prior if is_from_prior else posterior, joint, bends, axes, mode, is_from_prior)


def _draw(path: _Path, model: GeneratorModel, chance: Streams, n_chains: int) -> Float[Tensor, "r d"]:
    """Where chains start, drawn from the known distribution."""
    n, d = path.mode.shape
    if path.is_from_prior:
        shape = (n_chains, *model.latent_shape)
        parts = [model.prior.sample(shape, generator).flatten(1) for generator in chance.generators]
        return torch.cat(parts).to(path.mode)
    noise = normal((n * n_chains, d), chance).to(path.mode)
    return path.mode.repeat_interleave(n_chains, 0) + apply(path.root(path.mode.new_ones(n)), noise)


def _streams(purpose: str, y: Tensor, seed: int) -> Streams:
    """Chance of each example by what was observed of it, so that no other example, and no order of them, matters."""
    prints = [zlib.crc32(row.cpu().numpy().tobytes()) for row in y]
    return Streams(tuple(torch.Generator().manual_seed(seed_for(f"{purpose} {print}", seed)) for print in prints))


@torch.no_grad()
def log_likelihood(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    near: Float[Tensor, "n *latent"],
    annealing: Annealing | None = None,
    seed: int = 0,
    precision: str = "float32",
) -> Float[Tensor, "n"]:
    """log p(y) of what was observed, in nats: a lower bound on average. No example depends on another.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere (see `hide_missing`).
        observation: How they came about.
        near: Posterior modes (see `explaining.explain`), where the metric of the dynamics is taken from.
        annealing: How it is computed.
        seed: Of all chance.
        precision: Arithmetic inside the network.

    Raises:
        ValueError: If chains are to start at the posterior under another prior than the standard normal one.
    """
    return _estimate(model, y, observation, near, annealing or Annealing(), seed, precision, None).lower


@torch.no_grad()
def bounds(
    model: GeneratorModel,
    z: Float[Tensor, "n *latent"],
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    near: Float[Tensor, "n *latent"],
    annealing: Annealing | None = None,
    seed: int = 0,
    precision: str = "float32",
) -> Bounds:
    """Bounds of log p(y) from both sides, for observations simulated with the model: how far `log_likelihood` is off.

    Args:
        model: Its weights stay as they are, to the bit.
        z: The factors that y was simulated with, drawn from the prior: draws of their posterior.
        y: Observations drawn from the emission at z.
        observation: How they came about.
        near: As for `log_likelihood`; found without a look at z, which otherwise is no draw any more.
        annealing: How it is computed.
        seed: Of all chance.
        precision: Arithmetic inside the network.

    Raises:
        ValueError: If chains are to start at the posterior under another prior than the standard normal one.
    """
    return _estimate(model, y, observation, near, annealing or Annealing(), seed, precision, z)


def _estimate(
    model: GeneratorModel,
    y: Tensor,
    observation: Observation,
    near: Tensor,
    annealing: Annealing,
    seed: int,
    precision: str,
    truth: Tensor | None,
) -> Bounds:
    device, n_chains, n_leapfrog = weights_device(model), annealing.n_chains, annealing.n_leapfrog
    observation = observation.to(device)
    lower, upper = torch.empty(len(y)), torch.full((len(y),), math.inf)
    for index, kept in padded_batches(len(y), ROWS // n_chains):
        values, n = y[index].to(device), kept.stop - kept.start
        path = _path(model, values, observation.select(index), near[index].to(device), annealing, precision)
        pilot, forward, back = (_streams(name, values, seed) for name in ("pilot", "forward", "back"))
        schedule = _plan(path, _draw(path, model, pilot, n_chains), pilot, annealing)
        start = _draw(path, model, forward, n_chains)
        lower[kept] = _walk(path, start, schedule, forward, n_leapfrog)[:n].cpu()
        if truth is not None:
            end = truth[index].to(device).flatten(1).repeat_interleave(n_chains, 0)
            reverse = _Schedule(*(part.flip(0) for part in schedule))
            upper[kept] = -_walk(path, end, reverse, back, n_leapfrog)[:n].cpu()
    return Bounds(lower, upper)
