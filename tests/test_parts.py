"""Bars (Foeldiak 1990): priors other than the normal one tell the parts that images are made of."""

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment

import abpnet
from abpnet.networks import LinearNetwork, initialise
from abpnet.recipes import RECIPES

SIDE, N, SHARE, NOISE = 4, 500, 0.2, 0.05
# More noise than there is lets factors turn faster (of little noise, EM's steps are short).
ASSUMED_NOISE = 0.3
RECIPE = replace(RECIPES["default"], warm_up=0, weight_decay=0.0, learning_rate=0.03, n_steps=5, batch_size=100)


@pytest.fixture(scope="module")
def bars():
    """Images of rows and columns, each present with a strength of its own in a fifth of them; and these bars."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.zeros(2 * SIDE, SIDE, SIDE)
    for position in range(SIDE):
        parts[position, position] = 1
        parts[SIDE + position, :, position] = 1
    parts = parts.flatten(1)
    strengths = -torch.rand(N, 2 * SIDE, generator=generator).log()
    present = torch.rand(N, 2 * SIDE, generator=generator) < SHARE
    return (strengths * present) @ parts + NOISE * torch.randn(N, SIDE**2, generator=generator), parts


def matching_score(loadings, parts):
    """Mean cosine of each bar with the loading that is its own; 1 = all bars were found."""
    similar = torch.nn.functional.normalize(parts) @ torch.nn.functional.normalize(loadings).T
    found = similar.abs().numpy()
    return found[linear_sum_assignment(-found)].mean()


@pytest.mark.parametrize("prior", ["normal", "sparse", "exponential"])
def test_bars_are_found_by_all_priors_but_the_normal_one(prior, bars):
    images, parts = bars
    network = initialise(LinearNetwork(len(parts), (SIDE**2,)), torch.Generator().manual_seed(0))
    fitted = abpnet.GeneratorNetwork(
        len(parts),
        network=network,
        noise_std=ASSUMED_NOISE,
        prior=prior,
        recipe=RECIPE,
        max_iter=100,
        precision="float32",
        verbose=False,
    ).fit(images)
    weights = dict(fitted.model_.network.named_parameters())
    (loadings,) = [weight.detach().T for name, weight in weights.items() if name.endswith("loadings.weight")]
    score = matching_score(loadings, parts)
    print(f"{prior}: {score:.3f}")
    assert score < 0.8 if prior == "normal" else score > 0.9, score
