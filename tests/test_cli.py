"""Every command end to end on tiny data; bad input is one clear line and exit code 2."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from abpnet import cli
from abpnet.tasks import session

COMPLETE = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--max-iter", "3", "--precision", "float32"]
TEXTURE = ["builtin:gravel", "--size", "64", "--max-iter", "1", "--n-chains", "2", "--width", "16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder with images.npz and a subfolder of the same images as files."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    factors, patterns = rng.normal(size=(14, 2)), rng.normal(size=(2, 64))
    pixels = np.clip(127 + 60 * factors @ patterns, 0, 255).astype(np.uint8).reshape(14, 8, 8)
    np.savez(folder / "images.npz", images=pixels)
    (folder / "photos").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "photos" / f"photo {index}.png")
    return folder


def run(*arguments):
    """Exit code of the command."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def completed(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "complete"
    assert run("complete", data / "images.npz", *COMPLETE, "--new-images", "4", "--out", out) == 0
    return out


def test_complete_leaves_a_whole_run_folder(completed):
    for name in ("config.json", "metrics.jsonl", "result.json", "report.html", "samples.png", "training images.png"):
        assert (completed / name).is_file(), name
    assert len(list((completed / "completed").glob("*.png"))) == 14
    rows = [json.loads(line) for line in (completed / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    result = json.loads((completed / "result.json").read_text())
    methods = [row["method"] for row in result["table"]]
    assert methods[0] == "abpnet"
    assert len(methods) == 5
    assert all(0 < row["error, training images"] < 1 and 0 < row["error, new images"] < 1 for row in result["table"])
    assert not list(completed.glob("checkpoint-*"))
    assert "precision" in json.loads((completed / "config.json").read_text())


def test_complete_keeps_observed_pixels_of_files_with_holes(data, tmp_path):
    holes = tmp_path / "holes"
    holes.mkdir()
    for path in (data / "photos").iterdir():
        picture = np.asarray(Image.open(path))
        alpha = np.full((8, 8), 255, np.uint8)
        alpha[2:4, 2:5] = 0
        Image.fromarray(np.dstack([picture] * 3 + [alpha])).save(holes / path.name)
    out = tmp_path / "out"
    assert run("complete", holes, "--latent-dim", "2", "--max-iter", "2", "--out", out) == 0
    for path in (data / "photos").iterdir():
        before, after = np.asarray(Image.open(path)).astype(int), np.asarray(Image.open(out / "completed" / path.name))
        seen = np.ones((8, 8), bool)
        seen[2:4, 2:5] = False
        assert np.abs(after[..., 0][seen] - before[seen]).max() <= 1
    assert "table" not in json.loads((out / "result.json").read_text()), "where the truth is unknown nothing is scored"


def test_sample_and_explain_use_what_a_run_learned(completed, data, tmp_path):
    assert run("sample", completed, "-n", "5", "--out", tmp_path / "samples") == 0
    assert np.load(tmp_path / "samples" / "samples.npz")["samples"].shape == (5, 1, 8, 8)
    assert len(list((tmp_path / "samples" / "samples").glob("*.png"))) == 5
    assert run("explain", completed, data / "photos", "--out", tmp_path / "explained") == 0
    assert np.load(tmp_path / "explained" / "factors.npz")["factors"].shape == (14, 3)
    assert run("explain", completed, data / "photos" / "photo 3.png", "--out", tmp_path / "one") == 0
    assert (tmp_path / "one" / "completed" / "photo 3.png").is_file()


def test_texture_and_samples_of_another_size(tmp_path):
    out = tmp_path / "texture"
    assert run("texture", *TEXTURE, "--out", out) == 0
    assert Image.open(out / "synthesis.png").size == (128, 128)
    assert run("sample", out, "-n", "1", "--map", "2", "5", "--out", tmp_path / "larger") == 0
    assert np.load(tmp_path / "larger" / "samples.npz")["samples"].shape == (1, 1, 64, 160)


def test_demo_runs_both_experiments(tmp_path):
    out = tmp_path / "demo"
    assert run("demo", "--digit-passes", "1", "--texture-seconds", "0.01", "--out", out) == 0
    assert (out / "report.html").is_file()
    assert set(json.loads((out / "result.json").read_text())) == {"digits", "texture", "table"}
    assert run("resume", out) == 0


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_bad_input_is_one_clear_line(data, completed, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    text = tmp_path / "text.png"
    text.write_text("no picture")
    mask = tmp_path / "mask.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(mask)
    nothing = tmp_path / "nothing.npz"
    np.savez(nothing, x=np.full((3, 8, 8), np.nan, np.float32))
    source = data / "images.npz"
    cases = {
        ("complete", tmp_path / "absent"): "absent",
        ("complete", text): "text.png",
        ("texture", text): "text.png",
        ("complete", source, "--mask", mask): "mask.png",
        ("complete", source, "--mask", "pepper:2"): "pepper",
        ("complete", nothing): "no pixel",
        ("complete", source, "--new-images", "13"): "--new-images",
        ("complete", source, "--latent-dim", "0"): "--latent-dim",
        ("complete", source, "--max-seconds", "-1"): "--max-seconds",
        ("complete", source, "--device", "abacus"): "--device",
        ("texture", "builtin:velvet"): "builtin:gravel",
        ("sample", tmp_path): "state.json",
        ("sample", completed, "--map", "2", "2"): "--map",
        ("explain", completed, text): "text.png",
    }
    for arguments, named in cases.items():
        assert named in refused(capsys, *arguments, *out), arguments
        assert not (tmp_path / "out").exists(), f"{arguments} left a folder behind"
    assert "not empty" in refused(capsys, "complete", source, "--out", completed)
    assert "config.json" in refused(capsys, "resume", tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert "config.json" in refused(capsys, "complete", source, "--overwrite", "--out", foreign)
    assert (foreign / "thesis.txt").exists()


def test_overwrite_replaces_an_earlier_run(data, tmp_path):
    out = tmp_path / "run"
    for _ in range(2):
        arguments = [*COMPLETE, "--no-baselines", "--overwrite", "--out", out]
        assert run("complete", data / "images.npz", *arguments) == 0


def final_tensors(folder):
    return safetensors.torch.load((folder / "model" / "state.safetensors").read_bytes())


def assert_same_model(first, second):
    one, other = final_tensors(first), final_tensors(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


LONG = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--max-iter", "60", "--precision", "float32", "--no-baselines"]


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run("complete", data / "images.npz", *LONG, "--out", out) == 0
    return out


def launch(data, out, every="0"):
    """The same command in a process of its own that writes a checkpoint after every iteration."""
    code = (
        f"from abpnet.tasks import session; session.SECONDS_BETWEEN_CHECKPOINTS = {every}; "
        "from abpnet.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "complete", data / "images.npz", *LONG, "--out", out]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoint-0000001*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.01)
    return process


def test_killed_and_resumed_equals_uninterrupted(data, uninterrupted, tmp_path):
    out = tmp_path / "killed"
    process = launch(data, out)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    assert run("resume", out) == 0
    assert_same_model(out, uninterrupted)
    rows = [json.loads(line)["iteration"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 61))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_interrupted_it_saves_says_how_to_go_on_and_does(data, uninterrupted, tmp_path, number, code):
    out = tmp_path / "interrupted"
    process = launch(data, out)
    os.kill(process.pid, number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"abpnet resume {out}" in message
    assert "Traceback" not in message
    assert run("resume", out) == 0
    assert_same_model(out, uninterrupted)


def test_checkpoints_leave_no_trace_in_what_is_learned(data, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    assert run("complete", data / "images.npz", *LONG, "--out", tmp_path / "run") == 0
    assert_same_model(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("command", ["demo", "complete", "texture", "sample", "explain", "resume"])
def test_every_command_explains_itself(command, capsys):
    assert run(command, "--help") == 0
    assert "xample" in capsys.readouterr().out
