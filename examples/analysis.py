"""What a network learned of digits, seen as factor analysis piece by piece: loadings, walks, linear pieces, dimension.

python examples/analysis.py
"""

from pathlib import Path

import torch

import abpnet
from abpnet import analysis, analysis_figures
from abpnet.data import digits

NOISE_STD, N_DIRECTIONS, WALK = 0.2, 5, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def main(max_iter: int = 100, latent_dim: int = 20, out: str = "runs/analysis") -> tuple[float, float, int]:
    """Participation ratio, number of factors that an image tells, and linear pieces between a 0 and a 1."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    images = digits()
    net = abpnet.GeneratorNetwork(latent_dim, noise_std=NOISE_STD, max_iter=max_iter).fit(images)
    model, z = net.model_, torch.from_numpy(net.transform(images[:100]))  # the first ten are 0 to 9

    jacobian = analysis.loadings(model, z)  # (100, 1, 8, 8, latent_dim)
    principal = analysis.principal_loadings(jacobian, N_DIRECTIONS)
    names = [str(place) for place in range(1, N_DIRECTIONS + 1)]
    signals = torch.from_numpy(net.inverse_transform(z[:N_DIRECTIONS].numpy()))
    analysis_figures.save_loadings(folder / "loadings.png", signals, principal.signals[:N_DIRECTIONS], names)

    walks = {
        f"direction {name}": analysis.traversal(model, z[:1], direction, WALK)[0]
        for name, direction in zip(names, principal.directions[0], strict=True)
    }
    analysis_figures.save_traversals(folder / "traversals.png", walks, WALK)

    pieces = {f"from 0 to {digit}": analysis.pieces_along(model, z[0], z[digit]) for digit in (1, 3, 7)}
    analysis_figures.save_pieces(folder / "pieces.png", pieces)

    dimension = analysis.effective_dimension(jacobian, NOISE_STD)
    analysis_figures.save_dimension(folder / "dimension.png", dimension, NOISE_STD)
    ratio, explained = float(dimension.participation.mean()), float(dimension.explained.mean())
    print(f"{latent_dim} factors: participation ratio {ratio:.1f}, told by an image {explained:.1f}")
    print(", ".join(f"{path}: {met.n_pieces} linear pieces" for path, met in pieces.items()))
    print(f"pictures: {folder}")
    return ratio, explained, pieces["from 0 to 1"].n_pieces


if __name__ == "__main__":
    main()
