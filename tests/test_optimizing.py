"""How fast each layer learns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from abpnet.networks import ObjectNetwork
from abpnet.networks.layers import n_inputs
from abpnet.optimizing import optimizer_of, set_rate
from abpnet.recipes import RECIPES

DEFAULT = RECIPES["default"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(7, 3), 7),
        (nn.Conv1d(2, 5, 3), 6),
        (nn.Conv2d(2, 5, 3), 18),
        (nn.ConvTranspose2d(8, 3, 5, stride=2), 50),
        (nn.ConvTranspose3d(8, 3, 4, stride=2), 64),
    ],
    ids=lambda case: type(case).__name__,
)
def test_inputs_that_reach_one_output(layer, expected):
    assert n_inputs(layer) == expected


def rates(network, recipe=DEFAULT, rate=0.1, n_examples=1000):
    optimizer = optimizer_of(network, recipe, n_examples)
    set_rate(optimizer, rate)
    return {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }


def test_layers_with_many_inputs_learn_slower_and_decay_as_fast():
    with torch.device("meta"):
        network = ObjectNetwork(100, (3, 32, 32), width=512)
    of_weight = rates(network)
    inputs = [100, 512 * 25 / 4, 256 * 25 / 4, 128 * 25 / 4]
    layers = [network.factors, *(layer for layer in network.layers if isinstance(layer, nn.ConvTranspose2d))]
    for layer, count in zip(layers, inputs, strict=True):
        share = min(1, 800 / count)
        for weight in layer.parameters():
            rate, decay = of_weight[id(weight)]
            assert rate == pytest.approx(0.1 * share)
            slower = min(1, count / 800) ** 0.5
            assert rate * decay == pytest.approx(0.1 * slower * DEFAULT.weight_decay)
    assert len({rate for rate, _ in of_weight.values()}) == 3


def test_groups_keep_the_order_of_the_weights():
    """Checkpoints tell the optimizer's memories of weights apart by their order."""
    with torch.device("meta"):
        network = ObjectNetwork(100, (3, 32, 32), width=512)
    groups = optimizer_of(network, DEFAULT, 1000).param_groups
    assert [id(weight) for group in groups for weight in group["params"]] == [id(w) for w in network.parameters()]


def test_without_a_limit_and_in_foreign_layers_all_weights_learn_alike():
    network = nn.Sequential(nn.Linear(5000, 3), nn.PReLU())
    assert {rate for rate, _ in rates(network, replace(DEFAULT, full_rate_inputs=None)).values()} == {0.1}
    of_weight = rates(network)
    assert of_weight[id(network[0].weight)][0] == pytest.approx(0.016)
    assert of_weight[id(network[1].weight)][0] == 0.1


def test_gradient_steps_decay_by_the_rate_of_their_layer():
    network = nn.Linear(1600, 3)
    recipe = replace(DEFAULT, optimizer="sgd", weight_decay=0.2)
    assert set(rates(network, recipe).values()) == {(0.05, 0.2)}


@pytest.mark.parametrize(
    ("n_examples", "expected"),
    [(1000, 0.3), (250, 2.4), (4000, 0.0375), (90, 10.0), (1, 10.0)],
)
def test_weights_learned_from_fewer_examples_decay_faster_up_to_a_limit(n_examples, expected):
    recipe = replace(DEFAULT, weight_decay=0.3, weight_decay_examples=1000)
    assert recipe.decay(n_examples) == pytest.approx(expected)
    ((_, decay),) = set(rates(nn.Linear(800, 2), recipe, n_examples=n_examples).values())
    assert decay == pytest.approx(expected)


def test_weights_decay_as_said_whatever_the_number_of_examples():
    recipe = replace(DEFAULT, weight_decay=0.3, weight_decay_examples=None)
    assert set(rates(nn.Linear(2, 2), recipe, n_examples=7).values()) == {(0.1, 0.3)}
    assert replace(DEFAULT, weight_decay=50.0, weight_decay_examples=1000).decay(7) == 50.0
