"""What the factors leave unexplained of images, patch by patch: a Gaussian field of many kinds.

Residuals of photographs are smooth here and rough there, along one direction at an edge and along another at the next.
So the field of a small patch is drawn from a mixture: of kind k with probability w_k, and then normal of mean 0 and
covariance C_k (Yu, Sapiro and Mallat 2012; Zoran and Weiss 2011). Hidden pixels of a patch are their conditional mean
given its observed ones, under the kind that suits it best; where patches overlap, they are averaged by precision.

What of f(z) is smooth is the mean of the field. Its details are less certain than what neighbours tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from scipy.ndimage import gaussian_filter
from torch import Tensor

from abpnet.baselines.inpainting import fill_smoothly
from abpnet.disk import Rows
from abpnet.errors import InputError
from abpnet.observations import Complete, Observation, unmasked
from abpnet.whitening import is_pixelwise

__all__ = [
    "SIDE",
    "Drawn",
    "PatchField",
    "check_pixels",
    "conditional_draw",
    "conditional_mean",
    "cut",
    "fit",
    "kinds_of",
    "pixels_of",
    "places_of",
    "smooth",
    "turn",
]

# Pixels on a side of a patch, and from one patch to the next where they are averaged.
SIDE, STRIDE = 8, 3
# Standard deviation of the filter that smooths f(z), as a share of the shorter side.
SMOOTHING = 0.14
# Patches that a field is learned from, and for each kind; its kinds at most, and rounds of learning.
MOST_PATCHES, PATCHES_PER_KIND, MOST_KINDS, ROUNDS = 30_000, 500, 40, 3
# Kinds that differ in how strong they are, not in direction, as a share; and of the patches, the weakest, in them.
SHARE_FLAT, SHARE_WEAK = 0.2, 1 / 3
# Patches that the covariance of all kinds counts for in that of each, and white noise relative to the mean variance.
PRIOR_PATCHES, WHITE = 30, 1e-3
# Of the largest variance in any direction, the least in another that float32 can still factorise.
LEAST_SHARE = 2e-6
# Where residuals vary less than this, or not at all, such as along colours of grey images, they are taken for this.
SMALLEST_VARIANCE = 1e-6
# Patches, or images, handled at once while learning.
AT_ONCE = 500


class PatchField(NamedTuple):
    """A mixture of Gaussian fields on patches.

    Attributes:
        colours: Axes along which residuals are unrelated, in columns.
        weights: Share of each kind.
        covariances: Of each kind, along each axis.
        roots: Their Cholesky factors.
    """

    colours: Float[Tensor, "c c"]
    weights: Float[Tensor, "k"]
    covariances: Float[Tensor, "k c p p"]
    roots: Float[Tensor, "k c p p"]

    @property
    def side(self) -> int:
        """Pixels on a side of a patch."""
        return round(self.covariances.shape[-1] ** 0.5)


class Drawn(NamedTuple):
    """Images drawn given what was observed of them.

    Attributes:
        mean: What is expected.
        deviation: By how much the draw differs from that; 0 where it was observed.
    """

    mean: Float[Tensor, "n c h w"]
    deviation: Float[Tensor, "n c h w"]


def pixels_of(observed: Bool[Tensor, "#n #c h w"], shape: Sequence[int]) -> Bool[Tensor, "n 1 h w"]:
    """Which pixels of images of shape (n, c, h, w) were observed.

    Raises:
        InputError: If some were observed in some channels and not in others.
    """
    observed = observed.cpu().expand(tuple(shape))
    if not is_pixelwise(observed):
        raise InputError(
            "residuals='patches' needs pixels that are observed in all channels or in none; choose 'kriged'"
        )
    return observed[:, :1]


def check_pixels(y: Rows, observation: Observation) -> None:
    """Refuse images that have no field of patches, before time is spent on learning from them; others need none.

    Args:
        y: (n, *measured) observations.
        observation: How they came about.

    Raises:
        InputError: If some pixels were observed in some channels and not in others.
    """
    if y.dim() != 4 or not isinstance(unmasked(observation), Complete):
        return
    for rows in torch.arange(len(y)).split(AT_ONCE):
        observed = observation.select(rows).observed
        if observed is not None:
            pixels_of(observed, (len(rows), *y.shape[1:]))


def smooth(signal: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """What of f(z) is taken for the mean of the field."""
    deviation = SMOOTHING * min(signal.shape[2:])
    return torch.from_numpy(gaussian_filter(signal.numpy(), (0, 0, deviation, deviation), mode="nearest"))


def turn(field: PatchField, image: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    """The image along the field's axes of the colours."""
    return torch.einsum("chw,cd->dhw", image, field.colours)


