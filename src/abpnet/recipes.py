"""Recipes: how inference and learning are run, apart from the model itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["RECIPES", "Recipe"]

CHOICES = {
    "start": ("prior", "linear"),
    "optimizer": ("adam", "sgd"),
    "inference": ("langevin", "metropolis"),
    "residuals": ("white", "kriged", "patches", "whitened"),
}
# Whole numbers where the least one is.
LEAST = {
    "step_size": 0.0,
    "n_steps": 0,
    "temperature": 0.0,
    "learning_rate": 0.0,
    "momentum": 0.0,
    "learning_rate_horizon": 1,
    "weight_decay": 0.0,
    "batch_size": 1,
    "average_decay": 0.0,
    "held_out": 0.0,
    "warm_up": 0,
    "full_rate_inputs": 1,
    "weight_decay_examples": 1,
}
# Weights of the recipe "default" decay as it says with so many examples.
DECAY_EXAMPLES = 1000
# None is a choice as well.
MAY_BE_NONE = ("learning_rate_horizon", "full_rate_inputs", "weight_decay_examples")
# Weights that decay faster than that do not come to say much.
FASTEST_DECAY = 10.0


@dataclass(frozen=True)
class Recipe:
    """Settings of alternating back-propagation.

    Attributes:
        step_size: Langevin step s; in units of the posterior's standard deviation, and below 2, if preconditioned: 1
            goes half of the way to the mode.
        n_steps: Langevin steps for every example in each iteration.
        preconditioned: Whether steps follow the metric of the Fisher information of the latent factors.
        temperature: 1 = Langevin dynamics, 0 = alternating gradient descent.
        start: Where the chains start: draws from the prior, or the posterior means of linear factor analysis.
        optimizer: Of the weights.
        learning_rate: Of the weights.
        momentum: Of the weights; for "adam" the decay of its first moment.
        learning_rate_horizon: After that many updates the learning rate is half of what it was, after twice as many a
            third; None = it stays.
        warm_up: Over that many updates the learning rate rises to what it is: where the first steps are too long, small
            networks end up with units that never answer again. 0 = it starts there.
        full_rate_inputs: Layers of which an output has more inputs than that learn slower, at so many times the rate by
            their number: else wide networks do not start. None = all layers learn at the same rate.
        weight_decay: Of the weights; decoupled from the gradient for "adam".
        weight_decay_examples: With so many examples weights decay as fast as that, with a fraction or a multiple of
            them by its power -1.5: the fewer, the sooner they are memorised; of layers with fewer than 800 inputs they
            decay more slowly, by the root of that number. None = as fast with any number, in all layers.
        batch_size: Examples in each weight update.
        average_decay: The weights kept in the end are a running mean with this decay per update; 0 = the last ones.
        learn_noise: Whether the emission's noise is re-estimated from the residuals; not with whitened ones.
        inference: Langevin dynamics, or Metropolis steps from the prior (`inference.metropolis`), which leave out
            `preconditioned` and `temperature`.
        residuals: What residuals of images (channels, height, width) are taken for: "white" noise; "kriged" = that, but
            after learning a Gaussian field, which carries them to hidden entries (see `residuals`) and from indirect
            data to the images behind (see `projected_residuals`); "patches" = that, and for hidden pixels of images a
            mixture of fields, patch by patch, which knows edges (see `patches`); "whitened" = a field while learning as
            well (see `whitening`), but of indirect data after it. Those of other signals are white.
        held_out: Side of a square of each image, as a share of the shorter side, that its factors do not see while
            learning, but have to predict (see `holding_out`): anywhere, another one in every iteration. 0 = none. Other
            signals and indirect data have none.
        masked_metric: Whether the metric of preconditioned steps is each example's own, by which of its entries were
            observed (see `entrywise`); for flat signals observed in part. Else it is one for all.
    """

    step_size: float
    n_steps: int
    preconditioned: bool
    temperature: float
    start: Literal["prior", "linear"]
    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    momentum: float
    learning_rate_horizon: int | None
    weight_decay: float
    batch_size: int
    average_decay: float
    learn_noise: bool
    inference: Literal["langevin", "metropolis"] = "langevin"
    residuals: Literal["white", "kriged", "patches", "whitened"] = "white"
    held_out: float = 0.0
    warm_up: int = 0
    full_rate_inputs: int | None = None
    weight_decay_examples: int | None = None
    masked_metric: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}; got {getattr(self, name)!r}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is None and name in MAY_BE_NONE:
                continue
            whole = isinstance(least, int) and not isinstance(value, int)
            if isinstance(value, bool) or not isinstance(value, int | float) or whole or not least <= value < math.inf:
                kind = "a whole number" if isinstance(least, int) else "a number"
                raise ValueError(f"{name} must be {kind} of at least {least}; got {value!r}")
        if self.learn_noise and self.residuals == "whitened":
            raise ValueError("residuals='whitened' has the noise in its field; learn_noise must be False with it")
        if self.preconditioned and self.step_size >= 2:
            raise ValueError(f"preconditioned steps of 2 or more run away; got step_size={self.step_size}")
        if not 0 <= self.held_out < 2:
            raise ValueError(f"held_out must be 0 (nothing) or a share of an image's side below 2; got {self.held_out}")
        if self.held_out and self.learn_noise:
            raise ValueError("errors of prediction are no noise; learn_noise must be False with held_out")
        if self.held_out and self.residuals == "whitened":
            raise ValueError("residuals='whitened' takes the observed pixels as a whole; held_out must be 0 with it")

    def rate(self, updates: int) -> float:
        """Learning rate of the update that follows on so many others."""
        risen = min(1.0, (updates + 1) / self.warm_up) if self.warm_up else 1.0
        fallen = 1.0 if self.learning_rate_horizon is None else 1 + updates / self.learning_rate_horizon
        return self.learning_rate * risen / fallen

    def decay(self, n_examples: int) -> float:
        """Decay of the weights, learned from so many examples."""
        if self.weight_decay_examples is None:
            return self.weight_decay
        faster = (self.weight_decay_examples / n_examples) ** 1.5
        return min(self.weight_decay * faster, max(self.weight_decay, FASTEST_DECAY))


RECIPES = {
    # Han et al. (2017), section 5: step sizes and momentum as there.
    "paper": Recipe(
        step_size=0.1,
        n_steps=10,
        preconditioned=False,
        temperature=1.0,
        start="prior",
        optimizer="sgd",
        learning_rate=1e-4,
        momentum=0.5,
        learning_rate_horizon=None,
        weight_decay=0.0,
        batch_size=100,
        average_decay=0.0,
        learn_noise=False,
    ),
    # Chains are warm, so time is better spent on many small updates than on many Langevin steps (docs/defaults.md).
    "default": Recipe(
        step_size=1.0,
        n_steps=2,
        preconditioned=True,
        temperature=1.0,
        start="linear",
        optimizer="adam",
        learning_rate=1e-2,
        momentum=0.9,
        learning_rate_horizon=1000,
        weight_decay=0.5,
        batch_size=20,
        average_decay=0.99,
        learn_noise=False,
        warm_up=600,
        full_rate_inputs=800,
        weight_decay_examples=DECAY_EXAMPLES,
    ),
    # A weak pull of the statistics and small plain steps leave the chains where the prior is.
    "texture": Recipe(
        step_size=0.3,
        n_steps=1,
        preconditioned=False,
        temperature=1.0,
        start="prior",
        optimizer="adam",
        learning_rate=1e-2,
        momentum=0.8,
        learning_rate_horizon=500,
        weight_decay=0.0,
        batch_size=1,
        average_decay=0.98,
        learn_noise=False,
    ),
    # Few frames, most of them alike, and a network that starts at their linear regression: small batches and steps.
    "video": Recipe(
        step_size=0.5,
        n_steps=3,
        preconditioned=True,
        temperature=1.0,
        start="linear",
        optimizer="adam",
        learning_rate=1e-3,
        momentum=0.9,
        learning_rate_horizon=None,
        weight_decay=0.0,
        batch_size=40,
        average_decay=0.99,
        learn_noise=True,
    ),
    # One piece of a clip after another: each holds as many numbers as a hundred small images.
    "spacetime": Recipe(
        step_size=0.5,
        n_steps=3,
        preconditioned=True,
        temperature=1.0,
        start="prior",
        optimizer="adam",
        learning_rate=2e-3,
        momentum=0.9,
        learning_rate_horizon=None,
        weight_decay=0.0,
        batch_size=1,
        average_decay=0.98,
        learn_noise=True,
    ),
}
# Frames and how they move, from pieces of a clip: as many frames in a batch. Noise as small as the residuals of single
# pixels would leave the motion nothing to say.
RECIPES["motion"] = replace(RECIPES["video"], start="prior", batch_size=2, learn_noise=False)
# New samples rather than new images explained: weights that do not decay make sharper ones.
RECIPES["objects"] = replace(RECIPES["default"], step_size=0.5, weight_decay=0.0)
# Where observations say less about the factors, chains follow slowly: more Langevin steps, smaller ones of the weights.
RECIPES["partial"] = replace(
    RECIPES["default"],
    step_size=0.5,
    n_steps=5,
    learning_rate=2e-3,
    learning_rate_horizon=None,
    warm_up=0,
    weight_decay=0.3,
    weight_decay_examples=None,
    batch_size=100,
)
# Images behind measurements: what the factors leave of these tells about the images as well.
RECIPES["indirect"] = replace(
    RECIPES["default"],
    step_size=0.5,
    warm_up=100,
    weight_decay=0.1,
    weight_decay_examples=None,
    residuals="kriged",
)
# Images with hidden pixels: their observed neighbours tell about them.
RECIPES["kriged"] = replace(RECIPES["partial"], residuals="kriged", held_out=0.7)
# Holes smaller than patches: neighbours tell most about them.
RECIPES["patches"] = replace(RECIPES["kriged"], residuals="patches")
# Images of which little is observed: factors that take neighbours for independent witnesses believe them too much.
RECIPES["whitened"] = replace(RECIPES["partial"], residuals="whitened")
# Pieces of a photograph come from here or from there: choices, which have no gradient.
RECIPES["patchwork"] = replace(
    RECIPES["texture"], step_size=0.6, learning_rate=3e-3, learning_rate_horizon=400, inference="metropolis"
)
