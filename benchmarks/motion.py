"""One step ahead: frames learned together with their motion, beside the same in two steps.

    python benchmarks/motion.py ../shared/data/videos
    python benchmarks/motion.py ../shared/data/videos --clips sea --share 0.5625 --size 32

Learns from the first three quarters of each clip and foretells every frame of the rest from those before it: from the
last one alone, and from the last eight, whose factors are explained under the motion; and with what the factors leave
of the last frame taken to stay ("+ rest"). All ways take as many passes over the frames; learning together starts
halfway at what two steps have by then, under an auto-regression and under a recurrence. Two steps are taken twice, with
noise that is learned and with the noise that learning together has. `--share` takes only so much of each clip, so that
settings can be chosen without a look at the frames that are foretold in the end. Errors: root mean square and mean
absolute, in thousandths of the dynamic range.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from abpnet import Complete, FrameNetwork, GeneratorModel, GeneratorNetwork
from abpnet.baselines.linear_dynamics import fit_linear_dynamics
from abpnet.data.videos import load_clip
from abpnet.dynamic_textures import infer_paths, pieces
from abpnet.explaining import linear_start, regress
from abpnet.memory import HIDDEN_DIM
from abpnet.motion import SEEN_BEFORE, foretell, join, track
from abpnet.priors import Recurrence
from abpnet.recipes import RECIPES
from abpnet.tasks.video import JOINT_NOISE_STD

LEARNED_FROM, MOST_FRAMES = 0.75, 240


def estimator(arguments: argparse.Namespace, n_passes: int, **model: object) -> GeneratorNetwork:
    return GeneratorNetwork(
        max_iter=n_passes, precision=arguments.precision, random_state=arguments.seed, verbose=False, **model
    )


def in_two_steps(
    arguments: argparse.Namespace, frames: np.ndarray, n_passes: int, recipe: object, checkpoint: object = None
) -> GeneratorNetwork:
    with torch.device("meta"):
        network = FrameNetwork(arguments.latent_dim, frames.shape[1:], arguments.width)
    learned = estimator(
        arguments, n_passes, latent_dim=arguments.latent_dim, network=network, noise_std=0.03, recipe=recipe
    )
    for _ in learned.iterations(frames, checkpoint=checkpoint):
        pass
    return learned


def as_one(learned: GeneratorNetwork, frames: np.ndarray) -> tuple[GeneratorModel, torch.Tensor]:
    """Two steps as one model, and the factors of the frames in it."""
    together = join(learned.model_.network, infer_paths(learned, frames)[0])
    shape = (together.path.shape[1], 1)
    return GeneratorModel(together.network, shape, together.prior, learned.model_.emission), together.path


def foretold(model: GeneratorModel, path: torch.Tensor, frames: np.ndarray, n_known: int) -> dict[str, np.ndarray]:
    """Frames after the known ones, told by the last one and by the last few."""
    clip = torch.from_numpy(frames[n_known - 1 - SEEN_BEFORE : -1])
    by_frame = GeneratorModel(model.network.network, (path.shape[1],), emission=model.emission)
    start = linear_start(regress(by_frame, path), clip, Complete(), by_frame.latent_shape, frames.shape[1:])
    told = {}
    for k, n_steps in ((0, 100), (SEEN_BEFORE, 60)):
        z = track(model, clip, start=start, seen_before=k, n_steps=n_steps)
        for keeps, name in ((False, ""), (True, " + rest")):
            ahead = foretell(model, clip, z, keep_residual=keeps)
            told[f"told by {k + 1}{name}"] = ahead[SEEN_BEFORE:].numpy()
    return told


def predictions(arguments: argparse.Namespace, frames: np.ndarray, n_known: int) -> dict[str, np.ndarray]:
    known, last, n = frames[:n_known], frames[n_known - 1 : -1], arguments.passes
    ways = {"the last frame again": last}
    system = fit_linear_dynamics(known, arguments.latent_dim)
    z = np.tensordot(last - system.mean, system.pictures, ((1, 2, 3), (1, 2, 3))) - system.process.mean
    ahead = system.frames(system.process.mean + z @ system.process.transitions[0].T)
    ways["linear dynamic system"] = ahead
    ways["linear dynamic system + rest"] = ahead + last - system.frames(system.process.mean + z)
    halfway = in_two_steps(arguments, known, n // 2, "video")
    tensors = {name: tensor.clone() for name, tensor in halfway.state_.tensors().items()}
    facts = copy.deepcopy(halfway.state_.facts())
    fixed = replace(RECIPES["video"], learn_noise=False)
    for name, recipe, noise_std in (
        ("two steps", "video", facts["noise_std"]),
        (f"two steps, noise {JOINT_NOISE_STD}", fixed, JOINT_NOISE_STD),
    ):
        learned = in_two_steps(arguments, known, n, recipe, (tensors, facts | {"noise_std": noise_std}))
        told = foretold(*as_one(learned, known), frames, n_known)
        ways |= {f"{name}; {how}": frames for how, frames in told.items()}
    together = join(halfway.model_.network, infer_paths(halfway, known)[0])
    start = pieces(together.path.numpy())
    recurrence = Recurrence(together.prior, HIDDEN_DIM, torch.Generator().manual_seed(arguments.seed))
    for name, prior in (("together", together.prior), ("together, recurrent", recurrence)):
        learned = estimator(
            arguments,
            n - n // 2,
            latent_dim=start.shape[1:],
            network=together.network,
            prior=prior,
            noise_std=JOINT_NOISE_STD,
            recipe="motion",
        ).fit(pieces(known), start=start)
        told = foretold(learned.model_, torch.from_numpy(infer_paths(learned, known)[0]).float(), frames, n_known)
        ways |= {f"{name}; {how}": frames for how, frames in told.items()}
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", nargs="+", default=["sea", "waterfall", "tree"])
    parser.add_argument("--passes", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--latent-dim", type=int, default=20)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tables = {}
    print(f"{'clip':12}{'method':44}{'RMS':>10}{'absolute':>10}", flush=True)
    for clip in arguments.clips:
        (path,) = arguments.folder.glob(f"{clip}_*.mp4")
        frames = load_clip(path, size=arguments.size, limit=MOST_FRAMES).frames
        frames = frames[: round(arguments.share * len(frames))]
        n_known = int(LEARNED_FROM * len(frames))
        tables[clip] = []
        for method, told in predictions(arguments, frames, n_known).items():
            off = told - frames[n_known:]
            figures = 500 * float(np.sqrt(np.square(off).mean())), 500 * float(np.abs(off).mean())
            tables[clip].append({"method": method, "RMS": figures[0], "absolute": figures[1]})
            print(f"{clip:12}{method:44}{figures[0]:10.3f}{figures[1]:10.3f}", flush=True)
    print(json.dumps(tables))


if __name__ == "__main__":
    main()
