import numpy as np
import pandas as pd
import pytest
import torch

from abpnet import TableImputer
from abpnet.data.tables import Table
from abpnet.errors import InputError
from abpnet.tables.choosing import choose_latent_dim, hold_back, unexplained

SMALL = {"latent_dim": 2, "n_networks": 2, "width": 8}


def simulated(n, seed):
    """Two factors behind numbers, a binary column, a category, a grade and a count; and hidden cells, three of ten."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    numbers = z @ [[1.0, 0.8, -0.7, 0.1], [0.2, -0.7, 0.6, 1.0]] + 0.3 * rng.normal(size=(n, 4))
    frame = pd.DataFrame(numbers, columns=list("abcd"))
    frame["binary"] = z[:, 0] + 0.3 * rng.normal(size=n) > 0
    frame["grade"] = np.digitize(z[:, 1] + 0.3 * rng.normal(size=n), [-1, 0, 1])
    frame["count"] = rng.poisson(np.exp(2.5 + 0.4 * z[:, 0]))
    noisy = z + 0.3 * rng.normal(size=z.shape)
    frame["colour"] = np.array(["red", "green", "blue"])[(noisy @ [[1, -1, 0], [0, 1, -1]]).argmax(1)]
    return frame, rng.random(frame.shape) < 0.3


def test_a_simulated_table_is_filled_in_far_better_than_by_means():
    frame, hidden = simulated(400, 0)
    shown = frame.astype({"binary": object, "grade": float, "count": float}).mask(hidden)
    imputer = TableImputer(kinds={"count": "count"}, n_networks=1, width=16, max_iter=40).fit(shown)
    filled = imputer.transform(shown)
    assert [column.kind for column in imputer.table_.columns] == ["number"] * 4 + [
        "category",
        "grade",
        "count",
        "category",
    ]
    for index, column in enumerate(frame):
        rows = hidden[:, index]
        truth, given = frame[column][rows], filled[column][rows]
        if column in ("binary", "colour"):
            most_frequent = (truth == shown[column].mode()[0]).mean()
            assert (truth == given).mean() > most_frequent + 0.15, column
        else:
            by_mean = np.square(truth - shown[column].mean()).mean()
            assert np.square(truth.astype(float) - given.astype(float)).mean() < 0.6 * by_mean, column
    assert imputer.unexplained_ < 0.6
    assert all(0 < share < 1 for share in imputer.unexplained_by_column_.values())


def test_draws_scatter_as_the_posterior_does():
    """One factor behind four columns: given two, the others' conditional is known."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 4))
    x[:300, 2:] = np.nan
    imputer = TableImputer(1, n_networks=1, max_iter=10).fit(x)
    draws = np.stack(imputer.impute(x[:300], n_imputations=20))[:, :, 2:]
    from_mean = draws - x[:300, :2].sum(1)[:, None] / 3
    # The network is that of 1,000 rows, not the one that drew them: what it predicts is off by up to a tenth.
    assert abs(from_mean.mean()) < 0.15
    assert np.square(from_mean).mean() == pytest.approx(4 / 3, rel=0.15)


def test_stopped_and_resumed_equals_never_stopped():
    frame, hidden = simulated(80, 1)
    shown = frame.mask(hidden)
    whole = TableImputer(**SMALL, max_iter=22).fit(shown)
    first = TableImputer(**SMALL, max_iter=22)
    passes = first.iterations(shown)
    for _ in range(13):
        next(passes)
    tensors = {name: tensor.clone() for name, tensor in first.state_.tensors().items()}
    checkpoint = (tensors, first.state_.facts())
    passes.close()
    assert first.n_iter_ == 13
    second = TableImputer(**SMALL, max_iter=22)
    assert len(list(second.iterations(shown, checkpoint))) == 9
    pd.testing.assert_frame_equal(second.transform(shown), whole.transform(shown))
    assert second.unexplained_ == whole.unexplained_
    rows = [[{**row, "seconds": 0} for row in imputer.history_] for imputer in (second, whole)]
    assert rows[0] == rows[1]


def test_a_checkpoint_of_another_table_is_refused():
    frame, _ = simulated(40, 1)
    first = TableImputer(**SMALL, max_iter=1)
    passes = first.iterations(frame)
    next(passes)
    checkpoint = (first.state_.tensors(), first.state_.facts())
    changed = frame.copy()
    changed.iloc[3, 0] += 1
    for other in (frame[["a", "b", "c"]], changed):
        with pytest.raises(InputError, match="belongs to another table"):
            next(TableImputer(**SMALL).iterations(other, checkpoint))
    with pytest.raises(InputError, match="does not fit this table"):
        next(TableImputer(**(SMALL | {"width": 2})).iterations(frame, checkpoint))


