"""Several processes learn what one would, and none of them is left waiting."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import learning_together
from abpnet import chance, learning, parallel
from abpnet.chance import Share
from abpnet.errors import InputError
from abpnet.runs import RunFolder
from commands import final_tensors, run

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
# Too long to end by itself before a test has stopped it.
LEARN = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--precision", "float32", "--no-baselines"]
LEARN += ["--draws", "0"]
SHORT, ENDLESS = ["--max-iter", "8"], ["--max-iter", "1000000"]


def start(n_processes, *arguments):
    command = [str(part) for part in (*LAUNCH, n_processes, *arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    """Exit code, and what it said."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What 2 and 3 processes learned."""
    folder = tmp_path_factory.mktemp("together")
    processes = [start(n, learning_together.__file__, folder) for n in (2, 3)]
    for process in processes:
        code, _, err = finished(process)
        assert code == 0, err
    return folder


def assert_close(ours, expected):
    """Weights, chains and metrics to 1e-5, of the largest of each where that is above 1."""
    assert set(ours) == set(expected)
    for name, value in expected.items():
        largest = max(1.0, np.abs(np.asarray(value, float)).max())
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-5 * largest, err_msg=name)


@functools.cache
def by_one(case):
    """What one process learns."""
    return learning_together.learned(case)


@pytest.mark.parametrize("n_processes", [2, 3])
@pytest.mark.parametrize("case", learning_together.CASES)
def test_several_processes_learn_what_one_does(together, case, n_processes):
    outcomes = [dict(np.load(together / f"{case} {n_processes} {rank}.npz")) for rank in range(n_processes)]
    assert_close(outcomes[0], by_one(case))
    for outcome in outcomes[1:]:  # these began elsewhere, and followed the first
        for name, value in outcomes[0].items():
            np.testing.assert_array_equal(outcome[name], value, err_msg=name)


@pytest.mark.parametrize("n_processes", [2, 3])
@pytest.mark.parametrize("case", learning_together.RESUMED)
def test_several_processes_go_on_from_a_checkpoint(together, case, n_processes):
    for rank in range(n_processes):
        assert_close(dict(np.load(together / f"{case} resumed {n_processes} {rank}.npz")), by_one(case))


@pytest.mark.parametrize("case", learning_together.RESUMED)
def test_one_process_goes_on_where_several_stopped(together, case):
    checkpoint = together / f"{case} checkpoint 2"
    assert json.loads((checkpoint / "state.json").read_text())["iteration"] == learning_together.CHECKPOINT_AFTER
    assert_close(learning_together.learned(case, checkpoint=checkpoint), by_one(case))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("n_processes", [1, 2, 3, 4])
def test_shares_are_the_batch_and_nearly_equal(monkeypatch, n, n_processes):
    generator = torch.Generator()
    monkeypatch.setattr(parallel, "n_processes", lambda: n_processes)
    rows = []
    for rank in range(n_processes):
        monkeypatch.setattr(parallel.dist, "get_rank", lambda rank=rank: rank)
        share = parallel.share_of(n, generator)
        assert share.n == n
        mine = torch.arange(n)[share.rows]
        assert len(mine) >= 1, "each process has something to do"
        assert n // n_processes <= len(mine) <= -(-n // n_processes)
        rows += mine[share.kept].tolist()
    assert rows == list(range(n))


@pytest.mark.parametrize("draw", [chance.normal, chance.uniform])
def test_a_share_gets_its_rows_of_what_the_batch_gets(draw):
    def seeded():
        return torch.Generator().manual_seed(3)

    generator = seeded()
    whole, after = draw((7, 2, 5), generator), draw((4,), generator)
    for rows in (slice(0, 3), slice(3, 7), slice(0, 7)):
        share = Share(seeded(), rows, 7)
        assert torch.equal(draw((rows.stop - rows.start, 2, 5), share), whole[rows])
        assert torch.equal(draw((4,), share.generator), after), "all go on from the same state"


@pytest.mark.parametrize("n", [1, 3, 5, 20])
@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_thinned_shares_are_every_fourth_row_of_the_batch(monkeypatch, n, n_processes):
    monkeypatch.setattr(parallel, "n_processes", lambda: n_processes)
    rows, of_noise = [], []
    for rank in range(n_processes):
        monkeypatch.setattr(parallel.dist, "get_rank", lambda rank=rank: rank)
        share = parallel.share_of(n, torch.Generator())
        of_share, thinned = share.thinned(4)
        mine = torch.arange(n)[share.rows][of_share]
        assert len(mine) == len(torch.arange(thinned.n)[thinned.rows]) >= 1
        rows += mine[thinned.kept].tolist()
        of_noise += torch.arange(thinned.n)[thinned.rows][thinned.kept].tolist()
    assert rows == list(range(0, n, 4))
    assert of_noise == list(range(len(rows)))


