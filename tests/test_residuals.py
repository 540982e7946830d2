import numpy as np
import pytest
import torch

from abpnet.residuals import conditional_draw, conditional_mean, estimate
from fields import dense, draws_of, field_of

SIDES = 12, 10


def masks(n, share, channels=1, seed=1):
    return torch.rand(n, channels, *SIDES, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize("channels", [1, 3])
def test_the_conditional_mean_is_that_of_the_dense_formula(channels, monkeypatch):
    monkeypatch.setattr("abpnet.residuals.TOLERANCE", 1e-6)
    field, residual, observed = field_of(*SIDES), draws_of(field_of(*SIDES), 4, SIDES), masks(4, 0.3, channels)
    mean = conditional_mean(field, residual, observed)
    matrix = dense(field, *SIDES)
    for row, seen in enumerate(observed.expand_as(residual).flatten(1)):
        told = residual[row].flatten()[seen].double()
        expected = matrix[:, seen] @ torch.linalg.solve(matrix[seen][:, seen], told)
        torch.testing.assert_close(mean[row].flatten().double(), expected, atol=1e-4, rtol=0)


def test_draws_have_the_conditional_moments():
    field, n = field_of(*SIDES), 2000
    residual, observed = draws_of(field, 1, SIDES).expand(n, -1, -1, -1), masks(1, 0.3)
    draws = conditional_draw(field, residual, observed, torch.Generator().manual_seed(0)).flatten(1).double()
    matrix, seen = dense(field, *SIDES), observed.expand(1, 3, *SIDES).flatten()
    gain = torch.linalg.solve(matrix[seen][:, seen], matrix[seen]).T
    mean, variance = gain @ residual[0].flatten()[seen].double(), (matrix - gain @ matrix[seen]).diagonal()
    hidden = ~seen
    torch.testing.assert_close(draws[:, seen].mean(0), mean[seen], atol=1e-2, rtol=0)
    off = (draws.mean(0) - mean)[hidden] / (variance[hidden] / n).sqrt()
    assert off.abs().max() < 5
    ratio = draws[:, hidden].var(0) / variance[hidden]
    assert (ratio - 1).abs().max() < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_covariance_of_a_known_field_is_found(share):
    known, n = field_of(*SIDES, length=1.0), 4000
    found = estimate(draws_of(known, n, SIDES), masks(n, share)).covariance
    for lag in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        # Correlations fade out within 5 pixels; the window is 1 at lag 0, .905 at 1 and .815 at the diagonal.
        window = 0.5 * (1 + np.cos(np.pi * np.hypot(*lag) / 5))
        expected = known.covariance[:, :, lag[0], lag[1]] * window
        torch.testing.assert_close(found[:, :, lag[0], lag[1]], expected, atol=0.03, rtol=0)


def test_neighbours_help_where_residuals_are_correlated_and_do_no_harm_where_they_are_white():
    observed = masks(300, 0.5)
    hidden = ~observed.expand(300, 3, *SIDES)
    for length, worst in ((3.0, 0.6), (1e-3, 1.01)):
        residual = draws_of(field_of(*SIDES, length, white=0.0), 300, SIDES)
        field = estimate(residual, observed)
        left = residual - conditional_mean(field, residual, observed)
        assert left[hidden].square().mean() < worst * residual[hidden].square().mean()


@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_hidden_residuals_influence_nothing(junk):
    residual, observed = draws_of(field_of(*SIDES), 60, SIDES), masks(60, 0.5)
    dirty = torch.where(observed, residual, junk)
    field, other = estimate(residual, observed), estimate(dirty, observed)
    assert torch.equal(field.spectrum, other.spectrum)
    assert torch.equal(conditional_mean(field, residual, observed), conditional_mean(field, dirty, observed))
    noise = [torch.Generator().manual_seed(0) for _ in range(2)]
    drawn = [conditional_draw(field, x, observed, g) for x, g in zip((residual, dirty), noise, strict=True)]
    # Where nothing was observed; the observed entries are given back by what fills in.
    assert torch.equal(*(draw[~observed.expand_as(draw)] for draw in drawn))


def test_a_row_does_not_depend_on_the_other_rows():
    field, residual, observed = field_of(*SIDES), draws_of(field_of(*SIDES), 70, SIDES), masks(70, 0.4)
    means = conditional_mean(field, residual, observed)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    assert torch.equal(conditional_mean(field, residual[order], observed[order]), means[order])
    for some in (slice(0, 1), slice(60, 70)):
        assert torch.equal(conditional_mean(field, residual[some], observed[some]), means[some])


def test_with_nothing_observed_the_mean_is_zero():
    residual = draws_of(field_of(*SIDES), 2, SIDES)
    assert (conditional_mean(field_of(*SIDES), residual, masks(2, 0.0)) == 0).all()
