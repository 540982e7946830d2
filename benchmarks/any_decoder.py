"""Explaining away by decoders that others learned: a variational auto-encoder's and a GAN's, on digits.

    python benchmarks/any_decoder.py
    python benchmarks/any_decoder.py --data ../shared/data

The auto-encoder's decoder stays as it is. How well does it reconstruct new images with the factors that its encoder
tells, and with those that explain the images away, and of images of which half of the pixels are hidden, the hidden
ones? Energies and bounds are nats for each image. --data adds MNIST, 28 x 28, to scikit-learn's digits, 8 x 8.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_default import digits, mnist, split
from torch import Tensor

from abpnet import GeneratorModel, infer
from abpnet.baselines import dcgan, low_rank, vae
from abpnet.evaluation import evaluate
from abpnet.explaining import decode
from abpnet.metrics import error
from abpnet.networks import auto_network
from abpnet.observations import Complete

NOISE_STD = 0.2
# Draws of the estimates of bounds and of log p(y).
N_DRAWS = 200
REFILLS = 30
RESTARTS = 9


def energies(model: GeneratorModel, y: Tensor, z: Tensor) -> Tensor:
    """-log p(y, z) of each image."""
    signals = decode(model, z)
    with torch.no_grad():
        return model.energy(z, y, decoder=lambda _: signals)


def bounds_at(model: GeneratorModel, y: Tensor, z: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """The evidence lower bound with a normal posterior laid around the mode z, and an estimate of log p(y).

    Its precision is that of the linear model around z, I + J^T J / sigma^2. The estimate weights its draws by
    importance; in expectation it is a lower bound as well.
    """
    factor = torch.linalg.cholesky(model.local_precision(z, y).double())
    half_log_determinant = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    log_weights = []
    for _ in range(N_DRAWS):
        noise = torch.randn(*z.shape, generator=generator).double()
        drawn = z + torch.linalg.solve_triangular(factor.mT, noise[..., None], upper=True)[..., 0].float()
        log_density = half_log_determinant - 0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
        log_weights.append(-energies(model, y, drawn).double() - log_density)
    weights = torch.stack(log_weights)
    return float(weights.mean()), float((weights.logsumexp(0) - math.log(N_DRAWS)).mean())


def encoder_bound(learned: vae.VariationalAutoEncoder, y: Tensor, generator: torch.Generator) -> float:
    """The evidence lower bound with the encoder's posterior."""
    with torch.no_grad():
        draws = [vae.bound(learned, y, Complete(), 1, generator).mean() for _ in range(N_DRAWS)]
    return float(torch.stack(draws).mean())


def refilled(learned: vae.VariationalAutoEncoder, y: Tensor, observed: Tensor, fill: Tensor, n: int) -> Tensor:
    """Reconstructions of images whose hidden pixels are filled, n times more by the last reconstruction itself."""
    whole = torch.where(observed, y, fill)
    for _ in range(n):
        whole = torch.where(observed, y, vae.reconstruct(learned, whole))
    return vae.reconstruct(learned, whole)


