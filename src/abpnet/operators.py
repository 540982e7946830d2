"""Measurements of signals that need no stored matrix: each function returns an `Operator` for signals of any number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from abpnet.chance import seed_for
from abpnet.observations import Operator

__all__ = ["blur_reach", "down_sampling", "fourier_projection", "gaussian_blur", "visible_pixels"]

# Standard deviations at which the Gaussian kernel of a blur is cut off.
BLUR_REACH = 3


def fourier_projection(shape: Sequence[int], n_measurements: int, random_state: int = 0) -> Operator:
    """Random projections in O(D log D) time and O(D) memory, for signals too large for a stored matrix.

    The flattened signal's entries get random signs, then random coefficients of its orthonormal real Fourier transform
    are kept (the subsampled randomised transform of Ailon and Chazelle 2009). Scaled by `sqrt(D / n_measurements)`, so
    that lengths are preserved on average, as `Projection.random` does.

    Args:
        shape: Shape of one signal, D entries in all.
        n_measurements: Coefficients to keep, at most D.
        random_state: Seed of signs and coefficients.

    Raises:
        ValueError: If `n_measurements` is not 1 to D.
    """
    size = math.prod(shape)
    if not 1 <= n_measurements <= size:
        raise ValueError(
            f"n_measurements must be 1 to {size} for signals of shape {tuple(shape)}, got {n_measurements}"
        )
    generator = torch.Generator().manual_seed(seed_for("projections", random_state))
    signs = torch.randint(2, (size,), generator=generator) * 2.0 - 1.0
    chosen = torch.randperm(size, generator=generator)[:n_measurements].sort().values
    scale = math.sqrt(size / n_measurements)

    def measure(x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x.flatten(1) * signs.to(x.device), norm="ortho")
        # Waves come in pairs of sine and cosine, but the constant and, if D is even, the fastest wave are alone.
        alone = [0] if size % 2 else [0, size // 2]
        pairs = math.sqrt(2) * spectrum[:, 1 : (size + 1) // 2]
        coefficients = torch.cat([spectrum[:, alone].real, pairs.real, pairs.imag], 1)
        return scale * coefficients[:, chosen.to(x.device)]

    return Operator(measure, linear=True)


def blur_reach(sigma: float) -> int:
    """Pixels on either side that a Gaussian blur takes in; images must have more."""
    return math.ceil(BLUR_REACH * sigma)


def gaussian_blur(sigma: float) -> Operator:
    """Images blurred by a Gaussian; borders are reflected.

    Args:
        sigma: Standard deviation of the Gaussian in pixels, above 0; images must have more pixels a side than
            `blur_reach`.

    Raises:
        ValueError: If sigma is not above 0.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be above 0 pixels, got {sigma}")
    reach = blur_reach(sigma)
    line = torch.exp(-(torch.arange(-reach, reach + 1.0, dtype=torch.float64) / sigma).square() / 2)
    line = line / line.sum()

    def measure(x: Tensor) -> Tensor:
        if x.dim() != 4 or min(x.shape[2:]) <= reach:
            raise ValueError(
                f"a blur of sigma {sigma} needs images (n, channels, height, width), more than {reach} pixels a side; "
                f"got {tuple(x.shape)}"
            )
        channels = x.shape[1]
        kernel = line.to(x).expand(channels, 1, -1)
        padded = F.pad(x, (reach,) * 4, mode="reflect")
        return F.conv2d(F.conv2d(padded, kernel[:, :, None], groups=channels), kernel[:, :, :, None], groups=channels)

    return Operator(measure, linear=True)


def down_sampling(factor: int) -> Operator:
    """Images of fewer pixels, each the mean of `factor` x `factor` pixels.

    Args:
        factor: Sides of the squares in pixels, at least 1; what is left over at the borders is not measured.

    Raises:
        ValueError: If the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return Operator(lambda x: F.avg_pool2d(x, factor), linear=True)


def visible_pixels(mask: Bool[Tensor, "h w"]) -> Operator:
    """The observed pixels alone, the same ones of every image; see `Mask` for images of which each has its own.

    Args:
        mask: True = observed.

    Raises:
        ValueError: If no pixel is.
    """
    if not mask.any():
        raise ValueError("the mask hides every pixel; at least one must be observed")
    places = mask.flatten().nonzero()[:, 0]

    def measure(x: Tensor) -> Tensor:
        if x.shape[-2:] != mask.shape:
            raise ValueError(f"a mask of {tuple(mask.shape)} pixels does not fit images of {tuple(x.shape[-2:])}")
        return x.flatten(-2)[..., places.to(x.device)]

    return Operator(measure, linear=True)
