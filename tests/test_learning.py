"""Learning against the closed form, and resuming to the bit."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

import abpnet
from abpnet import factor_analysis as fa
from abpnet.beginning import begin
from abpnet.data import spots
from abpnet.errors import InputError
from abpnet.history import History
from abpnet.inference import gradient_descent
from abpnet.learning import alternate
from abpnet.networks import LinearNetwork, ObjectNetwork, auto_network, initialise
from abpnet.recipes import RECIPES


def linear_data(n=600, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loadings = torch.randn(size, 2, generator=generator)
    return torch.randn(n, 2, generator=generator) @ loadings.T + 0.5 * torch.randn(n, size, generator=generator) + 1.0


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_learning_reaches_the_maximum_likelihood_of_factor_analysis(missing):
    y = linear_data()
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < missing] = torch.nan
    best = fa.fit(y.double(), 2, max_iter=2000, tolerance=1e-9)
    generator = torch.Generator().manual_seed(2)
    model = abpnet.GeneratorModel(initialise(LinearNetwork(2, (6,)), generator), (2,), emission=abpnet.Gaussian(1.0))
    recipe = replace(
        RECIPES["partial"],
        start="prior",
        learn_noise=True,
        weight_decay=0.0,
        learning_rate=1e-2,
        average_decay=0.99,
        batch_size=300,
        step_size=0.3,
    )
    state = begin(model, y, recipe=recipe, generator=generator)
    for iteration in alternate(model, y, recipe=recipe, state=state):
        if iteration.iteration == 300:
            break
    loadings, mean = state.averaged["network.loadings.weight"], state.averaged["network.loadings.bias"]
    noise = torch.full((6,), model.emission.noise_std**2)
    learned = fa.FactorAnalysis(loadings, mean, noise)
    gap = fa.log_likelihood(best, y.double()).mean() - fa.log_likelihood(learned, y).mean().double()
    assert 0 <= gap < 0.02, "nats per example below the maximum"
    covariance = loadings @ loadings.T + noise.diag()
    exact = (best.loadings @ best.loadings.T + best.noise_variance.diag()).float()
    assert (covariance - exact).norm() / exact.norm() < 0.06
    assert abs(iteration.latent_std - 1) < 0.1, "the chains stay where the prior is"


def image_case(recipe, precision="float32"):
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(11, 1, 8, 8, generator=generator) * 2 - 1
    y[torch.rand(y.shape, generator=generator) < 0.5] = torch.nan
    model = abpnet.GeneratorModel(initialise(ObjectNetwork(3, (1, 8, 8), 32), generator), (3,))
    state = begin(model, y, recipe=recipe, generator=generator)
    return state, alternate(model, y, recipe=recipe, state=state, precision=precision)


SMALL = replace(RECIPES["default"], batch_size=4, n_steps=2, learn_noise=True, warm_up=0)
WHITENED = replace(RECIPES["whitened"], batch_size=4, n_steps=2)
KRIGED = replace(RECIPES["kriged"], batch_size=4, n_steps=2)


@pytest.fixture
def early_field(monkeypatch):
    """Residuals become a field after the first pass, and another one after the second and the fourth."""
    monkeypatch.setattr("abpnet.learning.PASSES_BEFORE_FIELD", 1)


def without_seconds(facts):
    return facts | {"seconds": 0, "history": [row | {"seconds": 0} for row in History.unpacked(facts["history"])]}


@pytest.mark.parametrize(
    "recipe",
    [SMALL, replace(RECIPES["paper"], batch_size=4), WHITENED, KRIGED],
    ids=["default", "paper", "whitened", "kriged"],
)
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resuming_equals_never_having_stopped(recipe, stop, early_field):
    whole, iterations = image_case(recipe)
    rows = [next(iterations) for _ in range(5)]
    first, iterations = image_case(recipe)
    for _ in range(stop):
        next(iterations)
    tensors = {name: tensor.clone() for name, tensor in first.tensors().items()}
    facts = first.facts()
    for _ in range(2):
        next(iterations)  # what was written down must not depend on what happens later
    second, iterations = image_case(recipe)
    second.restore(tensors, facts)
    rest = [next(iterations) for _ in range(5 - stop)]
    assert without_seconds(second.facts()) == without_seconds(whole.facts())
    assert len(second.history) == 5
    expected = whole.tensors()
    for name, tensor in second.tensors().items():
        assert torch.equal(tensor, expected[name]), name
    assert len(second.tensors()) == len(expected)
    assert [replace(row, seconds=0.0) for row in rest] == [replace(row, seconds=0.0) for row in rows[stop:]]


def test_a_checkpoint_of_another_model_is_refused():
    state, iterations = image_case(SMALL)
    next(iterations)
    other, _ = image_case(SMALL)
    with pytest.raises(InputError, match="does not fit"):
        other.restore(state.tensors() | {"latents": torch.zeros(2, 3)}, state.facts())


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer.")],
        lambda tensors: tensors.pop("optimizer.0.exp_avg"),
        lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(2, 2)}),
        lambda tensors: tensors.update(generator=torch.zeros(16)),
        lambda tensors: tensors.pop("latents"),
    ],
)
def test_a_checkpoint_with_parts_missing_is_refused(damage):
    state, iterations = image_case(SMALL)
    next(iterations)
    tensors = state.tensors()
    damage(tensors)
    other, _ = image_case(SMALL)
    with pytest.raises(InputError, match="does not fit"):
        other.restore(tensors, state.facts())


def test_chains_start_where_the_recipe_says():
    y = linear_data(50)
    model = abpnet.GeneratorModel(LinearNetwork(2, (6,)), (2,))

    def start(kind):
        generator = torch.Generator().manual_seed(3)
        return begin(model, y, recipe=replace(SMALL, start=kind), generator=generator).latents.values

    assert torch.equal(start("prior"), torch.randn(50, 2, generator=torch.Generator().manual_seed(3)))
    linear = fa.fit(y, 2, max_iter=20)
    torch.testing.assert_close(start("linear"), fa.posterior(linear, y).mean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("n", [4, 50], ids=["few examples", "few entries"])
def test_factors_beyond_the_rank_of_the_examples_start_at_zero(monkeypatch, n):
    fitted = []
    fit = fa.fit
    monkeypatch.setattr(fa, "fit", lambda y, d, *rest, **settings: fitted.append(d) or fit(y, d, *rest, **settings))
    y, rank = linear_data(n), min(n, 6)

    def start(latent_dim):
        model = abpnet.GeneratorModel(LinearNetwork(latent_dim, (6,)), (latent_dim,))
        return begin(model, y, recipe=SMALL, generator=torch.Generator().manual_seed(3)).latents.values

    z = start(400)
    assert fitted == [rank]
    assert torch.equal(z[:, :rank], start(rank))
    assert not z[:, rank:].any()


def test_without_temperature_inference_is_gradient_descent():
    recipe = replace(SMALL, temperature=0.0, preconditioned=False, step_size=0.05, batch_size=11, learning_rate=0.0)
    state, iterations = image_case(recipe)
    before = state.latents.values.clone()
    y = torch.rand(11, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    lost = torch.Generator().manual_seed(0)
    torch.rand(y.shape, generator=lost)
    observed = torch.rand(y.shape, generator=lost) >= 0.5
    energy = functools.partial(state.model.energy, y=torch.where(observed, y, 0.0), observation=abpnet.Mask(observed))
    expected = gradient_descent(energy, before, step_size=0.05, n_steps=recipe.n_steps)
    next(iterations)
    torch.testing.assert_close(state.latents.values, expected)


def test_examples_are_shuffled_in_every_iteration(monkeypatch):
    state, iterations = image_case(SMALL)
    orders, write = [], state.latents.write
    monkeypatch.setattr(state.latents, "write", lambda index, z: orders.extend(index.tolist()) or write(index, z))
    for _ in range(2):
        next(iterations)
    first, second = orders[:11], orders[11:]
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != list(range(11))
    assert first != second


@pytest.mark.parametrize("recipe", [SMALL, WHITENED], ids=["white", "whitened"])
def test_hidden_pixels_never_influence_learning(recipe, early_field):
    y = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    observed = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    outcomes = []
    for junk in (torch.nan, 1e30, 0.3):
        generator = torch.Generator().manual_seed(2)
        model = abpnet.GeneratorModel(initialise(ObjectNetwork(3, (1, 8, 8), 32), generator), (3,))
        values = torch.where(observed, y, junk)
        state = begin(model, values, abpnet.Mask(observed), recipe=recipe, generator=generator)
        iterations = alternate(model, values, abpnet.Mask(observed), recipe=recipe, state=state)
        row = [next(iterations) for _ in range(3)][-1]
        outcomes.append((state.tensors(), replace(row, seconds=0.0)))
    for tensors, row in outcomes[1:]:
        assert row == outcomes[0][1]
        assert all(torch.equal(tensor, outcomes[0][0][name]) for name, tensor in tensors.items())


def test_each_example_meets_its_own_chain():
    """Chains that start at their example's own answer, with steps too small to move, stay there in any order."""
    recipe = replace(SMALL, n_steps=1, step_size=1e-8, preconditioned=False)
    state, iterations = image_case(recipe)
    marks = torch.arange(11.0)[:, None].expand(11, 3).clone()
    state.latents.values.copy_(marks)
    for _ in range(3):
        next(iterations)
    torch.testing.assert_close(state.latents.values, marks, atol=1e-5, rtol=1e-6)


