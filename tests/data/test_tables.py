import numpy as np
import pandas as pd
import pytest

from abpnet.data.table_files import is_table, read_table, write_table
from abpnet.data.tables import Table
from abpnet.errors import InputError


def frame_of_all_kinds():
    return pd.DataFrame(
        {
            "text": ["a", None, "b", "c", "a", "b"],
            "float": [0.5, 1.5, np.nan, 2.25, -3.0, 1.0],
            "ordered": pd.Categorical(
                ["low", "high", None, "low", "high", "mid"], ["low", "mid", "high"], ordered=True
            ),
            "Int64": pd.array([3, None, 5, 4, 2, 6], dtype="Int64"),
            "flag": pd.array([True, False, None, True, True, False], dtype="boolean"),
            "category": pd.Categorical(["x", "y", "z", None, "x", "y"], ["z", "y", "x"]),
            "object": pd.Series([True, None, False, True, True, False], dtype=object),
            "string": pd.array(["yes", "no", None, "yes", "no", "no"], dtype="string"),
            "int": [1, 2, 3, 1, 2, 3],
            "Float64": pd.array([1.0, None, 2.5, 3.5, 0.25, 1.5], dtype="Float64"),
        }
    )


KINDS = {
    "text": "category",
    "float": "number",
    "ordered": "grade",
    "Int64": "grade",
    "flag": "category",
    "category": "category",
    "object": "category",
    "string": "category",
    "int": "grade",
    "Float64": "number",
}


def test_kinds_are_told_by_types_and_values():
    assert {column.name: column.kind for column in Table.describe(frame_of_all_kinds()).columns} == KINDS
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(
        {
            "two values": rng.integers(0, 2, 500).astype(float),
            "ten values": rng.integers(0, 10, 500),
            "counted": rng.poisson(20, 500),
            "dispersed": rng.integers(0, 1000, 500),
            "below 0": rng.poisson(20, 500) - 15,
            "measured": rng.normal(size=500),
        }
    )
    kinds = [column.kind for column in Table.describe(numbers).columns]
    assert kinds == ["category", "grade", "count", "number", "number", "number"]
    assert {column.kind for column in Table.describe(numbers.to_numpy()).columns} == {"number"}, "arrays hold numbers"


def test_the_matrix_holds_numbers_first_then_counts_grades_and_categories():
    frame = frame_of_all_kinds()
    table = Table.describe(frame, {"Int64": "count"})
    matrix = table.encode(frame)
    by_name = {column.name: column for column in table.columns}
    order = [column.kind for column in table.in_matrix]
    assert order == sorted(order, key=["number", "count", "grade", "category"].index)
    assert matrix.shape == (6, 2 + 1 + 2 + 1 + 1 + 1 + 3 + 3)
    standardised = matrix[:, by_name["float"].span]
    assert np.nanmean(standardised) == pytest.approx(0, abs=1e-6)
    assert np.nanstd(standardised) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(matrix[:, by_name["Int64"].first], [3, np.nan, 5, 4, 2, 6])
    np.testing.assert_array_equal(matrix[:, by_name["ordered"].first], [0, 2, np.nan, 0, 2, 1])
    assert by_name["category"].levels == ("z", "y", "x")
    np.testing.assert_array_equal(matrix[:3, by_name["category"].span], np.eye(3)[::-1])
    assert np.isnan(matrix[3, by_name["category"].span]).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_decoded_is_what_was_encoded_in_any_order_of_columns(seed):
    frame = frame_of_all_kinds()
    frame = frame[list(np.random.default_rng(seed).permutation(frame.columns))]
    whole = frame.copy()
    for name in whole:  # the first value of each column stands for the missing ones
        whole[name] = whole[name].where(whole[name].notna(), whole[name].dropna().iloc[0]).astype(whole[name].dtype)
    table = Table.describe(frame)
    filled = table.fill_in(frame, table.encode(whole))
    pd.testing.assert_frame_equal(filled, whole, rtol=1e-6)
    assert (filled.dtypes == frame.dtypes).all()
    assert frame.isna().any().any(), "what was given is left alone"


