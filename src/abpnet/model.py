"""The generator model: network + prior + emission, `y = A(f(z)) + e`, `z ~ p(z)`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.arithmetic import autocast, reproducible
from abpnet.chance import Chance, Share
from abpnet.emissions import Emission, Gaussian
from abpnet.observations import Complete, Observation
from abpnet.priors import Prior, StandardNormal

__all__ = ["Decoder", "GeneratorModel", "frozen_decoder"]

# A covariance of d factors is well estimated from this many times d scores.
SCORES_PER_FACTOR = 20
# Factors by which the precision of a prior is told.
PRIOR_DRAWS = 1000
Decoder = Callable[[Tensor], Tensor]


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Every layer in evaluation mode within the block, each back in its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _frozen_script(network: torch.jit.ScriptModule, precision: str) -> Callable[..., Tensor]:
    """What `frozen_decoder` makes of TorchScript, whose weights cannot be passed in: a copy that learns nothing."""
    with torch.no_grad():  # else the copies of weights would depend on the weights
        frozen = copy.deepcopy(network).eval()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)

    def decode(z: Tensor, *conditions: Tensor) -> Tensor:
        # Optimised after the first runs, it would round otherwise then.
        with torch.jit.optimized_execution(False), reproducible(z.device), autocast(z.device, precision):
            return frozen(z, *conditions).float()

    return decode


def frozen_decoder(network: nn.Module, precision: str = "float32") -> Callable[..., Tensor]:
    """The network as a pure function of z, and of conditions where it takes any, for inference.

    Weights are detached (gradients are computed for z alone), cast once and kept channels-last; buffers are copies
    and layers are in evaluation mode, so that inference can neither change the network nor couple its examples.

    Args:
        network: Maps (n, *latent), and after it the conditions, to (n, *shape).
        precision: "float32", or "bfloat16" for the arithmetic inside the network; the result is always float32.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return _frozen_script(network, precision)
    matrix_dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def prepare(tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if tensor.dim() < 2 or not tensor.is_floating_point():
            return tensor.clone()
        return tensor.to(
            matrix_dtype, memory_format=torch.channels_last if tensor.dim() == 4 else torch.preserve_format
        )

    tensors = {name: prepare(parameter) for name, parameter in network.named_parameters()}
    tensors |= {name: buffer.detach().clone() for name, buffer in network.named_buffers()}

    def decode(z: Tensor, *conditions: Tensor) -> Tensor:
        with evaluation_mode(network), reproducible(z.device), autocast(z.device, precision):
            return torch.func.functional_call(network, tensors, (z, *conditions)).float()

    return decode


def _precision(prior: Prior, shape: torch.Size, device: torch.device) -> Float[Tensor, "d d"]:
    """Covariance of the gradients of `log p(z)` at factors drawn from the prior, always the same ones."""
    if isinstance(prior, StandardNormal):
        return torch.eye(shape[0], device=device)
    with torch.enable_grad():
        z = prior.sample((PRIOR_DRAWS, *shape), torch.Generator(device).manual_seed(0)).requires_grad_()
        (gradient,) = torch.autograd.grad(prior.log_prob(z).sum(), z)
    rows = gradient.transpose(0, 1).flatten(1)
    return rows @ rows.T / rows.shape[1]


class GeneratorModel(nn.Module):
    """Non-linear factor analysis: `y = A(f(z; W)) + e` (Han et al. 2017, equation 2).

    Args:
        network: f, mapping (n, *latent_shape) to (n, *shape).
        latent_shape: Shape of one example's latent factors: (d,), or (channels, height, width) for a map.
        prior: p(z).
        emission: p(y | x).
    """

    def __init__(
        self,
        network: nn.Module,
        latent_shape: Sequence[int],
        prior: Prior | None = None,
        emission: Emission | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.latent_shape = tuple(latent_shape)
        self.prior: Prior = prior or StandardNormal()
        self.emission: Emission = emission or Gaussian()

    def forward(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n *shape"]:
        """The noise-free signal f(z)."""
        return self.network(z)

    def log_likelihood(
        self,
        z: Float[Tensor, "n *latent"],
        y: Float[Tensor, "n *measured"],
        observation: Observation | None = None,
        decoder: Decoder | None = None,
    ) -> Float[Tensor, "n"]:
        """`log p(y | z)` of each example, over observed entries only.

        Args:
            z: Latent factors.
            y: Observations, finite everywhere (see `hide_missing`).
            observation: How y came about; complete by default.
            decoder: What computes f(z); the network itself by default.

        Raises:
            ValueError: If y has another shape than A f(z).
        """
        observation = observation or Complete()
        signal = (decoder or self.network)(z)
        measured = observation(signal).float()
        if measured.shape != y.shape:
            raise ValueError(
                f"observations of shape {tuple(y.shape[1:])} cannot be explained by measurements A f(z), which have "
                f"shape {tuple(measured.shape[1:])}"
            )
        log_prob = self.emission.log_prob(y, measured)
        if observation.observed is not None:
            log_prob = torch.where(observation.observed, log_prob, 0.0)
        return log_prob.flatten(1).sum(1)

    def energy(
        self,
        z: Float[Tensor, "n *latent"],
        y: Float[Tensor, "n *measured"],
        observation: Observation | None = None,
        decoder: Decoder | None = None,
    ) -> Float[Tensor, "n"]:
        """Negative complete-data log-likelihood `-log p(y, z)` of each example; arguments as `log_likelihood`."""
        return -self.log_likelihood(z, y, observation, decoder) - self.prior.log_prob(z)

    def scores(
        self,
        z: Float[Tensor, "n *latent"],
        generator: Chance,
        observation: Observation | None = None,
        decoder: Decoder | None = None,
    ) -> Float[Tensor, "n *latent"]:
        """Gradients of `log p(y | z)` in z at observations y drawn from the model itself.

        Their covariance is the Fisher information of the latent factors, `J^T J / sigma^2` under white noise.
        """
        observation = observation or Complete()
        decoder = decoder or self.network
        with torch.enable_grad(), reproducible(z.device):
            z = z.detach().requires_grad_()
            signal = decoder(z)
            simulated = self.emission.sample(observation(signal.detach()), generator)
            log_likelihood = self.log_likelihood(z, simulated, observation, lambda _: signal)
            return torch.autograd.grad(log_likelihood.sum(), z)[0]

    def latent_precision(
        self,
        z: Float[Tensor, "n *latent"],
        generator: Chance,
        observation: Observation | None = None,
        decoder: Decoder | None = None,
        scores_per_factor: int = 0,
    ) -> Float[Tensor, "d d"]:
        """Posterior precision of the latent factors, averaged over the batch and the positions of a map.

        `I + E[s s^T]` with the scores s of `scores`: the prior's precision plus the Fisher information. The expectation
        is estimated from one score of every example, or from more until they are `scores_per_factor * d`; from those
        of the whole batch, of which a share averages over its own rows. The precision of other priors than N(0, I) is
        the covariance of the gradients of `log p(z)`.
        """
        n = generator.n if isinstance(generator, Share) else len(z)
        n_rounds = max(1, math.ceil(scores_per_factor * z.shape[1] / (n * z[0, 0].numel())))
        information = torch.zeros(z.shape[1], z.shape[1], device=z.device)
        for _ in range(n_rounds):
            rows = self.scores(z, generator, observation, decoder).transpose(0, 1).flatten(1)
            information += rows @ rows.T / (rows.shape[1] * n_rounds)
        return information + _precision(self.prior, z.shape[1:], z.device)

    def local_precision(
        self,
        z: Float[Tensor, "n *latent"],
        y: Float[Tensor, "n *measured"],
        observation: Observation | None = None,
        decoder: Decoder | None = None,
    ) -> Float[Tensor, "n k k"]:
        """Precision of each example's posterior as if the network were linear around z, of its k flattened factors.

        `I + J^T H J` (Gauss and Newton) with the Jacobian J of f at z and the second derivative H of `-log p(y | f)` in
        f; `I + J^T J / sigma^2` under white noise. I is the standard normal prior's. Arguments as `log_likelihood`; k
        times as much work as a few gradients.
        """
        decoder, grad = decoder or self.network, partial(torch.autograd.grad, retain_graph=True)
        columns = []
        with torch.enable_grad(), reproducible(z.device):
            z = z.detach().requires_grad_()
            signal = decoder(z)
            # J^T u is linear in u, so that its gradient in u is J times what it is multiplied by.
            u = torch.zeros_like(signal, requires_grad=True)
            (pulled_back,) = grad(signal, z, u, create_graph=True)
            fixed = signal.detach().requires_grad_()
            misfit = -self.log_likelihood(z, y, observation, lambda _: fixed)
            (slope,) = grad(misfit.sum(), fixed, create_graph=True)
            for direction in torch.eye(z[0].numel(), device=z.device).unflatten(1, z.shape[1:]):
                (moved,) = grad(pulled_back, u, direction.expand_as(z))
                (steeper,) = grad(slope, fixed, moved)
                columns.append(grad(signal, z, steeper)[0].flatten(1))
        return torch.eye(len(columns), device=z.device) + torch.stack(columns, 2)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        latent_shape: Sequence[int] | None = None,
    ) -> Float[Tensor, "n *shape"]:
        """Signals f(z) of n latent factors drawn from the prior.

        Args:
            n: How many.
            generator: Source of chance.
            latent_shape: Another latent shape than that learned with, for networks of a map of factors; the signal
                grows with it.
        """
        shape = self.latent_shape if latent_shape is None else tuple(latent_shape)
        return frozen_decoder(self.network)(self.prior.sample((n, *shape), generator))
