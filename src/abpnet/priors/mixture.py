"""A Gaussian mixture that stands for where the chains are: samples where N(0, I) would leave holes and corners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import normal

__all__ = ["Mixture", "fit_mixture"]


@dataclass(frozen=True)
class Mixture:
    """`p(z) = sum_k w_k N(z; m_k, L_k L_k^T)` of factors that are a vector.

    Attributes:
        log_weights: (k,) logarithms of w, which sum to 1.
        means: (k, d).
        roots: (k, d, d) Cholesky factors L.
    """

    log_weights: Float[Tensor, "k"]
    means: Float[Tensor, "k d"]
    roots: Float[Tensor, "k d d"]

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(tensor.to(device) for tensor in (self.log_weights, self.means, self.roots))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log density of each example's factors."""
        log_weights, means, roots = self._on(z.device)
        centred = (z - means.unsqueeze(1)).mT
        squares = torch.linalg.solve_triangular(roots, centred, upper=False).square().sum(1)
        volume = roots.diagonal(dim1=1, dim2=2).log().sum(1)
        log_density = -0.5 * squares - (volume + 0.5 * z.shape[1] * math.log(2 * math.pi)).unsqueeze(1)
        return torch.logsumexp(log_weights.unsqueeze(1) + log_density, 0)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Factors of components drawn by their weights; shape is (n, d)."""
        log_weights, means, roots = self._on(generator.device)
        kind = torch.multinomial(log_weights.exp(), shape[0], replacement=True, generator=generator)
        noise = normal(shape, generator)
        return means[kind] + (roots[kind] @ noise.unsqueeze(2)).squeeze(2)


def fit_mixture(z: Float[Tensor, "n d"], n_components: int = 10, seed: int = 0) -> Mixture:
    """Fit a mixture to factors by expectation maximisation (scikit-learn's `GaussianMixture`).

    Args:
        z: Factors, such as `GeneratorNetwork.latents_`, which are draws from their posteriors.
        n_components: How many; at most n.
        seed: Of where the fit starts.

    Raises:
        ValueError: If there are more components than examples.
    """
    from sklearn.mixture import GaussianMixture

    if not 1 <= n_components <= len(z):
        raise ValueError(f"n_components must be 1 to the number of examples, {len(z)}; got {n_components}")
    fitted = GaussianMixture(n_components, reg_covar=1e-3, random_state=seed).fit(z.double().numpy())
    covariances = torch.from_numpy(fitted.covariances_)
    return Mixture(
        torch.from_numpy(fitted.weights_).log().float(),
        torch.from_numpy(fitted.means_).float(),
        torch.linalg.cholesky(covariances).float(),
    )