def test_expected_grades_and_counts_are_whole_if_they_are_to_be():
    frame = pd.DataFrame({"grade": [1.0, 2.0, 5.0, np.nan], "count": pd.array([20, 11, 15, None], dtype="Float64")})
    table = Table.describe(frame, {"count": "count"})
    expected = np.zeros((4, 2), np.float32)
    expected[:, table.columns[0].first], expected[:, table.columns[1].first] = 1.4, 12.3
    assert table.fill_in(frame, expected).iloc[3].tolist() == [2.0, 12.0]
    assert table.fill_in(frame, expected, whole=False).iloc[3].tolist() == pytest.approx([2 + 0.4 * 3, 12.3])


def test_levels_that_were_not_seen_tell_nothing_and_stay():
    table = Table.describe(pd.DataFrame({"a": ["x", "y", "z"], "b": [0.1, 0.2, 0.4]}))
    new = pd.DataFrame({"a": ["w", None], "b": [0.1, 0.2]})
    matrix = table.encode(new)
    assert np.isnan(matrix[:, table.columns[0].span]).all()
    assert table.fill_in(new, np.zeros((2, 4), np.float32))["a"].tolist() == ["w", "x"]


def test_of_many_categories_the_frequent_ones_are_modelled():
    values = [f"common {i % 50}" for i in range(500)] + [f"rare {i}" for i in range(100)]
    (column,) = Table.describe(pd.DataFrame({"a": values})).columns
    assert len(column.levels) == 50
    assert all(level.startswith("common") for level in column.levels)


def test_arrays_are_filled_in_where_they_are_nan():
    x = np.array([[1.0, np.nan], [2.0, 4.0], [np.nan, 6.0]])
    table = Table.describe(x)
    filled = table.fill_in(x, np.zeros((3, 2), np.float32))
    np.testing.assert_allclose(filled, [[1.0, 5.0], [2.0, 4.0], [1.5, 6.0]])


@pytest.mark.parametrize("name", ["table.csv", "TABLE.CSV", "table.parquet"])
def test_files_come_back_as_they_were(tmp_path, name):
    frame = pd.DataFrame(
        {
            "number": [0.1, 1 / 3, np.nan],
            "whole": pd.array([1, None, 10**15 + 1], dtype="Int64"),
            "text": pd.array(["a, b", None, "ö"], dtype="string"),
            "flag": pd.array([True, None, False], dtype="boolean"),
        }
    ).astype({"number": "Float64"})
    assert is_table(name)
    write_table(tmp_path / name, frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame, check_exact=True)


@pytest.mark.parametrize("name", ["table.xlsx", "table", "csv"])
def test_other_files_are_refused(tmp_path, name):
    assert not is_table(name)
    with pytest.raises(InputError, match=r"expected a table, \.csv or \.parquet"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"a": [None, None]}, "'a': has no value at all"),
        ({"a": pd.to_datetime(["2020", "2021"])}, "'a': datetime64.* drop it"),
        ({"a": pd.to_timedelta([1, 2])}, "'a': timedelta64.* drop it"),
        ({"a": [1j, 2j]}, "'a': complex128.* drop it"),
        ({"a": [1.0, -np.inf]}, "'a': holds infinity"),
    ],
)
def test_columns_that_cannot_be_used_are_named(spoil, message):
    with pytest.raises(InputError, match=message):
        Table.describe(pd.DataFrame({"b": [1.0, 2.0]} | spoil))


def test_other_columns_are_refused():
    table = Table.describe(pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]}))
    with pytest.raises(InputError, match="columns must be"):
        table.encode(pd.DataFrame({"b": ["x", "y"], "a": [1.5, 2.5]}))
    with pytest.raises(InputError, match="columns must have different names"):
        Table.describe(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))
