from dataclasses import replace
from itertools import islice

import pytest
import torch

from abpnet.data.builtin import sound_recording
from abpnet.emissions import Gaussian
from abpnet.learning import alternate
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import SOUND_STRIDE, SoundNetwork, build_network, describe_network, initialise
from abpnet.networks.sounds import FINEST, N_BEATS, SCALES
from abpnet.recipes import RECIPES
from abpnet.sound_statistics import SoundStatistics

RATE = 4000


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_network(seed=0, period=None):
    with torch.device("meta"):
        network = SoundNetwork.with_noise(RATE, width=8, n_coarse=5, n_fine=2, period=period)
    return initialise(network, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_length_of_the_sequence_gives_a_sound_4096_times_as_long(length):
    network = small_network()
    sound = network(randn(2, network.latent_dim, length))
    assert sound.shape == (2, SOUND_STRIDE * length)
    assert sound.abs().max() <= 1
    assert 1e-3 < sound.std() < 0.5


@pytest.mark.parametrize("rate", [4000, 11025, 48000])
def test_every_rate_has_bands_enough(rate):
    network = initialise(SoundNetwork.with_noise(rate, width=4, n_fine=1), torch.Generator().manual_seed(0))
    assert network(randn(1, network.latent_dim, 1)).isfinite().all()


def test_factors_and_periods_that_cannot_be():
    needed = 2 * sum(SCALES) + SOUND_STRIDE + 2
    assert SoundNetwork(needed, n_fine=2).latent_dim == needed
    with pytest.raises(ValueError, match=f"latent_dim must exceed {needed - 1}"):
        SoundNetwork(needed - 1, n_fine=2)
    with pytest.raises(ValueError, match="period must exceed"):
        SoundNetwork.with_noise(period=2.0 * FINEST)


def test_initialised_from_the_meta_device_by_the_given_generator_alone():
    before = torch.get_rng_state()
    first, again, other = small_network(1), small_network(1), small_network(2)
    assert torch.equal(before, torch.get_rng_state())
    for name, weight in first.named_parameters():
        assert weight.isfinite().all()
        assert torch.equal(weight, again.get_parameter(name))
    assert not torch.equal(first.convolutions[0].weight, other.convolutions[0].weight)


@pytest.mark.parametrize("period", [None, 500.0])
def test_description_builds_the_same_network(period):
    network = small_network(period=period)
    rebuilt = build_network(describe_network(network))
    rebuilt.load_state_dict(network.state_dict())
    z = randn(1, network.latent_dim, 2)
    assert torch.equal(rebuilt(z), network(z))


def test_gradients_reach_every_weight_and_the_noise_of_every_scale():
    network = small_network(period=500.0)
    z = randn(1, network.latent_dim, 2).requires_grad_()
    (network(z) * randn(1, 2 * SOUND_STRIDE, seed=1)).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad.abs().max() > 1e-6, name
    for part in z.grad.split(network.parts, 1):
        assert (part != 0).float().mean() > 0.95


def test_examples_do_not_depend_on_one_another():
    network = small_network(period=500.0)
    decode = frozen_decoder(network)
    z = randn(3, network.latent_dim, 2)
    changed = z.clone()
    changed[1] = 10 * randn(network.latent_dim, 2, seed=1)
    sound, sound_of_changed = decode(z), decode(changed)
    assert torch.equal(sound[[0, 2]], sound_of_changed[[0, 2]])
    assert not torch.equal(sound[1], sound_of_changed[1])


def test_low_precision_stays_close():
    network = small_network()
    z = randn(2, network.latent_dim, 2)
    exact, rounded = frozen_decoder(network)(z), frozen_decoder(network, "bfloat16")(z)
    assert 0 < (exact - rounded).std() < 0.1 * exact.std()


def test_the_sound_is_a_circle():
    network = small_network()
    z = randn(1, network.latent_dim, 4)
    torch.testing.assert_close(network(z.roll(1, 2)), network(z).roll(SOUND_STRIDE, 1), rtol=0, atol=1e-4)


def test_steady_factors_make_steady_envelopes():
    """A strided deconvolution would leave a buzz at the rate of its stride."""
    network = small_network()
    n_fine = network.settings["n_fine"]
    parts = [randn(1, network.parts[0], 1), *(randn(1, n_fine, 1).repeat_interleave(s, 1) for s in SCALES)]
    steady = torch.cat([*parts, torch.zeros(1, SOUND_STRIDE, 1)], 1).expand(1, -1, 3)
    with torch.no_grad():
        envelopes = network.envelopes(steady.split(network.parts, 1))
    assert envelopes.shape[2] == 3 * SOUND_STRIDE // FINEST
    torch.testing.assert_close(envelopes, envelopes[..., :1].expand_as(envelopes), rtol=1e-4, atol=0)
    assert envelopes.std(1).min() > 0.01


@pytest.mark.parametrize(("period", "n_cycles"), [(1000.0, 8), (1100.0, 7), (50_000.0, 1)])
def test_whole_cycles_fill_the_circle(period, n_cycles):
    network = small_network(period=period)
    n_positions = 2 * SOUND_STRIDE // FINEST
    beats = network.beats(randn(1, network.parts[0], 2), n_positions)[0]
    assert beats.shape == (N_BEATS, n_positions)
    spectrum = torch.fft.rfft(beats[0] - beats[0].mean()).abs()
    assert int((spectrum > 1e-3 * spectrum.max()).nonzero()[0]) == n_cycles


def test_a_rhythm_begins_anywhere():
    network = small_network(period=2000.0)
    beats = network.beats(randn(400, network.parts[0], 3), 3 * SOUND_STRIDE // FINEST)
    first = beats[:, :, 0].argmax(1)
    counts = torch.bincount(first // (N_BEATS // 4), minlength=4)
    assert (counts > 60).all(), "about 100 in each quarter of the cycle"


def test_it_starts_at_noise_of_the_recordings_spectrum():
    clip = torch.from_numpy(sound_recording("chirps", 4.0, RATE))
    spectra = []
    for sound in (clip, small_network()(randn(1, small_network().latent_dim, 4))[0]):
        spectra.append(torch.fft.rfft(sound).abs().square() / len(sound) ** 2)
    started = small_network()
    started.start_from(clip)
    sound = started(randn(1, started.latent_dim, 4))[0]
    spectra.append(torch.fft.rfft(sound).abs().square() / len(sound) ** 2)
    bins = [10 * torch.nn.functional.adaptive_avg_pool1d(s[None], 40)[0].log10() for s in spectra]
    sums = [s.sum() for s in spectra]
    assert abs(sums[2] / sums[0] - 1) < 0.2
    assert (bins[2] - bins[0]).abs().mean() < 1, "decibels, of bins with the same number of samples"
    assert (bins[1] - bins[0]).abs().mean() > 3


def test_learning_brings_fresh_sounds_nearer_to_the_recording_and_keeps_the_chains_near_the_prior():
    clip = torch.from_numpy(sound_recording("crackle", 4.0, RATE))
    statistics = SoundStatistics.of(clip, RATE)
    network = small_network()
    network.start_from(clip)
    model = GeneratorModel(network, (network.latent_dim, 3), emission=Gaussian(0.1))
    recipe = replace(RECIPES["texture"], average_decay=0.0)

    def error():
        fresh = model.sample(2, torch.Generator().manual_seed(1), (network.latent_dim, 4))
        return float((statistics(fresh) - statistics.target).square().sum(1).mean())

    before = error()
    *_, iteration = islice(alternate(model, statistics.target.expand(2, -1), statistics, recipe=recipe), 10)
    assert error() < 0.4 * before
    assert 0.9 < iteration.latent_std < 1.2