def test_every_example_counts_once_in_an_iteration():
    state, iterations = image_case(SMALL)
    next(iterations)
    assert state.updates == 3  # 11 examples in batches of 4


def test_the_running_mean_of_the_weights_is_what_it_says():
    recipe = replace(SMALL, batch_size=11, average_decay=0.9)
    state, iterations = image_case(recipe)
    expected = {name: weight.detach().clone() for name, weight in state.model.named_parameters()}
    for update in range(4):
        next(iterations)
        decay = min(0.9, update / (update + 10))
        for name, weight in state.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach()
    for name, mean in state.averaged.items():
        torch.testing.assert_close(mean, expected[name])


def test_the_running_mean_of_the_precision_is_what_it_says(monkeypatch):
    state, iterations = image_case(replace(SMALL, batch_size=11))
    measured = [torch.eye(3), 5 * torch.eye(3), 2 * torch.eye(3)]
    answers = iter(measured)
    rows = []

    def answer(z, *_):
        rows.append(len(z))
        return next(answers)

    monkeypatch.setattr(state.model, "latent_precision", answer)
    next(iterations)
    expected = measured[0]
    torch.testing.assert_close(state.latent_precision, expected)
    for latest in measured[1:]:
        next(iterations)
        decay = 0.95 ** (3 / 11)
        expected = decay * expected + (1 - decay) * latest
        torch.testing.assert_close(state.latent_precision, expected)
    assert rows == [11, 3, 3], "of the first batch all examples, then every fourth, the first one included"


