"""Diagnostics of chains against processes whose autocorrelation is known."""

import math

import pytest
import torch

from abpnet.convergence import effective_draws, split_r_hat


def walk(correlation, n_passes=40, n_factors=4000, drift=0.0):
    """(n_passes, n_factors) of a first-order auto-regression of variance 1."""
    generator = torch.Generator().manual_seed(0)
    z, trace = torch.randn(n_factors, generator=generator), []
    for index in range(n_passes):
        noise = torch.randn(n_factors, generator=generator)
        z = correlation * z + math.sqrt(1 - correlation**2) * noise
        trace.append(z + drift * index)
    return torch.stack(trace)


@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.3, 0.6])
def test_effective_draws_are_those_of_an_auto_regression(correlation):
    expected = min(40 * (1 - correlation) / (1 + correlation), 40)
    assert effective_draws(walk(correlation)) == pytest.approx(expected, rel=0.12)


def test_r_hat_is_one_at_rest_and_grows_with_what_is_left_to_go():
    at_rest = split_r_hat(walk(0.0))
    assert at_rest == pytest.approx(1, abs=0.02)
    assert at_rest < split_r_hat(walk(0.7)) < split_r_hat(walk(0.95))
    # Halves of 20 passes, whose means are 20 drifts apart, and whose variances grow by that of 20 equal steps.
    drift = 0.1
    within = 1 + drift**2 * 35
    expected = math.sqrt(19 / 20 + ((20 * drift) ** 2 / 2 + 1 / 20) / within)
    assert split_r_hat(walk(0.0, drift=drift)) == pytest.approx(expected, rel=0.02)


def test_chains_that_stand_still_are_at_rest_and_give_no_more_than_their_passes():
    still = torch.ones(20, 5)
    assert split_r_hat(still) == 1
    assert effective_draws(still) == 20


def test_an_odd_number_of_passes_leaves_out_the_oldest():
    trace = walk(0.5, n_passes=21)
    trace[0] = 1e6
    assert split_r_hat(trace) == split_r_hat(trace[1:])
    assert effective_draws(trace) == effective_draws(trace[1:])
