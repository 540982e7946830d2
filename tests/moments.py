"""Assertions on samples whose exact moments are known, as sharp as the chains' own precision allows."""

import numpy as np

SIGMAS = 5.0


def effective_sample_size(chains: np.ndarray) -> float:
    """Independent draws worth (n_draws, n_chains) of one quantity: from the autocorrelation averaged over chains."""
    n_draws, n_chains = chains.shape
    centred = chains - chains.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n_draws, axis=0)) ** 2
    autocovariance = np.fft.irfft(spectrum, axis=0)[:n_draws].mean(1) / n_draws
    correlation = autocovariance / autocovariance[0]
    pairs = correlation[: n_draws // 2 * 2].reshape(-1, 2).sum(1)  # Geyer's initial positive sequence
    last = np.argmax(pairs < 0) if (pairs < 0).any() else len(pairs)
    time = max(2 * pairs[:last].sum() - 1, 1.0)
    return n_draws * n_chains / time


def assert_mean(chains: np.ndarray, expected: float, least_effective: float = 1000.0) -> None:
    """The mean of (n_draws, n_chains) values lies within 5 standard errors of the expected one."""
    effective = effective_sample_size(chains)
    assert effective >= least_effective, f"only {effective:.0f} effective draws: too few to tell"
    standard_error = chains.std() / np.sqrt(effective)
    assert abs(chains.mean() - expected) < SIGMAS * standard_error, (
        f"mean {chains.mean():.5f}, expected {expected:.5f}, standard error {standard_error:.5f}"
    )


def assert_stationary_moments(paths: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Paths (length, n, d) have this mean and covariance, up to twice 5 standard errors.

    Twice, where the process got its moments from simulated paths as well.
    """
    deviations = paths - mean
    for i in range(len(mean)):
        error = deviations[..., i].std() / np.sqrt(effective_sample_size(deviations[..., i]))
        assert abs(deviations[..., i].mean()) < 2 * SIGMAS * error
        for j in range(len(mean)):
            product = deviations[..., i] * deviations[..., j]
            error = product.std() / np.sqrt(effective_sample_size(product))
            assert error < 0.1 * np.sqrt(covariance[i, i] * covariance[j, j])
            assert abs(product.mean() - covariance[i, j]) < 2 * SIGMAS * error
