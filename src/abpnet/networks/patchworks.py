"""Textures superposed of pieces of a photograph, as large as wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from abpnet.networks.layers import LEAK, start_fainter

__all__ = ["PATCHWORK_STRIDE", "PatchworkNetwork"]

# Sides of the pieces, and how far apart they stand: every pixel is reached by four of them, one of each layer.
PIECE, SPACING, LAYERS = 64, 32, 4
SHIFTS = ((0, 0), (0, SPACING), (SPACING, 0), (SPACING, SPACING))
# Pixels of the image for each position of the map of factors, which holds one piece of each layer.
PATCHWORK_STRIDE = 64
# Seams wander with noise that has one value every so many pixels.
NOISE_STRIDE = 16
NOISE_CHANNELS = LAYERS * (PATCHWORK_STRIDE // NOISE_STRIDE) ** 2
# How sharply layers change over into one another: powers of their windows; how far noise and weights move the seams.
SHARPNESS, NOISE_GAIN, SEAM_GAIN = 4.0, 1.0, 4.0
NOWHERE = 1e-4
# What the network adds to the pieces starts this faint.
INITIAL_CONTRAST = 0.01
# Colours that vary less than this do not vary at all.
FAINTEST = 1e-3


def around(x: Float[Tensor, "n c h w"], reach: int) -> Float[Tensor, "n c h2 w2"]:
    """The map with its opposite borders continued on each side."""
    return F.pad(x, (reach,) * 4, mode="circular")


def smooth(noise: Float[Tensor, "n c h w"], factor: int) -> Float[Tensor, "n c h2 w2"]:
    """A torus enlarged by linear interpolation."""
    larger = F.interpolate(around(noise, 1), scale_factor=factor, mode="bilinear", align_corners=False)
    return larger[:, :, factor:-factor, factor:-factor]


def ranks(values: Float[Tensor, "n k"]) -> Int[Tensor, "n k"]:
    """How many values of the same row are smaller."""
    return values.argsort(1).argsort(1)


def dealt(factors: Float[Tensor, "n k 2"]) -> Float[Tensor, "n k 2"]:
    """k places in the unit square, one in each of k cells of the same area; which one is whose, the factors say.

    By the rank of their first factor places are dealt to about sqrt(k) bands, within a band by the rank of their second
    one to its cells (orthogonal array sampling, Owen 1992). If factors are normal, each place is uniform. But together
    they cover the square evenly, as k independent ones would not.
    """
    k = factors.shape[1]
    n_bands = round(math.sqrt(k))
    first = ranks(factors[:, :, 0])
    bands = first * n_bands // k
    starts = -(-torch.arange(n_bands + 1, device=factors.device) * k // n_bands)
    # Where within its cell a place is, the other factor's decimals say: those of its own go with its rank.
    within_cell = (k * torch.special.ndtr(factors)).frac().flip(2)
    second = ranks(bands + torch.special.ndtr(factors[:, :, 1])) - starts[bands]
    down = (first + within_cell[:, :, 0]) / k
    right = (second + within_cell[:, :, 1]) / starts.diff()[bands]
    return torch.stack([down, right], 2)


class PatchworkNetwork(nn.Module):
    """From a map of factors (n, latent_dim, h, w) to images (n, c, 64 h, 64 w) that are tori and can be tiled.

    The basis functions of the lowest layer are pieces of a photograph, 64x64 pixels, superposed: four layers of
    them cover the image, shifted by half a piece against one another. Factors say from which place of the
    photograph each piece comes, dealt out so that all of it is used evenly, and how the seams wander. A
    convolutional network at three scales looks at the four layers and decides for every pixel how much of each is
    to be seen, and what to add. Before anything is learned, images are patchworks with blended seams; learning
    makes the seams vanish and sets right what chance made of the statistics.

    A material that repeats gives its lattice: pieces then come from places that fit their neighbours.

    Places are choices, without a gradient, which `inference.metropolis` infers; the estimator's `transform`, `impute`
    and `recover` follow gradients and leave them where they start.

    Args:
        shape: Of the photographs: how many, channels, height, width; sides of at least 96.
        lattice: Two displacements (down, right) in pixels after which the material repeats, if it does.
        width: Channels of the finest maps; they double from level to level.

    Raises:
        ValueError: If the photographs are too small for their pieces to differ.
    """

    photographs: Tensor
    mean: Tensor
    mixing: Tensor

    def __init__(self, shape: Sequence[int], lattice: Sequence[Sequence[float]] | None = None, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 4 or min(shape[2:]) < PIECE + SPACING:
            raise ValueError(
                f"expected photographs of shape (n, channels, height, width), sides of at least {PIECE + SPACING}; "
                f"got {tuple(shape)}"
            )
        self.settings = {"shape": list(shape), "lattice": lattice, "width": width}
        n_photographs, n_channels, height, width_of_photographs = shape
        self.n_choices = LAYERS if n_photographs > 1 else 0
        self.latent_dim = 2 * LAYERS + NOISE_CHANNELS + self.n_choices
        self.lattice = None if lattice is None else torch.tensor(lattice, dtype=torch.float64, device="cpu")
        self.room = torch.tensor([height, width_of_photographs], dtype=torch.float32, device="cpu") - (PIECE - 1)
        self.register_buffer("photographs", torch.zeros(n_photographs, height, width_of_photographs, n_channels))
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("mixing", torch.eye(n_channels))
        down = (LAYERS * (n_channels + 1), width), (width, 2 * width), (2 * width, 4 * width)
        up = (4 * width, 4 * width), (6 * width, 2 * width), (3 * width, width)
        self.down, self.up = (nn.ModuleList(nn.Conv2d(*counts, 3) for counts in way) for way in (down, up))
        self.seams_and_additions = nn.Conv2d(width, LAYERS + n_channels, 3)
        start_fainter(self.seams_and_additions, INITIAL_CONTRAST)

    def initialise(self) -> None:
        """Start with grey photographs."""
        self.photographs.zero_()
        self.mean.zero_()
        self.mixing.copy_(torch.eye(len(self.mixing)))

    def start_from(self, photographs: Float[Tensor, "n c h w"]) -> PatchworkNetwork:
        """Take these photographs to pieces; returns the network itself.

        They are held in decorrelated colours of variance 1, so that what the network adds to a colour that hardly
        varies is as faint as that.
        """
        pixels = photographs.movedim(1, 3)
        flat = pixels.flatten(0, 2).double()
        variances, directions = torch.linalg.eigh(torch.cov(flat.T).view(2 * [flat.shape[1]]))
        std = variances.clamp(min=0).sqrt()
        visible = std > FAINTEST
        self.mean.copy_(flat.mean(0))
        self.mixing.copy_(directions * torch.where(visible, std, 0))
        self.photographs.copy_((pixels - self.mean) @ (directions * torch.where(visible, 1 / std, 0)).float())
        return self

    def places(self, factors: Float[Tensor, "n 8 h w"]) -> Int[Tensor, "n layers h w 2"]:
        """Where in the photograph each piece comes from: its upper left corner."""
        n, _, h, w = factors.shape
        uniform = dealt(factors.double().view(n, LAYERS, 2, h, w).movedim(2, 4).flatten(1, 3))
        uniform = uniform.view(n, LAYERS, h, w, 2)
        room = self.room.to(uniform)
        if self.lattice is None:
            return (uniform * room).long()
        basis = self.lattice.to(uniform)
        inverse = torch.linalg.inv(basis)
        margin = basis.abs().sum(0) / 2
        wanted = margin + uniform * (room - 2 * margin)
        # The torus is stretched a little, so that it holds whole cells of the lattice.
        size = torch.diag(PATCHWORK_STRIDE * torch.tensor([h, w]).to(uniform))
        stretch = torch.linalg.inv(size) @ (size @ inverse).round() @ basis
        cells = (wanted - self.corners(h, w).to(uniform) @ stretch) @ inverse
        fitting = wanted + (cells.round() - cells) @ basis
        return torch.minimum(fitting.round().clamp(min=0), room - 1).long()

    def corners(self, h: int, w: int) -> Int[Tensor, "layers h w 2"]:
        """Where in the image each piece goes to."""
        down, right = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        first = PATCHWORK_STRIDE * torch.stack([down, right], -1)
        return first + torch.tensor(SHIFTS)[:, None, None]

    def pieces(self, z: Float[Tensor, "n latent_dim h w"]) -> Float[Tensor, "n layers c height width"]:
        """The four layers of pieces, each a whole image."""
        n, _, h, w = z.shape
        places = self.places(z[:, : 2 * LAYERS])
        which = torch.zeros_like(places[..., 0])
        if self.n_choices:
            which = ranks(z[:, -self.n_choices :].flatten(1)).view_as(which) * len(self.photographs) // which[0].numel()
        reach = torch.arange(PIECE, device=z.device)
        rows, columns = (places[..., axis, None] + reach for axis in (0, 1))
        pieces = self.photographs[which[..., None, None], rows[..., :, None], columns[..., None, :]]
        layers = pieces.permute(0, 1, 6, 2, 4, 3, 5).reshape(n, LAYERS, -1, h * PIECE, w * PIECE)
        return torch.stack([layers[:, k].roll(shift, (2, 3)) for k, shift in enumerate(SHIFTS)], 1)

    def windows(self, z: Float[Tensor, "n latent_dim h w"]) -> Float[Tensor, "layers height width"]:
        """How far each pixel is inside its piece of each layer: 1 at the centre, 0 at the border, 1 in all."""
        across = torch.sin(torch.pi * (torch.arange(PIECE, device=z.device) + 0.5) / PIECE).square()
        layer = (across[:, None] * across).repeat(z.shape[2], z.shape[3])
        return torch.stack([layer.roll(shift, (0, 1)) for shift in SHIFTS])

    def forward(self, z: Float[Tensor, "n latent_dim h w"]) -> Float[Tensor, "n c height width"]:
        """Images of the factors."""
        pieces, windows = self.pieces(z), self.windows(z)
        noise = F.pixel_shuffle(z[:, 2 * LAYERS :][:, :NOISE_CHANNELS], PATCHWORK_STRIDE // NOISE_STRIDE)
        hidden = torch.cat([pieces.flatten(1, 2), windows.expand(len(z), -1, -1, -1)], 1)
        maps: list[Tensor] = []
        for level, convolution in enumerate(self.down):
            hidden = F.avg_pool2d(hidden, 2) if level else hidden
            hidden = F.leaky_relu(convolution(self._framed(hidden)), LEAK)
            maps.append(hidden)
        hidden = maps.pop()
        for level, convolution in enumerate(self.up):
            if level:
                hidden = torch.cat([F.interpolate(hidden, scale_factor=2), maps.pop()], 1)
            hidden = F.leaky_relu(convolution(self._framed(hidden)), LEAK)
        decided = self.seams_and_additions(self._framed(hidden)).float()
        share = SHARPNESS * (windows + NOWHERE).log() + NOISE_GAIN * smooth(noise.float(), NOISE_STRIDE)
        share = (share + SEAM_GAIN * decided[:, :LAYERS]).softmax(1)
        superposed = (share[:, :, None] * pieces).sum(1) + decided[:, LAYERS:]
        coloured = torch.einsum("ck,nkhw->nchw", self.mixing, superposed)
        return (self.mean[:, None, None] + coloured).clamp(-1, 1)

    @staticmethod
    def _framed(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return around(x, 1).contiguous(memory_format=torch.channels_last)