def cut(image: Num[Tensor, "c h w"], tops: Tensor, lefts: Tensor, side: int) -> Num[Tensor, "m c p"]:
    """Flattened patches with these corners."""
    along = torch.arange(side)
    rows, columns = (tops[:, None] + along)[:, :, None], (lefts[:, None] + along)[:, None, :]
    return image[:, rows, columns].transpose(0, 1).flatten(2)


def kinds_of(field: PatchField, patches: Float[Tensor, "m c p"]) -> Int[Tensor, "m"]:
    """The kind under which each whole patch is most probable."""
    log_density = field.weights.clamp(min=1e-6).log().repeat(len(patches), 1)
    for kind, roots in enumerate(field.roots):
        white = torch.linalg.solve_triangular(roots, patches.permute(1, 2, 0), upper=False)
        log_density[:, kind] -= 0.5 * white.square().sum((0, 1)) + roots.diagonal(dim1=1, dim2=2).log().sum()
    return log_density.argmax(1)


class _Belief(NamedTuple):
    """Normal distribution of patches given their observed pixels: its mean, and H of its covariance `C - H^T H`."""

    mean: Float[Tensor, "m c p"]
    known: Float[Tensor, "m c p p"]


def _given(
    covariances: Float[Tensor, "m c p p"], patches: Float[Tensor, "m c p"], observed: Float[Tensor, "m p"]
) -> _Belief:
    """Condition each patch on its observed pixels.

    Args:
        covariances: Of each patch.
        patches: Hidden pixels do not matter.
        observed: 1 or 0.
    """
    seen = observed[:, None]
    # Hidden pixels are taken for independent ones that were seen to be 0, which changes nothing.
    matrix = covariances * seen.unsqueeze(3) * seen.unsqueeze(2)
    matrix.diagonal(dim1=2, dim2=3).add_(1 - seen)
    values = torch.where(seen > 0, patches, 0.0)
    root = torch.linalg.cholesky(matrix)
    sides = torch.cat([covariances * seen.unsqueeze(3), values.unsqueeze(3)], 3)
    solved = torch.linalg.solve_triangular(root, sides, upper=False)
    known = solved[..., :-1]
    return _Belief((known.mT @ solved[..., -1:]).squeeze(3), known)


def _solid(covariances: Float[Tensor, "k c p p"], noise: float) -> tuple[Tensor, Tensor]:
    """Covariances without directions that do not vary, and their Cholesky factors."""
    values, vectors = torch.linalg.eigh(covariances)
    values = torch.maximum(values, (LEAST_SHARE * values[..., -1:]).clamp(min=noise))
    solid = (vectors * values.unsqueeze(-2)) @ vectors.mT
    # In rows, as they come back from files: products of columns are rounded otherwise.
    return solid.contiguous(), torch.linalg.cholesky(solid).contiguous()


def _directions(patches: Float[Tensor, "m p"], n_kinds: int, generator: torch.Generator) -> Int[Tensor, "m"]:
    """A first sorting of patches: the weakest by strength, the others by the direction they vary in."""
    centred = patches - patches.mean(1, keepdim=True)
    strength = centred.norm(dim=1)
    directions = centred / strength.clamp(min=1e-6).unsqueeze(1)
    centres = directions[torch.multinomial(strength + 1e-6, n_kinds, generator=generator)]
    kinds = torch.zeros(len(patches), dtype=torch.long)
    for _ in range(10):
        kinds = (directions @ centres.T).abs().argmax(1)
        for kind in range(n_kinds):
            some = directions[kinds == kind]
            if len(some) > 1:
                centres[kind] = torch.linalg.eigh(some.T @ some).eigenvectors[:, -1]
    weakest = strength.argsort()[: round(SHARE_WEAK * len(patches))]
    n_flat = max(1, round(SHARE_FLAT * n_kinds))
    kinds[weakest] = torch.arange(len(weakest)) * n_flat // max(len(weakest), 1)
    return kinds