def test_rows_may_be_another_axis():
    whole = chance.uniform((2, 7, 1), torch.Generator().manual_seed(3))
    share = Share(torch.Generator().manual_seed(3), slice(2, 5), 7)
    assert torch.equal(chance.uniform((2, 3, 1), share, axis=1), whole[:, 2:5])


def refused(monkeypatch, n_processes, network=None, batch_size=6):
    state, y = learning_together.begun("complete")
    state.model.network = network or state.model.network
    monkeypatch.setattr(parallel, "n_processes", lambda: n_processes)
    recipe = learning_together.replace(learning_together.CASES["complete"][0], batch_size=batch_size)
    next(learning.alternate(state.model, y, recipe=recipe, state=state))


def test_fewer_examples_in_a_batch_than_processes_are_refused(monkeypatch):
    with pytest.raises(InputError, match="7 processes cannot share batches of 6; start at most 6"):
        refused(monkeypatch, 7)
    with pytest.raises(InputError, match="14 processes cannot share batches of 13"):
        refused(monkeypatch, 14, batch_size=100)


def test_batch_normalisation_is_refused(monkeypatch):
    network = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.BatchNorm1d(64), torch.nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(InputError, match="normalises batches"):
        refused(monkeypatch, 2, network)


def assert_same_run(first, second):
    one, other = final_tensors(first), final_tensors(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name].float(), tensor.float(), rtol=1e-4, atol=1e-4, msg=name)
    assert len(RunFolder(first).metrics()) == len(RunFolder(second).metrics())


def until_learning(process, folder, lines=3):
    """Wait for so many rows of metrics."""
    deadline, metrics = time.monotonic() + 120, folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no metrics appeared"
        time.sleep(0.01)


def children_of(process):
    """Process ids of what torchrun started, in order of rank."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return sorted(map(int, listed.stdout.split()))


def test_a_command_runs_on_several_processes_and_writes_once(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    arguments = ("complete", data / "images.npz", *LEARN, *SHORT, "--new-images", "2")
    code, out, err = finished(start(2, "-m", "abpnet", *arguments, "--out", tmp_path / "two"))
    assert code == 0, err
    assert run(*arguments, "--out", tmp_path / "one") == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
    assert out.count("report: ") == err.count("iteration 1/8") == 1
    assert not list((tmp_path / "temporary").glob("abpnet-*")), "what the other process wrote is gone"


@pytest.mark.parametrize("stop", ["interrupted", "lost"])
def test_stopped_on_several_processes_a_run_goes_on_on_one(data, tmp_path, stop):
    arguments = ("complete", data / "images.npz", *LEARN, "--out", tmp_path / "run")
    code = (
        "from abpnet.tasks import session; session.SECONDS_BETWEEN_CHECKPOINTS = 0.2; "
        "from abpnet.cli import main; main()"
    )
    script = tmp_path / "learn.py"
    script.write_text(code)
    process = start(2, script, *arguments, *ENDLESS)
    until_learning(process, tmp_path / "run")
    if stop == "interrupted":
        process.send_signal(signal.SIGTERM)
    else:
        while not list((tmp_path / "run").glob("checkpoint-*")):
            time.sleep(0.01)
        os.kill(children_of(process)[-1], signal.SIGKILL)
    code, _, err = finished(process)
    assert code != 0
    told = re.findall(r"^abpnet: (.*)", err, re.MULTILINE)
    expected = "stopped after iteration" if stop == "interrupted" else "another process ended"
    assert len(told) == 1, err
    assert told[0].startswith(expected)
    checkpoint = RunFolder(tmp_path / "run").checkpoints()[-1]
    reached = json.loads((checkpoint / "state.json").read_text())["iteration"]
    config = tmp_path / "run" / "config.json"
    settings = json.loads(config.read_text())
    settings["settings"]["max_iter"] = reached + 5
    config.write_text(json.dumps(settings))
    assert run("resume", tmp_path / "run") == 0
    whole = ("complete", data / "images.npz", *LEARN, "--max-iter", reached + 5, "--out", tmp_path / "whole")
    assert run(*whole) == 0
    assert len(RunFolder(tmp_path / "run").metrics()) == len(RunFolder(tmp_path / "whole").metrics()) == reached + 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("complete", "nowhere.npz", *LEARN), "nowhere.npz: no such"),
        (("complete", "builtin:digits", "--mask", "pepper:0.4", "--out", "."), ".: not empty"),
        (("complete", "builtin:digits", "--max-iter", "many", "--mask", "pepper:0.4"), None),
    ],
    ids=["no data", "folder in use", "no number"],
)
def test_bad_input_is_said_once_and_ends_all(tmp_path, monkeypatch, arguments, message):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    monkeypatch.chdir(tmp_path / "used")
    code, out, err = finished(start(2, "-m", "abpnet", *arguments))
    assert code != 0
    assert re.findall(r"exitcode +: (-?\d+)", err) == ["2", "2"], err
    said = re.findall(r"^abpnet: (.*)", err, re.MULTILINE)
    if message is not None:
        assert len(said) == 1
        assert said[0].startswith(message)
    assert (out + err).count("many") <= 2
