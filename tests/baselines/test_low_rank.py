import numpy as np
import pytest
import torch

from abpnet import Gaussian, Laplace, infer
from abpnet.baselines import low_rank


def data(n=80, size=30, rank=3, noise=0.0, missing=0.3, seed=0):
    rng = np.random.default_rng(seed)
    complete = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, size)) + rng.standard_normal(size)
    complete = (complete + noise * rng.standard_normal(complete.shape)).astype(np.float32)
    return complete, np.where(rng.random(complete.shape) < missing, np.float32(np.nan), complete)


def test_complete_data_give_principal_components():
    complete, _ = data(noise=0.1)
    components, filled = low_rank.fit(complete, 3)
    np.testing.assert_array_equal(filled, complete)
    _, _, directions = np.linalg.svd(complete - complete.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(components.directions @ directions[:3].T), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(components.mean, complete.mean(0), atol=1e-6)


def test_exact_low_rank_is_recovered_in_training_and_new_rows():
    complete, incomplete = data()
    components, filled = low_rank.fit(incomplete[:60], 3)
    hidden = np.isnan(incomplete)
    spread = complete.std()
    assert np.abs(filled - complete[:60])[hidden[:60]].mean() < 0.05 * spread
    new = low_rank.complete(incomplete[60:], components)
    assert np.abs(new - complete[60:])[hidden[60:]].mean() < 0.1 * spread
    np.testing.assert_array_equal(new[~hidden[60:]], complete[60:][~hidden[60:]])


def test_a_row_without_any_entry_gets_the_mean():
    _, incomplete = data()
    components, _ = low_rank.fit(incomplete, 3)
    np.testing.assert_allclose(
        low_rank.complete(np.full((1, 30), np.nan, np.float32), components)[0], components.mean, rtol=1e-6
    )


@pytest.mark.parametrize("rank", [2, 5, 20])
def test_the_rank_is_chosen_on_entries_held_back(rank):
    _, incomplete = data(n=200, size=60, rank=rank, noise=0.3, missing=0.2)
    assert low_rank.choose_rank(incomplete, np.random.default_rng(0)) == rank


def test_the_choice_does_not_depend_on_what_is_missing_elsewhere():
    _, incomplete = data(n=10, size=2)
    assert low_rank.choose_rank(incomplete, np.random.default_rng(0)) == 1


def test_components_are_a_linear_generator():
    complete, _ = data(noise=0.1)
    new = complete.copy()
    new[:, ::7] += 3.0  # a few entries far off
    model = low_rank.as_model(complete, 3, Gaussian(0.01))
    by_projection = low_rank.reconstruct(complete, new, 3)
    errors = {}
    for emission in (Gaussian(0.01), Laplace(0.01)):
        model = low_rank.as_model(complete, 3, emission)
        with torch.no_grad():
            rebuilt = model(infer(model, torch.from_numpy(new))).numpy()
        errors[type(emission)] = np.abs(rebuilt - complete).mean()
        if isinstance(emission, Gaussian):
            np.testing.assert_allclose(rebuilt, by_projection, atol=0.01)
    assert errors[Laplace] < 0.3 * errors[Gaussian]
    drawn = model.sample(20_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(drawn.mean(0), complete.mean(0), atol=0.1)
    assert drawn.var(0).sum() == pytest.approx(complete.var(0).sum(), rel=0.05)
