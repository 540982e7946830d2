import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import decomposition
from torch.distributions import MultivariateNormal

from abpnet import factor_analysis as fa
from abpnet.data import digits

N_EXAMPLES, SIZE, LATENT_DIM = 60, 7, 2


def random_model(seed, size=SIZE, latent_dim=LATENT_DIM, isotropic=False):
    generator = torch.Generator().manual_seed(seed)
    variance = 0.1 + torch.rand(size, generator=generator, dtype=torch.float64)
    return fa.FactorAnalysis(
        torch.randn(size, latent_dim, generator=generator, dtype=torch.float64),
        torch.randn(size, generator=generator, dtype=torch.float64),
        variance[:1].expand(size).clone() if isotropic else variance,
    )


def draw(model, n, missing, seed):
    """Examples of the model, a share of their entries NaN."""
    generator = torch.Generator().manual_seed(seed)
    size, latent_dim = model.loadings.shape
    z = torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, size, generator=generator, dtype=torch.float64) * model.noise_variance.sqrt()
    y = fa.predict(model, z) + noise
    return y.masked_fill(torch.rand(n, size, generator=generator) < missing, math.nan)


def covariance_of(model):
    return model.loadings @ model.loadings.T + torch.diag(model.noise_variance)


def run_em(y, latent_dim, n_iterations, **options):
    steps = list(itertools.islice(fa.expectation_maximisation(y, latent_dim, **options), n_iterations))
    return steps[-1][0], [likelihood for _, likelihood in steps]


def test_complete_data_converge_to_the_maximum_that_scikit_learn_finds_with_one_variance_per_entry():
    y = draw(random_model(0), 300, missing=0, seed=1)
    model, likelihoods = run_em(y, LATENT_DIM, 1500, isotropic=False)
    reference = decomposition.FactorAnalysis(LATENT_DIM, tol=1e-12, max_iter=20_000, svd_method="lapack").fit(y.numpy())
    assert likelihoods[-1] == pytest.approx(reference.score(y.numpy()), abs=1e-8)
    np.testing.assert_allclose(covariance_of(model), reference.get_covariance(), atol=1e-5)


@pytest.mark.parametrize("n_iterations", [1, 200])
def test_complete_data_reach_the_maximum_of_probabilistic_pca_and_stay_there(n_iterations):
    y = draw(random_model(2, isotropic=True), 200, missing=0, seed=3)
    reference = decomposition.PCA(LATENT_DIM).fit(y.numpy())
    to_maximum_likelihood = (len(y) - 1) / len(y)  # scikit-learn divides by n - 1
    reference.explained_variance_ = reference.explained_variance_ * to_maximum_likelihood
    reference.noise_variance_ = reference.noise_variance_ * to_maximum_likelihood
    model, likelihoods = run_em(y, LATENT_DIM, n_iterations)
    assert likelihoods[-1] == pytest.approx(reference.score(y.numpy()), abs=1e-9)
    np.testing.assert_allclose(covariance_of(model), reference.get_covariance(), atol=1e-6)
    assert (model.noise_variance == model.noise_variance[0]).all()


