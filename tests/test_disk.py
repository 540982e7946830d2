"""Rows on disk are the rows of the same array in memory, and what is learned from them has the same bits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import abpnet
from abpnet import disk, learning
from abpnet.disk import MissingOnDisk, RowsOnDisk, hidden, is_on_disk
from abpnet.errors import InputError
from abpnet.networks import LinearNetwork
from abpnet.observations import Complete, Mask, Projection, hide_missing
from abpnet.recipes import RECIPES
from abpnet.runs import RunFolder, read_folder, write_folder
from abpnet.tasks import session
from estimators import images

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


def mapped(path, array, order="C"):
    """The array, from a file."""
    np.save(path, np.asarray(array, order=order))
    return np.load(path, mmap_mode="r")


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


def test_a_file_cut_off_while_it_is_learned_from_ends_learning(tmp_path):
    iterations = abpnet.GeneratorNetwork(2).iterations(mapped(tmp_path / "x.npy", smooth()))
    next(iterations)
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match="longer when it was opened"):
        next(iterations)


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


# ---- learning ----


def smooth(n=70, missing=0.0):
    """More images than are looked at together, so that there are parts."""
    rng = np.random.default_rng(5)
    x = np.tanh(rng.normal(size=(n, 3)) @ rng.normal(size=(3, 64)) / 2).reshape(n, 1, 8, 8).astype(np.float32)
    return np.where(rng.random(x.shape) < missing, np.float32(np.nan), x)


SHOWN = np.random.default_rng(2).random((70, 1, 8, 8)) < 0.6
OPERATOR = Projection.random((1, 8, 8), 30)


def measured(lost=False):
    y = OPERATOR(torch.from_numpy(smooth())).numpy()
    if lost:
        y[:, 4] = y[:9, 7] = np.nan
    return y


CASES = {
    "complete": (smooth(), {}, None),
    "complete, of double precision": (smooth().astype(np.float64) / 3, {}, None),
    "missing": (smooth(missing=0.3), {"recipe": "partial"}, None),
    "missing, squares held out": (smooth(missing=0.3), {"recipe": "kriged"}, None),
    "masked": (smooth(), {"recipe": "kriged"}, Mask(SHOWN)),
    "masked alike": (smooth(), {"recipe": "partial"}, Mask(SHOWN[:1])),
    "mask that hides nothing": (smooth(), {}, Mask(np.ones((1, 1, 8, 8)))),
    "projections": (measured(), {"recipe": "indirect"}, OPERATOR),
    "projections, some lost": (measured(lost=True), {"recipe": "indirect"}, OPERATOR),
    "from the prior": (smooth(missing=0.3), {"recipe": "paper", "max_iter": 2}, None),
    "vectors": (np.random.default_rng(0).integers(0, 99, (70, 12), np.uint8), {}, None),
    "precision by trial": (smooth(), {"precision": "auto", "max_iter": 1}, None),
}
SETTINGS = {"latent_dim": 3, "max_iter": 4, "precision": "float32", "verbose": False}


def assert_same(one, other):
    """Two estimators learned the same."""
    np.testing.assert_array_equal(one.latents_, other.latents_)
    network, again = one.model_.network.state_dict(), other.model_.network.state_dict()
    assert network.keys() == again.keys()
    for name, weight in network.items():
        assert torch.equal(weight, again[name]), name
    without_time = [[{**row, "seconds": 0} for row in net.history_] for net in (one, other)]
    assert without_time[0] == without_time[1]
    assert (one.residuals_ is None) == (other.residuals_ is None)
    if one.residuals_ is not None:
        assert torch.equal(one.residuals_.spectrum, other.residuals_.spectrum)
    assert one.measurement_noise_ == other.measurement_noise_
    assert one.equivalent_noise_ == other.equivalent_noise_
    np.testing.assert_array_equal(one.sample(2), other.sample(2))


@pytest.mark.parametrize(("x", "settings", "observation"), CASES.values(), ids=CASES)
def test_what_is_learned_from_disk_is_what_is_learned_in_memory(tmp_path, x, settings, observation):
    settings = SETTINGS | settings
    in_memory = abpnet.GeneratorNetwork(**settings).fit(x, observation=observation)
    array = mapped(tmp_path / "x.npy", x)
    on_disk = abpnet.GeneratorNetwork(**settings).fit(array, observation=observation)
    assert_same(on_disk, in_memory)
    assert type(on_disk.state_.latents) is not type(in_memory.state_.latents), "its chains are on disk"
    if observation is None:
        np.testing.assert_array_equal(on_disk.transform(array), in_memory.transform(x))


@pytest.mark.parametrize("n", [64, 65, 140, 1000])
def test_all_residuals_tell_the_field_however_many_come_at_a_time(n):
    from abpnet import residuals

    rng = torch.Generator().manual_seed(n)
    residual, observed = torch.randn(n, 2, 5, 6, generator=rng), torch.rand(n, 1, 5, 6, generator=rng) < 0.7
    whole = residuals.estimate(residual, observed)
    for size in (1, 64, 77):
        parts = zip(residual.split(size), observed.split(size), strict=True)
        assert torch.equal(residuals.estimate_in_parts(parts).spectrum, whole.spectrum)
    assert not torch.equal(residuals.estimate(residual[:-1], observed[:-1]).spectrum, whole.spectrum)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 32, 40, 47])
@pytest.mark.parametrize("latent_dim", [1, 3, 16])
def test_chains_drawn_in_parts_are_those_of_one_draw(tmp_path, monkeypatch, n, latent_dim):
    monkeypatch.setattr(learning, "CHAINS", 16)
    network = LinearNetwork(latent_dim, (4,))
    rows = RowsOnDisk(mapped(tmp_path / "x.npy", np.ones((n, 4))))

    def seeded():
        return torch.Generator().manual_seed(3)

    model, generator = abpnet.GeneratorModel(network, (latent_dim,)), seeded()
    state = abpnet.begin(model, rows, recipe=RECIPES["paper"], generator=generator)
    whole, expected = seeded(), None
    expected = torch.randn(n, latent_dim, generator=whole)
    assert torch.equal(state.latents.values, expected)
    assert torch.equal(generator.get_state(), whole.get_state())


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_stopped_and_resumed_equals_never_having_stopped(tmp_path, missing):
    x = smooth(missing=missing)
    settings = SETTINGS | {"recipe": "kriged"}
    array = mapped(tmp_path / "x.npy", x)
    whole = abpnet.GeneratorNetwork(**settings).fit(x)
    first = abpnet.GeneratorNetwork(**settings)
    iterations = first.iterations(array)
    next(iterations)
    next(iterations)
    write_folder(tmp_path / "checkpoint", first.state_.tensors(), first.state_.facts())
    iterations.close()
    checkpoint = read_folder(tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "checkpoint")
    second = abpnet.GeneratorNetwork(**settings)
    assert len(list(second.iterations(array, checkpoint=checkpoint))) == 2
    assert_same(second, whole)


def test_a_run_that_is_stopped_goes_on(tmp_path, monkeypatch):
    x = smooth(missing=0.3)
    array = mapped(tmp_path / "x.npy", x)
    RunFolder.create(tmp_path / "run", "complete", {})

    def learn(data):
        network = abpnet.GeneratorNetwork(3, max_iter=4, precision="float32", recipe="kriged")
        return session.learn(network, data, RunFolder(tmp_path / "run"), title="learning")

    with monkeypatch.context() as patch:
        asked = iter([None, 15])
        patch.setattr("abpnet.runs.Interruption.requested", lambda self: next(asked))
        with pytest.raises(session.Interrupted, match="after iteration 2"):
            learn(array)
    assert_same(learn(array), abpnet.GeneratorNetwork(**SETTINGS | {"recipe": "kriged"}).fit(x))
    loaded = abpnet.GeneratorNetwork.load(tmp_path / "run" / "model")
    assert len(loaded.latents_) == 70


def test_a_checkpoint_of_other_chains_is_refused(tmp_path):
    x = smooth()
    states = [
        abpnet.begin(
            abpnet.GeneratorModel(LinearNetwork(2, (1, 8, 8)), (2,)),
            RowsOnDisk(mapped(tmp_path / f"{n}.npy", x[:n])),
            recipe=RECIPES["default"],
            generator=torch.Generator(),
        )
        for n in (30, 31)
    ]
    with pytest.raises(InputError, match="30 chains for 31 examples"):
        states[1].restore(states[0].tensors(), states[0].facts())


def test_whitened_residuals_need_memory(tmp_path):
    array = mapped(tmp_path / "x.npy", smooth(missing=0.3))
    with pytest.raises(InputError, match=r"residuals='whitened'.*np\.array\(X\)"):
        abpnet.GeneratorNetwork(3, recipe="whitened", verbose=False).fit(array)


def test_a_fitted_estimator_is_copied_with_its_chains(tmp_path):
    import pickle

    net = abpnet.GeneratorNetwork(**SETTINGS).fit(mapped(tmp_path / "x.npy", smooth()))
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.latents_, net.latents_)
    np.testing.assert_array_equal(again.state_.latents.values, net.latents_)


@pytest.mark.parametrize("where", ["in memory", "on disk"])
def test_several_processes_notice_other_data(tmp_path, monkeypatch, where):
    told = []

    def learn(x):
        y = RowsOnDisk(mapped(tmp_path / "x.npy", x)) if where == "on disk" else torch.from_numpy(x)
        model = abpnet.GeneratorModel(LinearNetwork(2, (1, 8, 8)), (2,))
        with monkeypatch.context() as patch:
            patch.setattr("abpnet.parallel.n_processes", lambda: 2)
            patch.setattr("abpnet.parallel.are_alike", lambda numbers: told.append(numbers))
            with pytest.raises(InputError, match="same data"):
                learning._join(
                    learning.begin(model, y, recipe=RECIPES["paper"], generator=torch.Generator()), y, RECIPES["paper"]
                )

    x, other = smooth(), smooth()
    other[69, 0, 7, 7] += 1e-6
    learn(x)
    learn(x)
    learn(other)
    assert told[0] == told[1] != told[2]


# ---- memory ----

MEMORY = """
import sys, threading, time
import numpy as np, torch
import abpnet
from abpnet import estimator
from abpnet.latents import Latents
from abpnet.networks import LinearNetwork
from abpnet.runs import read_folder, write_folder

