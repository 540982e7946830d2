"""Every emission with every prior: learning, masks included."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import abpnet
from abpnet import emissions, priors
from abpnet.networks import FrameByFrame, VectorNetwork, initialise
from abpnet.recipes import RECIPES

N, COLUMNS, LENGTH = 20, 12, 2
# In so few updates weights have to move at once.
RECIPE = replace(RECIPES["default"], warm_up=0, batch_size=10, weight_decay=0.0)
EMISSIONS = {
    "gaussian": "gaussian",
    "laplace": "laplace",
    "student-t": "student-t",
    "channels": emissions.ChannelGaussian(tuple(np.linspace(0.2, 0.6, COLUMNS))),
    "yes or no": emissions.Bernoulli(),
    "categories": emissions.Categorical(),
    "grades": emissions.Ordinal((-1.0, 0.0, 1.5)),
    "counts": emissions.Poisson(),
    "columns": emissions.Columns(
        (
            emissions.Block(0, 4, emissions.Gaussian(0.3)),
            emissions.Block(4, 9, emissions.Categorical()),
            emissions.Block(9, 12, emissions.Poisson()),
        )
    ),
}
PRIORS = {
    **{name: name for name in (*priors.PRIORS, "exponential", "half-normal")},
    "auto-regression": priors.Autoregression(0.5 * torch.eye(2)),
    "recurrence": priors.Recurrence(priors.Autoregression(0.5 * torch.eye(2)), 3, torch.Generator().manual_seed(0)),
    "mixture": priors.Mixture(
        torch.tensor([0.5, 0.5]).log(), torch.tensor([[-0.8] * 4, [0.8] * 4]), 0.6 * torch.eye(4).expand(2, 4, 4)
    ),
}


def network(prior):
    if prior not in ("auto-regression", "recurrence"):
        return 4, VectorNetwork(4, (COLUMNS,), width=16)
    return (2, LENGTH), nn.Sequential(FrameByFrame(VectorNetwork(2, (COLUMNS // LENGTH,), width=16)), nn.Flatten())


def observations(emission):
    """What the emission makes of signals of two factors; and which of it is seen, whole categories at once."""
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(N, 2, generator=generator) @ torch.randn(2, COLUMNS, generator=generator)
    known = abpnet.Gaussian(0.3) if isinstance(emission, str) else emission
    seen = torch.rand(N, COLUMNS, generator=generator) < 0.7
    if emission == EMISSIONS["categories"]:
        seen = (torch.rand(N, 1, generator=generator) < 0.7).expand(N, COLUMNS)
    if emission == EMISSIONS["columns"]:
        seen[:, 4:9] = seen[:, 4:5]
    return known.sample(signals, generator).numpy(), seen.numpy()


def settings(emission, prior):
    latent_dim, net = network(prior)
    return {
        "latent_dim": latent_dim,
        "network": initialise(net, torch.Generator().manual_seed(1)),
        "emission": EMISSIONS[emission],
        "prior": PRIORS[prior],
        "recipe": RECIPE,
        "max_iter": 15,
        "precision": "float32",
        "verbose": False,
    }


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("emission", EMISSIONS)
def test_fifteen_iterations(emission, prior):
    x, seen = observations(EMISSIONS[emission])
    fitted = abpnet.GeneratorNetwork(**settings(emission, prior)).fit(np.where(seen, x, np.nan))
    misfits = [row["error"] for row in fitted.history_]
    assert np.isfinite(misfits).all()
    assert np.mean(misfits[-5:]) < misfits[0], "what is seen is explained better and better"
    assert 0.2 < fitted.history_[-1]["latent_std"] < 3, "chains stay where the prior is"
    if prior in ("exponential", "half-normal"):
        assert (fitted.latents_ >= 0).all()


@pytest.mark.parametrize(
    ("emission", "prior"),
    [*((emission, "normal") for emission in EMISSIONS), *(("gaussian", prior) for prior in PRIORS)],
)
def test_what_is_hidden_influences_nothing_and_is_drawn(emission, prior, search_shortened):
    x, seen = observations(EMISSIONS[emission])
    holes = np.where(seen, x, np.nan)
    short = settings(emission, prior) | {"max_iter": 3}
    fitted = abpnet.GeneratorNetwork(**short).fit(holes)
    junk = abpnet.GeneratorNetwork(**short).fit(np.where(seen, x, 1e30), observation=abpnet.Mask(seen))
    np.testing.assert_array_equal(junk.latents_, fitted.latents_)
    drawn = fitted.impute(holes, n_imputations=2)
    np.testing.assert_array_equal(drawn[:, seen], np.stack([x[seen]] * 2))
    assert np.isfinite(drawn).all()
    if emission == "yes or no":
        assert np.isin(drawn, [0, 1]).all()
        means = fitted.inverse_transform(fitted.latents_)
        assert ((means >= 0) & (means <= 1)).all(), "means are probabilities"
