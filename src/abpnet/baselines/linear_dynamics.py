"""The linear dynamic system: the other way to learn a dynamic texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from abpnet.dynamics import VectorAutoregression, fit_autoregression, stabilise, stationary_autoregression

__all__ = ["LinearDynamicSystem", "fit_linear_dynamics", "n_components_of"]

# Components that vary so little beside the first are rounding, which moves in no way.
SMALLEST = 1e-5


@dataclass(frozen=True)
class LinearDynamicSystem:
    """`y_t = C z_t + m`, z a vector auto-regression (Doretto, Chiuso, Wu and Soatto 2003).

    Attributes:
        mean: m, (channels, height, width).
        pictures: C, (d, channels, height, width), orthonormal.
        factors: (n, d) z of the frames learned from.
        process: How z moves.
    """

    mean: Float[np.ndarray, "c h w"]
    pictures: Float[np.ndarray, "d c h w"]
    factors: Float[np.ndarray, "n d"]
    process: VectorAutoregression

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned."""
        return self.mean.size + self.pictures.size + self.process.n_parameters - len(self.pictures)  # z has mean 0

    def frames(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c h w"]:
        """Frames of factors, clipped to [-1, 1]."""
        frames = self.mean + np.tensordot(z, self.pictures, 1)
        return np.clip(frames, -1, 1).astype(np.float32)

    def synthesise(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n c h w"]:
        """A new video of any length."""
        return self.frames(self.process.simulate(n_frames, rng))


def fit_linear_dynamics(
    frames: Float[np.ndarray, "n c h w"], latent_dim: int, order: int = 1, least_squares: bool = False
) -> LinearDynamicSystem:
    """Principal components, then how they move (Doretto et al. 2003, section 4).

    Args:
        frames: In the order of time.
        latent_dim: Number of components d, less than n; of a clip that holds fewer, such as a periodic one, these.
        order: Of the auto-regression.
        least_squares: Fit it by least squares as they do, roots of modulus above 1 - 1/n moved to that; otherwise by
            `stationary_autoregression`, as ours is.
    """
    mean = frames.mean(0)
    flat = (frames - mean).reshape(len(frames), -1)
    _, scales, components = np.linalg.svd(flat, full_matrices=False)
    components = components[: max(1, int((scales[:latent_dim] > SMALLEST * scales[0]).sum()))]
    z = (flat @ components.T).astype(np.float64)
    pictures = components.reshape(-1, *mean.shape)
    if least_squares:
        process = stabilise(fit_autoregression([z], order), 1 - 1 / len(frames))
    else:
        process = stationary_autoregression([z], order)
    return LinearDynamicSystem(mean, pictures, z, process)


def n_components_of(n_parameters: int, n_frames: int, n_pixels: int, order: int = 1) -> int:
    """Components of the largest linear dynamic system that has no more than so many parameters.

    Args:
        n_parameters: Allowed.
        n_frames: Frames that it is learned from, which bound the components as well.
        n_pixels: Numbers in one frame.
        order: Of the auto-regression.
    """
    most = (n_frames - order - 2) // (order + 1)
    counts = [n_pixels * (d + 1) + order * d**2 + d * (d + 1) // 2 for d in range(1, most + 1)]
    return max(1, int(np.searchsorted(counts, n_parameters, side="right")))