def _mixture(
    sums: Float[Tensor, "k c p p"], counts: Float[Tensor, "k"], whole: Float[Tensor, "c p p"], colours: Tensor
) -> PatchField:
    """The field with the mean products of each kind, held by those of all patches where there are few."""
    strength = sums.diagonal(dim1=2, dim2=3).mean(2) / counts.clamp(min=1)[:, None]
    usual = whole.diagonal(dim1=1, dim2=2).mean(1).clamp(min=SMALLEST_VARIANCE)
    held = whole * (strength / usual)[:, :, None, None]
    mean = (sums + PRIOR_PATCHES * held) / (counts + PRIOR_PATCHES)[:, None, None, None]
    covariances, roots = _solid(mean, float(WHITE * usual.mean()))
    return PatchField(colours, counts / counts.sum(), covariances, roots)


def fit(
    y: Float[Tensor, "n c h w"],
    observed: Bool[Tensor, "n 1 h w"],
    signal: Float[Tensor, "n c h w"],
    generator: torch.Generator,
) -> PatchField:
    """Learn the kinds of patches from the observed pixels of images.

    By EM, in which each patch is of the kind that suits it best: hidden pixels add their conditional mean and
    covariance. It starts at smooth completions of the images.

    Args:
        y: Images, finite everywhere; hidden pixels do not matter.
        observed: Which pixels were observed.
        signal: f(z).
        generator: Source of which patches are looked at.
    """
    side = min(SIDE, *y.shape[2:])
    whole = fill_smoothly(y, observed) - smooth(signal)
    seen_pixels = whole.transpose(0, 1)[:, observed[:, 0]]
    colours = (
        torch.linalg.eigh(seen_pixels @ seen_pixels.T / max(1, seen_pixels.shape[1])).eigenvectors.flip(1).contiguous()
    )
    n_places = (y.shape[2] - side + 1) * (y.shape[3] - side + 1)
    n_each = max(1, min(MOST_PATCHES // len(y), n_places))
    parts, masks = [], []
    for image, mask in zip(torch.einsum("nchw,cd->ndhw", whole, colours), observed, strict=True):
        places = torch.randperm(n_places, generator=generator)[:n_each]
        tops, lefts = places // (y.shape[3] - side + 1), places % (y.shape[3] - side + 1)
        parts.append(cut(image, tops, lefts, side))
        masks.append(cut(mask.float(), tops, lefts, side)[:, 0])
    patches, seen = torch.cat(parts), torch.cat(masks)
    n_kinds = max(1, min(MOST_KINDS, len(patches) // PATCHES_PER_KIND))
    average = torch.einsum("mcp,mcq->cpq", patches, patches) / len(patches)
    kinds = _directions(patches[:, 0], n_kinds, generator)
    chosen = torch.nn.functional.one_hot(kinds, n_kinds).float()
    field = _mixture(torch.einsum("mk,mcp,mcq->kcpq", chosen, patches, patches), chosen.sum(0), average, colours)
    for _ in range(ROUNDS):
        kinds = kinds_of(field, patches)
        sums, counts = torch.zeros_like(field.covariances), torch.bincount(kinds, minlength=n_kinds).float()
        for rows in torch.arange(len(patches)).split(AT_ONCE):
            covariances = field.covariances[kinds[rows]]
            mean, known = _given(covariances, patches[rows], seen[rows])
            products = mean.unsqueeze(3) * mean.unsqueeze(2) + covariances - known.mT @ known
            sums.index_add_(0, kinds[rows], products)
            patches[rows] = torch.where(seen[rows, None] > 0, patches[rows], mean)
        field = _mixture(sums, counts, average, colours)
    return field


def _starts(length: int, side: int, stride: int, first: int = 0) -> list[int]:
    """Where patches begin so that they cover everything."""
    return sorted({0, *range(first, length - side + 1, stride), length - side})


def places_of(shape: Sequence[int], side: int, stride: int, first: Sequence[int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Corners of patches that cover an image."""
    rows, columns = (_starts(shape[-2 + axis], side, stride, first[axis]) for axis in (0, 1))
    grid = torch.cartesian_prod(torch.tensor(rows), torch.tensor(columns))
    return grid[:, 0], grid[:, 1]


def _pasted(
    shape: Sequence[int], places: tuple[Tensor, Tensor], patches: Float[Tensor, "m c p"], weight: Tensor
) -> Float[Tensor, "c h w"]:
    """Weighted mean of patches at their places."""
    side = round(patches.shape[2] ** 0.5)
    total, weights = torch.zeros(tuple(shape)), torch.zeros(tuple(shape))
    squares = ((patches * weight).unflatten(2, (side, side)), weight.unflatten(2, (side, side)))
    for top, left, some, its_weight in zip(*(place.tolist() for place in places), *squares, strict=True):
        total[:, top : top + side, left : left + side] += some
        weights[:, top : top + side, left : left + side] += its_weight
    return total / weights


def conditional_mean(
    field: PatchField,
    y: Float[Tensor, "n c h w"],
    observed: Bool[Tensor, "n 1 h w"],
    signal: Float[Tensor, "n c h w"],
) -> Float[Tensor, "n c h w"]:
    """Images expected of what was observed of them, patch by patch; no image depends on another.

    Args:
        field: Of what the smooth part of f(z) leaves unexplained.
        y: Images, finite everywhere; hidden pixels do not matter.
        observed: Which pixels were observed.
        signal: f(z).
    """
    mean, filled, stride = smooth(signal), fill_smoothly(y, observed), min(STRIDE, field.side)
    places, expected = places_of(y.shape, field.side, stride), torch.empty_like(y)
    for index in range(len(y)):
        whole = turn(field, filled[index] - mean[index])
        patches = cut(whole, *places, field.side)
        seen = cut(observed[index].float(), *places, field.side)[:, 0]
        covariances = field.covariances[kinds_of(field, patches)]
        belief = _given(covariances, patches, seen)
        left = covariances.diagonal(dim1=2, dim2=3) - belief.known.square().sum(2)
        precision = 1 / left.clamp(min=1e-3 * float(field.covariances.diagonal(dim1=2, dim2=3).mean()))
        pasted = _pasted(whole.shape, places, belief.mean, precision)
        expected[index] = mean[index] + torch.einsum("chw,dc->dhw", pasted, field.colours)
    return expected


def conditional_draw(
    field: PatchField,
    y: Float[Tensor, "n c h w"],
    observed: Bool[Tensor, "n 1 h w"],
    signal: Float[Tensor, "n c h w"],
    generator: torch.Generator,
) -> Drawn:
    """A draw of images given what was observed of them, from patches side by side, another tiling every time.

    In each patch the deviation is any draw less its own conditional mean (Hoffman and Ribak 1991).

    Args:
        field: Of what the smooth part of f(z) leaves unexplained.
        y: Images, finite everywhere; hidden pixels do not matter.
        observed: Which pixels were observed.
        signal: f(z) of drawn factors.
        generator: Source of chance.
    """
    mean, filled, side = smooth(signal), fill_smoothly(y, observed), field.side
    first = torch.randint(side, (2,), generator=generator).tolist()
    places, expected, deviation = places_of(y.shape, side, side, first), torch.empty_like(y), torch.empty_like(y)
    for index in range(len(y)):
        whole = turn(field, filled[index] - mean[index])
        patches = cut(whole, *places, side)
        seen = cut(observed[index].float(), *places, side)[:, 0]
        kinds = kinds_of(field, patches)
        noise = torch.randn(patches.shape, generator=generator).unsqueeze(3)
        free = (field.roots[kinds] @ noise).squeeze(3)
        given, of_free = (_given(field.covariances[kinds], values, seen).mean for values in (patches, free))
        for image, parts in ((expected, given), (deviation, free - of_free)):
            pasted = _pasted(whole.shape, places, parts, torch.ones_like(parts))
            image[index] = torch.einsum("chw,dc->dhw", pasted, field.colours)
    return Drawn(mean + expected, deviation)
