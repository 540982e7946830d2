"""Draws of the factors from their posterior: the linear oracle, several modes, hidden entries."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

import abpnet
from abpnet.observations import Complete, Mask
from abpnet.posterior import chain_starts, posterior_draws
from moments import assert_mean
from test_inference import linear_case


class Square(nn.Module):
    """f(z) = z^2 + tilt z: y is explained by z or, a little worse, by about -z."""

    def __init__(self, tilt):
        super().__init__()
        self.tilt = tilt

    def forward(self, z):
        return z.square() + self.tilt * z


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_linear_oracle(masked):
    model, energy, observation, exact = linear_case(masked)
    y = energy.keywords["y"]
    starts = torch.stack([exact.mean.expand(len(y), 3), torch.zeros(len(y), 3)])
    draws = torch.stack(list(islice(posterior_draws(model, y, observation, starts, seeded(0)), 100)))[20:].numpy()
    mean, covariance = exact.mean[0].numpy(), exact.covariance[0].numpy()
    for chain in (draws[::2], draws[1::2]):
        for i in range(3):
            assert_mean(chain[:, :, i], mean[i])
            for j in range(i + 1):
                assert_mean((chain[:, :, i] - mean[i]) * (chain[:, :, j] - mean[j]), covariance[i, j])


def test_chains_take_turns():
    model = abpnet.GeneratorModel(Square(0.0), (1,), emission=abpnet.Gaussian(0.1))
    starts = torch.tensor([[[1.0]], [[-1.0]]])
    draws = torch.cat(list(islice(posterior_draws(model, torch.ones(1, 1), Complete(), starts, seeded(0)), 6)))
    assert draws.sign().flatten().tolist() == [1, -1, 1, -1, 1, -1]


def test_several_chains_stand_at_several_modes_and_a_single_one_where_it_is_told():
    model = abpnet.GeneratorModel(Square(0.0), (1,), emission=abpnet.Gaussian(0.1))
    y = torch.ones(60, 1)
    mode = abpnet.infer(model, y, start=torch.ones(60, 1))
    assert torch.equal(chain_starts(model, y, Complete(), mode, 1, seeded(1)), mode.unsqueeze(0))
    starts = chain_starts(model, y, Complete(), mode, 6, seeded(1))
    assert starts.shape == (6, 60, 1)
    torch.testing.assert_close(starts.abs(), mode.abs().expand(6, 60, 1), rtol=0, atol=1e-3)
    assert 0.1 < (starts > 0).float().mean() < 0.9


def test_chains_do_not_start_at_improbable_modes():
    """With a tilt, y = -.16 is explained at z = -.2 or -.8 alike, y = 3 by 1.3 or, at -2.3, 2 nats of prior worse."""
    model = abpnet.GeneratorModel(Square(1.0), (1,), emission=abpnet.Gaussian(0.1))
    y = torch.full((60, 1), 3.0)
    modes = abpnet.infer(model, y, start=torch.full((60, 1), 1.3))
    other = abpnet.infer(model, y[:1], start=torch.full((1, 1), -2.3))
    energy = partial(model.energy, y=y[:1])
    cost = float(energy(other) - energy(modes[:1]))
    assert 1.5 < cost < 2.5
    n_chains = 4
    starts = chain_starts(model, y, Complete(), modes, n_chains, seeded(5))
    share = float((starts < 0).float().mean())
    # Each of the 3 places leads to one of the two modes, the same for all examples.
    expected = [k * np.exp(-cost) / (n_chains - k + k * np.exp(-cost)) for k in range(1, n_chains)]
    assert min(abs(share - value) for value in expected) < 0.03


@pytest.mark.parametrize("junk", [float("nan"), 1e30])
def test_hidden_entries_never_matter(junk):
    model, energy, observation, _ = linear_case(masked=True)
    values = energy.keywords["y"][:7]
    seen = observation.observed[:7]

    def draws(fill):
        shown, known = abpnet.observations.hide_missing(torch.where(seen, values, fill), Mask(seen))
        mode = abpnet.explaining.explain(model, shown, known, torch.zeros(7, 3))
        starts = chain_starts(model, shown, known, mode, 3, seeded(2))
        return torch.stack(list(islice(posterior_draws(model, shown, known, starts, seeded(3)), 4)))

    assert torch.equal(draws(torch.tensor(0.0)), draws(torch.tensor(junk)))
