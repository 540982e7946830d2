"""Overlapping patches as one Gaussian field: what a patch tells about a hidden pixel reaches the next patches as well.

Patches that are filled in one by one and averaged (`patches`) know nothing of one another. Here, given the kinds k of
all patches i of an image x, less the mean of the field,

    log p(x) = -sum_i (P_i x)^T C_k(i)^-1 (P_i x) / 2 + constant,

where P_i cuts out patch i: a Gaussian Markov field (Zoran and Weiss 2011), whose hidden pixels have the mean that
conjugate gradients find. Patches overlap, so that each pixel counts several times, which does not move that mean but
makes the field too sure; draws are those of `patches`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from abpnet import patches
from abpnet.patches import PatchField, cut, kinds_of, places_of, smooth, turn

__all__ = ["conditional_mean"]

# Pixels from one patch to the next, as a share of its side.
STRIDE = 0.25
# Conjugate gradients end at this length of what is left, relative to where they began, or after so many steps.
TOLERANCE, MOST_STEPS = 1e-2, 400


class _Network(NamedTuple):
    """The patches of one image, sorted by kind.

    Attributes:
        places: Pixels of each.
        spans: The patches of each kind, and the precision of that kind.
        hidden: 1 where a pixel is to be found, else 0.
        diagonal: Of the field's precision, along each axis of the colours.
    """

    places: Int[Tensor, "m p"]
    spans: list[tuple[slice, Float[Tensor, "c p p"]]]
    hidden: Float[Tensor, "s"]
    diagonal: Float[Tensor, "c s"]


def _gathered(places: Int[Tensor, "m p"], parts: Float[Tensor, "c m p"], n_pixels: int) -> Float[Tensor, "c s"]:
    """At each pixel, the sum over patches that it is part of."""
    return parts.new_zeros(len(parts), n_pixels).index_add_(1, places.flatten(), parts.flatten(1))


def _link(field: PatchField, precisions: Float[Tensor, "k c p p"], image: Tensor, observed: Tensor) -> _Network:
    """Patches of the kinds that suit an image without holes best."""
    corners = places_of(image.shape, field.side, max(1, round(STRIDE * field.side)))
    kinds = kinds_of(field, cut(image, *corners, field.side))
    order = kinds.argsort(stable=True)
    pixels = torch.arange(observed.numel()).view(1, *image.shape[1:])
    places = cut(pixels, *corners, field.side)[order, 0]
    ends = kinds.bincount(minlength=len(precisions)).cumsum(0).tolist()
    spans = zip(map(slice, [0, *ends[:-1]], ends), precisions, strict=True)
    diagonals = precisions.diagonal(dim1=2, dim2=3)[kinds[order]].transpose(0, 1)
    diagonal = _gathered(places, diagonals, observed.numel())
    return _Network(places, [part for part in spans if part[0].start < part[0].stop], (~observed).float(), diagonal)


def _apply(network: _Network, image: Float[Tensor, "c s"]) -> Float[Tensor, "c s"]:
    """The field's precision times an image, at its hidden pixels."""
    parts = image[:, network.places]
    products = torch.cat([parts[:, span] @ precision for span, precision in network.spans], 1)
    return _gathered(network.places, products, len(network.hidden)) * network.hidden


def _solve(network: _Network, pull: Float[Tensor, "c s"]) -> Float[Tensor, "c s"]:
    """Hidden x where the field's precision times x is the pull, along each axis of the colours by itself."""
    x, left, direction = torch.zeros_like(pull), pull, pull / network.diagonal
    descent = (left * direction).sum(1, keepdim=True)
    goal = TOLERANCE**2 * descent
    for _ in range(MOST_STEPS):
        if not (descent > goal).any():
            break
        product = _apply(network, direction)
        step = torch.where(descent > goal, descent / (direction * product).sum(1, keepdim=True), 0.0)
        x, left = x + step * direction, left - step * product
        before, descent = descent, (left.square() / network.diagonal).sum(1, keepdim=True)
        direction = left / network.diagonal + torch.where(descent > goal, descent / before, 0.0) * direction
    else:
        warnings.warn(f"the mean of patches ended after {MOST_STEPS} steps, short of its tolerance", stacklevel=2)
    return x


def conditional_mean(
    field: PatchField,
    y: Float[Tensor, "n c h w"],
    observed: Bool[Tensor, "n 1 h w"],
    signal: Float[Tensor, "n c h w"],
) -> Float[Tensor, "n c h w"]:
    """Images expected of what was observed of them; no image depends on another.

    Kinds are those of what patches one by one make of it, where the search for the mean begins as well. It ends at
    `TOLERANCE`: the larger the holes, the farther from the exact mean (docs/method.md has figures).

    Args:
        field: Of what the smooth part of f(z) leaves unexplained.
        y: Images, finite everywhere; hidden pixels do not matter.
        observed: Which pixels were observed.
        signal: f(z).
    """
    mean, start = smooth(signal), patches.conditional_mean(field, y, observed, signal)
    start, expected = torch.where(observed, y, start) - mean, []
    precisions = torch.cholesky_inverse(field.roots)
    for image, seen in zip(start, observed, strict=True):
        whole = turn(field, image)
        network = _link(field, precisions, whole, seen.flatten())
        found = _solve(network, -_apply(network, whole.flatten(1)))
        expected.append(whole + found.view_as(whole))
    return mean + torch.einsum("nchw,dc->ndhw", torch.stack(expected), field.colours)
