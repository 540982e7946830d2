"""The variational auto-encoder against linear factor analysis, where everything is known in closed form."""

import math

import pytest
import torch
from scipy.stats import norm

from abpnet import factor_analysis, infer
from abpnet.baselines import vae
from abpnet.baselines.bottom_up import BottomUpNetwork
from abpnet.factor_analysis import FactorAnalysis
from abpnet.networks import LinearNetwork, ObjectNetwork, TextureNetwork, VectorNetwork
from abpnet.observations import Complete, Mask, hide_missing

NOISE, SIZE = 0.5, 6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_data(n=400, missing=0.0):
    """Signals of two factors, and their exact model."""
    generator = seeded(1)
    truth = FactorAnalysis(
        torch.randn(SIZE, 2, generator=generator),
        torch.randn(SIZE, generator=generator),
        torch.full((SIZE,), NOISE**2),
    )
    z = torch.randn(n, 2, generator=generator)
    y = factor_analysis.predict(truth, z) + NOISE * torch.randn(n, SIZE, generator=generator)
    hidden = torch.rand(y.shape, generator=generator) < missing
    return y, y.masked_fill(hidden, math.nan), truth


def as_factor_analysis(learned):
    layer = learned.model.network.loadings
    return FactorAnalysis(layer.weight.detach(), layer.bias.detach(), torch.full((SIZE,), NOISE**2))


def mean_bound(learned, y, n_samples, repeats=200):
    filled, seen = hide_missing(y, Complete())
    generator = seeded(2)
    with torch.no_grad():
        draws = [vae.bound(learned, filled, seen, n_samples, generator).mean() for _ in range(repeats)]
    draws = torch.stack(draws)
    return float(draws.mean()), float(draws.std() / math.sqrt(repeats))


@pytest.fixture(scope="module")
def linear():
    y, _, _ = linear_data()
    return vae.learn(
        y, LinearNetwork(2, (SIZE,)), noise_std=NOISE, generator=seeded(), max_iter=300, learning_rate=1e-2
    )


def test_a_linear_one_reaches_the_likelihood_of_factor_analysis(linear):
    y, _, truth = linear_data()
    exact = float(factor_analysis.log_likelihood(as_factor_analysis(linear), y).mean())
    best = float(factor_analysis.log_likelihood(truth, y).mean())
    assert abs(exact - best) < 0.05, "the decoder is as good as the truth"
    estimate, standard_error = mean_bound(linear, y, 1)
    assert standard_error < 0.01
    assert exact - 0.1 < estimate < exact + 5 * standard_error, "the encoder's posterior is almost the exact one"


def test_more_samples_tighten_the_bound_which_stays_one(linear):
    y, _, _ = linear_data(50)
    shifted = y + 2.0  # the encoder has not seen such signals: its posterior is wrong, the bound loose
    exact = float(factor_analysis.log_likelihood(as_factor_analysis(linear), shifted).mean())
    (one, _), (few, _), (many, error) = (mean_bound(linear, shifted, k, 100) for k in (1, 5, 100))
    assert one < few < many < exact + 5 * error
    assert exact - many < 0.3 * (exact - one)


def test_the_known_divergence_is_the_mean_of_the_drawn_one(linear):
    y, _, _ = linear_data(20)
    with torch.no_grad():
        _, _, known = vae._draw(linear, y, Complete(), 1, seeded())
        _, _, drawn = vae._draw(linear, y, Complete(), 4000, seeded())
    torch.testing.assert_close(drawn.mean(0), known[0], atol=0.15, rtol=0)
    z = torch.randn(3, 2)
    expected = torch.from_numpy(norm.logpdf(z, 1.0, math.exp(0.35)).sum(1)).float()
    torch.testing.assert_close(vae._normal_log_prob(z, torch.ones(3, 2), torch.full((3, 2), 0.7)), expected)


def test_missing_entries_are_filled_in_by_their_posterior_mean():
    y, damaged, truth = linear_data(missing=0.3)
    learned = vae.learn(
        damaged,
        LinearNetwork(2, (SIZE,)),
        noise_std=NOISE,
        generator=seeded(),
        n_samples=20,
        max_iter=200,
        learning_rate=1e-2,
    )
    exact = float(factor_analysis.log_likelihood(as_factor_analysis(learned), damaged).mean())
    best = float(factor_analysis.log_likelihood(truth, damaged).mean())
    assert abs(exact - best) < 0.1
    estimate, standard_error = mean_bound(learned, damaged, 20)
    assert exact - 0.3 < estimate < exact + 5 * standard_error
    filled = vae.impute(learned, damaged, seeded(3), n_draws=10_000)
    hidden = damaged.isnan()
    torch.testing.assert_close(filled[~hidden], y[~hidden], rtol=0, atol=0)
    mean = factor_analysis.posterior(as_factor_analysis(learned), damaged).mean
    expected = factor_analysis.predict(as_factor_analysis(learned), mean)
    torch.testing.assert_close(filled[hidden], expected[hidden], atol=0.1, rtol=0)


def images(n=24):
    generator = seeded(4)
    return (torch.randn(n, 3, generator=generator) @ torch.randn(3, 2 * 16 * 12, generator=generator)).tanh()


