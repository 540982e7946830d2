"""Learn a dynamic texture from one clip and make more of it, beside a linear dynamic system of as many factors.

python examples/dynamic_texture.py                                    # built-in waves, under a minute
python examples/dynamic_texture.py waterfall.mp4 --size 64 --latent-dim 20 --seconds 240 --frames 1000
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import abpnet
from abpnet.baselines.linear_dynamics import fit_linear_dynamics
from abpnet.data.videos import load_clip, save_gif
from abpnet.dynamics import stationary_autoregression
from abpnet.figures import rows_of_images, save_picture
from abpnet.networks import FrameNetwork
from abpnet.temporal_statistics import difference_distance, spectral_distance


def main(
    source: str = "builtin:waves",
    size: int = 32,
    latent_dim: int = 6,
    seconds: float | None = 20.0,
    n_frames: int = 240,
    max_iter: int = 2000,
    out: str | None = None,
    picture: Path | None = None,
) -> dict[str, tuple[float, float]]:
    clip = load_clip(source, size=size, limit=240)
    with torch.device("meta"):
        network = FrameNetwork(latent_dim, clip.frames.shape[1:])
    net = abpnet.GeneratorNetwork(
        latent_dim, network=network, noise_std=0.03, recipe="video", max_iter=max_iter, max_seconds=seconds
    )
    z = net.fit(clip.frames).transform(clip.frames)  # frames learned as single images
    process = stationary_autoregression([z.astype(np.float64)])  # how their factors move
    ours = net.inverse_transform(process.simulate(n_frames, np.random.default_rng(0)).astype(np.float32))
    linear = fit_linear_dynamics(clip.frames, latent_dim).synthesise(n_frames, np.random.default_rng(0))
    scores = {}
    for name, frames in {"abpnet": ours, "linear dynamic system": linear}.items():
        scores[name] = spectral_distance(frames, clip.frames), difference_distance(frames, clip.frames)
        print(
            f"{name:22} spectra {scores[name][0]:5.2f} dB apart, frame differences {1e3 * scores[name][1]:5.1f} / 1000"
        )
    if out is not None:
        save_gif(out, ours, clip.frame_rate)
    if picture is not None:
        rows = {"clip": clip.frames, "abpnet": ours, "linear dynamic system": linear}
        shown = {name: row[40:100:5].clip(-1, 1) for name, row in rows.items()}
        save_picture(picture, rows_of_images(shown, max(1, 64 // size)))
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="builtin:waves", help="video, folder of frames or array")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--latent-dim", type=int, default=6)
    parser.add_argument("--max-iter", type=int, default=2000, help="passes of learning at most")
    parser.add_argument("--seconds", type=float, default=20.0, help="of learning")
    parser.add_argument("--frames", type=int, default=240, dest="n_frames")
    parser.add_argument("--out", default="dynamic_texture.gif", help="GIF file to write")
    parser.add_argument("--picture", type=Path, help="PNG file of some frames to write")
    main(**vars(parser.parse_args()))
