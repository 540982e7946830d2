"""Test error against seconds of learning: the plain loop, the default recipe, a VAE, principal components.

    python benchmarks/time_to_quality.py --data ../shared/data
    python benchmarks/time_to_quality.py --data ../shared/data --validation --max-seconds 240
    python benchmarks/time_to_quality.py --data ../shared/data --plain-seconds 3600

1,000 faces are learned from, 300 others reconstructed by the posterior mode of their factors (`abpnet.evaluate`), the
same way for every decoder. All methods have the same decoder and take turns on the same threads: each learns up to the
next of the marks in seconds, then all are judged; only learning counts. With --validation the last hundred of the
training images judge, and the others are learned from: whoever chooses settings looks at these alone.

The plain loop is what one writes first after Han et al. (2017): ten Langevin steps of .1 from chains that begin at the
prior, in float32, the weights by gradient steps with a momentum of .5 (recipe "paper"); --plain-rate sets their rate.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from results import CROP, unpack_faces
from torch import Tensor, nn

from abpnet import Gaussian, GeneratorModel, alternate, evaluate
from abpnet.baselines import low_rank, vae
from abpnet.beginning import begin
from abpnet.data import load_images
from abpnet.metrics import error
from abpnet.networks import auto_network, initialise
from abpnet.recipes import RECIPES, Recipe

MARKS = (15, 30, 60, 120, 240, 480, 600, 1200, 2400, 3600)
NOISE_STD, N_VALIDATION = 0.2, 100


@dataclass
class Learner:
    """One method: what goes on learning, the decoder after one of its passes, and what was found so far."""

    name: str
    passes: Iterator[Any]
    decoder: Callable[[Any], nn.Module]
    latent_dim: int
    max_seconds: float
    seconds: float = 0.0
    n_passes: int = 0
    latest: Any = None
    rows: list[dict[str, float]] = field(default_factory=list)

    def learn_until(self, mark: float) -> None:
        """Go on to that many seconds of learning."""
        while self.seconds < mark:
            start = time.monotonic()
            self.latest = next(self.passes)
            self.seconds += time.monotonic() - start
            self.n_passes += 1

    def judge(self, new: Tensor, precision: str) -> None:
        """Note the error of new images."""
        judged = evaluate(
            self.decoder(self.latest), new, latent_shape=(self.latent_dim,), noise_std=NOISE_STD, precision=precision
        )
        self.rows.append({"seconds": round(self.seconds, 1), "passes": self.n_passes, "error": judged.reconstruction})


def by_recipe(name: str, recipe: Recipe, images: Tensor, latent_dim: int, precision: str, most: float) -> Learner:
    """Alternating back-propagation by one recipe."""
    generator = torch.Generator().manual_seed(0)
    network = initialise(auto_network((latent_dim,), images.shape[1:]), generator)
    model = GeneratorModel(network, (latent_dim,), emission=Gaussian(NOISE_STD))
    state = begin(model, images, recipe=recipe, generator=generator)

    def decoder(_: Any) -> nn.Module:
        kept = copy.deepcopy(model)
        kept.load_state_dict(state.averaged, strict=False)
        return kept.network

    passes = alternate(model, images, recipe=recipe, state=state, precision=precision)
    return Learner(name, passes, decoder, latent_dim, most)


def by_auto_encoder(images: Tensor, latent_dim: int, precision: str, most: float) -> Learner:
    """A variational auto-encoder with the same decoder."""
    generator = torch.Generator().manual_seed(0)
    like = initialise(auto_network((latent_dim,), images.shape[1:]), generator)
    passes = vae.passes(images, like, noise_std=NOISE_STD, generator=generator, precision=precision)
    return Learner("VAE", passes, lambda learned: learned.model.network, latent_dim, most)


def components_error(images: Tensor, new: Tensor, latent_dim: int) -> float:
    """Of as many principal components."""
    rebuilt = low_rank.reconstruct(images.numpy(), new.numpy(), latent_dim)
    return error(rebuilt.clip(-1, 1), new.numpy())


def draw_curves(learners: list[Learner], components: float, path: Path) -> None:
    """Error against seconds, both on logarithmic axes."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for learner in learners:
        seconds, errors = ([row[name] for row in learner.rows] for name in ("seconds", "error"))
        axes.plot(seconds, errors, "o-", label=learner.name)
    axes.axhline(components, color="grey", linestyle="--", label="principal components")
    axes.set(xscale="log", yscale="log", xlabel="seconds of learning", ylabel="error of new images")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/time_to_quality"))
    parser.add_argument("--latent-dim", type=int, default=100)
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--plain-seconds", type=float, help="of the plain loop; --max-seconds by default")
    parser.add_argument("--plain-rate", type=float, default=RECIPES["paper"].learning_rate)
    parser.add_argument("--validation", action="store_true", help="judge by images of the training part")
    parser.add_argument("--n-new", type=int, default=300, help="how many new images judge")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="bfloat16", help="of all but the plain loop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)

    folders = unpack_faces(arguments.data / "faces/celeba_89x109_10000.zip", arguments.out / "faces")
    crop = tuple(CROP[1:])
    images, new = (torch.from_numpy(load_images(str(folder), crop=crop).pixels) for folder in folders)
    if arguments.validation:
        images, new = images[:-N_VALIDATION], images[-N_VALIDATION:]
    new = new[: arguments.n_new]
    components = components_error(images, new, arguments.latent_dim)

    plain = replace(RECIPES["paper"], learning_rate=arguments.plain_rate)
    most = arguments.max_seconds
    shared = images, arguments.latent_dim
    learners = [
        by_recipe("plain loop", plain, *shared, "float32", arguments.plain_seconds or most),
        by_recipe("default recipe", RECIPES["default"], *shared, arguments.precision, most),
        by_auto_encoder(*shared, arguments.precision, most),
    ]
    print(f"{len(images)} images, {len(new)} new ones, d = {arguments.latent_dim}, {arguments.threads} threads")
    print(f"principal components: {components:.4f}")
    longest = max(learner.max_seconds for learner in learners)
    for mark in sorted({min(mark, longest) for mark in MARKS}):
        for learner in learners:
            if mark <= learner.max_seconds:
                learner.learn_until(mark)
                learner.judge(new, arguments.precision)
                row = learner.rows[-1]
                print(
                    f"{learner.name:16}{row['seconds']:8.0f} s {row['passes']:5.0f} passes   {row['error']:.4f}   "
                    f"{row['error'] / components:.3f} of principal components",
                    flush=True,
                )
    draw_curves(learners, components, arguments.out / "time_to_quality.png")
    result = {"principal components": components} | {learner.name: learner.rows for learner in learners}
    (arguments.out / "time_to_quality.json").write_text(json.dumps(result, indent=1))
    print(f"curves: {arguments.out / 'time_to_quality.png'}")


if __name__ == "__main__":
    main()
