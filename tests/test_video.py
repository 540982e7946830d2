"""Experiment 4 end to end on tiny data, and its parts."""

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

import abpnet
from abpnet.data.builtin import waves
from abpnet.data.videos import load_clip, save_mp4
from abpnet.dynamic_textures import WINDOW, DynamicTexture, infer_paths, learn_motion, pieces
from abpnet.networks import SpaceTimeNetwork, initialise
from commands import run

TINY = ["--size", "16", "--width", "16", "--limit", "48", "--latent-dim", "3", "--precision", "float32"]
TOGETHER = ["--motion", "joint", "--transition", "recurrent"]
FAST = [*TINY, "--max-iter", "2", "--frames", "40"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run on a file."""
    folder = tmp_path_factory.mktemp("video")
    save_mp4(folder / "waves.mp4", waves(48, 16).repeat(3, 1), 12.0)
    assert run("video", folder / "waves.mp4", *FAST, "--out", folder / "run") == 0
    return folder / "run"


def test_video_leaves_a_whole_run_folder(finished):
    for name in (
        "config.json",
        "metrics.jsonl",
        "report.html",
        "frames.png",
        "spectra.png",
        "linear dynamic system.mp4",
    ):
        assert (finished / name).is_file(), name
    synthesis = load_clip(finished / "synthesis.mp4")
    assert synthesis.frames.shape == load_clip(finished / "synthesis.gif").frames.shape == (40, 1, 16, 16)
    assert synthesis.frame_rate == 12.0
    assert load_clip(finished / "original.mp4").frames.shape == (48, 1, 16, 16)
    assert "data:image/gif" in (finished / "report.html").read_text()
    ours, same_dim, least_squares, same_size, halves = json.loads((finished / "result.json").read_text())["table"]
    assert ours["method"] == "abpnet"
    assert same_dim["method"] == "linear dynamic system, d = 3"
    assert least_squares["method"] == "linear dynamic system, d = 3, least squares"
    assert same_size["parameters"] <= ours["parameters"]
    assert same_dim["parameters"] < same_size["parameters"]
    assert "second half" in halves["method"]
    for row in (ours, same_dim, least_squares, same_size, halves):
        assert 0 < row["spectral distance, dB"] < 40
        assert 0 < row["difference distance"] < 500
        assert 0.2 < row["sharpness"] < 5


def test_frames_of_the_model_can_be_sampled(finished, tmp_path):
    assert run("sample", finished, "-n", "3", "--out", tmp_path / "samples") == 0
    assert len(list((tmp_path / "samples" / "samples").glob("*.png"))) == 3


@pytest.mark.parametrize(
    "option",
    [["--network", "spacetime"], ["--transition", "recurrent"], ["--order", "2"], ["--motion", "joint"], TOGETHER],
    ids=str,
)
def test_other_transitions_and_networks(tmp_path, option):
    out = tmp_path / "out"
    assert run("video", "builtin:waves", *FAST, *option, "--no-baselines", "--out", out) == 0
    assert load_clip(out / "synthesis.mp4").frames.shape[0] == 40
    methods = [row["method"] for row in json.loads((out / "result.json").read_text())["table"]]
    assert methods[0] == "abpnet"
    assert len(methods) == 2
    assert Image.open(out / "frames.png").size[0] > 10 * 64
    assert run("sample", out, "-n", "2", "--out", tmp_path / "samples") == 0


def test_a_thousand_frames_stay_where_the_clip_was():
    clip = waves(60, 16)
    net = abpnet.GeneratorNetwork(5, recipe="video", max_iter=2, precision="float32", verbose=False).fit(clip)
    paths = infer_paths(net, clip)
    for transition in ("linear", "recurrent"):
        process = learn_motion(paths, transition, 1, torch.Generator().manual_seed(0))
        texture = DynamicTexture(net, paths, process)
        z = process.simulate(1000, np.random.default_rng(0))
        assert np.abs((z - paths[0].mean(0)) / paths[0].std(0)).max() < 7
        assert np.allclose(z[500:].std(0), paths[0].std(0), rtol=0.6)
        frames = texture.synthesise(1000, np.random.default_rng(0))
        assert frames.shape == (1000, 1, 16, 16)
        assert np.array_equal(frames, texture.frames(z))
    assert texture.n_parameters > sum(weight.numel() for weight in net.model_.network.parameters())
    assert texture.reconstruct(60).shape == clip.shape


def test_pieces_cover_the_clip():
    clip = np.arange(75, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    cut = pieces(clip)
    assert cut.shape == (3, 1, 32, 2, 2)
    assert sorted(set(cut.ravel())) == list(range(75))
    assert (np.diff(cut, axis=2) == 1).all()
    assert pieces(clip[:19]).shape == (2, 1, 16, 2, 2)


def test_a_long_clip_is_decoded_in_windows_without_a_seam():
    with torch.device("meta"):
        network = SpaceTimeNetwork(3, (1, 16, 16), 16)
    network = initialise(network, torch.Generator().manual_seed(0))
    clip = waves(16, 16).swapaxes(0, 1)[None]
    settings = {"recipe": "spacetime", "max_iter": 1, "device": "cpu", "verbose": False}
    net = abpnet.GeneratorNetwork((3, 4), network=network, **settings).fit(clip)
    paths = infer_paths(net, clip[0].swapaxes(0, 1)) * 3
    texture = DynamicTexture(net, paths, learn_motion(paths, "linear", 1, torch.Generator()))
    z = np.random.default_rng(0).standard_normal((2 * WINDOW + 5, 3)).astype(np.float32)
    with torch.no_grad():
        whole = net.model_.network(torch.from_numpy(z.T.copy())[None])[0].numpy().swapaxes(0, 1)
    assert np.allclose(texture.frames(z), whole, atol=1e-5)


BAD = {
    "too few frames": (["--limit", "42", "--latent-dim", "20"], "--latent-dim"),
    "order": (["--order", "60"], "--order"),
    "no frames": (["--frames", "1"], "--frames"),
    "limit": (["--limit", "3"], "--limit"),
    "frame rate": (["--frame-rate", "0"], "--frame-rate"),
    "nan rate": (["--frame-rate", "nan"], "--frame-rate"),
    "no factors": (["--latent-dim", "0"], "--latent-dim"),
    "size": (["--size", "7"], "--size"),
    "small for clips": (["--size", "12", "--network", "spacetime"], "sides of 16"),
    "width": (["--width", "0"], "--width"),
    "noise": (["--noise-std", "nan"], "--noise-std"),
    "clips together": (["--motion", "joint", "--network", "spacetime"], "--network frames"),
    "order 2 together": (["--motion", "joint", "--order", "2"], "--order 1"),
    "recurrent clips": ([*TOGETHER, "--network", "spacetime"], "--network frames"),
    "no pass together": (["--motion", "joint", "--max-iter", "1"], "--max-iter"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_cannot_be(case, tmp_path, capsys):
    options, named = BAD[case]
    assert run("video", "builtin:waves", "--size", "16", *options, "--out", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert named in message
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_learned_from(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    np.savez(tmp_path / "short.npz", x=np.random.default_rng(0).uniform(-1, 1, (15, 16, 16)))
    np.savez(tmp_path / "still.npz", x=np.zeros((60, 16, 16), np.float32))
    cases = {"text.mp4": "not a video", "short.npz": "15 frames", "still.npz": "nothing moves", "absent.mp4": "no such"}
    for name, message in cases.items():
        assert run("video", tmp_path / name, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert name in error
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("motion", [[], TOGETHER], ids=["two steps", "together"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, motion):
    arguments = ["builtin:waves", *TINY, "--max-iter", "12", "--frames", "20", "--no-baselines", *motion]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run("video", *arguments, "--out", whole) == 0
    code = "from abpnet.cli import main; main()"
    command = [sys.executable, "-c", code, "video", *arguments, "--out", str(stopped)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (stopped / "metrics.jsonl").exists() or (stopped / "metrics.jsonl").read_bytes().count(b"\n") < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "abpnet resume" in message
    assert run("resume", stopped) == 0
    first, second = (
        safetensors.torch.load((folder / "model" / "state.safetensors").read_bytes()) for folder in (whole, stopped)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    one, other = (load_clip(folder / "synthesis.gif").frames for folder in (whole, stopped))
    assert np.abs(one - other).max() < 0.02


def test_a_synthesis_may_be_shorter_than_what_is_shown_of_it(tmp_path):
    out = tmp_path / "out"
    assert run("video", "builtin:waves", *FAST, "--frames", "3", "--no-baselines", "--out", out) == 0
    assert (out / "frames.png").is_file()
