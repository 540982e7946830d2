"""Chains that run away are put back and told; learning that does stops before weights change."""

import dataclasses
from itertools import islice

import pytest
import torch

from abpnet import GeneratorNetwork, alternate
from abpnet.beginning import begin
from abpnet.divergence import FARTHEST, RISE, exploded, put_back, shares_after
from abpnet.emissions import Gaussian
from abpnet.errors import DivergenceError
from abpnet.inference import langevin
from abpnet.model import GeneratorModel
from abpnet.networks import LinearNetwork, VectorNetwork
from abpnet.recipes import RECIPES

RECIPE = dataclasses.replace(RECIPES["paper"], batch_size=4)


def data(n=12, n_columns=10):
    return torch.empty(n, n_columns).uniform_(-1, 1, generator=torch.Generator().manual_seed(1))


def learner(recipe=RECIPE, y=None, network=None, noise_std=0.3):
    y = data() if y is None else y
    torch.manual_seed(0)
    model = GeneratorModel(network or VectorNetwork(3, y.shape[1:]), (3,), emission=Gaussian(noise_std))
    state = begin(model, y, recipe=recipe, generator=torch.Generator().manual_seed(0))
    return state, alternate(model, y, recipe=recipe, state=state)


def weights_of(model):
    return [weight.detach().clone() for weight in model.parameters()]


@pytest.mark.parametrize("recipe", ["paper", "texture"])
@pytest.mark.parametrize("masked", [False, True])
def test_steps_of_a_thousand_raise_before_weights_change(recipe, masked):
    y = data()
    if masked:
        y[torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.4] = torch.nan
    settings = dataclasses.replace(RECIPES[recipe], step_size=1e3)
    state, iterations = learner(settings, y)
    before, averaged = weights_of(state.model), {name: value.clone() for name, value in state.averaged.items()}
    with pytest.raises(DivergenceError, match=r"explode.*step_size 1e\+03, noise_std 0.3.*Try a smaller step_size"):
        list(islice(iterations, 10))
    assert all(torch.equal(weight, old) for weight, old in zip(weights_of(state.model), before, strict=True))
    assert all(torch.equal(state.averaged[name], value) for name, value in averaged.items())
    assert all(part.isfinite().all() for part in state.latents.parts())


@pytest.mark.parametrize("recipe", ["paper", "texture", "default"])
@pytest.mark.parametrize("step_size", [1e-6, None])
def test_small_steps_and_those_of_recipes_raise_no_alarm(recipe, step_size):
    settings = RECIPES[recipe]
    settings = settings if step_size is None else dataclasses.replace(settings, step_size=step_size)
    state, iterations = learner(settings)
    assert [next(iterations).diverged for _ in range(20)] == [0] * 20
    assert (state.step_shares == 1).all()


def test_the_error_says_where_it_happened():
    state, iterations = learner(dataclasses.replace(RECIPE, step_size=1e3))
    with pytest.raises(DivergenceError) as raised:
        next(iterations)
    error = raised.value
    assert error.iteration == 1
    assert len(error.examples) == 4
    assert set(error.examples) <= set(range(12))
    assert (error.step_size, error.noise_stds) == (1e3, (0.3,))
    assert state.updates == 1
    assert state.iteration == 0


class Brittle(torch.nn.Module):
    """A linear network that comes to no number, or to a huge one, where the first factor is more than a half."""

    def __init__(self, value=torch.nan):
        super().__init__()
        self.linear = LinearNetwork(3, (10,))
        self.value = value

    def forward(self, z):
        return self.linear(z) * torch.where(z[:, :1] > 0.5, self.value, 1.0)


# Chains hardly move, but for that of example 2, which is pulled over the edge.
HARDLY = dataclasses.replace(RECIPE, step_size=1e-3, n_steps=3)


def brittle(value=torch.nan):
    """A state in which the chain of example 2 is about to run away."""
    y, start = data(4), torch.zeros(4, 3)
    start[2, 0] = 0.4999
    torch.manual_seed(0)
    network = Brittle(value)
    with torch.no_grad():
        network.linear.loadings.weight.zero_()[:, 0] = 50 * y[2]
        network.linear.loadings.bias.copy_(-30 * y[2])
    model = GeneratorModel(network, (3,), emission=Gaussian(0.3))
    state = begin(model, y, recipe=HARDLY, generator=torch.Generator().manual_seed(3), start=start)
    return state, y


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e5])
def test_a_chain_that_runs_away_is_put_back_and_takes_shorter_steps(value):
    state, y = brittle(value)
    start = state.latents.values.clone()
    before = [weight.clone() for weight in state.model.parameters()]
    iteration = next(alternate(state.model, y, recipe=HARDLY, state=state))
    assert iteration.diverged == 1
    assert torch.equal(state.latents.values[2], start[2])
    assert not (state.latents.values[[0, 1, 3]] == start[[0, 1, 3]]).any()
    assert state.step_shares.tolist() == [1, 1, 0.5, 1]

    # All are learned from where they stand now, and metrics are of that.
    alone = GeneratorModel(Brittle(value), (3,), emission=Gaussian(0.3))
    for weight, old in zip(alone.parameters(), before, strict=True):
        weight.data.copy_(old)
    energies = alone.energy(state.latents.values, y)
    energies.mean().backward()
    for weight, old, own in zip(state.model.parameters(), before, alone.parameters(), strict=True):
        torch.testing.assert_close(weight, old - HARDLY.learning_rate * own.grad, rtol=1e-5, atol=1e-6)
    assert iteration.energy == pytest.approx(float(energies.mean()), rel=1e-5)
    error = (y - alone.network(state.latents.values)).abs().mean() / 2
    assert iteration.error == pytest.approx(float(error), rel=1e-5)


