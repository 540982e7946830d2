"""What a whole image, some of its pixels, and three random projections tell of two factors: posteriors and chains.

python examples/posterior.py
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import abpnet
from abpnet.baselines.sensing import least_norm
from abpnet.observations import Observation
from abpnet.posterior import posterior_draws

SIDE, RADIUS, NOISE_STD, TRUTH = 16, 0.3, 0.3, (0.9, -0.6)
N_CHAINS, LIMIT, N_GRID = 150, 2.0, 121


class Spot(nn.Module):
    """A round bright spot whose place the two factors are: (n, 2) to (n, 1, 16, 16)."""

    def forward(self, z: Tensor) -> Tensor:
        """The images."""
        line = torch.linspace(-1, 1, SIDE)
        across, down = (0.3 * z.T)[:, :, None, None]
        distance = (line[None, None, :] - across) ** 2 + (line[None, :, None] - down) ** 2
        return (1.8 * torch.exp(-distance / (2 * RADIUS**2)) - 0.9)[:, None]


def ways_to_look(generator: torch.Generator) -> dict[str, Observation]:
    shape = (1, SIDE, SIDE)
    seen = torch.rand((1, *shape), generator=generator) < 0.03
    return {
        "the whole image": abpnet.Complete(),
        f"{int(seen.sum())} of its pixels": abpnet.Mask(seen),
        "3 projections": abpnet.Projection.random(shape, 3),
    }


def as_picture(y: Tensor, way: Observation) -> np.ndarray:
    """What was observed: hidden pixels are NaN, and projections the shortest image that fits them."""
    if isinstance(way, abpnet.Projection):
        return least_norm(y.numpy(), way, (1, SIDE, SIDE))[0, 0]
    return y[0, 0].numpy() if way.observed is None else np.where(way.observed, y, np.nan)[0, 0]


def main(n_steps: int = 20, out: str = "runs/posterior.png") -> dict[str, float]:
    """Mean standard deviation of the two factors once each of these was observed; 1 before."""
    from matplotlib.figure import Figure

    generator = torch.Generator().manual_seed(3)
    model = abpnet.GeneratorModel(Spot(), (2,), emission=abpnet.Gaussian(NOISE_STD))
    line = torch.linspace(-LIMIT, LIMIT, N_GRID)
    ways, deviations = ways_to_look(generator), {}
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    columns = figure.subplots(2, len(ways), height_ratios=(1, 2)).T
    for (name, way), (above, below) in zip(ways.items(), columns, strict=True):
        clean = way(model(torch.tensor([TRUTH])))
        y = clean + NOISE_STD * torch.randn(clean.shape, generator=generator)
        mode = abpnet.infer(model, y, observation=way, n_restarts=4, generator=generator)
        many = y.expand(N_CHAINS, *y.shape[1:])  # one chain for each copy
        draws = posterior_draws(model, many, way, mode.expand(1, N_CHAINS, 2), generator)
        z = next(islice(draws, n_steps, None))
        with torch.no_grad():
            everywhere = torch.cartesian_prod(line, line)
            energies = model.energy(everywhere, y.expand(len(everywhere), *y.shape[1:]), way)
        density = torch.exp(energies.min() - energies).reshape(N_GRID, N_GRID)
        deviations[name] = float(z.std(0).mean())
        above.imshow(as_picture(y, way), cmap="gray")
        above.set_title(name, fontsize=10)
        above.set_axis_off()
        below.contour(line, line, density.T, levels=(0.01, 0.1, 0.3, 0.7), colors="#3465a4", linewidths=0.8)
        below.plot(*z.T, ".", color="#c0392b", markersize=2.5)
        below.set(xlim=(-LIMIT, LIMIT), ylim=(LIMIT, -LIMIT), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
        below.tick_params(labelsize=7)
        print(f"{name}: standard deviation of the factors {deviations[name]:.2f}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)
    return deviations


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/posterior.png", help="PNG file to write")
    main(**vars(parser.parse_args()))
