"""Experiment 3 end to end on tiny data."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from abpnet.baselines import dcgan, vae
from abpnet.runs import RunFolder
from abpnet.tasks import objects
from commands import run

FAST = ["--max-iter", "2", "--precision", "float32"]
METHODS = ["abpnet", "VAE", "DCGAN", "training images themselves"]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "objects"
    assert run("objects", data / "images.npz", "--latent-dim", "3", "--new-images", "5", *FAST, "--out", out) == 0
    return out


def test_objects_leave_a_whole_run_folder(finished):
    result = json.loads((finished / "result.json").read_text())
    assert [row["method"] for row in result["table"]] == METHODS
    assert (result["n_training"], result["n_new"], result["judged by"]) == (9, 5, "new images")
    for row in result["table"]:
        assert np.isfinite(row["kernel distance"])
        assert 0 <= row["precision"] <= 1
        assert 0 <= row["recall"] <= 1
    ours, by_vae, by_gan, floor = result["table"]
    assert 0 < ours["error, training images"] < 1
    assert 0 < by_vae["error, training images"] < 1
    assert by_gan["error, training images"] is None
    assert floor["seconds"] is None
    assert abs(floor["kernel distance"]) < abs(ours["kernel distance"])
    for name in ("samples", "samples_vae", "samples_dcgan", "reconstructions", "interpolation", "curves"):
        assert (finished / f"{name}.png").is_file(), name
    side = 8 * (64 + 2) + 2
    assert Image.open(finished / "interpolation.png").size == (side, side)
    assert not (finished / "grid.png").exists()
    assert json.loads((finished / "model" / "state.json").read_text())["settings"]["recipe"] == "objects"
    report = (finished / "report.html").read_text()
    assert "5 new images" in report
    assert len(re.findall("<img", report)) == 6


@pytest.mark.parametrize(("latent_dim", "rows"), [(2, 9), (1, 1)])
def test_two_factors_or_fewer_are_shown_as_their_grid(data, tmp_path, latent_dim, rows):
    out = tmp_path / "out"
    arguments = ["--latent-dim", str(latent_dim), "--no-baselines", *FAST]
    assert run("objects", data / "images.npz", *arguments, "--out", out) == 0
    assert Image.open(out / "grid.png").size == (9 * 66 + 2, rows * 66 + 2)
    result = json.loads((out / "result.json").read_text())
    assert [row["method"] for row in result["table"]] == ["abpnet"]
    assert result["judged by"] == "training images"
    assert "--new-images or --new-source" in (out / "report.html").read_text()


def test_a_finished_baseline_is_not_learned_again_and_the_other_to_the_same_bits(
    finished, data, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    arguments = ["--latent-dim", "3", "--new-images", "5", *FAST, "--out", out]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dcgan, "learn", stop)
        assert run("objects", data / "images.npz", *arguments) == 130
    assert (out / "baseline VAE").is_dir()
    assert not (out / "baseline DCGAN").exists()
    assert RunFolder(out).result is None
    monkeypatch.setattr(vae, "learn", stop)
    assert run("resume", out) == 0
    for name in ("samples.png", "samples_vae.png", "samples_dcgan.png", "interpolation.png"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    tables = [json.loads((folder / "result.json").read_text())["table"] for folder in (out, finished)]
    for rows in tables:
        for row in rows:
            del row["seconds"]
    assert tables[0] == tables[1]


def test_the_budget_is_time_where_time_is_limited(monkeypatch):
    budgets = []

    def learn(images, network, *, max_iter, max_seconds, **_):
        budgets.append((max_iter, max_seconds))
        raise InterruptedError

    monkeypatch.setattr(dcgan, "learn", learn)
    images = np.zeros((4, 1, 8, 8), np.float32)
    import torch

    import abpnet

    network = abpnet.GeneratorNetwork(2, max_iter=1, verbose=False).fit(images)
    for seconds in (None, 7.0):
        settings = objects.ObjectsSettings(source="", latent_dim=2, max_iter=5, max_seconds=seconds)
        with pytest.raises(InterruptedError):
            objects._baselines(settings, network)["DCGAN"](torch.from_numpy(images), 3)
    assert budgets == [(5, None), (objects.UNLIMITED, 7.0)]


def test_images_with_holes_are_refused(tmp_path, capsys):
    pixels = np.zeros((3, 8, 8), np.float32)
    pixels[1, 2, 3] = np.nan
    np.savez(tmp_path / "holes.npz", x=pixels)
    assert run("objects", tmp_path / "holes.npz", "--out", tmp_path / "out") == 2
    assert "abpnet complete" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_images_are_enough(tmp_path):
    np.savez(tmp_path / "two.npz", x=np.random.default_rng(0).uniform(-1, 1, (2, 8, 8)).astype(np.float32))
    assert run("objects", tmp_path / "two.npz", "--latent-dim", "4", *FAST, "--out", tmp_path / "out") == 0


def test_new_images_from_another_source(data, tmp_path):
    out = tmp_path / "out"
    arguments = ["--latent-dim", "4", "--no-baselines", "--new-source", data / "photos", *FAST]
    assert run("objects", data / "images.npz", *arguments, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert (result["n_training"], result["n_new"], result["judged by"]) == (14, 14, "new images")
    floor = result["table"][-1]
    assert (floor["precision"], floor["recall"]) == (1.0, 1.0), "the same images"


def test_who_diverged_is_not_judged():
    rng = np.random.default_rng(0)
    good = objects.Drawn("good", rng.uniform(-1, 1, (8, 1, 16, 16)).astype(np.float32), 0.1, 1.0)
    lost = objects.Drawn("lost", np.full((8, 1, 16, 16), np.nan, np.float32), float("nan"), 1.0)
    rows = objects._table([good, lost], rng.uniform(-1, 1, (8, 1, 16, 16)).astype(np.float32))
    assert rows[0]["kernel distance"] is not None
    assert [rows[1][name] for name in ("kernel distance", "precision", "recall", "error, training images")] == [
        None
    ] * 4
    json.dumps(rows, allow_nan=False)
