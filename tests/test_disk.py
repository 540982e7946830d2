"""Rows on disk are the rows of the same array in memory."""

import numpy as np
import pytest
import torch

import abpnet
from abpnet import disk
from abpnet.disk import MissingOnDisk, RowsOnDisk, hidden, is_on_disk
from abpnet.errors import InputError
from abpnet.observations import Complete, Mask, Projection, hide_missing
from estimators import images, mapped

VIEWS = {
    "whole": lambda x: x,
    "first": lambda x: x[:3],
    "last": lambda x: x[4:],
    "every other": lambda x: x[1::2],
    "backwards": lambda x: x[::-1],
    "upside down": lambda x: x[:, :, ::-1],
    "mirrored in part": lambda x: x[::-2, :, 1:, ::-1],
    "channels last": lambda x: x.transpose(0, 2, 3, 1),
    "columns first": lambda x: x.swapaxes(2, 3),
    "rows last": lambda x: x.transpose(3, 2, 1, 0),
    "few columns": lambda x: x[..., ::3],
    "one channel": lambda x: x[:, 1:2],
    "one row of each, transposed": lambda x: x[:, 1, 2].T,
    "new axis": lambda x: x[:, None],
    "repeated": lambda x: np.broadcast_to(x[:, :1], x.shape, subok=True),
}
TYPES = ["uint8", "int16", ">i4", "bool", "float16", "float32", ">f4", "float64"]


def numbers(dtype="float32", n=7):
    values = np.random.default_rng(0).uniform(-120, 120, (n, 3, 4, 5))
    return np.abs(values).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def assert_same_rows(rows, array):
    assert rows.shape == array.shape
    assert (len(rows), rows.dim()) == (len(array), array.ndim)
    for index in ([0], [len(array) - 1, 0], [1, 1], range(len(array))):
        read = rows[torch.tensor(index)]
        assert read.dtype == torch.float32
        assert read.is_contiguous()
        np.testing.assert_array_equal(read.numpy(), np.array(array[list(index)], np.float32))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_every_view_are_those_in_memory(tmp_path, view, order):
    array = view(mapped(tmp_path / "x.npy", numbers(), order))
    assert is_on_disk(array)
    assert_same_rows(RowsOnDisk(array), array)


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.T], ids=["rows", "columns"])
def test_rows_may_be_another_shape_of_the_same_numbers(tmp_path, view):
    array = view(mapped(tmp_path / "x.npy", numbers()).reshape(7, 60))
    assert_same_rows(RowsOnDisk(array), array)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("view", ["whole", "mirrored in part", "rows last"])
def test_rows_of_every_type_are_those_in_memory(tmp_path, dtype, view):
    array = VIEWS[view](mapped(tmp_path / "x.npy", numbers(dtype)))
    assert_same_rows(RowsOnDisk(array), array)


@pytest.mark.parametrize("offset", [0, 1, 4096, 10_001])
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_files_without_a_header_are_read_from_any_offset(tmp_path, offset, mode):
    values = numbers()
    (tmp_path / "x").write_bytes(bytes(offset) + values.tobytes())
    array = np.memmap(tmp_path / "x", np.float32, mode, offset, values.shape)
    assert_same_rows(RowsOnDisk(array), values)
    assert_same_rows(RowsOnDisk(array[2:, ::-1]), values[2:, ::-1])


def test_rows_that_are_far_apart_are_read_without_what_is_between(tmp_path, monkeypatch):
    array = mapped(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1000, 30)), "F")
    rows, read, n_bytes = RowsOnDisk(array), disk.read_rows, []

    def watch(file, positions, length):
        n_bytes.append(len(positions) * length)
        return read(file, positions, length)

    monkeypatch.setattr(disk, "read_rows", watch)
    np.testing.assert_array_equal(rows[torch.tensor([999, 3])].numpy(), array[[999, 3]].astype(np.float32))
    assert n_bytes == [2 * 30 * 8]


def test_what_was_written_through_the_mapping_is_read(tmp_path):
    np.save(tmp_path / "x.npy", numbers())
    array = np.load(tmp_path / "x.npy", mmap_mode="r+")
    rows = RowsOnDisk(array)
    array[3] = 5.0
    assert (rows[torch.tensor([3])] == 5).all()


