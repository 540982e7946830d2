import numpy as np

from abpnet.baselines.sounds import phase_randomised_sound


def test_phase_randomised_noise_keeps_spectrum_and_mean_and_no_event():
    rng = np.random.default_rng(0)
    sound = 0.05 * rng.standard_normal(4001) + 0.02
    sound[1000:1040] += 0.8
    for _ in range(8):  # the sign of the mean would be right by chance half of the time
        noise = phase_randomised_sound(sound, rng)
        assert noise.dtype == np.float32
        assert noise.shape == sound.shape
        np.testing.assert_allclose(noise.mean(), sound.mean(), atol=1e-5)
        np.testing.assert_allclose(np.abs(np.fft.rfft(noise)), np.abs(np.fft.rfft(sound)), atol=1e-2)
        assert np.abs(noise).max() < 0.6
