"""What was not observed influences nothing, whatever stands in its place, and may be anything or all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import abpnet
from abpnet import emissions
from abpnet.estimator import GeneratorNetwork
from estimators import FAST, images


@settings(max_examples=3, deadline=None)
@given(st.sampled_from([np.nan, 1e30, -7.0, 0.1]), st.integers(0, 1000))
def test_values_under_the_mask_never_influence_a_fit(junk, seed):
    rng = np.random.default_rng(seed)
    x, observed = rng.normal(size=(6, 4)).astype(np.float32), rng.random((6, 4)) < 0.6
    mask = abpnet.Mask(torch.from_numpy(observed))
    results = []
    for values in (x, np.where(observed, x, np.float32(junk))):
        estimator = GeneratorNetwork(**FAST).fit(values, observation=mask)
        results.append((estimator.latents_, estimator.sample(2), estimator.recover(values, mask)))
    for clean, dirty in zip(*results, strict=True):
        np.testing.assert_array_equal(clean, dirty)


def half_hidden():
    """Images, some of whose entries that count as observed are missing, and what counts as observed."""
    x = images(6, missing=0)
    observed = np.random.default_rng(1).random(x.shape) < 0.5
    x[observed & (np.random.default_rng(2).random(x.shape) < 0.1)] = np.nan
    return x, observed


JUNK = [1e30, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("junk", JUNK)
def test_values_under_a_mask_are_not_even_looked_at(fitted, junk, search_shortened):
    x, observed = half_hidden()
    mask = abpnet.Mask(observed)
    expected = fitted.recover(x, mask)
    np.testing.assert_array_equal(fitted.recover(np.where(observed, x, junk), mask), expected)


@pytest.mark.parametrize("junk", JUNK)
def test_values_under_a_mask_are_not_learned_from(junk):
    x, observed = half_hidden()
    mask = abpnet.Mask(observed)
    again, other = (
        GeneratorNetwork(**FAST).fit(values, observation=mask).latents_ for values in (x, np.where(observed, x, junk))
    )
    np.testing.assert_array_equal(again, other)


@pytest.mark.parametrize("n_imputations", [None, 2])
def test_an_image_of_which_nothing_was_observed_is_imputed(fitted, n_imputations, search_shortened):
    assert np.isfinite(fitted.impute(images(3, missing=1), n_imputations)).all()


@pytest.mark.parametrize("shape", [(10, 8, 8), (8, 8), (5, 1, 8, 8), (10, 1, 9, 9)], ids=str)
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="a mask of shape"):
        GeneratorNetwork(**FAST).fit(images(), observation=abpnet.Mask(np.ones(shape)))


def test_one_mask_may_hold_for_all_channels_and_examples(fitted, search_shortened):
    observed = np.random.default_rng(1).random((1, 1, 8, 8)) < 0.5
    x = images(missing=0)
    expected = fitted.recover(x, abpnet.Mask(np.broadcast_to(observed, x.shape).copy()))
    np.testing.assert_array_equal(fitted.recover(x, abpnet.Mask(observed)), expected)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ValueError, match="nothing in X was observed"):
        GeneratorNetwork(**FAST).fit(images(missing=1))


def test_a_fully_hidden_example_among_others_is_no_harm():
    x = images()
    x[3] = np.nan
    estimator = GeneratorNetwork(**FAST).fit(x)
    assert np.isfinite(estimator.latents_).all()
    assert np.isfinite(estimator.impute(x)).all()


def test_impossible_data_under_a_mask_are_not_looked_at():
    x = np.random.default_rng(0).poisson(1.0, (12, 5)).astype(np.float32)
    seen = np.arange(60).reshape(12, 5) % 7 > 0
    nets = [
        GeneratorNetwork(**FAST, emission=emissions.Poisson()).fit(
            np.where(seen, x, junk), observation=abpnet.Mask(seen)
        )
        for junk in (-1.5, np.nan, 1e30)
    ]
    for net in nets[1:]:
        np.testing.assert_array_equal(net.latents_, nets[0].latents_)
