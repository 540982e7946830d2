"""Entries that inference does not see and the weights still explain."""

from dataclasses import replace

import pytest
import torch

import abpnet
from abpnet.beginning import begin
from abpnet.holding_out import hold_out, holes
from abpnet.learning import alternate
from abpnet.networks import LinearNetwork, ObjectNetwork, initialise
from abpnet.observations import Mask
from abpnet.recipes import RECIPES

NOISE = 0.8


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_hole_is_one_square_with_its_centre_in_the_image():
    drawn = holes(4000, 12, 20, 0.5, seeded())
    heights, widths = drawn.any(2).sum(1), drawn.any(1).sum(1)
    assert torch.equal(drawn.sum((1, 2)), heights * widths), "one rectangle"
    assert heights.max() == widths.max() == 6, "half of the shorter side"
    assert heights.min() == widths.min() == 3, "cut by the border at most to its half"
    share = drawn.float().mean(0)
    assert share.min() > 0, "every pixel is held out at times"
    inner = share[4:8, 4:16]
    assert torch.allclose(inner, torch.full_like(inner, 6 / 12 * 6 / 20), atol=0.03), "and no place more than another"


def test_each_image_has_its_own_hole_and_the_generator_decides():
    drawn = holes(50, 16, 16, 0.5, seeded())
    assert len({tuple(hole.flatten().tolist()) for hole in drawn}) > 40
    assert torch.equal(drawn, holes(50, 16, 16, 0.5, seeded()))
    assert not torch.equal(drawn, holes(50, 16, 16, 0.5, seeded(1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_hidden_stays_hidden(channels):
    images = torch.zeros(30, channels, 8, 8)
    observed = torch.rand(images.shape, generator=seeded()) < 0.5
    shown = hold_out(Mask(observed), images, 0.5, seeded()).observed
    hole = holes(30, 8, 8, 0.5, seeded())[:, None]
    assert torch.equal(shown, observed & ~hole)
    everything = hold_out(abpnet.Complete(), images, 0.5, seeded()).observed
    assert torch.equal(everything, ~hole)


def learned(y, held_out, d=2, passes=80, learning_rate=1e-2):
    """A linear network, so that f(z) = W z + b, after that many passes."""
    generator = seeded()
    model = abpnet.GeneratorModel(
        initialise(LinearNetwork(d, (1, 6, 6)), generator), (d,), emission=abpnet.Gaussian(NOISE)
    )
    settings = {"weight_decay": 0.0, "learning_rate": learning_rate, "batch_size": 40}
    recipe = replace(RECIPES["partial"], held_out=held_out, **settings)
    state = begin(model, y, recipe=recipe, generator=generator)
    for iteration in alternate(model, y, recipe=recipe, state=state):
        if iteration.iteration == passes:
            return state


def linear_images(n, seed=0):
    loadings = torch.randn(2, 36, generator=seeded(100)) / 2
    factors, white = torch.randn(n, 2, generator=seeded(seed)), torch.randn(n, 36, generator=seeded(seed + 1))
    return (factors @ loadings + NOISE * white).view(n, 1, 6, 6), loadings


def test_the_oracle_stays_where_it_was():
    """With plenty of examples, weights learned with holes describe the covariance that those without holes do."""
    y, loadings = linear_images(600)
    true = loadings.T @ loadings
    weights = learned(y, 0.5, passes=60, learning_rate=3e-2).averaged["network.loadings.weight"]
    assert (weights @ weights.T - true).norm() / true.norm() < 0.2


def test_hidden_values_never_enter():
    y, _ = linear_images(20)
    hidden = torch.rand(y.shape, generator=seeded(5)) < 0.4
    states = []
    for value in (torch.nan, 1e30):
        seen = None if value != value else abpnet.Mask(~hidden)
        model = abpnet.GeneratorModel(initialise(ObjectNetwork(2, (1, 8, 8), 16), seeded()), (2,))
        padded = torch.nn.functional.pad(y.masked_fill(hidden, value), (1, 1, 1, 1))
        seen = seen and abpnet.Mask(torch.nn.functional.pad((~hidden).float(), (1, 1, 1, 1), value=1.0).bool())
        recipe = replace(RECIPES["kriged"], batch_size=10)
        state = begin(model, padded, seen, recipe=recipe, generator=seeded())
        iterations = alternate(model, padded, seen, recipe=recipe, state=state)
        for _ in range(3):
            next(iterations)
        states.append(state.tensors())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_few_examples_are_completed_better_when_their_factors_had_to_predict():
    """Ten factors for forty images of two: without holes they memorise what they see."""
    y, _ = linear_images(40, seed=7)
    hole = torch.zeros(40, 1, 6, 6, dtype=torch.bool)
    for row, (down, along) in enumerate(torch.randint(0, 4, (40, 2), generator=seeded(9)).tolist()):
        hole[row, 0, down : down + 3, along : along + 3] = True
    truth, errors = y.clone(), {}
    for held_out in (0.0, 0.7):
        state = learned(y.masked_fill(hole, torch.nan), held_out, d=10)
        weights, bias = state.averaged["network.loadings.weight"], state.averaged["network.loadings.bias"]
        linear = abpnet.factor_analysis.FactorAnalysis(weights, bias, torch.full((36,), NOISE**2))
        means = abpnet.factor_analysis.posterior(linear, truth.flatten(1), ~hole.flatten(1)).mean
        completed = (means @ weights.T + bias).view_as(truth)
        errors[held_out] = float((completed - truth)[hole].abs().mean())
    assert errors[0.7] < 0.97 * errors[0.0], errors


def test_factors_do_not_see_the_squares_and_each_pass_has_others(monkeypatch):
    y, _ = linear_images(20)
    seen = []

    def watch(state, z, batch, shown, *settings):
        seen.append(shown.observed.expand_as(batch))
        return z, torch.zeros(len(z)), None

    monkeypatch.setattr("abpnet.batches._explain_away", watch)
    model = abpnet.GeneratorModel(initialise(LinearNetwork(2, (1, 6, 6)), seeded()), (2,))
    recipe = replace(RECIPES["default"], held_out=0.5, batch_size=20)
    iterations = alternate(model, y, recipe=recipe, generator=seeded())
    next(iterations), next(iterations)
    assert len(seen) == 2
    assert all((~one).flatten(1).any(1).all() and one.flatten(1).any(1).all() for one in seen)
    assert not torch.equal(*seen)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="learn_noise must be False with held_out"):
        replace(RECIPES["video"], held_out=0.5)
    with pytest.raises(ValueError, match="below 2; got 3"):
        replace(RECIPES["default"], held_out=3.0)
    with pytest.raises(ValueError, match="held_out must be 0 with it"):
        replace(RECIPES["whitened"], held_out=0.5)
