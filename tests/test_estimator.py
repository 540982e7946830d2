import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone

import abpnet
from abpnet import emissions
from abpnet import factor_analysis as fa
from abpnet.estimator import GeneratorNetwork
from abpnet.likelihood import Annealing
from abpnet.networks import LinearNetwork
from abpnet.priors import fit_mixture
from abpnet.recipes import FASTEST_DECAY, RECIPES
from abpnet.values import check_count
from estimators import FAST, images, mapped


def test_every_method_returns_what_it_promises(fitted, search_shortened):
    x = images(5, seed=1)
    z = fitted.transform(x)
    assert z.shape == (5, 3)
    assert fitted.inverse_transform(z).shape == x.shape
    np.testing.assert_array_equal(fitted.reconstruct(x), fitted.inverse_transform(z))
    filled = fitted.impute(x)
    seen = ~np.isnan(x)
    np.testing.assert_array_equal(filled[seen], x[seen])
    assert np.isfinite(filled).all()
    draws = fitted.impute(x, n_imputations=3)
    assert draws.shape == (3, *x.shape)
    np.testing.assert_array_equal(draws[:, seen], np.broadcast_to(x[seen], (3, seen.sum())))
    assert (draws[0] != draws[1])[~seen].all()
    assert fitted.sample(2).shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(fitted.sample(2, random_state=1), fitted.sample(2, random_state=1))
    assert fitted.latents_.shape == (10, 3)
    assert len(fitted.history_) == fitted.n_iter_ == (6 if fitted.recipe == "whitened" else 3)


def test_tensors_come_back_for_tensors(fitted, search_shortened):
    x = torch.from_numpy(images(3, seed=2))
    z = fitted.transform(x)
    assert isinstance(z, torch.Tensor)
    assert isinstance(fitted.inverse_transform(z), torch.Tensor)
    assert isinstance(fitted.impute(x), torch.Tensor)
    np.testing.assert_array_equal(z.numpy(), fitted.transform(x.numpy()))


def test_a_row_does_not_depend_on_the_other_rows(fitted, search_shortened):
    x = images(70, seed=3)
    z = fitted.transform(x)
    order = np.random.default_rng(0).permutation(70)
    np.testing.assert_array_equal(fitted.transform(x[order]), z[order])
    for some in (slice(0, 1), slice(3, 9), slice(60, 70)):
        np.testing.assert_array_equal(fitted.transform(x[some]), z[some])
    signals = fitted.inverse_transform(z)
    np.testing.assert_array_equal(fitted.inverse_transform(z[order]), signals[order])
    np.testing.assert_array_equal(fitted.inverse_transform(z[-2:]), signals[-2:])
    some, few = order[:12], Annealing(n_chains=2, n_temperatures=2)
    scores = fitted.score_samples(x[some], annealing=few)
    np.testing.assert_array_equal(fitted.score_samples(x[some[::-1]], annealing=few), scores[::-1])
    np.testing.assert_array_equal(fitted.score_samples(x[some[-2:]], annealing=few), scores[-2:])