def test_each_pass_tells_whether_chains_are_at_rest():
    _, iterations = image_case(replace(SMALL, n_steps=2))
    rows = [next(iterations) for _ in range(21)]
    assert all(0 < row.acceptance <= 1 for row in rows)
    assert [row.r_hat is None for row in rows] == [True] * 19 + [False] * 2
    assert [row.effective_draws is None for row in rows] == [True] * 19 + [False] * 2
    assert 1 <= rows[-1].r_hat < 10
    assert 1 <= rows[-1].effective_draws <= 20
    _, iterations = image_case(replace(SMALL, n_steps=1))
    assert next(iterations).acceptance is None, "a step is judged by where the next one begins"
    _, iterations = image_case(replace(SMALL, inference="metropolis"))
    assert 0 < next(iterations).acceptance < 1


def test_where_chains_came_from_is_part_of_a_checkpoint():
    state, iterations = image_case(SMALL)
    for _ in range(15):
        next(iterations)
    tensors, facts = {name: tensor.clone() for name, tensor in state.tensors().items()}, state.facts()
    resumed, again = image_case(SMALL)
    resumed.restore(tensors, facts)
    for _ in range(6):
        row, other = next(iterations).row(), next(again).row()
        assert row | {"seconds": 0} == other | {"seconds": 0}
    assert row["r_hat"] is not None


def test_the_learning_rate_is_halved_at_its_horizon():
    state, iterations = image_case(replace(SMALL, batch_size=11, learning_rate=0.1, learning_rate_horizon=2))
    rates = []
    for _ in range(5):
        next(iterations)
        rates.append(state.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1 / 1.5, 0.05, 0.1 / 2.5, 0.1 / 3])


