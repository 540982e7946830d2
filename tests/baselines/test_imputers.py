import re

import numpy as np
import pytest

from abpnet.baselines import imputers
from abpnet.baselines.imputers import IMPUTERS, impute_by, impute_by_factor_analysis


def low_rank_data(n=60, n_new=15, size=12, rank=2, missing=0.3, seed=0):
    """Training and new data of low rank plus a little noise: complete, and with entries lost."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n + n_new, rank))
    complete = factors @ rng.standard_normal((rank, size)) + 0.5 + 0.05 * rng.standard_normal((n + n_new, size))
    complete = complete.astype(np.float32)
    incomplete = np.where(rng.random(complete.shape) < missing, np.float32(np.nan), complete)
    return (complete[:n], complete[n:]), (incomplete[:n], incomplete[n:])


def error_of(filled, complete, incomplete):
    return np.abs(filled - complete)[np.isnan(incomplete)].mean()


@pytest.mark.parametrize("name", IMPUTERS)
@pytest.mark.parametrize("n_new", [15, 0])
def test_every_method_keeps_what_was_observed_and_fills_in_the_rest(name, n_new):
    _, incomplete = low_rank_data(n_new=n_new)
    before = [values.copy() for values in incomplete]
    label, *filled = IMPUTERS[name](*incomplete)
    assert name in label
    for values, given, kept in zip(filled, incomplete, before, strict=True):
        np.testing.assert_array_equal(given, kept)  # the caller's data are left alone
        assert values.shape == given.shape
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values[~np.isnan(given)], given[~np.isnan(given)])


@pytest.mark.parametrize("name", IMPUTERS)
def test_every_method_copes_with_hidden_columns_and_rows(name):
    _, (train, new) = low_rank_data()
    train[:, 3] = np.nan
    train[5] = np.nan
    new[2] = np.nan
    _, *filled = IMPUTERS[name](train, new)
    for values, given in zip(filled, (train, new), strict=True):
        assert values.shape == given.shape
        assert np.isfinite(values).all()


def test_mean_fill_is_the_mean_of_what_was_observed_in_training():
    train = np.array([[1, np.nan, np.nan], [3, 5, np.nan], [np.nan, 6, np.nan]], np.float32)
    new = np.array([[np.nan, np.nan, 7], [0, np.nan, np.nan]], np.float32)
    _, filled, filled_new = IMPUTERS["mean fill"](train, new)
    np.testing.assert_array_equal(filled, [[1, 5.5, 0], [3, 5, 0], [2, 6, 0]])
    np.testing.assert_array_equal(filled_new, [[2, 5.5, 7], [0, 5.5, 0]])


def test_factor_analysis_recovers_low_rank_data_where_mean_fill_cannot():
    complete, incomplete = low_rank_data()
    by_mean, linear = (IMPUTERS[name](*incomplete) for name in ("mean fill", "linear factor analysis"))
    for part in (0, 1):
        error = error_of(linear[1 + part], complete[part], incomplete[part])
        assert error < 0.1 * error_of(by_mean[1 + part], complete[part], incomplete[part])
        assert error < 2 * 0.05  # the noise of the data


@pytest.mark.parametrize(("rank", "chosen"), [(2, "2|5"), (5, "5|10"), (20, "20")])
def test_factor_analysis_chooses_enough_factors(rank, chosen):
    _, incomplete = low_rank_data(n=200, size=40, rank=rank, missing=0.1)
    label, _, _ = impute_by_factor_analysis(*incomplete)
    assert re.fullmatch(rf"linear factor analysis \(d = ({chosen})\)", label)


@pytest.mark.parametrize(("n", "size"), [(2, 6), (5, 2), (4, 1)])
def test_factor_analysis_copes_with_fewer_examples_or_entries_than_any_rank(n, size):
    _, (train, new) = low_rank_data(n=n, size=size, missing=0.2)
    label, filled, filled_new = impute_by_factor_analysis(train, new)
    assert label == "linear factor analysis (d = 1)"
    assert np.isfinite(filled).all()
    assert np.isfinite(filled_new).all()


def test_comparison_runs_every_method_on_the_same_data():
    complete, incomplete = low_rank_data()
    outcomes = [impute_by(name, *incomplete) for name in IMPUTERS]
    assert len(outcomes) == len(IMPUTERS)
    for outcome, (name, impute) in zip(outcomes, IMPUTERS.items(), strict=True):
        label, train, new = impute(*incomplete)
        assert name in outcome.name
        assert outcome.name == label
        assert outcome.seconds > 0
        np.testing.assert_array_equal(outcome.train, train)
        np.testing.assert_array_equal(outcome.new, new)
    best = min(outcomes, key=lambda outcome: error_of(outcome.new, complete[1], incomplete[1]))
    assert not best.name.startswith("mean fill")


def test_methods_not_run_for_many_columns_are_reported(monkeypatch):
    _, incomplete = low_rank_data(size=12)
    monkeypatch.setattr(imputers, "MOST_COLUMNS_ITERATIVE", 11)
    monkeypatch.setattr(imputers, "MOST_WORK_NEIGHBOURS", 60 * 60 * 12)
    outcomes = [impute_by(name, *incomplete) for name in IMPUTERS]
    skipped = [outcome for outcome in outcomes if outcome.train is None]
    assert [outcome.name for outcome in skipped] == ["IterativeImputer (not run: 60 rows of 12 columns)"]
    assert skipped[0] == ("IterativeImputer (not run: 60 rows of 12 columns)", None, None, 0.0)
    assert len(outcomes) == len(IMPUTERS)


def test_limits_hold_for_the_columns_of_small_colour_images():
    assert IMPUTERS["IterativeImputer"](*[np.zeros((2, 129), np.float32)] * 2) is None
    assert IMPUTERS["KNNImputer"](*[np.broadcast_to(np.float32(0), (2000, 5001))] * 2) is None
