import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch.distributions import Normal, kl_divergence

from abpnet.metrics import error, latent_moments, psnr


def images(seed):
    return np.random.default_rng(seed).uniform(-1, 1, (4, 3, 5, 6)).astype(np.float32)


def test_error_is_the_mean_absolute_difference_over_the_dynamic_range():
    assert error(np.array([0.5, -1.0]), np.array([0.25, 1.0])) == (0.25 + 2) / 2 / 2
    assert error(np.ones(3), -np.ones(3)) == 1
    assert error(images(0), images(0)) == 0


def test_psnr_agrees_with_scikit_image():
    estimate, truth = images(0), images(1)
    expected = peak_signal_noise_ratio(truth.astype(float), estimate.astype(float), data_range=2)
    assert psnr(estimate, truth) == pytest.approx(expected, rel=1e-12)


def test_psnr_of_identical_signals_is_infinite():
    assert psnr(images(0), images(0)) == math.inf


@pytest.mark.parametrize("metric", [error, psnr])
def test_only_the_chosen_entries_count(metric):
    estimate, truth = images(0), images(1)
    where = np.random.default_rng(2).random((4, 1, 5, 6)) < 0.3
    everywhere = np.broadcast_to(where, truth.shape)
    spoilt = np.where(everywhere, estimate, np.nan)
    assert metric(spoilt, truth, where) == metric(estimate[everywhere], truth[everywhere])
    assert metric(spoilt, truth, everywhere) == metric(spoilt, truth, where)


@pytest.mark.parametrize("metric", [error, psnr])
def test_choosing_nothing_is_refused(metric):
    with pytest.raises(ValueError, match="selects nothing"):
        metric(images(0), images(1), np.zeros((4, 1, 5, 6), bool))


def test_small_differences_between_large_numbers_of_single_precision_entries_add_up():
    truth = np.full(2**22, 0.5, np.float32)
    assert error(truth + np.float32(2**-10), truth) == 2**-11


def test_latent_moments_are_mean_deviation_and_divergence_from_the_prior():
    z = 1.5 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + torch.arange(3.0)
    moments = latent_moments(z.split(20))
    own = Normal(z.mean(0), z.std(0, correction=0))
    expected = kl_divergence(own, Normal(torch.zeros(3).double(), torch.ones(3).double())).mean()
    assert moments["latent_divergence"] == pytest.approx(float(expected), rel=1e-12)
    assert moments["latent_mean"] == pytest.approx(float(np.mean(z.numpy())), rel=1e-12)
    assert moments["latent_std"] == pytest.approx(float(np.std(z.numpy())), rel=1e-12)


def test_positions_of_a_latent_map_count_as_examples():
    z = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert latent_moments([z]) == pytest.approx(latent_moments([z.permute(0, 2, 3, 1).reshape(-1, 3)]), rel=1e-12)


def test_chains_that_do_not_move_at_all_have_a_finite_divergence():
    moments = latent_moments([torch.zeros(4, 2)])
    assert moments["latent_mean"] == moments["latent_std"] == 0
    assert 40 < moments["latent_divergence"] < math.inf


def test_moments_can_be_written_as_json_numbers():
    assert all(type(value) is float for value in latent_moments([torch.ones(3, 2)]).values())


@pytest.mark.parametrize("metric", [error, psnr])
def test_signals_of_another_shape_are_refused(metric):
    with pytest.raises(ValueError, match="cannot be compared"):
        metric(np.zeros((2, 1, 3)), np.zeros((2, 3, 3)))