def test_linear_imputations_are_drawn_from_the_exact_conditional():
    generator = torch.Generator().manual_seed(0)
    loadings = torch.randn(5, 2, generator=generator)
    train = (torch.randn(50, 2, generator=generator) @ loadings.T).numpy()
    network = LinearNetwork(2, (5,))
    estimator = GeneratorNetwork(2, network=network, noise_std=0.5, max_iter=2, device="cpu", verbose=False).fit(train)
    x = np.full((200, 5), np.nan, np.float32)
    x[:, [0, 3]] = [1.0, -0.5]  # the same row 200 times: 200 independent chains
    draws = estimator.impute(x, n_imputations=40).reshape(-1, 5)
    layer = estimator.model_.network.loadings
    mean, weight = layer.bias.detach().double(), layer.weight.detach().double()
    covariance = weight @ weight.T + 0.25 * torch.eye(5)
    seen, hidden = torch.tensor([0, 3]), torch.tensor([1, 2, 4])
    gain = covariance[hidden][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    expected_mean = mean[hidden] + gain @ (torch.tensor([1.0, -0.5]).double() - mean[seen])
    expected_variance = (covariance[hidden][:, hidden] - gain @ covariance[seen][:, hidden]).diag()
    values = draws[:, hidden.numpy()]
    tolerance = 5 * np.sqrt(expected_variance.numpy() / 2000)  # 8,000 draws, thinned chains: at least 2,000 effective
    assert (np.abs(values.mean(0) - expected_mean.numpy()) < tolerance).all()
    # The Langevin step of 0.5 widens the factors' part of the variance by up to 1 / (1 - .5^2 / 4) = 1.07.
    ratio = values.var(0) / expected_variance.numpy()
    assert ((ratio > 0.9) & (ratio < 1.07 * 1.1)).all()
    # The posterior mean is an average of 30 draws of f(z), of which about 30 / 4 are independent.
    means = estimator.impute(x)[:, hidden.numpy()]
    variance_of_mean = np.square(means - expected_mean.numpy()).mean(0)
    assert (variance_of_mean < 0.3 * (expected_variance.numpy() - 0.25)).all()


def test_recover_finds_the_signal_behind_projections():
    generator = torch.Generator().manual_seed(0)
    loadings = torch.randn(12, 2, generator=generator)
    signals = torch.randn(100, 2, generator=generator) @ loadings.T
    projection = abpnet.Projection.random((12,), 6, random_state=1)
    measured = projection(signals)
    with torch.device("meta"):
        network = LinearNetwork(2, (12,))
    settings = {"noise_std": 0.1, "max_iter": 150, "precision": "float32", "verbose": False}
    estimator = GeneratorNetwork(2, network=network, **settings).fit(measured, observation=projection)
    linear = fa.fit(measured.double(), 2, max_iter=200)
    unexplained = (fa.predict(linear, fa.posterior(linear, measured.double()).mean) - measured).square().mean().sqrt()
    recovered = estimator.recover(measured, observation=projection)
    assert recovered.shape == (100, 12)
    assert (projection(recovered) - measured).square().mean().sqrt() < max(2 * unexplained, 0.05)


def test_iterations_go_on_from_a_checkpoint_to_the_same_bits():
    x = images()
    settings = {"latent_dim": 3, "max_iter": 4, "verbose": False, "precision": "float32"}
    whole = GeneratorNetwork(**settings).fit(x)
    first = GeneratorNetwork(**settings)
    iterations = first.iterations(x)
    next(iterations)
    next(iterations)
    tensors = {name: tensor.clone() for name, tensor in first.state_.tensors().items()}
    checkpoint = (tensors, first.state_.facts())
    iterations.close()
    second = GeneratorNetwork(**settings)
    assert len(list(second.iterations(x, checkpoint=checkpoint))) == 2
    np.testing.assert_array_equal(second.latents_, whole.latents_)
    np.testing.assert_array_equal(second.sample(3), whole.sample(3))


def test_same_seed_same_bits_and_the_global_seed_is_left_alone():
    x = images()
    before = torch.get_rng_state()
    first, again, other = (GeneratorNetwork(3, max_iter=2, verbose=False, random_state=s).fit(x) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.latents_, again.latents_)
    assert not np.array_equal(first.latents_, other.latents_)


def test_the_running_mean_of_the_weights_is_what_is_kept(fitted):
    weights = dict(fitted.model_.named_parameters())
    assert weights.keys() == fitted.state_.averaged.keys()
    assert all(torch.equal(weights[name], mean) for name, mean in fitted.state_.averaged.items())


def test_the_trial_of_precisions_leaves_no_trace():
    tried = GeneratorNetwork(**FAST, precision="auto").fit(images())
    told = GeneratorNetwork(**FAST, precision=tried.precision_["precision"]).fit(images())
    np.testing.assert_array_equal(tried.latents_, told.latents_)


def test_ctrl_c_ends_learning_and_keeps_what_was_learned(monkeypatch):
    estimator = GeneratorNetwork(2, max_iter=10_000, verbose=False)
    one_iteration = estimator.iterations

    def interrupted(*arguments, **settings):
        for iteration in one_iteration(*arguments, **settings):
            if iteration.iteration == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield iteration

    monkeypatch.setattr(estimator, "iterations", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(images())
    assert estimator.n_iter_ == 2
    assert estimator.transform(images()).shape == (10, 2)


def test_imputed_pixels_follow_their_neighbours_where_residuals_are_correlated():
    """Clouds, each of its own shape, of which one factor knows next to nothing."""
    rng = np.random.default_rng(0)
    noise = np.lib.stride_tricks.sliding_window_view(rng.normal(size=(80, 1, 10, 10)), (3, 3), axis=(2, 3))
    whole = (0.9 * noise.mean((4, 5))).clip(-1, 1).astype(np.float32)
    hidden = rng.random(whole.shape) < 0.3
    shown = np.where(hidden, np.float32(np.nan), whole)
    errors = {}
    for recipe in ("default", "kriged", "whitened"):
        network = LinearNetwork(1, (1, 8, 8))
        for weight in network.parameters():
            torch.nn.init.zeros_(weight)
        estimator = GeneratorNetwork(1, network=network, recipe=recipe, max_iter=6, verbose=False).fit(shown)
        filled = estimator.impute(shown, start=estimator.latents_)
        errors[recipe] = np.abs(filled - whole)[hidden].mean()
    assert errors["kriged"] < 0.7 * errors["default"], errors
    assert errors["whitened"] < 0.7 * errors["default"], errors


def test_learned_from_projections_it_takes_signals_and_the_other_way_round(fitted, search_shortened):
    projection = abpnet.Projection.random((1, 8, 8), 20)
    x = images(missing=0)
    y = projection(torch.from_numpy(x)).numpy()
    indirect = GeneratorNetwork(**FAST).fit(y, observation=projection)
    assert indirect.transform(x).shape == (10, 2)
    assert indirect.impute(images()).shape == x.shape
    seen = np.random.default_rng(0).random(y.shape) < 0.8
    assert fitted.recover(y, abpnet.Mask(seen, projection)).shape == x.shape
    with pytest.raises(ValueError, match=r"measurements of shape \(20,\), got \(1,\)"):
        fitted.recover(y[:, :1], projection)
    with pytest.raises(ValueError, match="how Y came about"):
        fitted.recover(y, None)


@pytest.mark.parametrize("shape", [(4, 1, 1, 1), (4, 1, 8), (4, 1), (4, 1, 9, 9)], ids=str)
def test_signals_of_another_shape_are_refused(fitted, shape):
    with pytest.raises(ValueError, match="expected signals of shape"):
        fitted.transform(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "call",
    [
        lambda net: net.sample(0),
        lambda net: net.inverse_transform(np.zeros((0, 3))),
        lambda net: net.impute(images(), start=np.zeros((3, 3))),
        lambda net: net.impute(images(), start=np.zeros((10, 2))),
    ],
)
def test_wrong_numbers_and_shapes_are_named(fitted, call):
    with pytest.raises(ValueError, match="must be"):
        call(fitted)


@pytest.mark.parametrize("n", [2.5, True, "3", None])
def test_counts_are_whole_numbers(n):
    with pytest.raises(ValueError, match="n_draws must be a whole number of at least 1, got"):
        check_count("n_draws", n)
    check_count("n_draws", np.int64(1))


def test_half_precision_tensors_come_in(fitted, search_shortened):
    x = torch.from_numpy(images()).bfloat16()
    torch.testing.assert_close(fitted.transform(x), fitted.transform(x.float()))


def test_factors_have_names(fitted):
    assert list(fitted.get_feature_names_out()) == [f"generatornetwork{factor}" for factor in range(3)]


def test_the_emission_is_learned_with_and_kept(tmp_path):
    x, factors = images(40), {}
    for name, emission in (("gaussian", abpnet.Gaussian(0.1)), ("laplace", abpnet.Laplace(0.1))):
        network = GeneratorNetwork(noise_std=0.1, emission=name, **FAST).fit(x)
        assert network.model_.emission == emission
        network.save(tmp_path / name)
        loaded = GeneratorNetwork.load(tmp_path / name)
        assert loaded.model_.emission == emission
        factors[name] = network.transform(x)
        np.testing.assert_array_equal(loaded.transform(x), factors[name])
    assert np.abs(factors["laplace"] - factors["gaussian"]).mean() > 1e-3


@pytest.mark.parametrize("recipe", ["video", "kriged", "patches", "whitened"])
def test_gaussian_noise_may_be_passed_as_an_emission(recipe):
    kinds = ({"noise_std": 0.2}, {"emission": abpnet.Gaussian(0.2)})
    named, passed = (GeneratorNetwork(**FAST | kind, recipe=recipe).fit(images()) for kind in kinds)
    np.testing.assert_array_equal(passed.latents_, named.latents_)


@pytest.mark.parametrize(("blocks", "junk"), [(False, np.nan), (True, 1e30)])
def test_noise_of_each_channel_is_learned(blocks, junk):
    """Columns that hold nothing but noise: as much is learned as there is, by what was observed."""
    rng, stds = np.random.default_rng(0), (0.5, 2.0)
    x = (rng.standard_normal((300, 2)) * stds).astype(np.float32)
    x = np.concatenate([x, rng.poisson(1.0, (300, 1))], 1).astype(np.float32) if blocks else x
    hidden = rng.random(x.shape) < 0.3
    noise = emissions.ChannelGaussian((1.0, 1.0))
    columns = emissions.Columns((emissions.Block(0, 2, noise), emissions.Block(2, 3, emissions.Poisson())))
    with torch.device("meta"):
        linear = LinearNetwork(1, x.shape[1:])
    recipe = replace(RECIPES["default"], learn_noise=True, weight_decay=FASTEST_DECAY)
    net = GeneratorNetwork(
        1, network=linear, emission=columns if blocks else noise, recipe=recipe, max_iter=30, verbose=False
    )
    net.fit(np.where(hidden, np.float32(junk), x), observation=abpnet.Mask(~hidden))
    assert emissions.noise_stds(net.model_.emission) == pytest.approx(stds, rel=0.15)
    assert emissions.noise_stds(net.emission) == (1.0, 1.0), "settings stay as they are"


METHODS = ["fit", "transform", "reconstruct", "impute", "posterior_samples", "score_samples"]


@pytest.mark.parametrize("method", METHODS)
def test_data_that_the_emission_cannot_have_made_are_refused(method, tmp_path, search_shortened):
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (12, 5)).astype(np.float32)
    net = GeneratorNetwork(**FAST, emission=emissions.Poisson()).fit(x)
    bad = x.copy()
    bad[7, 2] = -4
    with pytest.raises(ValueError, match="Poisson expects whole numbers from 0 on, got -4"):
        getattr(net, method)(bad)
    if method in ("fit", "transform"):
        with pytest.raises(ValueError, match=r"X\[7\]: Poisson expects whole numbers from 0 on, got -4"):
            getattr(net, method)(mapped(tmp_path / "bad.npy", bad))
    bad[7, 2] = np.nan
    assert getattr(net, method)(bad) is not None


def test_max_seconds_stops():
    estimator = GeneratorNetwork(2, max_iter=10**6, max_seconds=1e-9, verbose=False).fit(images())
    assert estimator.n_iter_ <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "float16"}, "precision must be"),
        ({"recipe": "secret"}, "recipe must be"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"network": "magic"}, "network must be"),
        ({"noise_std": 0.0}, "noise_std must be"),
        ({"latent_dim": 0}, "latent_dim must be"),
        (
            {"prior": "cauchy"},
            "prior must be normal, heavy-tailed, double-exponential, sparse, exponential, half-normal or",
        ),
        ({"emission": "cauchy"}, "emission must be gaussian, laplace, student-t or an emission such as"),
        (
            {"emission": "laplace", "recipe": "kriged"},
            "fields of residuals need Gaussian noise; emission='laplace' needs",
        ),
        ({"emission": emissions.ChannelGaussian((0.3,)), "recipe": "kriged"}, "fields of residuals need Gaussian"),
        (
            {"emission": "laplace", "recipe": "video"},
            "noise is learned of Gaussian, ChannelGaussian and Columns; emission",
        ),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GeneratorNetwork(**(FAST | settings)).fit(images())


