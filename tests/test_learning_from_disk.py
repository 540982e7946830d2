"""What is learned from rows on disk has the same bits as in memory, and takes no more memory the more there are."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import abpnet
from abpnet import beginning, learning
from abpnet.disk import RowsOnDisk
from abpnet.durable import read_folder, write_folder
from abpnet.errors import InputError
from abpnet.networks import LinearNetwork
from abpnet.observations import Mask, Projection
from abpnet.recipes import RECIPES
from abpnet.runs import RunFolder
from abpnet.tasks import session
from estimators import mapped


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
    monkeypatch.setattr(beginning, "CHAINS", 16)
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
        patch.setattr("abpnet.interruption.Interruption.requested", lambda self: next(asked))
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


def test_a_file_cut_off_while_it_is_learned_from_ends_learning(tmp_path):
    iterations = abpnet.GeneratorNetwork(2).iterations(mapped(tmp_path / "x.npy", smooth()))
    next(iterations)
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match="longer when it was opened"):
        next(iterations)


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
                    beginning.begin(model, y, recipe=RECIPES["paper"], generator=torch.Generator()), y, RECIPES["paper"]
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
from abpnet.durable import read_folder, write_folder

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
    few, many = (memory_of(LEARN, tmp_path, n) for n in (200, 900))
    assert (tmp_path / "900.npy").stat().st_size > 200e6
    assert many - few < 60, "MB, all that was resident at its peak; the files differ by 175"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_chains(tmp_path):
    few, many = (memory_of(CHAINS, tmp_path, n) for n in (20_000, 400_000))  # 4 and 80 MB
    assert (many - few < 40).all(), "MB: all when chains were written and read; without mapped files at any time"
