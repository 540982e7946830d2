"""What the factors leave unexplained of images that were seen through linear measurements only.

Residuals `y - A f(z) = A r + e` of a stationary Gaussian field r of covariance K and white noise e have the covariance
`A K A^T + v I`. It is linear in what K has in each band of spatial frequencies, and so in all that is to be estimated:
maximum likelihood by scoring (Anderson 1973, *Annals of Statistics* 1, 135-141). Where 1,000 projections of an image of
12,288 numbers are known, r is then known to a good part as well: by its conditional mean, `K A^T (A K A^T + v I)^-1`
times what is left of the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abpnet.emissions import Emission, Gaussian
from abpnet.observations import Observation, Operator, Projection
from abpnet.residuals import WHITE, ResidualField, apply_covariance

__all__ = ["ProjectedResiduals", "estimate_projected", "estimate_projected_in_parts", "matrix_of", "project"]

# Beyond these sizes of A its residuals are taken for white: numbers of measurements, and of its entries.
MOST_MEASUREMENTS, MOST_ENTRIES = 4096, 40_000_000
# As many measurements, drawn at random, tell the field; and as many bands of frequency it has for each octave.
MEASUREMENTS_FOR_FIELD, BANDS_PER_OCTAVE = 500, 2
# The smallest share of a band's strongest colour that another one has, and of the strongest band that another one has;
# and of the measurements' variance that is noise.
LEAST_COLOUR, LEAST_BAND, LEAST_NOISE = 1e-3, 1e-9, 1e-6
# Variance of measurements that are all zero.
LEAST_VARIANCE = 1e-12
# Scoring ends when a step gains less than this, in nats for each example.
GAIN, MOST_STEPS, SHORTEST_STEP = 1e-2, 20, 0.05
RIDGE = 1e-4
# Rows of A, and examples, that are handled at once.
ROWS, EXAMPLES = 100, 2000


class ProjectedResiduals(NamedTuple):
    """The field of the residuals, and how it is seen through measurements.

    Attributes:
        field: Of covariance K.
        shape: Of one signal, (channels, height, width).
        matrix: A, one row per measurement.
        root: L, lower triangular: `L L^T = A K A^T + v I`.
    """

    field: ResidualField
    shape: tuple[int, ...]
    matrix: Float[Tensor, "k d"]
    root: Float[Tensor, "k k"]

    def whiten(self, y: Float[Tensor, "n *measured"], emission: Emission) -> tuple[Tensor, Projection]:
        """Measurements `s L^-1 y` and how they came about, such that white noise of the emission stands for residuals.

        Raises:
            ValueError: If the emission has no noise of one standard deviation s.
        """
        if not isinstance(emission, Gaussian):
            raise ValueError(f"residuals of a field need a Gaussian emission, got {type(emission).__name__}")

        def apply(columns: Tensor) -> Tensor:
            return emission.noise_std * torch.linalg.solve_triangular(self.root, columns.double(), upper=False)

        return apply(y.flatten(1).cpu().T).T.to(y), Projection(apply(self.matrix).to(y), self.shape)

    def conditional_mean(self, residual: Float[Tensor, "n *measured"]) -> Float[Tensor, "n c h w"]:
        """Mean of the signals' residuals given those of their measurements."""
        weights = torch.cholesky_solve(residual.flatten(1).double().T, self.root).T.float()
        images = (weights @ self.matrix).unflatten(1, self.shape)
        return torch.cat([apply_covariance(self.field, some) if len(some) else some for some in images.split(ROWS)])

    def posterior_mean(
        self,
        y: Float[Tensor, "n *measured"],
        observation: Observation,
        emission: Emission,
        mean_signal: Callable[[Tensor, Observation, Tensor], Tensor],
    ) -> Float[Tensor, "n c h w"]:
        """Mean of f(z) plus the residuals, given measurements; lost ones are left out.

        Args:
            y: Measurements, finite everywhere.
            observation: How they came about, and which are known.
            emission: Of the model.
            mean_signal: Posterior mean of f(z) from measurements, how they came about, and which rows of y they are.
        """
        means = torch.empty(len(y), *self.shape)
        for rows, known in _patterns(observation.observed, y):
            if not known.any():
                means[rows] = mean_signal(y[rows], observation.select(rows), rows)
                continue
            some, told = self._of(known), y.flatten(1)[rows][:, known]
            signals = mean_signal(*some.whiten(told, emission), rows)
            means[rows] = signals + some.conditional_mean(told - signals.flatten(1) @ some.matrix.T)
        return means

    def _of(self, known: Bool[Tensor, "k"]) -> ProjectedResiduals:
        """The same seen through some of the measurements."""
        if known.all():
            return self
        covariance = (self.root @ self.root.T)[known][:, known]
        return self._replace(matrix=self.matrix[known], root=torch.linalg.cholesky(covariance))


