"""The public names and where they are; `__init__.py` imports each at its first use."""

from . import data
from .beginning import begin
from .decoders import load_decoder
from .disk import RowsOnDisk
from .emissions import (
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
from .errors import DivergenceError, InputError
from .estimator import GeneratorNetwork
from .evaluation import Evaluation, evaluate
from .explaining import infer
from .learning import alternate
from .learning_state import Iteration, LearningState
from .model import GeneratorModel
from .networks import (
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
from .observations import Complete, Mask, Operator, Projection
from .priors import (
    Autoregression,
    DoubleExponential,
    HeavyTailed,
    Mixture,
    Recurrence,
    SpikeAndSlab,
    StandardNormal,
    fit_mixture,
)
from .recipes import Recipe
from .sound_statistics import SoundStatistics
from .tables import TableImputer
from .texture_statistics import TextureStatistics

__version__: str
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
