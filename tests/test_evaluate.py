"""Experiment 7 end to end on tiny data."""

import json

import numpy as np
import pytest
import safetensors.torch

import abpnet
from abpnet.tasks.evaluate import EvaluateSettings
from abpnet.tasks.recovery import split
from commands import run

FAST = ["--max-iter", "2", "--precision", "float32", "--new-images", "4"]


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "evaluate"
    assert run("evaluate", data / "images.npz", "--latent-dims", "2", "3", *FAST, "--out", out) == 0
    return out


def test_evaluate_leaves_a_whole_run_folder(evaluated):
    for name in ("config.json", "metrics.jsonl", "result.json", "report.html", "d2/model", "d3/reconstructions.png"):
        assert (evaluated / name).exists(), name
    result = json.loads((evaluated / "result.json").read_text())
    assert (result["n_training"], result["n_new"]) == (10, 4)
    table = {row.pop("method"): row for row in result["table"]}
    assert list(table) == [
        "abpnet",
        "principal components",
        "variational auto-encoder (same decoder)",
        "its decoder, factors inferred as ours",
        "ours / principal components",
    ]
    for d in ("d = 2", "d = 3"):
        ratio = table["abpnet"][d] / table["principal components"][d]
        assert table["ours / principal components"][d] == pytest.approx(ratio)
        assert all(0 < errors[d] < 1 for method, errors in table.items() if " / " not in method)
    rows = [json.loads(line) for line in (evaluated / "metrics.jsonl").read_text().splitlines()]
    assert [(row["latent_dim"], row["iteration"]) for row in rows] == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_principal_components_are_those_of_the_training_images(data, evaluated):
    pixels = (np.load(data / "images.npz")["images"] / 127.5 - 1).reshape(14, 64)
    is_new = split(EvaluateSettings(source="", new_images=4), 14, 0, np.random.default_rng(0))
    train, new = pixels[~is_new], pixels[is_new]
    directions = np.linalg.svd(train - train.mean(0))[2]
    table = json.loads((evaluated / "result.json").read_text())["table"]
    (components,) = (row for row in table if row["method"] == "principal components")
    for d in (2, 3):
        projected = (new - train.mean(0)) @ directions[:d].T @ directions[:d] + train.mean(0)
        expected = np.abs(np.clip(projected, -1, 1) - new).mean() / 2
        assert components[f"d = {d}"] == pytest.approx(expected, rel=1e-3)


def test_new_images_are_the_last_ones_or_drawn():
    last = split(EvaluateSettings(source="", new_source="x"), 6, 2, np.random.default_rng(0))
    assert last.tolist() == [False] * 4 + [True] * 2
    drawn = [split(EvaluateSettings(source="", new_images=2), 6, 0, np.random.default_rng(seed)) for seed in (0, 1, 0)]
    assert [mask.sum() for mask in drawn] == [2, 2, 2]
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[0] != drawn[1]).any()


def test_a_finished_part_is_not_learned_again(data, evaluated, capsys):
    (evaluated / "result.json").unlink()
    before = (evaluated / "d2" / "metrics.jsonl").stat().st_mtime_ns
    assert run("resume", evaluated) == 0
    assert "learning" not in capsys.readouterr().err
    assert (evaluated / "d2" / "metrics.jsonl").stat().st_mtime_ns == before
    assert (evaluated / "result.json").exists()