def judge_vae(train: Tensor, new: Tensor, latent_dim: int, passes: int) -> dict[str, Any]:
    """Learn an auto-encoder, and compare its encoder with explaining away."""
    generator = torch.Generator().manual_seed(0)
    learned = vae.learn(
        train, auto_network((latent_dim,), train.shape[1:]), noise_std=NOISE_STD, generator=generator, max_iter=passes
    )
    model, means = learned.model, vae.posterior_means(learned, new)
    rows: list[dict[str, Any]] = []

    def note(method: str, steps: int, z: Tensor) -> None:
        rows.append(
            {
                "method": method,
                "steps": steps,
                "error": error(decode(model, z).numpy(), new.numpy()),
                "energy": float(energies(model, new, z).mean()),
            }
        )

    note("encoder's mean", 0, means)
    for steps in (10, 30, 100, 300):
        note("explaining away, from 0", steps, infer(model, new, n_steps=steps))
    note(
        f"explaining away, from 0 and {RESTARTS} draws",
        300,
        infer(model, new, n_restarts=RESTARTS, generator=generator),
    )
    for steps in (10, 30, 100, 300):
        note("explaining away, from encoder's mean", steps, modes := infer(model, new, start=means, n_steps=steps))

    around_mode, log_likelihood = bounds_at(model, new, modes, generator)
    bounds = {
        "encoder": encoder_bound(learned, new, generator),
        "normal at the mode": around_mode,
        "log p(y), estimate": log_likelihood,
    }
    observed = torch.rand(new.shape, generator=generator) < 0.5
    hidden, mean = (~observed).numpy(), train.mean(0).expand_as(new)
    filled = vae.posterior_means(learned, torch.where(observed, new, mean))
    seen = torch.where(observed, new, torch.nan)
    completions = {
        "mean of the training images": mean,
        "encoder, hidden pixels filled with the mean": refilled(learned, new, observed, mean, 0),
        f"encoder, refilled {REFILLS} times": refilled(learned, new, observed, mean, REFILLS),
        "explaining away the observed pixels, from 0": decode(model, infer(model, seen)),
        "explaining away, from the encoder's mean of filled images": decode(model, infer(model, seen, start=filled)),
    }
    return {
        "reconstruction": rows,
        "bounds": bounds,
        "completion": {name: error(images.numpy(), new.numpy(), hidden) for name, images in completions.items()},
    }


def judge_gan(train: Tensor, new: Tensor, latent_dim: int, passes: int) -> dict[str, float]:
    """Learn a GAN, whose generator has no encoder at all, and reconstruct new images by it."""
    generator = torch.Generator().manual_seed(0)
    network = auto_network((latent_dim,), train.shape[1:])
    gan = dcgan.learn(train, network, generator=generator, max_iter=passes)
    plain, settings = gan.model.network, {"latent_shape": (latent_dim,), "noise_std": NOISE_STD}
    searches = {"from 0": {}, f"from 0 and {RESTARTS} draws": {"n_restarts": RESTARTS, "generator": generator}}
    errors = {
        name: error(decode(gan.model, infer(plain, new, **settings, **search)).numpy(), new.numpy())
        for name, search in searches.items()
    }
    errors["from the linear posterior (evaluate)"] = evaluate(plain, new, **settings).reconstruction
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the shared data sets")
    parser.add_argument("--latent-dim", type=int, default=20)
    parser.add_argument("--passes", type=int, default=300, help="over the 1,497 digits; a tenth as many over MNIST")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    sets = {"digits 8 x 8": (digits, arguments.passes)}
    if arguments.data is not None:
        sets["MNIST 28 x 28"] = (mnist, -(-arguments.passes // 10))
    found: dict[str, Any] = {}
    for name, (read, passes) in sets.items():
        train, new = (torch.from_numpy(part.astype(np.float32)) for part in split(read(arguments.data)))
        d = arguments.latent_dim
        components = error(low_rank.reconstruct(train.numpy(), new.numpy(), d).clip(-1, 1), new.numpy())
        print(f"\n{name}: {len(train)} images, {len(new)} new ones, {d} factors, {passes} passes", flush=True)
        encoded = judge_vae(train, new, d, passes)
        print("| reconstruction by the auto-encoder's decoder | steps | error | energy |\n|---|---|---|---|")
        for row in encoded["reconstruction"]:
            print(f"| {row['method']} | {row['steps']} | {row['error']:.4f} | {row['energy']:.2f} |")
        print(f"| principal components, as many | | {components:.4f} | |")
        print("\n| bound, nats | |\n|---|---|")
        for method, value in encoded["bounds"].items():
            print(f"| {method} | {value:.2f} |")
        print("\n| completion of half-hidden images | error on hidden pixels |\n|---|---|")
        for method, value in encoded["completion"].items():
            print(f"| {method} | {value:.4f} |", flush=True)
        generated = judge_gan(train, new, d, passes)
        print("\n| reconstruction by the GAN's generator | error |\n|---|---|")
        for method, value in generated.items():
            print(f"| {method} | {value:.4f} |", flush=True)
        found[name] = {"vae": encoded, "gan": generated, "principal components": components}
    print(json.dumps({"latent_dim": arguments.latent_dim, "passes": arguments.passes, "sets": found}))


if __name__ == "__main__":
    main()