def megabytes(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) / 1024

folder, n = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
peak, done = [0.0], threading.Event()
def watch():
    while not done.wait(0.001):
        peak[0] = max(peak[0], megabytes("RssAnon"))
"""
LEARN = """
x = np.lib.format.open_memmap(folder + f"/{n}.npy", "w+", np.float32, (n, 65536))
x[:50] = np.random.default_rng(0).normal(size=(50, 65536))  # the rest is a hole in the file
x[::20, 7] = np.nan
del x
array = np.load(folder + f"/{n}.npy", mmap_mode="r")
estimator.MOST_CHAINS_REGRESSED = 100
abpnet.GeneratorNetwork(
    2, network=LinearNetwork(2, (65536,)), max_iter=1, precision="float32", verbose=False
).fit(array)
print(megabytes("VmHWM"))
"""
CHAINS = """
latents = Latents.temporary(n, (50,))
threading.Thread(target=watch).start()
for rows in torch.arange(n).split(5000):
    latents.write(rows, torch.full((len(rows), 50), 1.0 + int(rows[0])))
assert sum(len(part) for part in latents.parts()) == n
walked = megabytes("VmHWM")
write_folder(__import__("pathlib").Path(folder) / f"{n}", {"latents": latents.values}, {})
tensors, _ = read_folder(__import__("pathlib").Path(folder) / f"{n}")
latents.copy_from(tensors["latents"])
done.set()
assert torch.equal(tensors["latents"][-1], torch.full((50,), 1.0 + 5000 * ((n - 1) // 5000)))
print(walked, peak[0])
"""


def memory_of(script, folder, n):
    """What a process with n examples says of its memory, MB."""
    command = [sys.executable, "-c", MEMORY + script, str(folder), str(n)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert told.returncode == 0, told.stderr
    return np.array(told.stdout.split(), float)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_examples(tmp_path):
    few, many = (memory_of(LEARN, tmp_path, n) for n in (300, 1600))
    assert (tmp_path / "1600.npy").stat().st_size > 400e6
    assert many - few < 80, "MB, all that was resident at its peak; the files differ by 340"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_chains(tmp_path):
    few, many = (memory_of(CHAINS, tmp_path, n) for n in (20_000, 800_000))  # 4 and 160 MB
    assert (many - few < 40).all(), "MB: all when chains were written and read; without mapped files at any time"
