"""Runs that were stopped, killed, damaged or went wrong go on, or say why they cannot."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import abpnet
from abpnet import cli
from abpnet.errors import DivergenceError
from abpnet.tasks import session
from commands import final_tensors, run


def assert_same_model(first, second):
    one, other = final_tensors(first), final_tensors(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    for folder in (first, second):
        history = abpnet.GeneratorNetwork.load(folder / "model").history_
        assert history == [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["iteration"] for row in history] == list(range(1, 41))


LONG = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--max-iter", "40", "--precision", "float32"]
LONG += ["--no-baselines", "--draws", "0"]


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run("complete", data / "images.npz", *LONG, "--out", out) == 0
    return out


def launch(data, out, every, until):
    """The same command in a process of its own, once so many lines of metrics stand there.

    Args:
        every: Seconds between checkpoints.
        until: Number of lines.
    """
    code = (
        f"from abpnet.tasks import session; session.SECONDS_BETWEEN_CHECKPOINTS = {every}; "
        "from abpnet.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "complete", data / "images.npz", *LONG, "--out", out]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    metrics = out / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < until:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no metrics appeared"
        time.sleep(0.01)
    return process


def test_killed_and_resumed_equals_uninterrupted(data, uninterrupted, tmp_path):
    out = tmp_path / "killed"
    process = launch(data, out, every=0.0, until=10)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(out.glob("checkpoint-*"))
    assert not (out / "result.json").exists()
    assert run("resume", out) == 0
    assert_same_model(out, uninterrupted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_interrupted_it_saves_says_how_to_go_on_and_does(data, uninterrupted, tmp_path, number, code):
    out = tmp_path / "interrupted"
    process = launch(data, out, every=1e9, until=10)  # its only checkpoint is the one that the signal asks for
    assert not list(out.glob("checkpoint-*"))
    os.kill(process.pid, number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"abpnet resume {out}" in message
    assert "Traceback" not in message
    assert list(out.glob("checkpoint-*"))
    assert run("resume", out) == 0
    assert_same_model(out, uninterrupted)


def test_a_run_that_stopped_after_learning_does_not_learn_again(uninterrupted, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    for name in ("result.json", "metrics.jsonl"):
        (out / name).unlink()

    def learn_again(*_):
        raise AssertionError("learned again")

    monkeypatch.setattr(abpnet.GeneratorNetwork, "iterations", learn_again)
    assert run("resume", out) == 0
    assert (out / "metrics.jsonl").read_text() == (uninterrupted / "metrics.jsonl").read_text()
    assert (out / "samples.png").read_bytes() == (uninterrupted / "samples.png").read_bytes()


def test_a_finished_run_has_nothing_to_resume(uninterrupted, capsys):
    before = (uninterrupted / "report.html").stat().st_mtime_ns
    capsys.readouterr()
    assert run("resume", uninterrupted) == 0
    assert "is finished" in capsys.readouterr().out
    assert (uninterrupted / "report.html").stat().st_mtime_ns == before


def test_a_resumed_run_keeps_the_precision_it_chose(data, tmp_path):
    from abpnet.runs import RunFolder

    folder = RunFolder.create(tmp_path / "run", "complete", {})
    folder.record(precision={"precision": "bfloat16", "speedup": 3.0})
    images = np.random.default_rng(0).uniform(-1, 1, (6, 1, 8, 8)).astype(np.float32)
    network = abpnet.GeneratorNetwork(2, max_iter=1, precision="auto")
    assert session.learn(network, images, folder, title="learning").precision_["precision"] == "bfloat16"


def test_a_resumed_run_keeps_the_recipe_it_began_with(tmp_path, monkeypatch):
    from abpnet.recipes import RECIPES
    from abpnet.runs import RunFolder

    images = np.random.default_rng(0).uniform(-1, 1, (6, 1, 8, 8)).astype(np.float32)
    RunFolder.create(tmp_path / "run", "complete", {})

    def learn():
        network = abpnet.GeneratorNetwork(2, max_iter=2, precision="float32")
        return session.learn(network, images, RunFolder(tmp_path / "run"), title="learning").latents_

    begun = learn()
    shutil.rmtree(tmp_path / "run" / "model")
    monkeypatch.setitem(RECIPES, "default", dataclasses.replace(RECIPES["default"], n_steps=7))
    np.testing.assert_array_equal(learn(), begun)


def test_checkpoints_leave_no_trace_in_what_is_learned(data, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    assert run("complete", data / "images.npz", *LONG, "--out", tmp_path / "run") == 0
    assert_same_model(tmp_path / "run", uninterrupted)


def stopped_after(out, data, passes, monkeypatch):
    """Learn with a checkpoint after each pass, and stop after so many."""
    asked = iter([None] * (passes - 1) + [signal.SIGINT])
    with monkeypatch.context() as patch:
        patch.setattr(session, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patch.setattr("abpnet.interruption.Interruption.requested", lambda self: next(asked))
        assert run("complete", data / "images.npz", *LONG, "--out", out) == 130


def test_where_the_newest_checkpoint_is_damaged_the_run_goes_on_from_the_one_before(
    data, uninterrupted, tmp_path, monkeypatch, capsys
):
    stopped_after(tmp_path / "run", data, 7, monkeypatch)
    newest = tmp_path / "run" / "checkpoint-00000007" / "state.safetensors"
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="goes on from checkpoint-00000006 instead: later iterations are lost"):
        assert run("resume", tmp_path / "run") == 0
    assert_same_model(tmp_path / "run", uninterrupted)


def test_where_the_disk_is_full_the_user_is_told_and_the_run_goes_on_later(
    data, uninterrupted, tmp_path, monkeypatch, capsys
):
    from abpnet import durable

    write, calls = durable._write_tensors, []

    def fills_up(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(session, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patch.setattr(durable, "_write_tensors", fills_up)
        capsys.readouterr()
        assert run("complete", data / "images.npz", *LONG, "--out", out) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "checkpoint-00000004: cannot be written (No space left on device)" in message
    assert f"go on with: abpnet resume {out}" in message
    assert [path.name for path in sorted(out.glob("*checkpoint*"))] == ["checkpoint-00000002", "checkpoint-00000003"]
    assert run("resume", out) == 0
    assert_same_model(out, uninterrupted)


def test_a_folder_in_use_is_refused(uninterrupted, data, tmp_path, capsys):
    from abpnet.runs import RunFolder

    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "result.json").unlink()
    folder = RunFolder(out).hold()
    for arguments in (("resume", out), ("complete", data / "images.npz", *LONG, "--out", out, "--overwrite")):
        capsys.readouterr()
        assert run(*arguments) == 2
        assert "another process is at work in this folder" in capsys.readouterr().err
    folder.release()
    assert run("resume", out) == 0
    assert not (out / ".lock").exists()


def test_a_run_does_not_go_on_with_other_data(data, tmp_path, monkeypatch, capsys):
    source = tmp_path / "images.npz"
    shutil.copy(data / "images.npz", source)
    stopped_after(tmp_path / "run", source.parent, 3, monkeypatch)
    pixels = np.load(source)["images"].copy()
    pixels[0, 0, 0] ^= 1
    np.savez(source, images=pixels)
    capsys.readouterr()
    assert run("resume", tmp_path / "run") == 2
    assert "the data are not those that this run began with" in capsys.readouterr().err


def test_a_run_is_not_judged_by_other_new_images_than_it_began_with(data, tmp_path, monkeypatch, capsys):
    images, new = np.load(data / "images.npz")["images"], tmp_path / "new.npz"
    np.savez(new, images=images[:4])
    with monkeypatch.context() as patch:
        patch.setattr("abpnet.interruption.Interruption.requested", lambda self: signal.SIGTERM)
        arguments = ("complete", data / "images.npz", "--new-source", new, *LONG)
        assert run(*arguments, "--out", tmp_path / "run") == 143
    np.savez(new, images=images[4:8])
    capsys.readouterr()
    assert run("resume", tmp_path / "run") == 2
    assert "the new data are not those that this run began with" in capsys.readouterr().err
    np.savez(new, images=images[:4])
    assert run("resume", tmp_path / "run") == 0


def test_learning_that_diverges_is_one_line(data, tmp_path, capsys, monkeypatch):
    def diverge(settings, folder):
        raise DivergenceError("chains explode", iteration=3, examples=[1], step_size=0.1, noise_stds=(0.3,))

    monkeypatch.setitem(cli.COMMANDS, "complete", (cli.COMMANDS["complete"][0], diverge))
    assert run("complete", data / "images.npz", "--out", tmp_path / "out") == 4
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "learning diverged in iteration 3: chains explode" in message
