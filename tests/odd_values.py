"""What might be handed over instead of a plain array of float32: strategies for hypothesis."""

import warnings

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from scipy import sparse

# Missing, infinite, out of range, too small and too large for float32.
NUMBERS = [0.0, 0.5, -1.0, 1.0, 1.5, -7.0, np.nan, np.inf, -np.inf, 1e-40, 1e18, 1e30, 3e38, 1e300]
DTYPES = ["f4", "f2", "f8", ">f8", "u1", "i2", "i8", "?", "c8", "O", "U8", "S3", "M8[s]", "m8[s]", "V8"]
# No arrays of numbers, or of none that anything can be done with.
ODD = {
    "None": None,
    "no text": "",
    "text": "12",
    "bytes": b"3",
    "whole number": 7,
    "negative": -1,
    "zero": 0,
    "fraction": 1.5,
    "NaN": np.nan,
    "infinity": np.inf,
    "boolean": True,
    "complex": 1j,
    "nothing": [],
    "nothing in nothing": [[]],
    "deep nothing": [[[]]],
    "dictionary": {"a": 1},
    "object": object(),
    "range": range(3),
    "uneven lists": [[1, 2], [3]],
    "list of None": [[None]],
    "lists of text": [["a", "b", "c", "d"]],
    "class": int,
    "function": lambda x: x,
    "iterator": iter([[1.0, 2.0, 3.0, 4.0]]),
    "Ellipsis": Ellipsis,
    "scalar": np.float32(0.3),
    "array without axes": np.array(0.3),
    "array of text": np.array("text"),
    "array of objects": np.array([{}, {}], object),
    "tensor without axes": torch.tensor(0.3),
    "integer tensor": torch.tensor([1, 2]),
    "series": pd.Series([1.0, 2.0]),
    "empty frame": pd.DataFrame(),
    "frame of text": pd.DataFrame({"a": ["x", "y"]}),
    "device": torch.device("cpu"),
    "foreign device": "cuda:99",
    "generator": torch.Generator(),
    "random state": np.random.RandomState(0),
    "module": torch.nn.Linear(3, 4),
    "module without weights": torch.nn.Identity(),
    "shape": (2, 0),
    "path with a hole": "a\0b",
    "long path": "x" * 5000,
}


def _masked(array):
    return np.ma.masked_array(array, np.indices(array.shape).sum(0) % 2 == 1)


def _tensor(array):
    return torch.from_numpy(array.copy())


def _quantised(array):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(_tensor(array), 0.1, 0, torch.qint8)


# What an array of numbers may come as: as good as the array itself.
AS_GOOD = {
    "list": lambda array: array.tolist(),
    "in Fortran order": np.asfortranarray,
    "with gaps": lambda array: np.repeat(array, 2, -1)[..., ::2],
    "backwards": lambda array: array[::-1].copy()[::-1],
    "of the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "double": lambda array: array.astype(np.float64),
    "of objects": lambda array: array.astype(object),
    "masked array": lambda array: np.ma.masked_array(np.where(np.isnan(array), 1e30, array), np.isnan(array)),
    "tensor": _tensor,
    "tensor of doubles": lambda array: _tensor(array).double(),
    "tensor with a gradient": lambda array: _tensor(array).requires_grad_(),
    "tensor with gaps": lambda array: _tensor(np.repeat(array, 2, -1))[..., ::2],
    "parameter": lambda array: torch.nn.Parameter(_tensor(array)),
}
FRAMES = {
    "frame": pd.DataFrame,
    "frame of pandas' types": lambda array: pd.DataFrame(array).convert_dtypes(),
    "frame of categories": lambda array: pd.DataFrame(array).astype("category"),
}
DRESSES = {
    **AS_GOOD,
    **FRAMES,
    "frame with names": lambda array: pd.DataFrame(array, columns=list("dcba")[: array.shape[1]]),
    "tuple": lambda array: tuple(map(tuple, array)),
    "matrix": np.matrix,
    "half masked": _masked,
    "sparse matrix": sparse.csr_matrix,
    "bfloat16": lambda array: _tensor(array).bfloat16(),
    "half": lambda array: _tensor(array).half(),
    "meta tensor": lambda array: _tensor(array).to("meta"),
    "sparse tensor": lambda array: _tensor(array).to_sparse(),
    "quantised tensor": _quantised,
    "list of tensors": lambda array: list(_tensor(array)),
}