@pytest.mark.parametrize("chunk", [1, 300, 2**24])
@pytest.mark.parametrize("mask", ["none", "of each", "of all", "nothing hidden"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_missing_entries_are_those_in_memory(tmp_path, monkeypatch, mask, missing, chunk):
    monkeypatch.setattr(disk, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    values = numbers()
    values[rng.random(values.shape) < missing] = np.nan
    shapes = {"of each": (7, 3, 4, 5), "of all": (1, 3, 4, 5), "nothing hidden": (7, 1, 4, 5)}
    shown = None if mask == "none" else rng.random(shapes[mask]) < (1 if mask == "nothing hidden" else 0.7)
    given = None if shown is None else Mask(shown)
    y, expected = hide_missing(torch.from_numpy(values.copy()), given or Complete())
    rows = RowsOnDisk(mapped(tmp_path / "x.npy", values), given)
    y_on_disk, seen = hidden(rows, None)
    assert y_on_disk is rows
    index = torch.tensor([5, 0, 5])
    assert torch.equal(rows[index], y[index])
    assert rows.any_missing == (expected.observed is not None and not expected.observed.all())
    assert rows.any_observed
    if expected.observed is None:
        assert seen == Complete()
        return
    assert isinstance(seen, Mask)
    whole = expected.observed.expand(y.shape)
    assert torch.equal(seen.observed, whole)
    assert torch.equal(seen.select(index).observed, whole[index])
    assert torch.equal(seen.to(torch.device("cpu")).select(index).observed, whole[index])
    assert torch.equal(rows.missing(index), ~whole[index])


def test_nothing_observed_is_known(tmp_path):
    assert not RowsOnDisk(mapped(tmp_path / "x.npy", np.full((3, 2), np.nan))).any_observed
    with pytest.raises(ValueError, match="nothing in X was observed"):
        abpnet.GeneratorNetwork(1, verbose=False).fit(mapped(tmp_path / "x.npy", np.full((3, 2), np.nan)))


def test_what_was_measured_is_known_beside_what_is_missing(tmp_path):
    y = np.ones((4, 6), np.float32)
    y[2, 3] = np.nan
    projection = Projection(torch.eye(6))
    seen = RowsOnDisk(mapped(tmp_path / "y.npy", y), projection).observation
    assert isinstance(seen, MissingOnDisk)
    assert seen.of is projection
    assert RowsOnDisk(mapped(tmp_path / "y.npy", y[:2]), projection).observation is projection


@pytest.mark.parametrize("chunk", [1, 300, 2**24])
@pytest.mark.parametrize("bad", [2.0, -1.5, np.inf])
def test_a_row_that_cannot_be_used_is_named(tmp_path, monkeypatch, bad, chunk):
    monkeypatch.setattr(disk, "CHUNK", chunk)
    x = images(9)
    x[6, 0, 2, 2] = x[8, 0, 0, 0] = bad
    with pytest.raises(ValueError, match=r"^X\[6\]: "):
        abpnet.GeneratorNetwork(2, verbose=False).fit(mapped(tmp_path / "x.npy", x))


def test_what_stands_under_a_mask_is_not_complained_about(tmp_path):
    x = images(9)
    x[6, 0, 2, 2] = 1e30
    mask = Mask(np.abs(np.nan_to_num(x)) < 2)
    abpnet.GeneratorNetwork(2, verbose=False, max_iter=1).fit(mapped(tmp_path / "x.npy", x), observation=mask)


def test_new_rows_of_another_shape_are_refused(tmp_path):
    net = abpnet.GeneratorNetwork(2, verbose=False, max_iter=1).fit(images())
    with pytest.raises(ValueError, match=r"expected signals of shape \(1, 8, 8\), got \(1, 8, 4\)"):
        net.transform(mapped(tmp_path / "x.npy", images()[..., :4]))


def test_a_mask_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a mask of shape \(6, 3\)"):
        RowsOnDisk(mapped(tmp_path / "x.npy", np.ones((7, 3))), Mask(np.ones((6, 3))))


def test_arrays_that_are_no_views_of_a_file_are_in_memory(tmp_path):
    values = mapped(tmp_path / "x.npy", numbers())
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    for array in (values.astype(np.float32), private, np.array(values), np.asarray(values), values[0, 0, 0]):
        assert not is_on_disk(array)
    for array in (values.astype(np.float32), private):
        with pytest.raises(InputError, match=r"np\.array\(X\)"):
            RowsOnDisk(array)
    assert not is_on_disk(mapped(tmp_path / "z.npy", np.ones((3, 2), complex)))
    assert not is_on_disk(np.load(tmp_path / "x.npy", mmap_mode="r")[:0])


def test_a_file_that_was_replaced_or_moved_is_refused(tmp_path):
    array = mapped(tmp_path / "x.npy", numbers())
    np.save(tmp_path / "new.npy", numbers() + 1)
    (tmp_path / "new.npy").rename(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"x\.npy: was replaced"):
        RowsOnDisk(array)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(InputError, match=r"x\.npy: cannot be read again"):
        RowsOnDisk(array)


def test_a_file_cut_off_while_it_is_read_is_an_input_error(tmp_path):
    rows = RowsOnDisk(mapped(tmp_path / "x.npy", numbers()))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(1000)
    assert rows[torch.tensor([0, 1, 2])].shape == (3, 3, 4, 5)
    with pytest.raises(InputError, match=r"x\.npy: ends before byte 1808, up to which a row reaches"):
        rows[torch.tensor([0, 6])]


def test_masks_of_rows_on_disk_are_theirs(tmp_path):
    x = images()
    rows = RowsOnDisk(mapped(tmp_path / "x.npy", x))
    full = RowsOnDisk(mapped(tmp_path / "full.npy", np.nan_to_num(x)))
    for wrong in ((rows, Complete()), (rows, Mask(np.ones(x.shape))), (full, Mask(np.ones(x.shape)))):
        with pytest.raises(ValueError, match="theirs to know"):
            hidden(*wrong)
    projection = Projection(torch.eye(64), (1, 8, 8))
    assert hidden(full, projection)[1] is projection
    assert hidden(rows, rows.observation)[0] is rows
