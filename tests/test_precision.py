"""Which precision is used is decided by speed and by the noise of Langevin dynamics."""

from functools import partial

import pytest
import torch

import abpnet
from abpnet import precision
from abpnet.networks import LinearNetwork, initialise
from abpnet.observations import Complete
from abpnet.precision import try_precisions


def trial(monkeypatch, seconds, step_size=0.5, preconditioned=False, noise_std=0.3):
    monkeypatch.setattr(precision, "_shortest", lambda *_: seconds)
    monkeypatch.setattr(precision, "FEWEST_OPERATIONS", 0)
    generator = torch.Generator().manual_seed(0)
    network = initialise(LinearNetwork(4, (50,)), generator)
    model = abpnet.GeneratorModel(network, (4,), emission=abpnet.Gaussian(noise_std))
    z = torch.randn(20, 4, generator=generator)
    y = model.network(z).detach() + noise_std * torch.randn(20, 50, generator=generator)
    return try_precisions(model, z, y, Complete(), step_size, generator, preconditioned)


def test_bfloat16_must_be_clearly_faster(monkeypatch):
    assert trial(monkeypatch, [2.0, 1.0]).precision == "bfloat16"
    assert trial(monkeypatch, [2.0, 1.0]).speedup == 2.0
    assert trial(monkeypatch, [1.2, 1.0]).precision == "float32"


def test_its_rounding_must_drown_in_the_noise(monkeypatch):
    quiet = trial(monkeypatch, [2.0, 1.0], step_size=1e-6)
    assert quiet.energy_effect > 1
    assert quiet.precision == "float32"


def test_the_noise_is_that_of_the_metric_in_use(monkeypatch):
    plain = trial(monkeypatch, [2.0, 1.0], noise_std=0.05)
    whitened = trial(monkeypatch, [2.0, 1.0], noise_std=0.05, preconditioned=True)
    # The posterior is much narrower than the prior, and so are its steps.
    assert whitened.energy_effect > 5 * plain.energy_effect


def test_times_are_the_least_of_several_calls_in_turn(monkeypatch):
    calls, clock = [], [0.0]
    durations = {"a": iter([9.0, 0.5, 0.1, 2.0]), "b": iter([9.0, 0.7, 0.9, 0.3])}

    def function(name):
        calls.append(name)
        clock[0] += next(durations[name])

    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    both = [partial(function, "a"), partial(function, "b")]
    assert precision._shortest(both, torch.device("cpu"), 4.0) == pytest.approx([0.1, 0.3])
    assert calls == ["a", "b"] * 4  # the first two warm up


def test_a_small_network_is_float32_without_a_trial(monkeypatch):
    monkeypatch.setattr(precision, "_shortest", lambda *_: pytest.fail("another program could decide this"))
    generator = torch.Generator().manual_seed(0)
    model = abpnet.GeneratorModel(initialise(LinearNetwork(4, (50,)), generator), (4,))
    z = torch.zeros(20, 4)
    found = try_precisions(model, z, torch.zeros(20, 50), Complete(), 0.5, generator)
    assert found == precision.PrecisionTrial("float32", None, None)


def test_arithmetic_is_counted():
    network = initialise(LinearNetwork(16, (50,)), torch.Generator().manual_seed(0))
    assert precision._operations(network, torch.zeros(32, 16)) == 2 * 32 * 16 * 50
