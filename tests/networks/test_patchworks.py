from itertools import islice

import numpy as np
import pytest
import torch

from abpnet.data.builtin import texture_photograph
from abpnet.emissions import Gaussian
from abpnet.learning import alternate
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import PATCHWORK_STRIDE, PatchworkNetwork, build_network, describe_network, initialise
from abpnet.networks.patchworks import PIECE, SPACING, dealt, smooth
from abpnet.recipes import RECIPES
from abpnet.texture_statistics import TextureStatistics


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def photographs(n=1, channels=3, height=100, width=120):
    return (0.3 * randn(n, channels, height, width)).clamp(-1, 1)


def small_network(images, lattice=None, width=4):
    with torch.device("meta"):
        network = PatchworkNetwork(images.shape, lattice, width)
    return initialise(network, torch.Generator().manual_seed(0)).start_from(images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_every_size_of_the_map_gives_an_image_64_times_as_large(channels, size):
    network = small_network(photographs(channels=channels))
    image = network(randn(2, network.latent_dim, *size))
    assert image.shape == (2, channels, PATCHWORK_STRIDE * size[0], PATCHWORK_STRIDE * size[1])
    assert image.isfinite().all()
    assert image.abs().max() <= 1


def test_layers_are_pieces_of_the_photograph_of_their_place():
    images = photographs()
    network = small_network(images)
    z = randn(1, network.latent_dim, 2, 2)
    layers = network.pieces(z)[0]
    places = network.places(z[:, :8])[0]
    corners = network.corners(2, 2)
    for layer in range(4):
        for i in range(2):
            for j in range(2):
                (top, left), (down, right) = corners[layer, i, j].tolist(), places[layer, i, j].tolist()
                piece = layers[layer].roll((-top, -left), (1, 2))[:, :PIECE, :PIECE]
                coloured = torch.einsum("ck,khw->chw", network.mixing, piece) + network.mean[:, None, None]
                torch.testing.assert_close(coloured, images[0, :, down : down + PIECE, right : right + PIECE])


def test_places_are_spread_evenly_over_the_photograph():
    network = small_network(photographs())
    places = network.places(randn(400, 8, 2, 2)).flatten(0, 3).double()
    room = torch.tensor([100 - PIECE + 1, 120 - PIECE + 1])
    assert (places >= 0).all()
    assert (places < room).all()
    for axis in range(2):
        counts = np.histogram(places[:, axis], 4, (0, float(room[axis])))[0]
        assert np.abs(counts / len(places) - 0.25).max() < 0.05


@pytest.mark.parametrize("k", [4, 36, 64, 70])
def test_every_image_uses_the_photograph_evenly_and_every_place_is_uniform(k):
    places = dealt(randn(3000, k, 2).double())
    assert (places >= 0).all()
    assert (places < 1).all()
    for axis in range(2):
        # Each place by itself is uniform ...
        counts = np.histogram(places[:, 0, axis], 5, (0, 1))[0]
        assert np.abs(counts / 3000 - 0.2).max() < 0.05
        # ... and those of one image are even: a mean of independent ones would scatter by sqrt(1 / 12 k).
        assert places[:, :, axis].mean(1).std() < 0.5 * (1 / (12 * k)) ** 0.5
    n_bands = round(k**0.5)
    corner = ((places < 1 / n_bands).all(2)).sum(1)
    assert corner.max() <= 2, "one in each cell, or two where cells do not fit"
    correlation = np.corrcoef(places[:, 0].T)[0, 1]
    assert abs(correlation) < (0.15 if k == 4 else 0.08)


def test_windows_add_up_to_one_and_vanish_where_pieces_end():
    network = small_network(photographs())
    windows = network.windows(torch.zeros(1, network.latent_dim, 2, 3))
    torch.testing.assert_close(windows.sum(0), torch.ones(128, 192))
    assert windows[0, 0].max() < 1e-3
    assert windows[3, SPACING].max() < 1e-3
    assert windows[0, SPACING, SPACING] > 0.99


def test_pieces_of_a_lattice_fit_one_another():
    y, x = np.mgrid[:150, :170]
    lattice = [[12.5, 0.0], [6.0, 20.0]]
    phase = np.stack([y, x], -1) @ np.linalg.inv(lattice)
    image = torch.from_numpy(0.4 * np.cos(2 * np.pi * phase).sum(-1)).float()[None, None]
    free, fitting = small_network(image), small_network(image, lattice)
    z = randn(1, free.latent_dim, 4, 5)
    spread = [float(network.pieces(z).std(1).mean() / network.pieces(z).std()) for network in (free, fitting)]
    assert spread[0] > 0.8
    assert spread[1] < 0.25, "four layers of pieces show the same phase"
    places = fitting.places(randn(100, 8, 3, 3, seed=1))
    assert (places >= 0).all()
    assert (places < torch.tensor([150, 170]) - PIECE + 1).all()
    assert len(places.flatten(0, 3).unique(dim=0)) > 50


def test_an_unlearned_network_shows_one_layer_or_another():
    network = small_network(photographs(channels=1))
    z = randn(1, network.latent_dim, 2, 2)
    image = network(z)[0].detach()
    layers = network.mixing.item() * network.pieces(z)[0] + network.mean.item()
    clear = network.windows(z).amax(0) > 0.9
    nearest = (image - layers).abs().amin(0)
    assert nearest[clear[None]].max() < 0.15
    assert image.std() == pytest.approx(0.3, rel=0.25)


def test_images_are_tori():
    network = small_network(photographs())
    z = randn(1, network.latent_dim, 3, 2)
    shifted = network(z.roll((1, 1), (2, 3)))
    torch.testing.assert_close(shifted, network(z).roll((64, 64), (2, 3)), rtol=0, atol=1e-5)


def test_noise_is_enlarged_to_a_torus():
    noise = randn(1, 2, 3, 4)
    larger = smooth(noise, 16)
    assert larger.shape == (1, 2, 48, 64)
    torch.testing.assert_close(smooth(noise.roll(1, 3), 16), larger.roll(16, 3))
    assert (larger.diff(dim=3).abs().max() <= noise.diff(dim=3).abs().max() / 16 + 0.2).all()


def test_several_photographs_all_give_pieces():
    images = torch.stack([torch.full((1, 96, 96), level) for level in (-0.5, 0.0, 0.5)]) + 0.01 * randn(3, 1, 96, 96)
    network = small_network(images)
    levels = network.pieces(randn(20, network.latent_dim, 2, 2)) * network.mixing.item() + network.mean.item()
    for level in (-0.5, 0.0, 0.5):
        assert (levels - level).abs().lt(0.1).float().mean() == pytest.approx(1 / 3, abs=0.1)


def test_colours_that_do_not_vary_stay_as_they_are():
    grey = photographs(channels=1).repeat(1, 3, 1, 1)
    network = small_network(grey)
    image = network(randn(1, network.latent_dim, 2, 2))
    torch.testing.assert_close(image[:, 0], image[:, 2], rtol=0, atol=1e-6)


def test_gradients_reach_every_weight_and_the_noise_of_the_seams():
    network = small_network(photographs())
    z = randn(1, network.latent_dim, 2, 2).requires_grad_()
    (network(z) * randn(1, 3, 128, 128, seed=1)).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad.abs().max() > 0, name
    assert (z.grad[:, 8:] != 0).all()
    assert (z.grad[:, :8] == 0).all(), "places are choices, without a gradient"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_examples_do_not_depend_on_one_another(precision):
    network = small_network(photographs())
    decode = frozen_decoder(network, precision)
    z = randn(3, network.latent_dim, 2, 2)
    changed = z.clone()
    changed[1] = randn(network.latent_dim, 2, 2, seed=1)
    image, image_of_changed = decode(z), decode(changed)
    assert torch.equal(image[[0, 2]], image_of_changed[[0, 2]])
    assert not torch.equal(image[1], image_of_changed[1])


def test_description_builds_the_same_network():
    network = small_network(photographs(2), lattice=[[9.0, 0.0], [0.0, 14.0]])
    rebuilt = build_network(describe_network(network))
    rebuilt.load_state_dict(network.state_dict())
    z = randn(1, network.latent_dim, 2, 2)
    assert torch.equal(rebuilt(z), network(z))


@pytest.mark.parametrize("shape", [(3, 100, 100), (1, 3, 95, 200)])
def test_unsuitable_photographs_are_refused(shape):
    with pytest.raises(ValueError, match="sides of at least 96"):
        PatchworkNetwork(shape)


def test_learning_brings_fresh_samples_nearer_to_the_photograph_and_keeps_the_chains_at_the_prior():
    photograph = torch.from_numpy(texture_photograph("brick", 160).copy())
    statistics = TextureStatistics.of(photograph)
    network = small_network(photograph[None], width=8)
    model = GeneratorModel(network, (network.latent_dim, 2, 2), emission=Gaussian(0.1))

    def error():
        fresh = model.sample(4, torch.Generator().manual_seed(1), (network.latent_dim, 3, 3))
        return float((statistics(fresh) - statistics.target).square().sum(1).mean())

    before = error()
    learning = alternate(model, statistics.target.expand(4, -1), statistics, recipe=RECIPES["patchwork"])
    *_, iteration = islice(learning, 12)
    assert error() < 0.75 * before
    assert 0.9 < iteration.latent_std < 1.1
