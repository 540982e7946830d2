"""The piecewise linear view of a generator: loadings around given factors, pieces along paths, effective dimension.

A network of ReLU or leaky ReLU units is piecewise linear: around each z it is factor analysis with loadings of its own,
the Jacobian of f (Han et al. 2017). Where tanh or the like is the last layer, what is counted as a piece is a piece of
what comes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from abpnet.explaining import as_model, batch_size, decode, padded_batches, weights_device
from abpnet.model import GeneratorModel, frozen_decoder

__all__ = [
    "EffectiveDimension",
    "Pieces",
    "PrincipalLoadings",
    "effective_dimension",
    "loadings",
    "pieces_along",
    "principal_loadings",
    "traversal",
]

# What a unit that answers linearly on either side of 0 may be called as, by a module or by itself.
KINKED = {
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    *(F.leaky_relu, F.leaky_relu_, F.prelu, torch.prelu, Tensor.prelu),
}
LARGEST = 2**63 - 1


class PrincipalLoadings(NamedTuple):
    """Singular value decomposition of each example's loadings, the largest first.

    Attributes:
        signals: By how much signals change along each direction per unit of length, (n, k, *shape).
        directions: Unit vectors in the space of factors, (n, k, d), their largest entry positive.
        singular_values: Lengths of the signals, (n, k).
    """

    signals: Tensor
    directions: Tensor
    singular_values: Tensor


class Pieces(NamedTuple):
    """Where along a straight path units change sides, from 0 where it starts to 1 where it ends.

    Attributes:
        breakpoints: (k,), rising; those closer to one another than the resolution are one.
        resolution: How exactly each is known, as a share of the path.
    """

    breakpoints: Tensor
    resolution: float

    @property
    def n_pieces(self) -> int:
        """Linear pieces on the path."""
        return len(self.breakpoints) + 1


class EffectiveDimension(NamedTuple):
    """How many factors count around each example.

    Attributes:
        singular_values: Of the loadings, (n, k), falling.
        participation: Participation ratio `(sum s^2)^2 / sum s^4` (n,): 1 if all change is along one direction, d if it
            is alike along all.
        posterior_variance: Of each factor, (n, d): the diagonal of `(I + J^T J / sigma^2)^-1`; 1 = as before.
        explained: How many factors the observation tells, (n,): `sum (1 - posterior variance)`, the effective number
            of parameters gamma of MacKay (1992), "Bayesian interpolation".
    """

    singular_values: Tensor
    participation: Tensor
    posterior_variance: Tensor
    explained: Tensor


def _network(model: GeneratorModel | nn.Module) -> nn.Module:
    return model.network if isinstance(model, GeneratorModel) else model


@torch.no_grad()
def loadings(model: GeneratorModel | nn.Module, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape_by_d"]:
    """Local factor loadings: the Jacobian `d f / d z` at each example's factors, (n, *shape, d), on the CPU.

    Forward differentiation of one example at a time, along all factors at once.

    Args:
        model: A `GeneratorModel`, or any module that maps (n, d) to (n, *shape); its weights stay as they are.
        z: Latent factors.
    """
    decoder, device = frozen_decoder(_network(model)), weights_device(model)
    units = torch.eye(z.shape[1], device=device)
    copies = (one.to(device).repeat(len(units), 1) for one in z)
    return torch.stack([torch.func.jvp(decoder, (same,), (units,))[1].movedim(0, -1).cpu() for same in copies])


def principal_loadings(jacobian: Float[Tensor, "n *shape_by_d"], n_directions: int | None = None) -> PrincipalLoadings:
    """Directions along which the signal changes most, example by example: `J = U S V^T`.

    Args:
        jacobian: (n, *shape, d), from `loadings`.
        n_directions: How many of them; all by default.
    """
    shape = jacobian.shape[1:-1]
    left, values, right = torch.linalg.svd(jacobian.flatten(1, -2).double(), full_matrices=False)
    largest = right.gather(2, right.abs().argmax(2, keepdim=True))
    right, left = right * largest.sign(), left * largest.sign().mT
    signals = (left * values[:, None]).mT.unflatten(2, shape)
    kept = slice(n_directions)
    return PrincipalLoadings(signals[:, kept].float(), right[:, kept].float(), values[:, kept].float())


def effective_dimension(
    jacobian: Float[Tensor, "n *shape_by_d"], noise_std: float, observed: Bool[Tensor, "..."] | None = None
) -> EffectiveDimension:
    """How many factors move the signal, and how many of them an observation of it tells, around each example.

    Args:
        jacobian: (n, *shape, d), from `loadings`.
        noise_std: Standard deviation of the white noise on each entry, above 0.
        observed: True where an entry is observed, broadcastable to (n, *shape); everywhere by default.

    Raises:
        ValueError: If `noise_std` is not above 0.
    """
    if not noise_std > 0:
        raise ValueError(f"noise_std must be above 0, got {noise_std!r}")
    if observed is not None:
        jacobian = torch.where(observed[..., None], jacobian, 0.0)
    rows = jacobian.flatten(1, -2).double()
    information = rows.mT @ rows
    total, squares = information.diagonal(dim1=1, dim2=2).sum(1), information.square().sum((1, 2))
    identity = torch.eye(rows.shape[2], dtype=rows.dtype)
    variance = torch.linalg.inv(identity + information / noise_std**2).diagonal(dim1=1, dim2=2)
    return EffectiveDimension(
        singular_values=torch.linalg.svdvals(rows).float(),
        participation=torch.where(total > 0, total.square() / squares, 0.0).float(),
        posterior_variance=variance.float(),
        explained=(1 - variance).sum(1).float(),
    )


def traversal(
    model: GeneratorModel | nn.Module,
    z: Float[Tensor, "n d"],
    direction: int | Float[Tensor, "d"] | Float[Tensor, "n d"],
    values: Sequence[float],
) -> Float[Tensor, "n n_values *shape"]:
    """Signals `f(z + v u)` along a direction u, on the CPU.

    Args:
        model: As for `loadings`.
        z: Where the walks start.
        direction: Number of a factor, 0 to d - 1, or a vector u, one for all examples or one for each.
        values: How far to go, v; in standard deviations of the prior where u is a unit vector.

    Raises:
        ValueError: If there is no factor of that number.
    """
    n, latent_dim = z.shape
    if isinstance(direction, int):
        if not 0 <= direction < latent_dim:
            raise ValueError(f"direction must be the number of a factor, 0 to {latent_dim - 1}, got {direction}")
        direction = torch.eye(latent_dim)[direction]
    steps = torch.tensor(values, dtype=torch.float32)
    walked = z[:, None] + steps[:, None] * direction.expand(n, latent_dim)[:, None]
    return decode(as_model(model, (latent_dim,)), walked.flatten(0, 1)).unflatten(0, (n, len(steps)))


class _Watch(TorchFunctionMode):
    """Notes on which side of 0 every unit is, (n, units) of each layer in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in KINKED:
            self.sides.append(((args[0] if args else kwargs["input"]) > 0).flatten(1))
        return function(*args, **kwargs)


