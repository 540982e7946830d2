"""Experiment 6 end to end on tiny data."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from abpnet.errors import InputError
from abpnet.observations import Projection
from abpnet.tasks.sense import SenseSettings, make_operator
from commands import run

FAST = ["--latent-dim", "3", "--max-iter", "2", "--precision", "float32"]


@pytest.mark.parametrize(
    ("operator", "measured"),
    [("projections", 12), ("fourier", 12), ("blur:1", 64), ("downsample:2", 16), ("mask:pepper:0.5:1", 32)],
)
def test_sense_leaves_a_whole_run_folder(data, tmp_path, operator, measured):
    out = tmp_path / "out"
    arguments = ["--operator", operator, "--measurements", "12", "--new-images", "4", *FAST]
    assert run("sense", data / "images.npz", *arguments, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    methods = [row["method"] for row in result["table"]]
    assert methods[0] == "abpnet"
    assert [name.split(",")[0].split(" (")[0] for name in methods[1:]] == [
        "mean of clean images",
        "least norm",
        "Lasso",
        "Lasso",
        "principal components of clean images",
    ]
    assert all(0 < row["error, training images"] < 1 and 0 < row["error, new images"] < 1 for row in result["table"])
    assert len(list((out / "completed").glob("*.png"))) == 14
    assert Image.open(out / "new images.png").size[1] > 3 * 64
    assert json.loads((out / "model" / "state.json").read_text())["settings"]["recipe"] == "partial"
    made, _ = make_operator(SenseSettings(source="", operator=operator, measurements=12), (1, 8, 8))
    assert made(torch.zeros(1, 1, 8, 8)).numel() == measured


def test_projections_are_the_same_for_the_same_seed():
    first, again, other = (
        make_operator(SenseSettings(source="", measurements=5, seed=seed), (1, 8, 8))[0] for seed in (1, 1, 2)
    )
    assert isinstance(first, Projection)
    assert torch.equal(first.matrix, again.matrix)
    assert not torch.equal(first.matrix, other.matrix)


@pytest.mark.parametrize(
    "operator",
    [
        "blur",
        "blur:0",
        "blur:nan",
        "blur:9",
        "downsample:0",
        "downsample:9",
        "fourier:3",
        "lens",
        "mask",
        "mask:region:9",
        "",
    ],
)
def test_operators_that_cannot_be(operator):
    with pytest.raises(InputError, match="--operator"):
        make_operator(SenseSettings(source="", operator=operator, measurements=5), (1, 8, 8))


def test_more_projections_than_pixels_are_refused():
    with pytest.raises(InputError, match="--measurements"):
        make_operator(SenseSettings(source="", measurements=65), (1, 8, 8))


def test_noise_of_the_measurements_is_added(data, tmp_path):
    tables = []
    for noise in ("0", "5"):
        out = tmp_path / noise
        arguments = ["--measurements", "60", "--measurement-noise", noise, *FAST]
        assert run("sense", data / "images.npz", *arguments, "--out", out) == 0
        tables.append(json.loads((out / "result.json").read_text())["table"])
    clean, noisy = ({row["method"]: row["error, training images"] for row in table} for table in tables)
    assert noisy["least norm"] > clean["least norm"] + 0.1


def test_images_with_holes_are_refused(tmp_path, capsys):
    pixels = np.zeros((3, 8, 8), np.float32)
    pixels[1, 2, 3] = np.nan
    np.savez(tmp_path / "holes.npz", x=pixels)
    assert run("sense", tmp_path / "holes.npz", "--out", tmp_path / "out") == 2
    assert "missing pixels" in capsys.readouterr().err
