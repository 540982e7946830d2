import decimal
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import abpnet
from abpnet import TableImputer
from table_frames import mixed, shown

pytestmark = pytest.mark.usefixtures("searches_shortened")
FAST = {"latent_dim": 1, "n_networks": 1, "width": 4, "max_iter": 2}


@parametrize_with_checks([TableImputer(**FAST)])
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_what_is_there_stays_and_the_rest_is_filled_in():
    whole, hidden = mixed()
    frame = whole.mask(hidden)
    imputer = TableImputer(**FAST).fit(frame)
    for filled in (imputer.transform(frame), *imputer.impute(frame, n_imputations=2)):
        assert not filled.isna().any().any()
        assert (filled.dtypes == frame.dtypes).all()
        for index, column in enumerate(frame):
            there = ~hidden[:, index]
            assert (filled[column][there] == frame[column][there]).all(), column
            assert filled[column].isin(whole[column]).all() or column in ("height", "visits")
    assert frame.isna().any().any(), "what was given is left alone"


def test_hidden_cells_never_matter_however_they_are_marked():
    whole, hidden = mixed()
    marked = []
    for mark in (np.nan, None, pd.NA):
        frame = whole.astype(object).mask(hidden)
        for index, column in enumerate(frame):
            frame.loc[hidden[:, index], column] = mark
        frame = frame.astype({"height": "Float64", "visits": "Int64", "tall": "boolean"})
        frame["size"] = pd.Categorical(frame["size"], ["small", "medium", "large"], ordered=True)
        marked.append(TableImputer(**FAST).fit(frame).transform(frame))
    for other in marked[1:]:
        pd.testing.assert_frame_equal(marked[0].astype(str), other.astype(str))


def test_what_stands_below_a_mask_never_matters():
    """Nullable columns of pandas keep some number where a cell is missing."""
    whole, hidden = mixed()
    filled = []
    for below in (0, 10**9):
        frame = whole.mask(hidden)
        heights = np.where(hidden[:, 1], below, whole["height"])
        visits = np.where(hidden[:, 3], below, whole["visits"].to_numpy(np.int64))
        frame["height"] = pd.arrays.FloatingArray(heights, hidden[:, 1])
        frame["visits"] = pd.arrays.IntegerArray(visits, hidden[:, 3])
        filled.append(TableImputer(**FAST).fit_transform(frame))
    pd.testing.assert_frame_equal(*filled, check_exact=True)


def test_rows_do_not_depend_on_one_another():
    frame = shown(300)
    imputer = TableImputer(**FAST).fit(frame)
    together = imputer.transform(frame)
    pd.testing.assert_frame_equal(imputer.transform(frame.iloc[[3, 270]]), together.iloc[[3, 270]])