def test_images_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"\[-1, 1\].*127.5"):
        GeneratorNetwork(**FAST).fit(np.full((3, 1, 8, 8), 255.0))


def test_clone_keeps_the_settings():
    estimator = GeneratorNetwork(7, noise_std=0.1, recipe="paper")
    assert clone(estimator).get_params() == estimator.get_params()


def test_seeds_may_be_negative():
    x = np.random.default_rng(0).uniform(-1, 1, (12, 5)).astype(np.float32)
    estimator = GeneratorNetwork(2, random_state=-1, max_iter=1, verbose=False).fit(x)
    assert np.array_equal(estimator.sample(3), estimator.sample(3, random_state=-1))
    assert not np.array_equal(estimator.sample(3), estimator.sample(3, random_state=1))


def test_posterior_samples_scatter_around_what_explains_best(fitted):
    x = images(5, seed=1)
    samples = fitted.posterior_samples(x, 40, n_chains=2)
    assert samples.shape == (40, 5, 3)
    np.testing.assert_array_equal(samples, fitted.posterior_samples(x, 40, n_chains=2))
    assert (samples.std(0) > 0).all()
    deviation = samples.mean(0) - fitted.transform(x)
    assert np.abs(deviation / samples.std(0)).mean() < 1.5


def test_samples_may_come_from_a_prior_fitted_to_the_chains(fitted):
    mixture = fit_mixture(torch.from_numpy(fitted.latents_), n_components=2)
    samples = fitted.sample(5, prior=mixture, random_state=1)
    assert samples.shape == (5, 1, 8, 8)
    assert not np.array_equal(samples, fitted.sample(5, random_state=1))
    np.testing.assert_array_equal(samples, fitted.sample(5, prior=mixture, random_state=1))
