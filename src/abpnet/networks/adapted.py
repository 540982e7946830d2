"""Networks that put another network to a different use."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FrameByFrame", "NonNegative"]


class NonNegative(nn.Module):
    """A network of factors without a sign: it sees `|z|`.

    Under the prior `DoubleExponential` these factors are exponential, under `StandardNormal` half-normal. Chains may
    change their sign, so that samplers meet no boundary.

    Args:
        network: Maps (n, *latent) to (n, *shape).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n *shape"]:
        """Signals of the absolute values of the factors."""
        return self.network(z.abs())


class FrameByFrame(nn.Module):
    """A network of clips, each frame of which has factors of its own.

    Args:
        network: Maps the factors of frames, (n, d), to (n, channels, *rest), such as (n, channels, height, width).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n c length *rest"]:
        """Clips of sequences of factors."""
        frames = self.network(z.mT.flatten(0, 1))
        return frames.unflatten(0, (len(z), z.shape[2])).movedim(1, 2)