def test_same_seed_same_bits():
    frame = shown()
    first, again, other = (TableImputer(**FAST, random_state=seed).fit(frame) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.transform(frame), again.transform(frame))
    assert not first.transform(frame)["height"].equals(other.transform(frame)["height"])
    draws, same = first.impute(frame, 3), again.impute(frame, 3)
    for one, two in zip(draws, same, strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert not draws[0]["height"].equals(draws[1]["height"])


def test_arrays_become_data_frames_where_these_are_asked_for():
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[::3, 1] = np.nan
    imputer = TableImputer(**FAST).set_output(transform="pandas").fit(x)
    filled = imputer.transform(x)
    assert isinstance(filled, pd.DataFrame)
    assert list(filled) == list(imputer.get_feature_names_out()) == ["x0", "x1", "x2"]


def test_in_front_of_a_classifier():
    rng = np.random.default_rng(0)
    y = rng.random(100) < 0.5
    x = y[:, None] + 0.3 * rng.normal(size=(100, 4))
    x[rng.random(x.shape) < 0.3] = np.nan
    assert make_pipeline(TableImputer(**FAST), LogisticRegression()).fit(x, y).score(x, y) > 0.9


def test_kinds_can_be_told():
    frame = shown()
    imputer = TableImputer(**FAST, kinds={"visits": "number"}, whole=False).fit(frame)
    assert [column.kind for column in imputer.table_.columns] == ["category", "number", "grade", "number", "category"]
    x = np.random.default_rng(0).integers(0, 4, (50, 3)).astype(float)
    x[::4, 0] = np.nan
    filled = TableImputer(**FAST, kinds={0: "category", 2: "grade"}).fit_transform(x)
    assert set(filled[:, 0]) <= {0.0, 1.0, 2.0, 3.0}


def test_a_row_without_any_value_is_filled_in():
    frame = shown()
    frame.iloc[5] = pd.NA
    assert not TableImputer(**FAST).fit_transform(frame).isna().any().any()


@pytest.mark.parametrize(
    "x",
    [
        [[1.0, np.nan], [np.nan, 2.0]],
        [[1.0], [np.nan], [2.0], [4.0]],
        [[1.0, 5.0], [2.0, 5.0], [np.nan, np.nan], [4.0, 5.0]],
        [[1e300, 1e-200], [np.nan, 2e-200], [2e300, np.nan], [3e300, -1e-200]],
    ],
    ids=["two rows", "one column", "a constant", "huge and tiny"],
)
def test_small_and_odd_tables_are_filled_in(x):
    filled = TableImputer(**FAST).fit_transform(np.array(x))
    seen = ~np.isnan(x)
    np.testing.assert_array_equal(filled[seen], np.array(x)[seen])
    assert np.isfinite(filled).all()
    assert (filled <= np.nanmax(x, 0) + 2 * np.nanstd(x, 0)).all()


def test_a_table_without_missing_cells_comes_back():
    whole, _ = mixed()
    pd.testing.assert_frame_equal(TableImputer(**FAST).fit_transform(whole), whole)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.assign(height=np.nan), "'height'.*no value at all"),
        (lambda frame: frame.assign(height=pd.Timestamp("2020")), "'height'.*drop it"),
        (lambda frame: frame.assign(height=pd.Timestamp("2020").date()), "'height'.*date.*drop it"),
        (lambda frame: frame.assign(height=np.inf), "'height'.*infinity"),
        (lambda frame: frame.assign(colour=[f"name {i}" for i in range(len(frame))]), "'colour'.*no value comes twice"),
        (lambda frame: frame.iloc[:1], "minimum of 2"),
        (lambda frame: pd.concat([frame, frame["height"]], axis=1), "column names"),
    ],
)
def test_tables_that_cannot_be_learned_from(spoil, message):
    with pytest.raises(ValueError, match=message):
        TableImputer(**FAST).fit(spoil(shown()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be"),
        ({"n_networks": 0}, "n_networks must be"),
        ({"width": 1.5}, "width must be"),
        ({"max_iter": True}, "max_iter must be"),
        ({"max_seconds": 0.0}, "max_seconds must be"),
        ({"kinds": {"size": "colour"}}, "one of number, count, grade, category"),
        ({"kinds": {"weight": "number"}}, "expected a column of the table"),
        ({"kinds": {"colour": "number"}}, "'colour': a number must hold numbers"),
        ({"kinds": {"height": "count"}}, "'height': counts must be whole"),
        ({"kinds": {"colour": "grade"}}, "'colour': .* need an order"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TableImputer(**(FAST | settings)).fit(shown())


def test_another_table_is_refused():
    imputer = TableImputer(**FAST).fit(shown())
    with pytest.raises(ValueError, match="height"):
        imputer.transform(shown().drop(columns="height"))
    with pytest.raises(ValueError, match="'height': held numbers"):
        imputer.transform(shown().assign(height="tall"))
    with pytest.raises(ValueError, match="n_imputations must be at least 1"):
        imputer.impute(shown(), n_imputations=0)


@pytest.fixture(scope="module")
def of_whole(searches_shortened):
    """A table without holes, and what was learned from it."""
    whole, _ = mixed()
    return whole, TableImputer(**FAST).fit(whole)


@pytest.mark.parametrize("name", ["colour", "height", "size", "visits", "tall"])
def test_a_single_row_without_some_value_is_filled_in_with_the_types_of_the_table(of_whole, name):
    whole, imputer = of_whole
    row = whole.iloc[[0]].copy()
    for nothing in (None, np.nan, pd.NA):
        row[name] = pd.Series([nothing], index=row.index, dtype=object)
        filled = imputer.transform(row)
        assert filled[name].dtype == whole[name].dtype
        assert filled.notna().all().all()
        row[name] = row[name].astype(float) if nothing is not pd.NA else row[name]
        pd.testing.assert_frame_equal(imputer.transform(row), filled)


def test_a_category_gets_a_level_that_the_new_table_does_not_name():
    whole, _ = mixed()
    whole["size"] = whole["size"].astype(object).astype("category")
    imputer = TableImputer(**FAST).fit(whole)
    rows = whole[whole["size"] == "large"].iloc[:3].copy()
    rows["size"] = pd.Categorical(["huge", None, None], ["huge"])
    filled = imputer.transform(rows)["size"]
    assert filled.iloc[0] == "huge"
    assert set(filled.iloc[1:]) <= {"small", "medium", "large"}


@pytest.mark.parametrize("dtype", ["UInt8", "Int8", "Int64", "float16", "UInt64"])
def test_what_is_filled_in_lies_within_the_bounds_of_its_type(dtype):
    """A linear relation points beyond what the type can hold."""
    rng = np.random.default_rng(0)
    size = np.linspace(0, 1, 80)
    high = {"UInt8": 250, "Int8": 120, "Int64": 2**62, "float16": 60000, "UInt64": 2**63}[dtype]
    values = (size * high).astype(np.int64 if dtype != "UInt64" else np.uint64)
    frame = pd.DataFrame({"x": 10 * size + 0.01 * rng.normal(size=80), "y": pd.array(values, dtype=dtype)})
    imputer = TableImputer(1, n_networks=1, width=4, max_iter=5).fit(frame)
    beyond = pd.DataFrame({"x": [5.0, 60.0, -60.0], "y": pd.array([int(high / 2), None, None], dtype=dtype)})
    filled = imputer.transform(beyond)["y"]
    assert filled.dtype == dtype
    assert filled[0] == np.array(high // 2).astype(dtype.lower())
    assert filled[1] >= high * 0.9
    assert filled[2] < high * 0.1


def test_numbers_that_cannot_be_are_refused_when_they_come():
    imputer = TableImputer(**FAST).fit(shown())
    with pytest.raises(ValueError, match=r"'height': 1e\+300 is too far"):
        imputer.transform(shown().assign(height=[*[np.nan] * 59, 1e300]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2", "3.5", "-"], "holds numbers, and '-'"),
        ([{1}, {2}, {1}, None], "set is no kind"),
        (pd.period_range("2020", periods=4, freq="M"), "period.*is no kind"),
        (pd.arrays.SparseArray([1.0, 0.0, 0.0, 2.0]), "Sparse.*is no kind"),
        ([decimal.Decimal("1.5"), decimal.Decimal("2"), decimal.Decimal("3"), None], "Decimal is no kind"),
    ],
)
def test_columns_that_are_neither_numbers_nor_categories(values, message):
    frame = pd.DataFrame({"odd": values, "x": [1.0, 2.0, 3.0, np.nan]})
    with pytest.raises(ValueError, match=f"'odd'.*{message}"):
        TableImputer(**FAST).fit(frame)
    if "'-'" in message:
        TableImputer(**FAST, kinds={"odd": "category"}).fit(frame)


def test_objects_that_are_numbers_are_numbers():
    frame = shown()
    frame["height"] = frame["height"].astype(object).where(frame["height"].notna(), None)
    imputer = TableImputer(**FAST).fit(frame)
    (column,) = (column for column in imputer.table_.columns if column.name == "height")
    assert column.kind == "number"
    assert imputer.transform(frame)["height"].astype(float).notna().all()


def test_it_is_public():
    assert abpnet.TableImputer is TableImputer
