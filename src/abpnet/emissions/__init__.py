"""Emissions p(y | x): how a measured signal x scatters into the observation y.

An emission is any object with an element-wise `log_prob(y, x)`, `sample(x, generator)` and `mean(x)`: numbers with
noise, discrete observations, or columns of a table, each of its own kind. Those that not any number can come from have
`check(y, observed)` as well.
"""

from abpnet.emissions.discrete import Bernoulli, Categorical, Ordinal, Poisson
from abpnet.emissions.learned import noise_stds, residual_sums, with_noise, with_noise_moved
from abpnet.emissions.mixed import Block, Columns
from abpnet.emissions.noise import ADDITIVE, EMISSIONS, ChannelGaussian, Gaussian, Laplace, Noise, StudentT
from abpnet.emissions.protocol import Emission, check_data

__all__ = [
    "ADDITIVE",
    "EMISSIONS",
    "Bernoulli",
    "Block",
    "Categorical",
    "ChannelGaussian",
    "Columns",
    "Emission",
    "Gaussian",
    "Laplace",
    "Noise",
    "Ordinal",
    "Poisson",
    "StudentT",
    "check_data",
    "noise_stds",
    "residual_sums",
    "with_noise",
    "with_noise_moved",
]
