"""Generator networks learned by alternating back-propagation from complete, incomplete or indirect data."""

from typing import TYPE_CHECKING, Any

from abpnet.decoders import load_decoder
from abpnet.disk import RowsOnDisk
from abpnet.emissions import Gaussian, Laplace
from abpnet.errors import InputError
from abpnet.evaluation import Evaluation, evaluate
from abpnet.explaining import infer
from abpnet.learning import alternate, begin
from abpnet.learning_state import Iteration, LearningState
from abpnet.model import GeneratorModel
from abpnet.networks import (
    FrameNetwork,
    LinearNetwork,
    ObjectNetwork,
    PatchworkNetwork,
    SoundNetwork,
    SpaceTimeNetwork,
    TextureNetwork,
    VectorNetwork,
)
from abpnet.observations import Complete, Mask, Operator, Projection
from abpnet.priors import StandardNormal
from abpnet.recipes import Recipe
from abpnet.sound_statistics import SoundStatistics
from abpnet.texture_statistics import TextureStatistics

if TYPE_CHECKING:
    from abpnet import data
    from abpnet.estimator import GeneratorNetwork

__version__ = "0.1.0"
__all__ = [
    "Complete",
    "Evaluation",
    "FrameNetwork",
    "Gaussian",
    "GeneratorModel",
    "GeneratorNetwork",
    "InputError",
    "Iteration",
    "Laplace",
    "LearningState",
    "LinearNetwork",
    "Mask",
    "ObjectNetwork",
    "Operator",
    "PatchworkNetwork",
    "Projection",
    "Recipe",
    "RowsOnDisk",
    "SoundNetwork",
    "SoundStatistics",
    "SpaceTimeNetwork",
    "StandardNormal",
    "TextureNetwork",
    "TextureStatistics",
    "VectorNetwork",
    "alternate",
    "begin",
    "data",
    "evaluate",
    "infer",
    "load_decoder",
]


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn or Pillow at first use: `import abpnet` costs little more than torch."""
    if name == "GeneratorNetwork":
        from abpnet.estimator import GeneratorNetwork

        return GeneratorNetwork
    if name == "data":
        import importlib

        return importlib.import_module("abpnet.data")
    raise AttributeError(f"module 'abpnet' has no attribute {name!r}")
