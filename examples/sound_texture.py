"""Learn what crackling is from five seconds of it, and synthesise more: the statistics of the sound are explained.

python examples/sound_texture.py                      # less than a minute
python examples/sound_texture.py --max-seconds 120 --width 48 --out crackle.wav
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import abpnet
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data import save_sound, sound_recording
from abpnet.figures import save_sounds
from abpnet.networks import initialise
from abpnet.sound_distance import mean_distance

RATE = 11025


def main(
    max_iter: int = 1000,
    max_seconds: float | None = 25.0,
    width: int = 24,
    rate: int = RATE,
    out: Path | None = None,
    picture: Path | None = None,
) -> tuple[float, float]:
    sound = sound_recording("crackle", 5.0, rate)
    statistics = abpnet.SoundStatistics.of(torch.from_numpy(sound), rate)
    network = initialise(abpnet.SoundNetwork.with_noise(rate, width), torch.Generator().manual_seed(0))
    network.start_from(torch.from_numpy(sound))
    net = abpnet.GeneratorNetwork(
        latent_dim=(network.latent_dim, 8),  # eight positions of the sequence of factors, about three seconds
        network=network,
        noise_std=0.1,
        recipe="texture",
        max_iter=max_iter,
        max_seconds=max_seconds,
    )
    net.fit(statistics.target.expand(4, -1), observation=statistics)
    new = net.sample(2, latent_shape=(14,))[:, : len(sound)]
    ours = mean_distance(new, sound, rate)["distance"]
    same_spectrum = phase_randomised(sound[None], np.random.default_rng(0))[0]
    noise = mean_distance([same_spectrum], sound, rate)["distance"]
    print(f"distance of fresh sounds from the original: {ours:.2f}")
    print(f"distance of noise of the same spectrum:     {noise:.2f}")
    if out is not None:
        save_sound(out, new[0], rate)
    if picture is not None:
        sounds = {"recording": sound, "synthesis": new[0], "noise of the same spectrum": same_spectrum}
        save_sounds(picture, sounds, rate)
    return ours, noise


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-iter", type=int, default=1000, help="passes of learning at most")
    parser.add_argument("--max-seconds", type=float, default=25.0)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG file of waveforms and spectrograms to write")
    arguments = parser.parse_args()
    main(**vars(arguments))
