"""Priors p(z) of the latent factors.

A prior is any object with `log_prob(z)` and `sample(shape, generator)`; its gradient comes from autograd. One that is a
module has its parameters learned along with the network's.
"""

from __future__ import annotations

from abpnet.priors.factors import DoubleExponential, HeavyTailed, SpikeAndSlab, StandardNormal
from abpnet.priors.mixture import Mixture, fit_mixture
from abpnet.priors.protocol import Motion, Prior
from abpnet.priors.recurrence import Recurrence
from abpnet.priors.sequences import Autoregression

__all__ = [
    "PRIORS",
    "Autoregression",
    "DoubleExponential",
    "HeavyTailed",
    "Mixture",
    "Motion",
    "Prior",
    "Recurrence",
    "SpikeAndSlab",
    "StandardNormal",
    "fit_mixture",
]

PRIORS: dict[str, type[StandardNormal | HeavyTailed | DoubleExponential | SpikeAndSlab]] = {
    "normal": StandardNormal,
    "heavy-tailed": HeavyTailed,
    "double-exponential": DoubleExponential,
    "sparse": SpikeAndSlab,
}