@pytest.mark.parametrize("missing", [0, 0.5])
def test_likelihood_is_the_density_of_the_observed_entries(missing):
    model = random_model(4)
    y = draw(model, N_EXAMPLES, missing, seed=5)
    expected = [
        MultivariateNormal(model.mean[seen], covariance_of(model)[seen][:, seen]).log_prob(row[seen])
        if seen.any()
        else 0.0
        for row, seen in zip(y, ~y.isnan(), strict=True)
    ]
    np.testing.assert_allclose(fa.log_likelihood(model, y), np.array(expected), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("missing", [0, 0.5])
def test_posterior_is_gaussian_conditioning_on_the_observed_entries(missing):
    model = random_model(6)
    y = draw(model, N_EXAMPLES, missing, seed=7)
    belief = fa.posterior(model, y)
    assert belief.covariance.shape[0] == (1 if missing == 0 else N_EXAMPLES)
    for row, example in enumerate(y):
        seen = ~example.isnan()
        gain = model.loadings[seen].T @ torch.linalg.inv(covariance_of(model)[seen][:, seen])
        mean = gain @ (example - model.mean)[seen]
        covariance = torch.eye(LATENT_DIM) - gain @ model.loadings[seen]
        own = row if missing else 0
        np.testing.assert_allclose(belief.mean[row], mean, atol=1e-11)
        np.testing.assert_allclose(belief.covariance[own], covariance, atol=1e-11)
        np.testing.assert_allclose(belief.precision[own] @ covariance, np.eye(LATENT_DIM), atol=1e-10)


def test_fully_hidden_example_keeps_the_prior_exactly_and_adds_no_likelihood():
    model = random_model(8)
    y = draw(model, 5, missing=0.3, seed=9)
    y[3] = math.nan
    belief = fa.posterior(model, y)
    assert torch.equal(belief.mean[3], torch.zeros(LATENT_DIM, dtype=torch.float64))
    assert torch.equal(belief.covariance[3], torch.eye(LATENT_DIM, dtype=torch.float64))
    assert fa.log_likelihood(model, y)[3] == 0


def test_batch_of_one_fully_hidden_example_keeps_the_prior():
    belief = fa.posterior(random_model(8), torch.full((1, SIZE), math.nan, dtype=torch.float64))
    assert torch.equal(belief.mean, torch.zeros(1, LATENT_DIM, dtype=torch.float64))
    assert torch.equal(belief.covariance[0], torch.eye(LATENT_DIM, dtype=torch.float64))


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("missing", [0, 0.5])
@pytest.mark.parametrize(("n", "size"), [(N_EXAMPLES, SIZE), (20, 30)])
def test_likelihood_never_falls_during_em(n, size, missing, isotropic):
    y = draw(random_model(10, size), n, missing, seed=11)
    _, likelihoods = run_em(y, LATENT_DIM, 120, isotropic=isotropic)
    assert np.diff(likelihoods).min() > -1e-9
    if missing or not isotropic:  # otherwise EM starts at the maximum
        assert likelihoods[-1] > likelihoods[0] + 1e-2


@pytest.mark.parametrize("isotropic", [True, False])
def test_em_ends_where_the_gradient_of_the_likelihood_vanishes(isotropic):
    y = draw(random_model(12), 150, missing=0.3, seed=13)

    def gradients(model):
        free = [tensor.clone().requires_grad_() for tensor in model]
        variance = free[2].mean().expand(SIZE) if isotropic else free[2]
        likelihood = fa.log_likelihood(fa.FactorAnalysis(free[0], free[1], variance), y).mean()
        return max(float(gradient.abs().max()) for gradient in torch.autograd.grad(likelihood, free))

    start, _ = run_em(y, LATENT_DIM, 1, isotropic=isotropic)
    end, _ = run_em(y, LATENT_DIM, 2000, isotropic=isotropic)
    assert gradients(start) > 1e-2
    assert gradients(end) < 1e-5


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("rubbish", [math.nan, 1e30, -math.inf])
def test_values_under_the_mask_leave_every_bit_alone(rubbish, isotropic):
    model = random_model(14)
    y = draw(model, 30, missing=0, seed=15)
    observed = torch.rand(30, SIZE, generator=torch.Generator().manual_seed(16)) > 0.5
    hidden = y.masked_fill(~observed, rubbish)
    assert torch.equal(fa.log_likelihood(model, hidden, observed), fa.log_likelihood(model, y, observed))
    for ours, plain in zip(fa.posterior(model, hidden, observed), fa.posterior(model, y, observed), strict=True):
        assert torch.equal(ours, plain)
    fitted, expected = (fa.fit(values, 2, observed, isotropic, max_iter=10) for values in (hidden, y))
    for ours, plain in zip(fitted, expected, strict=True):
        assert torch.equal(ours, plain)
        assert ours.isfinite().all()


@settings(deadline=None, max_examples=40)
@given(observed=hnp.arrays(bool, (6, 5)), rubbish=st.sampled_from([math.nan, 1e30, math.inf, 0.5]))
def test_nan_and_mask_say_the_same_for_any_pattern(observed, rubbish):
    model = random_model(17, size=5)
    y = draw(model, 6, missing=0, seed=18)
    observed = torch.from_numpy(observed)
    by_nan = fa.posterior(model, y.masked_fill(~observed, math.nan))
    by_mask = fa.posterior(model, y.masked_fill(~observed, rubbish), observed)
    assert all(torch.equal(*pair) for pair in zip(by_nan, by_mask, strict=True))


def test_one_mask_row_holds_for_all_examples():
    model = random_model(19)
    y = draw(model, 10, missing=0, seed=20)
    row = torch.tensor([[True, False, True, True, False, True, False]])
    assert torch.equal(fa.log_likelihood(model, y, row), fa.log_likelihood(model, y, row.expand(10, SIZE)))


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("missing", [0, 0.4])
@pytest.mark.parametrize(("n", "size", "latent_dim"), [(8, 20, 3), (50, 5, 3), (4, 6, 5), (12, 3, 4)])
def test_any_shape_gives_finite_parameters_of_the_promised_shape(n, size, latent_dim, missing, isotropic):
    y = draw(random_model(21, size), n, missing, seed=22)
    model = fa.fit(y, latent_dim, isotropic=isotropic, max_iter=20)
    assert [tuple(tensor.shape) for tensor in model] == [(size, latent_dim), (size,), (size,)]
    assert all(tensor.isfinite().all() for tensor in model)
    assert (model.noise_variance > 0).all()


@pytest.mark.parametrize("wide", [True, False])
def test_rows_or_columns_in_majority_take_different_paths_to_the_same_start(wide):
    y = draw(random_model(23, size=12), 9 if wide else 40, missing=0, seed=24)
    model, _ = run_em(y, 2, 1)
    centred = (y - y.mean(0)).numpy()
    singular, directions = np.linalg.svd(centred, full_matrices=False)[1:]
    variances = singular**2 / len(y)
    rest = variances[2:].sum() / (12 - 2)
    expected = (directions[:2].T * (variances[:2] - rest)) @ directions[:2] + rest * np.eye(12)
    np.testing.assert_allclose(covariance_of(model), expected, atol=1e-9)


def test_large_incomplete_sample_recovers_the_true_covariance_within_its_standard_errors():
    truth, n, missing = random_model(25, size=6), 20_000, 0.3
    y = draw(truth, n, missing, seed=26)
    model = fa.fit(y, LATENT_DIM, isotropic=False, max_iter=400, tolerance=1e-9)
    expected = covariance_of(truth)
    variances = expected.diagonal()
    pairs = n * (1 - missing) ** 2
    standard_error = ((variances.outer(variances) + expected.square()) / pairs).sqrt()
    assert ((covariance_of(model) - expected).abs() < 5 * standard_error).all()
    assert ((model.mean - truth.mean).abs() < 5 * (variances / (n * (1 - missing))).sqrt()).all()
    gain = n * (fa.log_likelihood(model, y).mean() - fa.log_likelihood(truth, y).mean())
    assert 0 < gain < 40  # twice the gain is chi-squared with fewer than 24 degrees of freedom


def test_fit_stops_after_max_iter_and_at_the_tolerance():
    y = draw(random_model(27), N_EXAMPLES, missing=0.5, seed=28)
    steps = list(itertools.islice(fa.expectation_maximisation(y, 2), 200))
    for ours, expected in zip(fa.fit(y, 2, max_iter=7, tolerance=0.0), steps[7][0], strict=True):
        assert torch.equal(ours, expected)
    gains = np.diff([likelihood for _, likelihood in steps])
    stop = 1 + int(np.argmax(gains < 1e-3))
    assert 1 < stop < 199
    for ours, expected in zip(fa.fit(y, 2, max_iter=1000, tolerance=1e-3), steps[stop][0], strict=True):
        assert torch.equal(ours, expected)


def test_never_observed_entry_is_predicted_finite_and_leaves_the_rest_alone():
    y = draw(random_model(29), N_EXAMPLES, missing=0.3, seed=30)
    y[:, 2] = math.nan
    others = [0, 1, 3, 4, 5, 6]
    with_column, without = (fa.fit(values, 2, None, False, 1500, 1e-13) for values in (y, y[:, others]))
    assert fa.predict(with_column, torch.zeros(1, 2, dtype=torch.float64)).isfinite().all()
    likelihoods = [fa.log_likelihood(*pair).mean() for pair in ((with_column, y), (without, y[:, others]))]
    assert float(likelihoods[0]) == pytest.approx(float(likelihoods[1]), abs=1e-5)


def test_chunks_change_nothing(monkeypatch):
    y = draw(random_model(31), 20, missing=0.4, seed=32)
    whole = fa.fit(y, 2, max_iter=5)
    monkeypatch.setattr(fa, "CHUNK", 8)  # one or two entries at a time
    for chunked, expected in zip(fa.fit(y, 2, max_iter=5), whole, strict=True):
        np.testing.assert_allclose(chunked, expected, atol=1e-12)


@pytest.mark.parametrize(("missing", "latent_dim"), [(0.7, 20), (0.9, 10)])
def test_likelihood_never_falls_in_single_precision(missing, latent_dim):
    y = torch.from_numpy(digits()).flatten(1)[:300]
    y = y.masked_fill(torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < missing, math.nan)
    _, likelihoods = run_em(y, latent_dim, 40)
    assert np.diff(likelihoods).min() > -1e-3