def test_the_learning_rate_rises_while_learning_warms_up():
    recipe = replace(SMALL, batch_size=11, learning_rate=0.1, learning_rate_horizon=None, warm_up=4)
    state, iterations = image_case(recipe)
    rates = []
    for _ in range(6):
        next(iterations)
        rates.append(state.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    both = replace(recipe, learning_rate_horizon=2)
    assert [both.rate(updates) for updates in (0, 2, 4)] == pytest.approx([0.025, 0.0375, 0.1 / 3])


@pytest.mark.parametrize("recipe", ["default", "partial", "objects"])
def test_small_networks_survive_the_first_updates(recipe):
    """Without a warm-up the error stays at .18, that of one grey picture for all."""
    estimator = abpnet.GeneratorNetwork(3, noise_std=0.2, recipe=recipe, max_iter=12, device="cpu", verbose=False)
    assert estimator.fit(spots(300, 16)).history_[-1]["error"] < 0.15


def test_images_that_are_mostly_black_start():
    """Strokes on black: after a warm-up of 100 updates the error of ten passes is .10, that of one black picture."""
    rng, side = np.random.default_rng(0), 16
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    angle, offset = rng.uniform(0, np.pi, (400, 1, 1)), rng.uniform(-0.2, 0.2, (400, 1, 1)) * side
    is_near = np.abs(rows * np.cos(angle) + columns * np.sin(angle) - offset) < 1.2
    strokes = np.where(is_near & (np.hypot(rows, columns) < 0.38 * side), 1, -1).astype(np.float32)[:, None]
    estimator = abpnet.GeneratorNetwork(3, noise_std=0.2, max_iter=10, device="cpu", verbose=False)
    assert estimator.fit(strokes).history_[-1]["error"] < 0.08


def test_learning_recovers_hidden_entries_better_than_the_mean():
    y = linear_data(120)
    observed = torch.rand(y.shape, generator=torch.Generator().manual_seed(3)) < 0.7
    estimator = abpnet.GeneratorNetwork(2, noise_std=0.5, max_iter=15, verbose=False).fit(
        np.where(observed, y, np.nan).astype(np.float32)
    )
    filled = estimator.impute(np.where(observed, y, np.nan).astype(np.float32))
    hidden = ~observed.numpy()
    ours = np.abs(filled - y.numpy())[hidden].mean()
    assert ours < 0.7 * np.abs(y.numpy() - y.numpy().mean(0))[hidden].mean()


def test_residuals_are_a_field_only_where_the_recipe_says_and_the_signal_has_space(early_field):
    generator = torch.Generator().manual_seed(0)
    for shape, recipe, expected in (
        ((1, 8, 8), WHITENED, True),
        ((1, 8, 8), SMALL, False),
        ((64,), WHITENED, False),
    ):
        y = torch.rand(9, *shape, generator=generator) * 2 - 1
        model = abpnet.GeneratorModel(initialise(auto_network((3,), shape, False), generator), (3,))
        state = begin(model, y, recipe=recipe, generator=generator)
        iterations = alternate(model, y, recipe=recipe, state=state)
        next(iterations)
        assert state.residuals is None
        next(iterations)
        assert (state.residuals is not None) == expected


def test_weights_of_a_foreign_observation_get_no_gradients():
    layer = torch.nn.Linear(4, 3)
    net = abpnet.GeneratorNetwork(2, abpnet.VectorNetwork(2, (4,)), max_iter=1, precision="float32", verbose=False)
    net.fit(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).numpy(), observation=layer)
    assert all(weight.grad is None for weight in layer.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "newton"}, "optimizer must be adam or sgd; got 'newton'"),
        ({"residuals": "red"}, "residuals must be white or kriged or patches or whitened"),
        ({"n_steps": "x"}, "n_steps must be a whole number of at least 0; got 'x'"),
        ({"n_steps": 1.5}, "n_steps must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"learning_rate": None}, "learning_rate must be a number of at least 0"),
        ({"step_size": float("nan")}, "step_size must be a number"),
        ({"temperature": -1}, "temperature must be a number of at least 0"),
        ({"learning_rate_horizon": 0}, "learning_rate_horizon must be a whole number of at least 1"),
        ({"warm_up": True}, "warm_up must be a whole number"),
        ({"full_rate_inputs": 0}, "full_rate_inputs must be a whole number of at least 1"),
        ({"step_size": 2.0}, "preconditioned steps of 2 or more run away"),
    ],
    ids=str,
)
def test_recipes_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPES["default"], **settings)
