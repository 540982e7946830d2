"""Runs to serve: small networks learned in a moment, in the folders that commands leave."""

import numpy as np
import pytest
import torch

from abpnet.data.builtin import spots, texture_photograph
from abpnet.estimator import GeneratorNetwork
from abpnet.networks import ObjectNetwork, SoundNetwork, TextureNetwork, initialise
from abpnet.recipes import RECIPES
from abpnet.runs import RunFolder
from abpnet.sound_statistics import SoundStatistics
from abpnet.texture_statistics import TextureStatistics
from commands import run

PASSES = 12


def kept(path, network, command, **result):
    """Folder of a finished run that learned this."""
    folder = RunFolder.create(path, command, {"source": "somewhere", "seed": 0})
    folder.log_anew(network.history_)
    network.save(path / "model")
    folder.finish(result)
    return path


def learned(path, images, latent_dim, recipe="default"):
    """Folder of a finished run on these images."""
    with torch.device("meta"):
        network = ObjectNetwork(latent_dim, images.shape[1:], 16)
    initialise(network, torch.Generator().manual_seed(0))
    settings = {"network": network, "noise_std": 0.1, "recipe": recipe, "max_iter": PASSES, "precision": "float32"}
    return kept(path, GeneratorNetwork(latent_dim, verbose=False, **settings).fit(images), "objects")


def learned_statistics(path, network, latent_shape, statistics, command):
    """Folder of a finished run that learned statistics of a texture or a sound, though hardly."""
    initialise(network, torch.Generator().manual_seed(0))
    settings = {"network": network, "recipe": RECIPES["texture"], "max_iter": 1, "precision": "float32"}
    learner = GeneratorNetwork((network.latent_dim, *latent_shape), verbose=False, **settings)
    return kept(path, learner.fit(statistics.target.numpy()[:1], observation=statistics), command)


@pytest.fixture(scope="session")
def flat(tmp_path_factory):
    """A run of two factors."""
    return learned(tmp_path_factory.mktemp("web") / "flat", spots(60), 2)


@pytest.fixture(scope="session")
def deep(tmp_path_factory):
    """A run of five factors, whose residuals are kriged."""
    return learned(tmp_path_factory.mktemp("web") / "deep", spots(60, random_state=1), 5, recipe="kriged")


@pytest.fixture(scope="session")
def colour(tmp_path_factory):
    """A run of three factors on coloured images of other proportions."""
    x = np.stack([spots(40, random_state=k)[:, 0, :, :12] for k in range(3)], 1)
    return learned(tmp_path_factory.mktemp("web") / "colour", np.ascontiguousarray(x), 3)


@pytest.fixture(scope="session")
def texture(tmp_path_factory):
    """A run of a texture."""
    photograph = torch.from_numpy(texture_photograph("gravel", 96))
    with torch.device("meta"):
        network = TextureNetwork.with_noise(1, 16)
    path = tmp_path_factory.mktemp("web") / "texture"
    return learned_statistics(path, network, (3, 3), TextureStatistics.of(photograph[None]), "texture")


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A run of a sound at 8000 samples per second."""
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) / 10
    network = SoundNetwork.with_noise(8000, 4)
    path = tmp_path_factory.mktemp("web") / "sound"
    return learned_statistics(path, network, (4,), SoundStatistics.of(noise, 8000), "sound")


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """A finished run of `video`."""
    out = tmp_path_factory.mktemp("web") / "video"
    options = ["--size", 16, "--limit", 40, "--frames", 30, "--latent-dim", 4, "--width", 8, "--max-iter", 2]
    assert run("video", "builtin:waves", *options, "--no-baselines", "--out", out) == 0
    return out


@pytest.fixture
def learning(tmp_path):
    """A run that is learning still."""
    folder = RunFolder.create(tmp_path / "learning", "objects", {"source": "images.npz"})
    for iteration in (1, 2):
        folder.log({"iteration": iteration, "seconds": float(iteration), "error": 0.5 / iteration, "latent_std": 1.0})
    folder.release()
    return folder.path


@pytest.fixture
def table(tmp_path):
    """A finished run that keeps no model."""
    folder = RunFolder.create(tmp_path / "table", "complete", {"source": "survey.csv"})
    folder.log({"iteration": 1, "seconds": 0.1, "error": 0.2})
    folder.finish({"table": []})
    return folder.path
