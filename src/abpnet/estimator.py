"""GeneratorNetwork: the scikit-learn face of the model, the one door that the experiments use."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils import Tags
from torch import Tensor, nn

from abpnet import patches
from abpnet.arrays import factors_of, seed_of, signal_shape
from abpnet.beginning import begin
from abpnet.disk import Rows
from abpnet.emissions import ADDITIVE, Emission
from abpnet.estimator_settings import (
    NON_NEGATIVE,
    check_settings,
    device_of,
    emission_of,
    latent_shape_of,
    prior_of,
)
from abpnet.explaining import check_network, regress
from abpnet.factor_analysis import FactorAnalysis
from abpnet.fitted import FittedNetwork
from abpnet.interruption import delay_interruption
from abpnet.learning import alternate, estimate_residuals
from abpnet.learning_state import Iteration
from abpnet.model import GeneratorModel
from abpnet.networks import NonNegative, chosen_network
from abpnet.observations import Complete, Observation, unmasked
from abpnet.patches import PatchField
from abpnet.precision import try_precisions
from abpnet.priors import Prior
from abpnet.recipes import Recipe
from abpnet.residuals import ResidualField
from abpnet.short_chains import noise_for
from abpnet.stored import StoredNetwork
from abpnet.trackers import check_tracker, track
from abpnet.validation import validated
from abpnet.values import check_flag

__all__ = ["GeneratorNetwork"]

# Chains that the linear start of inference is regressed on, at most.
MOST_CHAINS_REGRESSED = 2000
# Images that a field of patches is learned from.
MOST_IMAGES_IN_PATCHES = 400


class GeneratorNetwork(FittedNetwork, StoredNetwork, ClassNamePrefixFeaturesOutMixin, BaseEstimator):
    """A generator network learned by alternating back-propagation from complete, incomplete or indirect data.

    `y = A(f(z; W)) + e`, `z ~ N(0, I)`, `e ~ N(0, noise_std^2)` (Han, Lu, Zhu and Wu, AAAI 2017). Arrays and tensors
    come in as (n, *shape); what comes out is of the same kind.

    Args:
        latent_dim: Number of latent factors d; or the shape of a map of factors, such as (8, 7, 7), for networks that
            take one.
        network: "auto", or any `torch.nn.Module` that maps (n, *latent_shape) to (n, *shape) and treats the examples
            of a batch independently of one another.
        noise_std: Standard deviation sigma of the noise in the units of the data, or its start if it is learned.
        emission: What the noise is like: "gaussian", or "laplace" or "student-t" with heavier tails; or an emission,
            such as `Bernoulli()` of pixels that are 0 or 1, to which `noise_std` means nothing. Signals of discrete
            ones are expected observations.
        prior: Of the factors: "normal", "heavy-tailed", "double-exponential" or "sparse"; "exponential" or
            "half-normal" of factors without a sign; or any object with `log_prob` and `sample` (see `priors`).
        recipe: Name of one of `recipes.RECIPES`, such as "default", "whitened" or "paper", or a `Recipe`.
        max_iter: Passes over the examples at most.
        max_seconds: Seconds of learning at most.
        device: "auto", "cpu", "cuda", ...
        precision: "float32" (exact), "bfloat16", or "auto": bfloat16 if a short trial finds it faster and harmless.
        random_state: Seed (or `numpy.random.RandomState`) of all chance in `fit`.
        verbose: Show progress.

    Attributes:
        model_: The learned `GeneratorModel`.
        latents_: (n, *latent_shape) where the chains of the training examples stand; blind to what was held out.
        history_: One dictionary per iteration.
        n_iter_: Iterations run.
        precision_: The precision used, and what the trial found.
        residuals_: The field of the residuals; None = white.
        patches_: What the smooth part of signals leaves unexplained, patch by patch; None = it is not used.
        measurement_noise_: Of measurements of which that field is known: deviation of the noise they have beside it.
        equivalent_noise_: Deviation of the white noise that stands for kriged residuals; None = it is not used.
        noise_scale_: What the noise of drawn imputations is multiplied by; 1 until `calibrate` finds a better one.
    """

    def __init__(
        self,
        latent_dim: int | tuple[int, ...] = 100,
        network: str | nn.Module = "auto",
        noise_std: float = 0.3,
        emission: str | Emission = "gaussian",
        prior: str | Prior = "normal",
        recipe: str | Recipe = "default",
        max_iter: int = 600,
        max_seconds: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: Any = 0,
        verbose: bool = True,
    ) -> None:
        self.latent_dim = latent_dim
        self.network = network
        self.noise_std = noise_std
        self.emission = emission
        self.prior = prior
        self.recipe = recipe
        self.max_iter = max_iter
        self.max_seconds = max_seconds
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # ---- learning ----

    def fit(
        self, X: Any, y: Any = None, *, observation: Any = None, start: Any = None, tracker: Any = None
    ) -> GeneratorNetwork:
        """Learn from (n, *shape) signals in [-1, 1], NaN = missing; or from measurements of them.

        Ctrl-C ends learning after the current iteration and keeps what was learned; in the first one it stops at once.

        Args:
            X: Signals; vectors (n, D) may have any scale. With an `observation`: the measurements. A memory-mapped
                array (`np.load(path, mmap_mode="r")`) stays on disk, and so do the chains: n is bounded by disk. Or a
                dataset of PyTorch or Hugging Face, see `data.stack_dataset`.
            y: Ignored.
            observation: How X came about: `Mask`, `Projection`, or any object with A(x) or forward(x).
            start: (n, *latent_shape) where the chains start; as the recipe says by default.
            tracker: Told the figures of each pass: TensorBoard's SummaryWriter, or any object with
                `log(dict, step=...)`, such as a run of wandb.

        Raises:
            ValueError: If X or a setting cannot be used.
        """
        check_flag("verbose", self.verbose)
        check_tracker(tracker)
        with (
            delay_interruption() as interruption,
            closing(self.iterations(X, observation, start=start)) as iterations,
        ):
            shown: Iterator[Iteration] = iterations if tracker is None else track(iterations, tracker)
            if self.verbose:
                from abpnet.progress import show_progress

                shown = show_progress(
                    iterations, title="learning", max_iter=self.max_iter, max_seconds=self.max_seconds
                )
            for _ in shown:
                if interruption.requested():
                    break
            iterations.close()
            if interruption.requested():
                warnings.warn("learning was interrupted; the estimator keeps what it learned", stacklevel=2)
        return self

    def iterations(
        self,
        X: Any,
        observation: Any = None,
        checkpoint: tuple[dict[str, Tensor], dict[str, Any]] | None = None,
        start: Any = None,
    ) -> Generator[Iteration]:
        """The loop of `fit`, one iteration at a time; whenever the caller stops, the estimator is fitted.

        Args:
            X: As in `fit`.
            observation: As in `fit`.
            checkpoint: `state_.tensors()` and `state_.facts()` of an earlier run on the same data to go on from, taken
                between two of its passes.
            start: As in `fit`.
        """
        recipe = check_settings(self)
        y, seen, _ = validated(self, X, observation, reset=True, may_stay_on_disk=True)
        if recipe.residuals == "patches":
            patches.check_pixels(y, seen)
        generator = torch.Generator(device_of(self.device)).manual_seed(seed_of(self.random_state))
        shape = signal_shape(y, seen)
        self.model_ = self._build_model(shape, generator, indirect=not isinstance(unmasked(seen), Complete))
        self.signal_shape_ = check_network(self.model_, shape)
        self.n_features_in_ = self.signal_shape_[0]
        if start is not None:
            start = factors_of("start", start, self.model_.latent_shape, len(y))
        self.state_ = begin(self.model_, y, seen, recipe=recipe, generator=generator, start=start)
        self.precision_ = self._choose_precision(y, seen, recipe)
        if checkpoint is not None:
            self.state_.restore(*checkpoint)
        learning = alternate(
            self.model_, y, seen, recipe=recipe, state=self.state_, precision=self.precision_["precision"]
        )
        try:
            while self.state_.iteration < self.max_iter and (
                self.max_seconds is None or self.state_.seconds < self.max_seconds
            ):
                yield next(learning)
        finally:
            learning.close()
            self._conclude(recipe, y, seen)

    def _conclude(self, recipe: Recipe, y: Rows, observation: Observation) -> None:
        """Keep the averaged weights, and regress signals on factors linearly to give inference a start."""
        self.n_iter_, self.history_ = self.state_.iteration, list(self.state_.history)
        chains = self._without_sign(self.state_.latents.values)
        self.latents_ = chains.numpy()
        self.residuals_: ResidualField | None = self.state_.residuals
        self.measurement_noise_ = 0.0
        carried = recipe.residuals in ("kriged", "patches")
        if carried or (recipe.residuals == "whitened" and self.residuals_ is None):
            estimate = estimate_residuals(self.state_, y, observation, self.precision_["precision"])
            self.residuals_, self.measurement_noise_ = estimate
        self.model_.load_state_dict(self.state_.averaged, strict=False)
        self.linear_start_: FactorAnalysis | None = None
        if len(self.model_.latent_shape) == 1:
            some = chains[:MOST_CHAINS_REGRESSED]
            self.linear_start_ = regress(self.model_, some, self.precision_["precision"])
        self.equivalent_noise_: float | None = None
        self.noise_scale_ = 1.0
        of_images = carried and unmasked(observation) == Complete()
        lines = self.linear_start_ if of_images else None
        if self.residuals_ is not None and lines is not None:
            self.equivalent_noise_ = noise_for(lines, self.residuals_, y, observation)
        self.patches_: PatchField | None = None
        if recipe.residuals == "patches" and of_images and self.residuals_ is not None:
            self.patches_ = self._fit_patches(y, observation)

    def _fit_patches(self, y: Rows, observation: Observation) -> PatchField:
        """The field of patches of some images drawn at random, at their chains."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(y), generator=generator)[:MOST_IMAGES_IN_PATCHES]
        images, observed = y[rows].cpu(), observation.select(rows).observed
        observed = torch.ones(1, 1, *images.shape[2:], dtype=torch.bool) if observed is None else observed
        signal = self._decode(torch.from_numpy(self.latents_)[rows])
        return patches.fit(images, patches.pixels_of(observed, images.shape), signal, generator)

    # ---- checks ----

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return latent_shape_of(self.latent_dim)[0]

    def _build_model(self, shape: Sequence[int] | None, generator: torch.Generator, indirect: bool) -> GeneratorModel:
        latent_shape = latent_shape_of(self.latent_dim)
        emission, prior = emission_of(self.emission, float(self.noise_std)), copy.deepcopy(prior_of(self.prior))
        additive = isinstance(emission, ADDITIVE)
        if indirect and not additive:
            raise ValueError(f"emission={emission!r} is of signals themselves; measurements of them need noise")
        network = chosen_network(self.network, latent_shape, shape, indirect, generator, bounded=additive)
        if isinstance(self.prior, str) and self.prior in NON_NEGATIVE:
            network = NonNegative(network)
        return GeneratorModel(network, latent_shape, prior, emission).to(generator.device)

    def _choose_precision(self, y: Rows, observation: Observation, recipe: Recipe) -> dict[str, Any]:
        """The precision asked for, or the outcome of a trial on the first batch."""
        if self.precision != "auto":
            return {"precision": self.precision}
        device = self.state_.generator.device
        some = torch.arange(min(len(y), recipe.batch_size))
        z, seen = self.state_.latents.read(some, device), observation.select(some).to(device)
        trial_noise = torch.Generator(device).manual_seed(0)  # the trial leaves no trace in what is learned
        return asdict(
            try_precisions(
                self.model_, z, y[some].to(device), seen, recipe.step_size, trial_noise, recipe.preconditioned
            )
        )
