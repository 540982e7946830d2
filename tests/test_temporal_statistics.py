"""Temporal statistics against what is known of them."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from abpnet.temporal_statistics import (
    ROUNDING,
    difference_distance,
    frame_differences,
    spectral_distance,
    temporal_spectrum,
)


@pytest.fixture
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal((4096, 1, 3, 3)).astype(np.float32)


def test_white_noise_has_a_flat_spectrum_of_its_variance(noise):
    power = temporal_spectrum(noise)
    assert power.shape == (16, 3, 3)
    # One-sided density: twice the variance, of which the half at the highest frequency has no mirror image.
    assert np.allclose(power[1:-1].mean(), 2 * (0.01 + ROUNDING), rtol=0.03)


def test_a_pixel_at_rest_has_the_spectrum_of_rounding():
    assert np.allclose(temporal_spectrum(np.full((40, 3, 2, 2), 0.5, np.float32)), 2 * ROUNDING)


def test_a_wave_shows_at_its_frequency():
    wave = np.sin(2 * np.pi * np.arange(320) * 5 / 32)[:, None, None, None] * np.ones((1, 1, 2, 2))
    assert (temporal_spectrum(wave).argmax(0) == 4).all()


def test_twice_the_amplitude_is_6_dB_away(noise):
    assert spectral_distance(2 * noise, noise) == pytest.approx(20 * np.log10(2), abs=0.01)
    assert spectral_distance(noise, noise) == 0


def test_the_spectrum_does_not_see_the_mean_frame_and_the_order_of_pixels_counts(noise):
    assert spectral_distance(noise + 0.3, noise) == pytest.approx(0, abs=1e-4)
    contrast = noise * np.linspace(0.1, 1, 9).reshape(3, 3).astype(np.float32)
    assert spectral_distance(contrast[:, :, ::-1], contrast) > 3


def test_too_few_frames(noise):
    with pytest.raises(ValueError, match="32 are needed"):
        temporal_spectrum(noise[:31])
    assert spectral_distance(noise[:20], noise[30:55]) > 0, "what the shorter one has, by default"


def test_differences_of_normal_noise(noise):
    values, weights = frame_differences(noise)
    assert weights.sum() == pytest.approx(1)
    assert (weights * values**2).sum() == pytest.approx(2 * 0.01, rel=0.03)
    # Normal distributions of scales s and 2 s are E|u| s apart; the dynamic range is 2.
    scale = np.sqrt(2) * 0.1
    assert difference_distance(2 * noise, noise) == pytest.approx(scale * np.sqrt(2 / np.pi) / 2, rel=0.03)


def test_the_distance_of_histograms_is_that_of_the_samples(noise):
    other = np.clip(np.cumsum(noise[:500], 0) / 3, -1, 1)
    samples = [np.diff(np.clip(frames, -1, 1), axis=0).ravel() for frames in (noise[:500], other)]
    assert difference_distance(noise[:500], other) == pytest.approx(wasserstein_distance(*samples) / 2, abs=2e-4)