def test_saved_runs_are_judged_side_by_side(data, completed, evaluated, tmp_path):
    out = tmp_path / "out"
    runs = [completed, evaluated / "d2"]
    options = ["--mask", "pepper:0.5:1", "--measurements", "20", "--new-images", "4", "--out", out]
    assert run("evaluate", data / "images.npz", "--runs", *runs, *options) == 0
    table = json.loads((out / "result.json").read_text())["table"]
    assert [row["method"] for row in table] == [str(path) for path in runs]
    for row in table:
        assert set(row) == {"method", "reconstruction", "completion (pepper:0.5:1)", "recovery (20)"}
        assert row["reconstruction"] < row["completion (pepper:0.5:1)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent-dims", "2"], "give --new-images"),
        (["--new-images", "4", "--latent-dims", "2", "2"], "none twice"),
        (["--new-images", "4", "--latent-dims", "0"], "--latent-dims must be 1 to"),
        (["--new-images", "4", "--mask", "pepper:0.5"], "belong to --runs"),
        (["--new-images", "4", "--runs", "nowhere"], "nowhere: no such folder"),
        *(
            (["--new-images", "4", "--runs", "nowhere", *options], "--weight-decay belong to learning")
            for options in (
                ["--mirror"],
                ["--versions", "2"],
                ["--width", "64"],
                ["--emission", "laplace"],
                ["--weight-decay", "0.1"],
                ["--latent-dims", "7"],
            )
        ),
        (["--new-images", "4", "--versions", "0"], "--versions must be 1 to"),
        (["--new-images", "4", "--width", "0"], "--width must be 1 to"),
        (["--new-images", "4", "--weight-decay", "-0.1"], "--weight-decay must be 0 to"),
        (["--new-images", "4", "--weight-decay", "nan"], "--weight-decay must be 0 to"),
    ],
)
def test_settings_that_cannot_be(data, tmp_path, capsys, options, message):
    assert run("evaluate", data / "images.npz", *options, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_runs_of_other_shapes_are_refused(tmp_path, completed, capsys):
    np.savez(tmp_path / "other.npz", images=np.zeros((6, 9, 9), np.uint8))
    options = ["--new-images", "2", "--runs", completed, "--out", tmp_path / "out"]
    assert run("evaluate", tmp_path / "other.npz", *options) == 2
    assert "signals have shape (1, 8, 8)" in capsys.readouterr().err


def test_mirror_images_are_learned_from_and_not_judged(data, tmp_path, evaluated):
    out = tmp_path / "out"
    assert run("evaluate", data / "images.npz", "--latent-dims", "2", "--mirror", *FAST, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert (result["n_training"], result["n_new"]) == (10, 4)
    table = {row["method"]: row["d = 2"] for row in result["table"]}
    plain = {row["method"]: row["d = 2"] for row in json.loads((evaluated / "result.json").read_text())["table"]}
    assert table["principal components"] == plain["principal components"]
    assert table["principal components, of all that ours learned from"] != table["principal components"]
    assert table["abpnet"] != plain["abpnet"]
    latents = safetensors.torch.load((out / "model" / "state.safetensors").read_bytes())["latents"]
    assert len(latents) == 20
    assert "learned from mirror images or versions" in (out / "report.html").read_text()


def test_settings_of_the_model(data, tmp_path):
    out, options = tmp_path / "out", ["--versions", "3", "--mirror", "--width", "9", "--emission", "laplace"]
    options += ["--weight-decay", "0.4"]
    assert run("evaluate", data / "images.npz", "--latent-dims", "2", *options, *FAST, "--out", out) == 0
    network = abpnet.GeneratorNetwork.load(out / "model")
    assert len(network.latents_) == 60, "ten images and their mirror images, three versions of each"
    assert network.model_.network.settings["width"] == 9
    assert network.model_.emission == abpnet.Laplace(0.2)
    recipe = json.loads((out / "config.json").read_text())["recipe"]
    assert (recipe["weight_decay"], recipe["weight_decay_examples"]) == (0.4, 6000), "of 1000 images shown six times"
    table = {row["method"]: row["d = 2"] for row in json.loads((out / "result.json").read_text())["table"]}
    assert list(table) == [
        "abpnet",
        "principal components",
        "principal components, of all that ours learned from",
        "variational auto-encoder (same decoder)",
        "its decoder, factors inferred as ours",
        "principal components, factors inferred as ours",
        "ours / principal components",
    ]
    ratio = table["principal components, factors inferred as ours"] / table["principal components"]
    assert 0.8 < ratio < 1.2
    assert ratio != 1
