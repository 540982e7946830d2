"""Same seed, same bits, as docs/reproducibility.md says; golden curves of learning, exact where they were made."""

import json

import numpy as np
import pytest
import torch

import abpnet
import golden_curves
from abpnet.estimator import GeneratorNetwork
from abpnet.likelihood import Annealing

TOLERANCE = 1e-4


@pytest.mark.parametrize("case", golden_curves.CASES)
def test_thirty_passes_go_as_they_went_before(case):
    golden = json.loads(golden_curves.path_of(case).read_text())
    curve = golden_curves.learned(case)
    assert all(len(curve[column]) == golden_curves.PASSES for column in golden["curve"])
    for column, recorded in golden["curve"].items():
        expected, found = np.array([recorded, curve[column]], float)
        # A mean that goes through 0 has no size of its own: it is told in standard deviations.
        size = np.array(golden["curve"]["latent_std"]) if column == "latent_mean" else np.abs(expected)
        np.testing.assert_array_less((np.abs(found - expected) / size)[~np.isnan(expected)], TOLERANCE, column)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), column)
    if golden["circumstances"] == golden_curves.circumstances():
        assert curve == golden["curve"], "other bits; if that was meant: python tests/golden_curves.py, and say why"


CHANCE = {
    "impute": lambda net, x, seed: net.impute(x, random_state=seed, start=net.latents_),
    "draws": lambda net, x, seed: net.impute(x, n_imputations=2, random_state=seed, start=net.latents_),
    "recover": lambda net, x, seed: net.recover(x, abpnet.Complete(), random_state=seed, start=net.latents_),
    "posterior_samples": lambda net, x, seed: net.posterior_samples(x, 2, n_chains=2, random_state=seed),
    "score_samples": lambda net, x, seed: net.score_samples(x[:5], seed, Annealing(2, 2)),
    "sample": lambda net, x, seed: net.sample(2, random_state=seed),
    "calibrate": lambda net, x, seed: net.calibrate(x, level=0.5, random_state=seed).noise_scale_,
}


@pytest.fixture(scope="module")
def vectors():
    x = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    x[x > 1] = np.nan
    return x


@pytest.fixture(scope="module")
def net(vectors, searches_shortened):
    return GeneratorNetwork(2, max_iter=2, precision="float32", device="cpu", verbose=False).fit(vectors)


@pytest.mark.parametrize("method", CHANCE)
def test_chance_is_that_of_the_seed_and_of_nothing_else(net, vectors, method):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    outside = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = CHANCE[method](net, vectors, 1)
    assert torch.equal(torch.get_rng_state(), outside[0])
    assert np.random.get_state()[1].tolist() == outside[1]  # noqa: NPY002
    torch.manual_seed(6)
    np.testing.assert_array_equal(CHANCE[method](net, vectors, 1), first)
    assert not np.array_equal(CHANCE[method](net, vectors, 2), first)