class Exploding(torch.nn.Module):
    """Its signal is a number, the gradient of its weight is none."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3, 10))

    def forward(self, z):
        return z @ self.weight + self.weight.square().sum().sqrt()


def test_gradients_that_are_no_numbers_raise_before_weights_change():
    state, iterations = learner(dataclasses.replace(RECIPE, step_size=0.01), network=Exploding())
    with pytest.raises(DivergenceError, match="the gradient of the weights is not finite"):
        next(iterations)
    assert (state.model.network.weight == 0).all()


def test_a_chain_alone_in_its_batch_is_put_back_until_its_steps_are_short_enough():
    """A linear network's posterior deviates by .1: chains run away with steps above .2, and do not with those below."""
    recipe = dataclasses.replace(RECIPES["texture"], step_size=1.5, n_steps=8, learning_rate=0.0)
    torch.manual_seed(0)
    network = LinearNetwork(3, (10,))
    with torch.no_grad():
        network.loadings.weight.copy_(torch.eye(10, 3) * 3)
    state, iterations = learner(recipe, data(1), network)
    rows = [next(iterations) for _ in range(60)]
    assert [row.diverged for row in rows[:3]] == [1, 1, 1]
    assert 3 <= sum(row.diverged for row in rows) < 20
    assert state.step_shares.item() < 0.3


def test_shares_of_the_step_fall_and_rise():
    shares = torch.tensor([1.0, 1.0, 0.5, 0.99], dtype=torch.float64)
    after = shares_after(shares, torch.tensor([True, False, False, False]))
    assert after.tolist() == [0.5, 1.0, 0.525, 1.0]


def test_what_explodes():
    before = torch.zeros(6)
    energies = torch.tensor([0.0, RISE + 9, RISE + 11, torch.nan, torch.inf, -1e9])
    assert exploded(energies, before, 10).tolist() == [False, False, True, True, True, False]
    assert exploded(energies, None, 10).tolist() == [False, False, False, True, True, False]
    assert exploded(torch.zeros(1), torch.tensor([torch.nan]), 10).tolist() == [True]


def test_what_is_put_back():
    z = torch.tensor([[0.0, 1.0], [torch.nan, 0.0], [0.0, -torch.inf], [2 * FARTHEST, 0.0], [0.5 * FARTHEST, 0.0]])
    before = torch.full((5, 2), 7.0)
    stands, lost = put_back(z, before)
    assert lost.tolist() == [False, True, True, True, False]
    assert torch.equal(stands[~lost], z[~lost])
    assert torch.equal(stands[lost], before[lost])


@pytest.mark.parametrize("root", [None, torch.tensor([[0.3, 0.1], [0.0, 0.2]])])
def test_one_step_size_for_each_example_gives_the_bits_of_one_for_all(root):
    def energy(z):
        return (z.square().sum(1) / 2 + z.sum(1).cos()).float()

    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))

    def moved(step_size):
        generator = torch.Generator().manual_seed(1)
        return langevin(energy, z, step_size=step_size, n_steps=4, generator=generator, root=root)

    each = torch.tensor([0.1, 0.3, 0.7, 1.0, 1.3], dtype=torch.float64)
    together = moved(each)
    for row, step_size in enumerate(each.tolist()):
        assert torch.equal(together[row], moved(step_size)[row])


def test_a_run_that_resumes_knows_who_ran_away():
    (state, y), (again, _) = brittle(), brittle()
    recipe = dataclasses.replace(HARDLY, learning_rate=0.0)
    iterations = alternate(state.model, y, recipe=recipe, state=state)
    next(iterations)
    assert state.step_shares.tolist() == [1, 1, 0.5, 1]
    again.restore({name: tensor.clone() for name, tensor in state.tensors().items()}, state.facts())
    others = alternate(again.model, y, recipe=recipe, state=again)
    for _ in range(3):
        assert next(iterations).row() | {"seconds": 0} == next(others).row() | {"seconds": 0}
    assert torch.equal(again.step_shares, state.step_shares)
    assert torch.equal(again.latents.values, state.latents.values)


def test_an_estimator_raises_it_and_keeps_history_free_of_it():
    network = GeneratorNetwork(
        3, network=VectorNetwork(3, (10,)), recipe=dataclasses.replace(RECIPE, step_size=1e3), verbose=False
    )
    with pytest.raises(DivergenceError, match="iteration 1:"):
        network.fit(data().numpy())