def test_where_no_cell_can_be_held_back_the_last_networks_are_kept():
    """Of rows with one value each nothing is held back: nobody can tell when they were best, nor how good."""
    x = np.where(np.eye(3, dtype=bool)[np.arange(30) % 3], np.arange(30.0)[:, None], np.nan)
    table = Table.describe(x)
    matrix = table.encode(x)
    assert unexplained(table, matrix, matrix, np.zeros(matrix.shape, bool)) is None
    imputer = TableImputer(1, n_networks=2, width=4, max_iter=12)
    passes = imputer.iterations(x)
    told = [one.unexplained for one in passes]
    assert told == [None] * 12
    assert imputer.unexplained_ is None
    assert imputer.unexplained_by_column_ == dict.fromkeys(range(3))
    started = TableImputer(1, n_networks=2, width=4, max_iter=1)
    first = started.iterations(x)
    next(first)
    assert any(
        not torch.equal(now.model.state_dict()[name], weight)
        for now, then in zip(imputer.models_, started.state_.models(started.state_.best.networks), strict=True)
        for name, weight in then.model.state_dict().items()
    )


def test_a_category_that_is_told_worse_than_by_its_most_frequent_level_becomes_that():
    rng = np.random.default_rng(0)
    frame, _ = simulated(200, 2)
    frame["rare"] = rng.choice(["yes", "no"], len(frame), p=[0.45, 0.55])
    imputer = TableImputer(**SMALL, max_iter=2)
    learning = imputer.iterations(frame)
    next(learning)
    state = imputer.state_
    (column,) = (column for column in state.table.columns if column.name == "rare")
    assert column.levels[column.places(np.array([[0.2]]))[0]] == "no"

    def wrong(networks):
        for cells in state.held_back:
            guess = state.matrix.copy()
            guess[:, column.span] = 1 - guess[:, column.span]
            yield state.matrix, guess, cells

    state._guesses = wrong
    assert state.told_worse() == {"rare": 0}
    learning.close()
    assert imputer.usual_ == {"rare": 0}
    spoiled = frame.assign(rare=None)
    assert set(imputer.transform(spoiled)["rare"]) == {"no"}
    assert set(imputer.impute(spoiled, 1)[0]["rare"]) == {"yes", "no"}, "draws tell what is not known"


def test_learning_ends_when_cells_held_back_are_predicted_no_better():
    x = np.random.default_rng(0).normal(size=(60, 3))
    imputer = TableImputer(1, n_networks=1, width=4, max_iter=1000).fit(x)
    assert imputer.n_iter_ < 500
    assert imputer.unexplained_ < 1.3, "columns without relation are predicted by about their means"


def test_held_back_cells_are_observed_ones_and_leave_something_of_each_row():
    frame, hidden = simulated(200, 2)
    table = Table.describe(frame.mask(hidden))
    matrix = table.encode(frame.mask(hidden))
    cells = hold_back(table, matrix, 0.5, np.random.default_rng(0))
    observed = ~np.isnan(matrix)
    assert not (cells & ~observed).any()
    assert (observed & ~cells).any(1)[observed.any(1)].all()
    (colour,) = (column for column in table.columns if column.name == "colour")
    assert (cells[:, colour.span].all(1) == cells[:, colour.span].any(1)).all(), "categories go as a whole"
    mean = np.broadcast_to(np.nanmean(matrix, 0), matrix.shape)
    assert unexplained(table, matrix, mean, observed) == pytest.approx(1, abs=1e-4)
    assert unexplained(table, matrix, np.nan_to_num(matrix), cells) == 0


def test_as_many_factors_are_chosen_as_there_are():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 12)) + 0.3 * rng.normal(size=(500, 12))
    table = Table.describe(x)
    matrix = table.encode(x)
    held_back = [hold_back(table, matrix, 0.1, rng) for _ in range(2)]
    latent_dim, fits = choose_latent_dim(table, matrix, held_back, (1, 2, 3, 4, 5, 6))
    assert latent_dim == 3
    assert [tuple(fit.loadings.shape) for fit in fits] == [(12, 3)] * 2


def test_the_global_seed_is_left_alone():
    before = torch.get_rng_state()
    TableImputer(1, n_networks=1, width=4, max_iter=1).fit(np.random.default_rng(0).normal(size=(20, 3)))
    assert torch.equal(torch.get_rng_state(), before)
