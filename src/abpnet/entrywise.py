"""What each entry of a flat signal tells about the factors, and the metric of examples of which some were observed.

Where every example lacks other entries, no one metric suits all: what a precise column pins down is free in a row that
lacks it. The precision of the factors of an example is that of the prior and what its observed entries add,

    I + sum_j m_j E[s_j^2 J_j J_j^T],    s_j = d log p(y_j | x_j) / d x_j,    J_j = d f_j / d z,

with its mask m, the Jacobian J of the network and scores s at observations that the model itself draws: the Fisher
information of each entry, averaged over examples.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jacfwd, vmap

from abpnet.chance import Chance
from abpnet.model import Decoder, GeneratorModel

__all__ = ["entry_information", "masked_roots"]


@torch.no_grad()
def entry_information(
    model: GeneratorModel, z: Float[Tensor, "n d"], generator: Chance, decoder: Decoder
) -> Float[Tensor, "D d d"]:
    """`E[s_j^2 J_j J_j^T]` for each entry j of the signals.

    Args:
        model: Of flat signals.
        z: Factors of the examples to average over.
        generator: Source of the observations.
        decoder: What computes f(z).
    """
    signal = decoder(z)
    drawn = model.emission.sample(signal, generator)
    with torch.enable_grad():
        signal.requires_grad_()
        (scores,) = torch.autograd.grad(model.emission.log_prob(drawn, signal).sum(), signal)
    slopes = vmap(jacfwd(lambda factors: decoder(factors.unsqueeze(0)).squeeze(0)))(z)
    weighted = (scores.unsqueeze(2) * slopes).transpose(0, 1)
    return weighted.mT @ weighted / len(z)


def masked_roots(
    information: Float[Tensor, "D d d"], observed: Bool[Tensor, "m D"] | None, n: int
) -> Float[Tensor, "n d d"]:
    """Root R of each example's metric P = R R^T, the inverse of its precision; see `precondition`.

    Args:
        information: Of each entry.
        observed: Which entries were; None = all.
        n: Number of examples.
    """
    size = information.shape[-1]
    identity = torch.eye(size).to(information)
    seen = torch.ones(1, len(information)).to(information) if observed is None else observed.to(information)
    precision = identity + (seen @ information.flatten(1)).unflatten(1, (size, size))
    factor, _ = torch.linalg.cholesky_ex(precision)
    return torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False).mT.expand(n, size, size)
