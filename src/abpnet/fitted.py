"""What a fitted estimator does: explain, reconstruct, recover, fill in and sample; its weights stay."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from abpnet.arrays import converter, factors_of, mean_of, resized, seed_of
from abpnet.chance import seed_for
from abpnet.disk import Rows
from abpnet.emissions import ADDITIVE
from abpnet.errors import InputError
from abpnet.estimator_settings import check_settings, device_of, prior_of
from abpnet.explaining import BATCH, decode, explain, linear_start
from abpnet.factor_analysis import FactorAnalysis
from abpnet.imputing import Field, fill_in_draw, fill_in_mean, fill_in_parts
from abpnet.likelihood import Annealing, log_likelihood
from abpnet.model import GeneratorModel
from abpnet.networks import NonNegative
from abpnet.observations import Complete, Observation, hide_missing, unmasked
from abpnet.patches import PatchField
from abpnet.posterior import chain_starts, posterior_draws
from abpnet.priors import Prior
from abpnet.projected_residuals import project
from abpnet.residuals import ResidualField
from abpnet.short_chains import short_draws
from abpnet.uncertainty import check_level, fewest_draws, noise_scale
from abpnet.validation import validated
from abpnet.values import check_between, check_count, shown, truths
from abpnet.whitening import whiten

__all__ = ["FittedNetwork"]

# Draws averaged into one posterior mean.
POSTERIOR_DRAWS = 30
# Draws from which intervals are calibrated, at least; and scales beyond which none was found.
CALIBRATION_DRAWS, SCALES = 39, (0.01, 19.9)
# Examples in memory at once while they are explained; whole batches of `explaining`, so that the bits do not change.
EXPLAINED_AT_ONCE = 8 * BATCH


class FittedNetwork(TransformerMixin):
    """The half of `GeneratorNetwork` that needs it fitted; attributes as there."""

    random_state: Any
    noise_std: float
    device: str
    model_: GeneratorModel
    signal_shape_: tuple[int, ...]
    precision_: dict[str, Any]
    linear_start_: FactorAnalysis | None
    residuals_: ResidualField | None
    patches_: PatchField | None
    measurement_noise_: float
    equivalent_noise_: float | None
    noise_scale_: float

    def transform(self, X: Any) -> Any:
        """Posterior mode of the latent factors, (n, *latent_shape); NaN in X = missing.

        Deterministic; a row's factors do not depend on the other rows. A memory-mapped X is read some rows at a time.
        """
        check_is_fitted(self)
        y, observation, convert = validated(self, X, None, may_stay_on_disk=True)
        return convert(self._explain(y, observation))

    def inverse_transform(self, Z: Any) -> Any:
        """Signals f(Z), (n, *shape), or the expected observations of a discrete emission."""
        check_is_fitted(self)
        z = factors_of("Z", Z, self.model_.latent_shape)
        return converter(Z)(self._mean(self._decode(z)))

    def reconstruct(self, X: Any) -> Any:
        """`inverse_transform(transform(X))`."""
        return self.inverse_transform(self.transform(X))

    def recover(self, Y: Any, observation: Any, random_state: Any = 0, start: Any = None) -> Any:
        """Signals (n, *shape) that explain measurements of them: their posterior mean.

        Where the field of the residuals is known, and the observation is linear and not too large, that of the
        residuals is part of it (see `projected_residuals`). Noise of the measurements themselves is taken for that of
        those that were learned from.

        Args:
            Y: (n, *measured) measurements; NaN = missing.
            observation: How Y came about, as in `fit`.
            random_state: Seed of the draws that are averaged.
            start: (n, *latent_shape) where the chains start, as in `impute`.

        Raises:
            ValueError: If Y cannot be used, or nothing says how it came about.
        """
        check_is_fitted(self)
        if observation is None:
            raise ValueError("observation must say how Y came about; for signals with missing entries there is impute")
        y, observation, convert = validated(self, Y, observation, name="Y")
        starts = None if start is None else factors_of("start", start, self.model_.latent_shape, len(y))
        field, measured, seen = self.residuals_, unmasked(observation), None
        if field is not None and not isinstance(measured, Complete):
            seen = project(field, self.measurement_noise_, measured, self.signal_shape_)

        def mean_signal(y: Tensor, observation: Observation, rows: Tensor) -> Tensor:
            begin_at = None if starts is None else starts[rows]
            return mean_of(islice(self._draw(y, observation, begin_at, random_state), POSTERIOR_DRAWS))

        if seen is None:
            return convert(mean_signal(y, observation, torch.arange(len(y))))
        return convert(seen.posterior_mean(y, observation, self.model_.emission, mean_signal))

    def impute(
        self,
        X: Any,
        n_imputations: int | None = None,
        random_state: Any = 0,
        start: Any = None,
        n_chains: int = 1,
    ) -> Any:
        """Fill in what is missing: (n, *shape), or (n_imputations, n, *shape).

        Args:
            X: (n, *shape), NaN = missing; what is not missing is returned as it came.
            n_imputations: None = fill in the posterior mean; else that many draws from the posterior, noise included,
                for `abpnet.uncertainty` (see `calibrate`).
            random_state: Seed of the draws.
            start: (n, *latent_shape) start of the chains, such as `latents_`; the posterior mode by default, or, where
                residuals were kriged, that of the short chains of `short_chains`.
            n_chains: Chains of each example, as in `posterior_samples`; of a single one draws are sooner there.
        """
        check_is_fitted(self)
        if n_imputations is not None:
            check_count("n_imputations", n_imputations)
        y, observation, convert = validated(self, X, None)
        signals = self._draw(y, observation, start, random_state, n_chains)
        if n_imputations is None:
            mean = mean_of(map(self._mean, islice(signals, POSTERIOR_DRAWS)))
            return convert(fill_in_mean(y, observation, mean, self._field))
        generator = torch.Generator().manual_seed(seed_for("noise of draws", seed_of(random_state)))
        chance = self._field, self.model_.emission, generator
        drawn = [
            fill_in_draw(y, observation, signal, *chance, self.noise_scale_)
            for signal in islice(signals, n_imputations)
        ]
        return convert(torch.stack(drawn))

    def posterior_samples(self, X: Any, n_samples: int = 100, n_chains: int = 4, random_state: Any = 0) -> Any:
        """Factors drawn from their posterior, (n_samples, n, *latent_shape).

        By Hamiltonian Monte Carlo (see `abpnet.posterior`), chains taking turns; where residuals were kriged, each draw
        is a chain of its own (see `short_chains`).

        Args:
            X: (n, *shape), NaN = missing.
            n_samples: Draws of each example.
            n_chains: Chains of each example, which start at modes of its posterior, if it has several.
            random_state: Seed of the draws.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        y, observation, convert = validated(self, X, None)
        draws = self._draw_factors(y, observation, None, random_state, n_chains)
        return convert(torch.stack([self._without_sign(z) for z in islice(draws, n_samples)]))

    def calibrate(
        self, X: Any, level: float = 0.9, share: float = 0.1, random_state: Any = 0, held_back: Any = None
    ) -> FittedNetwork:
        """Scale the noise of imputations so that credible intervals hold hidden entries as often as they should.

        A share of what was observed is hidden and drawn; `noise_scale_` then is what makes intervals of draws hold it
        as often as their level says (see `uncertainty.noise_scale`). Nothing else changes.

        What was learned from is known too well to tell how wide intervals have to be, the more so the fewer examples
        there were: calibrate on other examples, or on entries that learning was not shown.

        Args:
            X: (n, *shape), NaN = missing; some hundred examples, best ones that were not learned from.
            level: Of the intervals, above 0 and below 1.
            share: What is hidden of what was observed, above 0 and below 1. The first axis of a signal counts channels,
                if it has others: all of them are hidden together.
            random_state: Seed of what is hidden and of the draws.
            held_back: (n, *shape), True at entries to hide instead of a share drawn at random.

        Raises:
            ValueError: If a setting cannot be used, nothing was hidden, or the emission is no additive noise.
        """
        check_is_fitted(self)
        check_level(level)
        if not isinstance(self.model_.emission, ADDITIVE):
            raise ValueError(f"emission={self.model_.emission!r} has no noise that could be scaled")
        check_between("share", share, 0, 1)
        y, observation, _ = validated(self, X, None)
        generator = torch.Generator().manual_seed(seed_for("calibration", seed_of(random_state)))
        if held_back is None:
            held = torch.rand(y[:, :1].shape if y.dim() > 2 else y.shape, generator=generator) < share
        else:
            held = truths("held_back", held_back).cpu()
            if held.shape != y.shape:
                raise ValueError(f"held_back must have the shape of X, {tuple(y.shape)}, got {tuple(held.shape)}")
        held = held if observation.observed is None else held & observation.observed
        where = held.expand_as(y).numpy()
        if not where.any():
            asked = f"share={share}" if held_back is None else "held_back"
            raise ValueError(f"X: none of its observed entries is to be hidden ({asked}); give more of them")
        values, seen = hide_missing(torch.where(held, torch.nan, y), observation)
        signals: list[np.ndarray] = []
        draws: list[np.ndarray] = []
        n_draws = max(CALIBRATION_DRAWS, fewest_draws(level))
        for signal in islice(self._draw(values, seen, None, random_state), n_draws):
            parts = fill_in_parts(values, seen, signal, self._field, self.model_.emission, generator)
            for kept, part in zip((signals, draws), parts, strict=True):
                kept.append(part.numpy()[where])
        self.noise_scale_ = noise_scale(np.stack(signals), np.stack(draws), y.numpy()[where], level)
        if not SCALES[0] < self.noise_scale_ < SCALES[1]:
            warnings.warn(
                f"no scale of the noise makes intervals hold {level:.0%} of what was hidden; noise_scale_ is "
                f"{self.noise_scale_:.3g}: is noise_std={self.noise_std} far off, or learned by heart what was hidden?",
                stacklevel=2,
            )
        return self

    def sample(
        self,
        n: int = 1,
        *,
        latent_shape: Sequence[int] | None = None,
        prior: Prior | None = None,
        random_state: Any = None,
    ) -> np.ndarray:
        """New signals f(z), z drawn from the prior, (n, *shape).

        Args:
            n: How many.
            latent_shape: Height and width (or length) of another map of factors, for networks that take a map.
            prior: Another one to draw z from, such as `fit_mixture(torch.from_numpy(net.latents_))`, where chains stand
                elsewhere than the model's has it.
            random_state: Seed; the estimator's by default.
        """
        check_is_fitted(self)
        check_count("n", n)
        seed = seed_of(self.random_state if random_state is None else random_state)
        generator = torch.Generator().manual_seed(seed_for("samples", seed))
        shape = self.model_.latent_shape
        if latent_shape is not None:
            shape = resized(shape, latent_shape)
        z = (self.model_.prior if prior is None else prior_of(prior)).sample((n, *shape), generator)
        return self._mean(self._decode(z)).numpy()

    def score_samples(self, X: Any, random_state: Any = 0, annealing: Annealing | None = None) -> np.ndarray:
        """`log p(x)` of what was observed of each example, (n,), in nats: a lower bound on average.

        By annealed importance sampling (see `likelihood`), no row depending on another. Of densities, so that it can be
        above 0; fields of residuals (recipes "kriged", "patches" and "whitened") count as white noise.

        Args:
            X: (n, *shape), NaN = missing.
            random_state: Seed of the chains.
            annealing: How many chains and temperatures; more of them are more exact.
        """
        check_is_fitted(self)
        if not isinstance(annealing, Annealing | None):
            raise InputError(f"annealing must be an Annealing, got {shown(annealing)}")
        y, observation, _ = validated(self, X, None)
        modes, seed = self._explain(y, observation), seed_of(random_state)
        precision = self.precision_["precision"]
        return log_likelihood(self.model_, y, observation, modes, annealing, seed, precision).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`.

        Args:
            X: (n, *shape), NaN = missing.
            y: Ignored.
        """
        return float(self.score_samples(X).mean())

    def _explain(self, y: Rows, observation: Observation) -> Tensor:
        shapes, modes = (self.model_.latent_shape, self.signal_shape_), []
        for rows in torch.arange(len(y)).split(EXPLAINED_AT_ONCE):
            some, seen = y[rows], observation.select(rows)
            start = linear_start(self.linear_start_, some, seen, *shapes)
            some, seen = self._whiten(some, seen, whole=True)
            modes.append(explain(self.model_, some, seen, start, self.precision_["precision"]))
        return self._without_sign(torch.cat(modes))

    def _draw(
        self, y: Tensor, observation: Observation, start: Any, random_state: Any, n_chains: int = 1
    ) -> Iterator[Tensor]:
        """Signals f(z) of factors drawn from their posterior, without end."""
        return map(self._decode, self._draw_factors(y, observation, start, random_state, n_chains))

    def _draw_factors(
        self, y: Tensor, observation: Observation, start: Any, random_state: Any, n_chains: int
    ) -> Iterator[Tensor]:
        check_count("n_chains", n_chains)
        generator = torch.Generator(device_of(self.device)).manual_seed(seed_of(random_state))
        precision = self.precision_["precision"]
        if start is None and self.equivalent_noise_ and self.linear_start_ and unmasked(observation) == Complete():
            lines = self.linear_start_, self.equivalent_noise_
            return short_draws(self.model_, *lines, y, observation, generator, precision)
        if start is None:
            z = self._explain(y, observation)
        else:
            z = factors_of("start", start, self.model_.latent_shape, len(y))
        y, observation = self._whiten(y, observation)
        starts = chain_starts(self.model_, y, observation, z, n_chains, generator, precision)
        return posterior_draws(self.model_, y, observation, starts, generator, precision)

    def _whiten(self, y: Tensor, observation: Observation, whole: bool = False) -> tuple[Tensor, Observation]:
        field = self.residuals_ if check_settings(self).residuals == "whitened" else None
        return whiten(y, observation, field, self.model_.emission, whole=whole)

    @property
    def _field(self) -> Field:
        """What hidden entries are filled in by."""
        return self.residuals_ if self.patches_ is None else self.patches_

    def _without_sign(self, z: Tensor) -> Tensor:
        return z.abs() if isinstance(self.model_.network, NonNegative) else z

    def _mean(self, signals: Tensor) -> Tensor:
        return self.model_.emission.mean(signals)

    def _decode(self, z: Tensor) -> Tensor:
        return decode(self.model_, z, self.precision_["precision"])