@pytest.mark.parametrize("n_samples", [1, 3])
def test_what_stands_at_missing_entries_influences_nothing(n_samples):
    y = images().view(-1, 2, 16, 12)
    observed = torch.rand(len(y), 1, 16, 12, generator=seeded(5)) < 0.6
    decoder = ObjectNetwork(3, (2, 16, 12), width=16)

    def everything(values, mask):
        learned = vae.learn(
            values,
            decoder,
            noise_std=0.3,
            generator=seeded(),
            observation=mask,
            n_samples=n_samples,
            max_iter=2,
        )
        filled = vae.impute(learned, values, seeded(1), mask, n_draws=4)
        rebuilt = vae.reconstruct(learned, values, mask)
        return [filled, rebuilt, vae.sample(learned, 3, seeded(2)), *learned.model.state_dict().values()]

    hidden = ~observed.expand_as(y)
    results = [
        everything(y.masked_fill(hidden, math.nan), None),
        everything(y.masked_fill(hidden, 1e30), Mask(observed)),
        everything(y, Mask(observed)),
    ]
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert torch.equal(one, same)
    assert torch.isfinite(results[0][0]).all()


def test_it_learns_images_and_the_same_again():
    y = images().view(-1, 2, 16, 12)

    def learn(max_iter):
        return vae.learn(
            y,
            ObjectNetwork(3, (2, 16, 12), width=16),
            noise_std=0.3,
            generator=seeded(),
            max_iter=max_iter,
            learning_rate=1e-2,
        )

    once, again = learn(100), learn(100)
    assert all(torch.equal(a, b) for a, b in zip(once.encoder.parameters(), again.encoder.parameters(), strict=True))
    assert [row["bound"] for row in once.history] == [row["bound"] for row in again.history]
    assert once.history[-1]["bound"] > once.history[0]["bound"] + 500
    error = (vae.reconstruct(once, y) - y).square().mean()
    assert error < 0.3 * (y - y.mean(0)).square().mean()
    assert vae.sample(once, 7, seeded()).shape == (7, 2, 16, 12)


def test_it_stops_in_time():
    y, _, _ = linear_data(50)
    learned = vae.learn(
        y, LinearNetwork(2, (SIZE,)), noise_std=NOISE, generator=seeded(), max_iter=10**6, max_seconds=0.05
    )
    assert learned.history[-1]["seconds"] >= 0.05
    assert all(row["seconds"] < 0.05 for row in learned.history[:-1])


@pytest.mark.parametrize(
    "network",
    [
        LinearNetwork(2, (3, 4)),
        VectorNetwork(2, (1, 8, 8), width=10, n_hidden=3),
        ObjectNetwork(2, (3, 64, 40), width=64),
        ObjectNetwork(2, (9, 33), width=20),
    ],
    ids=lambda network: type(network).__name__,
)
def test_the_mirror_image_has_the_layers_of_the_network(network):
    bottom_up = BottomUpNetwork(network, 5)
    x = network(torch.randn(4, 2))
    assert bottom_up(x).shape == (4, 5)
    kinds = (torch.nn.Linear, torch.nn.ConvTranspose2d, torch.nn.Conv2d)
    above, below = ([layer for layer in net.modules() if isinstance(layer, kinds)] for net in (network, bottom_up))
    assert len(above) == len(below)
    sizes = [layer.weight.numel() for layer in reversed(above)]
    assert [layer.weight.numel() for layer in below][:-1] == sizes[:-1]
    assert below[-1].weight.numel() * 2 == sizes[-1] * 5


def test_a_map_of_factors_has_no_mirror_image():
    with pytest.raises(ValueError, match="TextureNetwork"):
        BottomUpNetwork(TextureNetwork.with_noise(1, 16), 1)


def test_few_factors_of_few_images_do_not_diverge():
    images = torch.rand(30, 3, 16, 16, generator=seeded(2)) * 2 - 1
    learned = vae.learn(images, ObjectNetwork(2, (3, 16, 16)), noise_std=0.2, generator=seeded(), max_iter=25)
    assert all(math.isfinite(row["bound"]) for row in learned.history)
    assert learned.history[-1]["bound"] > learned.history[0]["bound"]


def test_whoever_diverges_is_stopped_and_told():
    y, _, _ = linear_data(50)
    with pytest.warns(UserWarning, match="diverged"):
        learned = vae.learn(
            1e18 * y, LinearNetwork(2, (SIZE,)), noise_std=NOISE, generator=seeded(), max_iter=50, learning_rate=1e6
        )
    assert len(learned.history) < 50


def test_variances_of_the_posterior_stay_within_bounds():
    images = torch.rand(8, 3, 16, 16, generator=seeded(2)) * 2 - 1
    learned = vae.learn(images, ObjectNetwork(2, (3, 16, 16)), noise_std=0.2, generator=seeded(), max_iter=1)
    _, log_variance = learned.encode(1e6 * images, Complete())
    assert log_variance.abs().max() <= vae.MOST_LOG_VARIANCE
    assert log_variance.abs().max() > 0.9 * vae.MOST_LOG_VARIANCE, "they would have been larger"


def test_explaining_away_goes_on_from_where_the_encoder_ends(linear):
    _, missing, _ = linear_data(150, missing=0.3)
    shifted = missing + 2.0  # the encoder has seen neither such signals nor missing entries
    means = vae.posterior_means(linear, shifted)
    z = infer(linear.model, shifted, start=means, n_steps=1000)
    exact = factor_analysis.posterior(as_factor_analysis(linear), shifted.nan_to_num(0.0), ~shifted.isnan()).mean
    torch.testing.assert_close(z, exact, atol=2e-3, rtol=0)
    torch.testing.assert_close(vae.reconstruct(linear, shifted), linear.model(means).detach())
    assert (means - exact).square().mean() > 100 * (z - exact).square().mean()