@st.composite
def arrays(draw, right):
    """Arrays (n, *right), or of any other shape, of any type, of a few of NUMBERS; or of 0 and 1."""
    any_shape = st.lists(st.integers(0, 4), max_size=5).map(tuple)
    shape = draw(st.one_of(st.integers(0, 4).map(lambda n: (n, *right)), st.just((3, *right)), any_shape))
    few = draw(st.one_of(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3), st.just([0.0, 1.0])))
    few = few + draw(st.sampled_from([[], [], [0.25] * 9]))
    dtype = draw(st.one_of(st.just("f4"), st.just("f4"), st.sampled_from(DTYPES)))
    values = np.random.default_rng(draw(st.integers(0, 9))).choice(np.array(few), shape)
    where = draw(st.sampled_from([None, None, (0,), (..., 0)]))  # a whole row, or column
    if where and values.ndim and values.size:
        values[where] = few[0]
    with np.errstate(all="ignore"):
        return np.zeros(shape, dtype) if dtype == "V8" else values.astype(dtype)


@st.composite
def anything(draw, right):
    """What may be handed over as an array (n, *right): arrays in any dress, and what is none."""
    if draw(st.integers(0, 5)) == 0:
        return ODD[draw(st.sampled_from(sorted(ODD)))]
    array = draw(arrays(right))
    dress = draw(st.one_of(st.none(), st.sampled_from(sorted(DRESSES))))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return array if dress is None else DRESSES[dress](array)
    except Exception:  # there is no such thing as a sparse matrix of dates
        return array


COLUMNS = {
    "number": lambda n, rng: rng.normal(size=n),
    "half": lambda n, rng: rng.normal(size=n).astype("f2"),
    "count": lambda n, rng: rng.integers(0, 5, n),
    "huge integer": lambda n, rng: np.array([2**80 + i for i in range(n)], object),
    "boolean": lambda n, rng: rng.random(n) < 0.5,
    "boolean or missing": lambda n, rng: pd.array([True, None] * n, "boolean")[:n],
    "integer or missing": lambda n, rng: pd.array([1, None, 3] * n, "Int64")[:n],
    "arrow": lambda n, rng: pd.array([1.5, None] * n, "float64[pyarrow]")[:n],
    "text": lambda n, rng: np.array(["a", None, "b", np.nan] * n, object)[:n],
    "category": lambda n, rng: pd.Categorical(list("ab" * n)[:n], categories=list("abz")),
    "grade": lambda n, rng: pd.Categorical(list("ab" * n)[:n], ordered=True),
    "date": lambda n, rng: pd.date_range("2020", periods=n),
    "complex": lambda n, rng: rng.normal(size=n) + 1j,
    "anything": lambda n, rng: np.array([1, "a", None, 2.5] * n, object)[:n],
    "list": lambda n, rng: pd.Series([[1]] * n, dtype=object),
    "object": lambda n, rng: pd.Series([object()] * n, dtype=object),
    "infinite": lambda n, rng: np.where(rng.random(n) < 0.5, np.inf, 1.0),
    "empty": lambda n, rng: np.full(n, np.nan),
    "none": lambda n, rng: pd.Series([None] * n, dtype=object),
    "constant": lambda n, rng: np.ones(n),
    "huge": lambda n, rng: rng.normal(size=n) * 1e300,
    "tiny": lambda n, rng: rng.normal(size=n) * 1e-310,
    "numbers as text": lambda n, rng: np.array(["1", "2", "x"] * n, object)[:n],
    "sparse": lambda n, rng: pd.arrays.SparseArray(np.r_[0, rng.normal(size=n)][:n]),
    "names": lambda n, rng: [f"row {i}" for i in range(n)],
}


@st.composite
def frames(draw):
    """Data frames of any columns, few rows, and names that may come twice."""
    kinds, n = draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=4)), draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    columns = [pd.Series(COLUMNS[kind](n, rng)).reset_index(drop=True) for kind in kinds]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(n))
    frame.columns = draw(st.sampled_from([kinds, [f"{kind} {i}" for i, kind in enumerate(kinds)]]))
    return frame.set_index(pd.Index(["row"] * n)) if draw(st.booleans()) else frame
