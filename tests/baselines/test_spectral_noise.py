import numpy as np

from abpnet.baselines.spectral_noise import phase_randomised


def test_phase_randomised_noise_keeps_spectrum_mean_and_colours():
    rng = np.random.default_rng(0)
    image = np.clip(0.3 + 0.1 * rng.standard_normal((1, 32, 48)) * np.array([1.0, -0.5, 0.2])[:, None, None], -1, 1)
    for _ in range(8):  # the sign of the mean would be right by chance half of the time
        noise = phase_randomised(image, rng)
        assert noise.dtype == np.float32
        assert not np.allclose(noise, image, atol=0.05)
        np.testing.assert_allclose(noise.mean((1, 2)), image.mean((1, 2)), atol=1e-5)
        np.testing.assert_allclose(np.abs(np.fft.fft2(noise)), np.abs(np.fft.fft2(image)), atol=1e-2)
        np.testing.assert_allclose(np.cov(noise.reshape(3, -1)), np.cov(image.reshape(3, -1)), atol=1e-5)


def test_phase_randomised_noise_keeps_spectrum_and_mean_and_no_event():
    rng = np.random.default_rng(0)
    sound = 0.05 * rng.standard_normal(4001) + 0.02
    sound[1000:1040] += 0.8
    for _ in range(8):  # the sign of the mean would be right by chance half of the time
        noise = phase_randomised(sound[None], rng)[0]
        assert noise.dtype == np.float32
        assert noise.shape == sound.shape
        np.testing.assert_allclose(noise.mean(), sound.mean(), atol=1e-5)
        np.testing.assert_allclose(np.abs(np.fft.rfft(noise)), np.abs(np.fft.rfft(sound)), atol=1e-2)
        assert np.abs(noise).max() < 0.6