def _fingerprints(network: nn.Module) -> Callable[[Tensor], Int64[Tensor, "n"]]:
    """A function that tells a number for the activation pattern at each z, another one for another pattern.

    The number is the sum modulo 2^64 of one random number for each unit above 0, so that patterns of 10^5 units need
    not be kept; two patterns share it by chance of 2^-64.
    """
    decoder, device, numbers = frozen_decoder(network), weights_device(network), torch.empty(0, dtype=torch.int64)

    @torch.no_grad()
    def fingerprints(z: Tensor) -> Tensor:
        nonlocal numbers
        parts = []
        for index, rows in padded_batches(len(z), batch_size(z.shape[1:])):
            with _Watch() as watch:
                decoder(z[index].to(device))
            sides = torch.cat([torch.zeros(len(index), 0, dtype=torch.bool, device=device), *watch.sides], 1)
            if sides.shape[1] != len(numbers):
                generator = torch.Generator().manual_seed(0)
                numbers = torch.randint(-LARGEST, LARGEST, sides.shape[1:], generator=generator).to(device)
            parts.append(torch.where(sides, numbers, 0).sum(1)[: rows.stop - rows.start].cpu())
        return torch.cat(parts)

    return fingerprints


def pieces_along(
    network: GeneratorModel | nn.Module,
    z_from: Float[Tensor, "d"],
    z_to: Float[Tensor, "d"],
    n: int = 64,
    n_bisections: int = 12,
) -> Pieces:
    """Linear pieces of a network that a straight path through the space of factors meets.

    A piece ends where a ReLU, leaky ReLU or PReLU unit changes sides (Montufar et al. 2014), whether or not the output
    shows it. The path is cut into n parts, and each part at whose ends units stand on different sides is halved again
    and again. What is counted exceeds nothing that is there; what may be missed are units that change sides there and
    back within one part, and pieces shorter than the resolution `1 / (n 2^n_bisections)`.

    Args:
        network: A `GeneratorModel`, or any module that maps (n, d) to (n, *shape), in PyTorch's own functions.
        z_from: Where the path starts.
        z_to: Where it ends.
        n: Parts of the path to begin with, at least 1.
        n_bisections: How often parts are halved, 0 or more. The network's float32 tells little beyond a resolution of
            2^-20.

    Raises:
        ValueError: If a number is too small, or the network is TorchScript, whose units cannot be seen.
    """
    network = _network(network)
    if n < 1 or n_bisections < 0:
        raise ValueError(f"n must be at least 1 and n_bisections at least 0, got {n} and {n_bisections}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ValueError("units of TorchScript cannot be seen; pass the module it was made of")
    fingerprints = _fingerprints(network)

    def patterns(times: Tensor) -> Tensor:
        return fingerprints(torch.lerp(z_from.double(), z_to.double(), times[:, None]).float())

    times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    met = patterns(times)
    for _ in range(n_bisections):
        middles = (0.5 * (times[1:] + times[:-1]))[met[1:] != met[:-1]]
        if len(middles) == 0:
            break
        times, order = torch.cat([times, middles]).sort()
        met = torch.cat([met, patterns(middles)])[order]
    breakpoints = (0.5 * (times[1:] + times[:-1]))[met[1:] != met[:-1]]
    return Pieces(breakpoints, 1 / (n * 2**n_bisections))