def _patterns(observed: Tensor | None, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Examples of which the same measurements are known: their indices, and True for each measurement known."""
    known = torch.ones_like(y, dtype=torch.bool) if observed is None else observed.cpu().expand_as(y)
    patterns, which = known.flatten(1).unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield (which == number).nonzero()[:, 0], pattern


@torch.no_grad()
def matrix_of(observation: Observation, shape: Sequence[int]) -> Float[Tensor, "k d"] | None:
    """A as a matrix on the CPU; None if it is not known to be linear, hides measurements of its own, or is too large.

    None as well if it measures nothing: a matrix of zeros.

    Args:
        observation: Of signals.
        shape: Shape of one signal.
    """
    size = math.prod(shape)

    def fits(n_measurements: int) -> bool:
        return n_measurements <= MOST_MEASUREMENTS and n_measurements * size <= MOST_ENTRIES

    observation = observation.to(torch.device("cpu"))
    if isinstance(observation, Projection):
        matrix = observation.matrix if fits(len(observation.matrix)) else None
    elif isinstance(observation, Operator) and observation.linear:
        if not fits(observation(torch.zeros(1, *shape)).numel()):
            return None
        places = torch.arange(size).split(ROWS)
        units = (torch.nn.functional.one_hot(some, size).float() for some in places)
        columns = [observation(unit.unflatten(1, tuple(shape))).flatten(1) for unit in units]
        matrix = torch.cat(columns).float().T.contiguous()
    else:
        return None
    return matrix if matrix is not None and matrix.any() else None


def project(
    field: ResidualField, noise_std: float, observation: Observation, shape: Sequence[int]
) -> ProjectedResiduals | None:
    """How a field of residuals is seen through an observation; None if `matrix_of` knows of no matrix.

    Args:
        field: Of the residuals of images.
        noise_std: Standard deviation of the noise of the measurements themselves.
        observation: Of the images.
        shape: Shape of one image.
    """
    matrix = matrix_of(observation, shape)
    if matrix is None:
        return None
    exact, double = matrix.double(), ResidualField(field.spectrum.double())
    rows = exact.unflatten(1, tuple(shape)).split(ROWS)
    covariance = torch.cat([apply_covariance(double, some).flatten(1) @ exact.T for some in rows])
    covariance = (covariance + covariance.T) / 2
    least = LEAST_NOISE * covariance.diagonal().mean()
    covariance.diagonal().add_(max(noise_std**2, float(least)))
    return ProjectedResiduals(field, tuple(shape), matrix, torch.linalg.cholesky(covariance))


def _bands(height: int, width: int) -> Float[Tensor, "bands rows columns"]:
    """Shares of each frequency of the padded grid in overlapping bands, of sum 1."""
    rows, columns = 2 * height, 2 * width
    down, along = torch.fft.fftfreq(rows, 1 / rows).double(), torch.fft.rfftfreq(columns, 1 / columns).double()
    octave = torch.log2(1 + torch.hypot(down[:, None], along[None]))
    n_steps = math.ceil(BANDS_PER_OCTAVE * float(octave.max()))
    middles = torch.linspace(0, float(octave.max()), 1 + n_steps, dtype=torch.float64)
    return torch.stack([(1 - (octave - middle).abs() / middles[1]).clamp(min=0) for middle in middles])


class _Parts(NamedTuple):
    """Parts of which the covariance of measurements is a sum: bands times pairs of channels, and noise; float64.

    Attributes:
        bands: See `_bands`.
        pairs: Channels a <= b.
        matrices: `A K A^T` of one band and pair each; the identity at the end.
    """

    bands: Tensor
    pairs: list[tuple[int, int]]
    matrices: Float[Tensor, "parts k k"]

    def colours(self, weights: Float[Tensor, "parts"]) -> Float[Tensor, "bands c c"]:
        """Covariance between channels in every band."""
        n_channels = self.pairs[-1][0] + 1
        colours = weights.new_zeros(len(self.bands), n_channels, n_channels)
        for column, (a, b) in zip(weights[:-1].view(len(self.bands), -1).T, self.pairs, strict=True):
            colours[:, a, b] = colours[:, b, a] = column
        return colours

    def permitted(self, weights: Float[Tensor, "parts"]) -> Float[Tensor, "parts"]:
        """The closest weights that a field has: its covariances are positive definite."""
        values, vectors = torch.linalg.eigh(self.colours(weights))
        values = values.maximum(LEAST_COLOUR * values[:, -1:]).clamp(min=LEAST_BAND * values.max())
        colours = (vectors * values[:, None]) @ vectors.mT
        entries = torch.stack([colours[:, a, b] for a, b in self.pairs], 1).flatten()
        least = LEAST_NOISE * torch.einsum("p,pkk->", entries, self.matrices[:-1]) / self.matrices.shape[1]
        return torch.cat([entries, weights[-1:].clamp(min=float(least))])

    def covariance(self, weights: Float[Tensor, "parts"]) -> Float[Tensor, "k k"]:
        """Covariance of the measurements."""
        return torch.einsum("p,pkl->kl", weights, self.matrices)

    def field(self, weights: Float[Tensor, "parts"]) -> ResidualField:
        """The field of the signals, with as much white noise as every `ResidualField` has."""
        spectrum = torch.einsum("bij,bhw->ijhw", self.colours(weights), self.bands)
        variance = ResidualField(spectrum).covariance[:, :, 0, 0].diagonal().mean()
        white = WHITE * variance * torch.eye(len(spectrum), dtype=spectrum.dtype)
        return ResidualField((spectrum + white[:, :, None, None]).float().contiguous())


def _parts(matrix: Float[Tensor, "k d"], shape: Sequence[int]) -> _Parts:
    n_channels, height, width = shape
    bands = _bands(height, width)
    pairs = [(a, b) for a in range(n_channels) for b in range(a, n_channels)]
    rows = matrix.double().unflatten(1, tuple(shape))
    matrices = []
    for band in bands:
        alone = ResidualField(band * torch.eye(n_channels, dtype=band.dtype)[:, :, None, None])
        filtered = torch.cat([apply_covariance(alone, some) for some in rows.split(ROWS)])
        for a, b in pairs:
            product = rows[:, a].flatten(1) @ filtered[:, b].flatten(1).T
            matrices.append(product if a == b else product + product.T)
    return _Parts(bands, pairs, torch.stack([*matrices, torch.eye(len(matrix)).double()]))


def _misfit(covariance: Tensor, sample: Tensor) -> float:
    """Negative log-likelihood for each example, in nats, up to a constant; infinite where there is no density."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        return math.inf
    return float(root.diagonal().log().sum() + torch.cholesky_solve(sample, root).diagonal().sum() / 2)


def _score(parts: _Parts, weights: Tensor, sample: Tensor) -> Tensor:
    """The step of scoring: where the likelihood, taken for as round as it is on average, has its maximum."""
    root = torch.linalg.cholesky(parts.covariance(weights))

    def whitened(matrix: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(root, matrix, upper=False)
        return torch.linalg.solve_triangular(root, half.T, upper=False).flatten().float()

    scale = weights.abs() + 1e-9 * weights.abs().max()  # parts differ by orders of magnitude
    rows = torch.stack([whitened(matrix) for matrix in parts.matrices]) * scale.float()[:, None]
    information, towards = (rows @ rows.T).double(), (rows @ whitened(sample)).double()
    gradient = towards - information @ (weights / scale)
    information.diagonal().add_(RIDGE * information.diagonal().mean())
    return scale * torch.linalg.solve(information, gradient)


@torch.no_grad()
def estimate_projected(
    residual: Float[Tensor, "n *measured"], matrix: Float[Tensor, "k d"], shape: Sequence[int]
) -> tuple[ResidualField, float]:
    """The field of the images' residuals under which those of the measurements are likeliest.

    Args:
        residual: `y - A f(z)`.
        matrix: A, see `matrix_of`.
        shape: Shape of one image, (channels, height, width).

    Returns:
        The field, and the standard deviation of the noise of the measurements themselves.
    """
    return estimate_projected_in_parts([residual], matrix, shape)


@torch.no_grad()
def estimate_projected_in_parts(
    residuals: Iterable[Tensor], matrix: Float[Tensor, "k d"], shape: Sequence[int]
) -> tuple[ResidualField, float]:
    """The same of residuals that come some at a time; how many at a time makes no difference.

    Args:
        residuals: (n, *measured) each.
        matrix: As for `estimate_projected`.
        shape: As for `estimate_projected`.
    """
    some = torch.randperm(len(matrix), generator=torch.Generator().manual_seed(0))[:MEASUREMENTS_FOR_FIELD]
    parts = _parts(matrix[some], shape)
    examples = (example for residual in residuals for example in residual.flatten(1)[:, some])
    products, n = torch.zeros(len(some), len(some), dtype=torch.float64), 0
    while together := list(islice(examples, EXAMPLES)):
        told = torch.stack(together).double()
        products, n = products + told.T @ told, n + len(told)
    sample = products / n
    steep = torch.linspace(0, 1, len(parts.bands), dtype=torch.float64).mul(-3 * math.log(1 + max(shape[1:]))).exp()
    alike = torch.tensor([1.0 if a == b else 0.9 for a, b in parts.pairs])
    weights = parts.permitted(torch.cat([(steep[:, None] * alike).flatten(), torch.zeros(1).double()]))
    variance = sample.diagonal().mean().clamp(min=LEAST_VARIANCE)
    weights *= variance / parts.covariance(weights).diagonal().mean()
    misfit = _misfit(parts.covariance(weights), sample)
    for _ in range(MOST_STEPS):
        step, length, before = _score(parts, weights, sample), 1.0, misfit
        while length > SHORTEST_STEP:
            candidate = parts.permitted(weights + length * step)
            reached = _misfit(parts.covariance(candidate), sample)
            if reached < misfit:
                weights, misfit = candidate, reached
                break
            length /= 2
        if before - misfit < GAIN:
            break
    return parts.field(weights), float(weights[-1].sqrt())
