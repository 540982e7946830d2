"""Generator networks learned by alternating back-propagation from complete, incomplete or indirect data."""

from typing import TYPE_CHECKING, Any

from abpnet.beginning import begin
from abpnet.decoders import load_decoder
from abpnet.disk import RowsOnDisk
from abpnet.emissions import (
    Bernoulli,
    Categorical,
    ChannelGaussian,
    Columns,
    Gaussian,
    Laplace,
    Ordinal,
    Poisson,
    StudentT,
)
from abpnet.errors import DivergenceError, InputError
from abpnet.evaluation import Evaluation, evaluate
from abpnet.explaining import infer
from abpnet.learning import alternate
from abpnet.learning_state import Iteration, LearningState
from abpnet.model import GeneratorModel
from abpnet.networks import (
    FrameByFrame,
    FrameNetwork,
    LinearNetwork,
    NonNegative,
    ObjectNetwork,
    PatchworkNetwork,
    SoundNetwork,
    SpaceTimeNetwork,
    TextureNetwork,
    VectorNetwork,
)
from abpnet.observations import Complete, Mask, Operator, Projection
from abpnet.priors import (
    Autoregression,
    DoubleExponential,
    HeavyTailed,
    Mixture,
    Recurrence,
    SpikeAndSlab,
    StandardNormal,
    fit_mixture,
)
from abpnet.recipes import Recipe
from abpnet.sound_statistics import SoundStatistics
from abpnet.texture_statistics import TextureStatistics

if TYPE_CHECKING:
    from abpnet import data
    from abpnet.estimator import GeneratorNetwork
    from abpnet.tables import TableImputer

__version__ = "0.1.0"
__all__ = [
    "Autoregression",
    "Bernoulli",
    "Categorical",
    "ChannelGaussian",
    "Columns",
    "Complete",
    "DivergenceError",
    "DoubleExponential",
    "Evaluation",
    "FrameByFrame",
    "FrameNetwork",
    "Gaussian",
    "GeneratorModel",
    "GeneratorNetwork",
    "HeavyTailed",
    "InputError",
    "Iteration",
    "Laplace",
    "LearningState",
    "LinearNetwork",
    "Mask",
    "Mixture",
    "NonNegative",
    "ObjectNetwork",
    "Operator",
    "Ordinal",
    "PatchworkNetwork",
    "Poisson",
    "Projection",
    "Recipe",
    "Recurrence",
    "RowsOnDisk",
    "SoundNetwork",
    "SoundStatistics",
    "SpaceTimeNetwork",
    "SpikeAndSlab",
    "StandardNormal",
    "StudentT",
    "TableImputer",
    "TextureNetwork",
    "TextureStatistics",
    "VectorNetwork",
    "alternate",
    "begin",
    "data",
    "evaluate",
    "fit_mixture",
    "infer",
    "load_decoder",
]


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn or Pillow at first use: `import abpnet` costs little more than torch."""
    if name == "GeneratorNetwork":
        from abpnet.estimator import GeneratorNetwork

        return GeneratorNetwork
    if name == "TableImputer":
        from abpnet.tables import TableImputer

        return TableImputer
    if name == "data":
        import importlib

        return importlib.import_module("abpnet.data")
    raise AttributeError(f"module 'abpnet' has no attribute {name!r}")
