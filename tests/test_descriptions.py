"""Priors and emissions as plain JSON values, and back."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from abpnet import emissions, priors
from abpnet.descriptions import build, describe, plain, state
from abpnet.emissions import Block

EMISSIONS = [
    emissions.Gaussian(0.3),
    emissions.ChannelGaussian((0.1, 0.2, 0.3)),
    emissions.Laplace(0.2),
    emissions.StudentT(0.2, df=5.0),
    emissions.Bernoulli(),
    emissions.Categorical(),
    emissions.Ordinal((-1.0, 0.5)),
    emissions.Poisson(),
    emissions.Columns((Block(0, 2, emissions.Gaussian(0.5)), Block(2, 5, emissions.Categorical()))),
]
PRIORS = [
    priors.StandardNormal(),
    priors.HeavyTailed(6.0),
    priors.DoubleExponential(),
    priors.SpikeAndSlab(share=0.3),
]


@dataclass(frozen=True)
class Foreign:
    width: float = 1.0


@pytest.mark.parametrize("part", [*EMISSIONS, *PRIORS], ids=lambda part: type(part).__name__)
def test_what_was_described_is_built_again(part):
    assert build(json.loads(json.dumps(describe(part)))) == part


@pytest.mark.parametrize("recurrent", [False, True])
def test_of_motion_the_weights_are_left_to_the_state(recurrent):
    prior = priors.Autoregression(torch.diag(torch.tensor([0.5, 0.9])))
    if recurrent:
        prior = priors.Recurrence(prior, 3, torch.Generator().manual_seed(0))
        torch.nn.init.ones_(prior.memory.readout.weight)
    built = build(json.loads(json.dumps(describe(prior))))
    built.load_state_dict(prior.state_dict())
    z = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(1))
    assert type(built) is type(prior)
    assert torch.equal(built.expected_next(z), prior.expected_next(z))


def test_numpy_scalars_are_described_as_plain_numbers():
    assert describe(emissions.StudentT(np.float64(0.5), df=np.float64(5))) == describe(emissions.StudentT(0.5, df=5.0))
    described = plain({"sizes": (np.int64(4), 2), "share": np.float32(0.5), "flag": np.bool_(True), "none": None})
    assert json.loads(json.dumps(described)) == {"sizes": [4, 2], "share": 0.5, "flag": True, "none": None}


def test_of_a_mixture_the_tensors_are_left_to_the_state():
    prior = priors.Mixture(torch.tensor([0.5, 0.5]).log(), torch.eye(2), torch.eye(2).expand(2, 2, 2))
    built = build(json.loads(json.dumps(describe(prior))), state(prior))
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(built.log_prob(z), prior.log_prob(z))
    assert all(tensor.is_contiguous() for tensor in state(prior).values())


@pytest.mark.parametrize("foreign", [Foreign(), object()], ids=["dataclass", "plain"])
def test_foreign_ones_are_refused_wherever_they_stand(foreign):
    nested = emissions.Columns((Block(0, 2, emissions.Gaussian()), Block(2, 3, foreign)))
    for value in (foreign, nested):
        with pytest.raises(TypeError, match="none of abpnet's"):
            describe(value)
