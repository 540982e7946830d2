"""Noise is made as large as what was held back says it is."""

import numpy as np
import pytest
import torch

import abpnet
from abpnet.estimator import GeneratorNetwork
from abpnet.networks import LinearNetwork
from abpnet.uncertainty import coverage, credible_interval


def test_calibrated_noise_is_saved_and_scales_what_is_drawn(tmp_path):
    """Noise assumed five times too small: intervals hold too little, and as much as they should once calibrated."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((2, 12)).astype(np.float32)
    x = (rng.standard_normal((64, 2)) @ loadings + 0.5 * rng.standard_normal((64, 12))).astype(np.float32)
    hidden = rng.random(x.shape) < 0.3
    shown = np.where(hidden, np.float32(np.nan), x)
    with torch.device("meta"):
        linear = LinearNetwork(2, (12,))
    net = GeneratorNetwork(2, network=linear, noise_std=0.1, max_iter=20, verbose=False).fit(shown)
    assert net.noise_scale_ == 1

    def held(net):
        return coverage(x, credible_interval(net.impute(shown, n_imputations=39)), hidden)

    assert held(net) < 0.7
    mean = net.impute(shown)
    assert net.calibrate(shown) is net
    assert net.noise_scale_ > 3
    assert 0.85 < held(net) < 0.95
    np.testing.assert_array_equal(net.impute(shown), mean)
    net.save(tmp_path / "net")
    loaded = GeneratorNetwork.load(tmp_path / "net", network=linear.to_empty(device="cpu"))
    np.testing.assert_array_equal(loaded.impute(shown, n_imputations=2), net.impute(shown, n_imputations=2))


def test_calibration_that_cannot_be_is_refused():
    x = (np.random.default_rng(0).random((20, 6)) < 0.5).astype(np.float32)
    net = GeneratorNetwork(2, emission=abpnet.Bernoulli(), max_iter=1, verbose=False).fit(x)
    with pytest.raises(ValueError, match="no noise"):
        net.calibrate(x)
    net = GeneratorNetwork(2, max_iter=1, verbose=False).fit(x)
    with pytest.raises(ValueError, match="share"):
        net.calibrate(x, share=1.0)
    with pytest.raises(ValueError, match="level"):
        net.calibrate(x, level=0.0)
    with pytest.raises(ValueError, match="n_chains"):
        net.impute(np.where(x > 0, x, np.nan), n_chains=0)


def test_calibration_uses_the_entries_that_were_held_back():
    """One entry is ten times as noisy as the others: intervals that are to hold it have to be wider."""
    rng = np.random.default_rng(0)
    noise = 0.2 * rng.standard_normal((64, 20)) * np.where(np.arange(20) == 0, 10, 1)
    x = (rng.standard_normal((64, 1)) + noise).astype(np.float32)
    x[:20, 7] = np.nan
    with torch.device("meta"):
        linear = LinearNetwork(1, (20,))
    net = GeneratorNetwork(1, network=linear, noise_std=0.2, max_iter=15, verbose=False).fit(x)
    scales = {}
    for entry in (0, 7):
        held_back = np.zeros(x.shape, bool)
        held_back[:, entry] = True
        scales[entry] = net.calibrate(x, held_back=held_back).noise_scale_
    assert scales[0] > 3 * scales[7] > 0
    # Of entries that are missing nothing is known, whatever is said of them.
    held_back[:20] = False
    assert net.calibrate(x, held_back=held_back).noise_scale_ == scales[7]
    with pytest.raises(ValueError, match="held_back must have the shape"):
        net.calibrate(x, held_back=held_back[0])
    with pytest.raises(ValueError, match="X: none of its observed entries is to be hidden"):
        net.calibrate(x, held_back=np.zeros(x.shape, bool))
    assert net.calibrate(x, 0.97, held_back=held_back).noise_scale_ > 0, "as many draws as that level needs"
    net.set_params(noise_std=1e-4)
    net.model_.emission = abpnet.Gaussian(1e-4)
    with pytest.warns(UserWarning, match="noise_std=0.0001 far off"):
        net.calibrate(x, held_back=held_back)
