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
    [
        ("projections", 12),
        ("fourier", 12),
        ("blur:1", 64),
        ("blur:2", 64),
        ("downsample:2", 16),
        ("mask:pepper:0.5:1", 32),
    ],
)
def test_sense_leaves_a_whole_run_folder(data, tmp_path, operator, measured):
    out = tmp_path / "out"
    number = ["--measurements", "12"] if operator in ("projections", "fourier") else []
    arguments = ["--operator", operator, *number, "--new-images", "4", *FAST]
    assert run("sense", data / "images.npz", *arguments, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    methods = [row["method"] for row in result["table"]]
    assert methods[0] == "abpnet"
    assert [name.split(",")[0].split(" (")[0] for name in methods[1:]] == [
        "mean of clean images",
        "least norm",
        "smooth Gaussian field",
        "Lasso",
        "Lasso",
        "principal components of clean images",
    ]
    assert all(0 < row["error, training images"] < 1 and 0 < row["error, new images"] < 1 for row in result["table"])
    assert len(list((out / "completed").glob("*.png"))) == 14
    assert Image.open(out / "new images.png").size[1] > 3 * 64
    assert json.loads((out / "model" / "state.json").read_text())["settings"]["recipe"] == "indirect"
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
        "blur:2.5",
        "mask:pepper:0.999",
        "blur:0",
        "blur:nan",
        "blur:9",
        "blur:inf",
        "blur:1e308",
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


def test_the_smallest_blur_is_none():
    blur, _ = make_operator(SenseSettings(source="", operator="blur:1e-200"), (1, 8, 8))
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(blur(image), image)


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


def table_of(out):
    return {
        row["method"].split(" (")[0]: row["error, training images"]
        for row in json.loads((out / "result.json").read_text())["table"]
    }


@pytest.mark.parametrize("operator", ["projections", "fourier", "blur:1"])
def test_there_need_be_no_new_images(data, tmp_path, operator):
    number = ["--measurements", "12"] if operator in ("projections", "fourier") else []
    assert run("sense", data / "images.npz", "--operator", operator, *number, *FAST, "--out", tmp_path / "out") == 0
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["table"]
    assert all("error, new images" not in row for row in rows)
    assert not (tmp_path / "out" / "new images.png").exists()


def test_smooth_images_are_recovered_better_than_by_least_norm_and_by_their_mean(tmp_path):
    place = np.linspace(-1, 1, 12)
    middles = np.random.default_rng(0).uniform(-0.6, 0.6, (100, 2))
    down, along = (np.exp(-np.square(place - middle[:, None]) / 0.15) for middle in middles.T)
    np.save(tmp_path / "spots.npy", (2 * down[:, :, None] * along[:, None] - 1)[:, None].astype(np.float32))
    arguments = ["--measurements", "40", "--latent-dim", "2", "--max-iter", "30", "--precision", "float32"]
    assert run("sense", tmp_path / "spots.npy", *arguments, "--out", tmp_path / "out") == 0
    errors = table_of(tmp_path / "out")
    assert errors["abpnet"] < 0.5 * min(errors["least norm"], errors["mean of clean images"])


def test_noise_of_pixels_counts_more_in_fewer_projections(data, tmp_path):
    arguments = ["--measurements", "16", "--noise-std", "0.3", "--measurement-noise", "0.8", *FAST]
    assert run("sense", data / "images.npz", *arguments, "--out", tmp_path / "out") == 0
    learned = json.loads((tmp_path / "out" / "model" / "state.json").read_text())
    assert learned["emission"]["noise_std"] == pytest.approx(np.hypot(0.3 * np.sqrt(64 / 16), 0.8))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--operator", "blur:1", "--measurements", "20"],
        ["--measurements", "20", "--noise-std", "1e5"],
        ["--measurements", "20", "--measurement-noise", "1e6"],
    ],
)
def test_settings_that_do_not_belong_together_or_are_out_of_range(data, tmp_path, capsys, arguments):
    assert run("sense", data / "images.npz", *arguments, "--out", tmp_path / "out") == 2
    assert "--" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_without_contrast_give_valid_json(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((4, 1, 8, 8), np.float32))
    assert run("sense", tmp_path / "flat.npy", "--measurements", "20", *FAST, "--out", tmp_path / "out") == 0
    json.loads((tmp_path / "out" / "result.json").read_text(), parse_constant=pytest.fail)


def test_a_mask_named_from_where_the_run_began_is_found_again(data, tmp_path, monkeypatch):
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    assert run("sense", data / "images.npz", "--operator", "mask:mask.png", *FAST, "--out", "out") == 0
    kept = json.loads((tmp_path / "out" / "config.json").read_text())["settings"]["operator"]
    assert kept == f"mask:{tmp_path / 'mask.png'}"
