from dataclasses import replace
from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from abpnet.data.builtin import texture_photograph
from abpnet.emissions import Gaussian
from abpnet.learning import alternate
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import TEXTURE_STRIDE, TextureNetwork, build_network, describe_network, initialise
from abpnet.networks.textures import NOISE_CHANNELS, EvenDeconvolution
from abpnet.recipes import RECIPES
from abpnet.texture_statistics import TextureStatistics


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_network(seed=0, n_channels=3, periodic=True):
    with torch.device("meta"):
        network = TextureNetwork.with_noise(n_channels, width=32, n_coarse=5, n_fine=2, periodic=periodic)
    return initialise(network, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 1)])
def test_every_size_of_the_map_gives_an_image_32_times_as_large(n_channels, periodic, size):
    network = small_network(n_channels=n_channels, periodic=periodic)
    image = network(randn(2, network.latent_dim, *size))
    assert image.shape == (2, n_channels, TEXTURE_STRIDE * size[0], TEXTURE_STRIDE * size[1])
    assert image.abs().max() <= 1


def test_too_few_factors_are_refused():
    assert TextureNetwork(2 * NOISE_CHANNELS + 1, n_fine=2).latent_dim == 2 * NOISE_CHANNELS + 1
    with pytest.raises(ValueError, match="latent_dim must exceed 168"):
        TextureNetwork(2 * NOISE_CHANNELS, n_fine=2)


def test_initialised_from_the_meta_device_by_the_given_generator_alone():
    before = torch.get_rng_state()
    first, again, other = small_network(1), small_network(1), small_network(2)
    assert torch.equal(before, torch.get_rng_state())
    for name, weight in first.named_parameters():
        assert weight.isfinite().all()
        assert torch.equal(weight, again.get_parameter(name))
    assert not torch.equal(first.deconvolutions[0].weight, other.deconvolutions[0].weight)


def test_description_builds_the_same_network():
    network = small_network(periodic=False)
    rebuilt = build_network(describe_network(network))
    rebuilt.load_state_dict(network.state_dict())
    z = randn(1, network.latent_dim, 2, 2)
    assert torch.equal(rebuilt(z), network(z))


def test_gradients_reach_every_weight_and_the_noise_of_every_scale():
    network = small_network()
    z = randn(1, network.latent_dim, 2, 2).requires_grad_()
    (network(z) * randn(1, 3, 64, 64, seed=1)).sum().backward()
    for name, weight in network.named_parameters():
        # A bias before a normalisation does nothing; all others must.
        if not name.endswith("bias") or "normalisations" in name or "deconvolutions.4" in name:
            assert weight.grad.abs().max() > 1e-5, name
    for part in z.grad.split(network.parts, 1):
        assert (part != 0).float().mean() > 0.95


def test_noise_of_finer_scales_reaches_less_far():
    network = small_network()
    z = randn(1, network.latent_dim, 4, 4)
    reach = []
    for channel in (0, *torch.tensor(network.parts).cumsum(0)[:-1].tolist()):
        moved = z.clone()
        moved[0, channel, 1, 1] += 0.01
        # Normalisation spreads a little of everything everywhere: count pixels that change by more than a hundredth.
        change = (network(moved) - network(z))[0].abs().amax(0)
        reach.append(int((change > 0.01 * change.max()).sum()))
    assert reach == sorted(reach, reverse=True)
    assert reach[0] > 4 * reach[-1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_examples_do_not_depend_on_one_another(precision):
    network = small_network()
    decode = frozen_decoder(network, precision)
    z = randn(3, network.latent_dim, 2, 2)
    changed = z.clone()
    changed[1] = 10 * randn(network.latent_dim, 2, 2, seed=1)
    image, image_of_changed = decode(z), decode(changed)
    assert image.dtype == torch.float32
    assert torch.equal(image[[0, 2]], image_of_changed[[0, 2]])
    assert not torch.equal(image[1], image_of_changed[1])


def test_training_and_evaluation_mode_give_the_same_image():
    network = small_network()
    z = randn(2, network.latent_dim, 2, 2)
    assert torch.equal(network.train()(z), network.eval()(z))
    assert not list(network.buffers())


def test_low_precision_stays_close():
    network = small_network()
    z = randn(2, network.latent_dim, 2, 2)
    exact, rounded = frozen_decoder(network)(z), frozen_decoder(network, "bfloat16")(z)
    assert 0 < (exact - rounded).abs().mean() < 0.02


def test_the_image_is_a_torus_unless_told_otherwise():
    for periodic in (True, False):
        network = small_network(periodic=periodic)
        z = randn(1, network.latent_dim, 3, 3)
        shifted = network(z.roll((1, 2), (2, 3)))
        difference = (shifted - network(z).roll((32, 64), (2, 3))).abs().max()
        assert difference < 1e-4 if periodic else difference > 1e-2


def test_a_constant_map_gives_a_constant_image_but_not_through_the_plain_deconvolution():
    layer = EvenDeconvolution(3, 4)
    x = randn(1, 3, 1, 1).expand(1, 3, 6, 6)
    with torch.no_grad():
        image = layer(x)
        plain = F.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=4, output_padding=1)
    assert image.shape == plain.shape == (1, 4, 8, 8)
    torch.testing.assert_close(image, image[:, :, :1, :1].expand_as(image), rtol=0, atol=1e-5)
    # Balanced, the mean answer stays as it was.
    torch.testing.assert_close(image.mean((2, 3)), plain.mean((2, 3)), rtol=0, atol=1e-5)
    assert plain.std((2, 3)).min() > 1e-2


def test_samples_of_any_size_have_the_same_distribution_of_values():
    network = small_network()
    model = GeneratorModel(network, (network.latent_dim, 2, 2))
    small = model.sample(8, torch.Generator().manual_seed(0))
    large = model.sample(2, torch.Generator().manual_seed(1), (network.latent_dim, 6, 6))
    assert small.shape == (8, 3, 64, 64)
    assert large.shape == (2, 3, 192, 192)
    assert abs(small.std() - large.std()) < 0.1 * large.std()


def test_learning_brings_fresh_samples_nearer_to_the_photograph_and_keeps_the_chains_near_the_prior():
    photograph = torch.from_numpy(texture_photograph("gravel", 64).copy())
    statistics = TextureStatistics.of(photograph)
    network = small_network(n_channels=1)
    model = GeneratorModel(network, (network.latent_dim, 1, 1), emission=Gaussian(0.1))
    recipe = replace(
        RECIPES["default"],
        step_size=0.3,
        n_steps=1,
        preconditioned=False,
        start="prior",
        learning_rate=0.02,
        weight_decay=0.0,
        batch_size=1,
        average_decay=0.0,
        learn_noise=False,
    )

    def error():
        fresh = model.sample(2, torch.Generator().manual_seed(1), (network.latent_dim, 2, 2))
        return float((statistics(fresh) - statistics.target).square().sum(1).mean())

    before = error()
    assert before < 20
    *_, iteration = islice(alternate(model, statistics.target.expand(2, -1), statistics, recipe=recipe), 12)
    assert error() < 0.5 * before
    assert 0.9 < iteration.latent_std < 1.2
