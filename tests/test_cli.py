"""Every command end to end on tiny data."""

import json

import numpy as np
import pytest
from PIL import Image

import abpnet
from abpnet.data.builtin import digits
from abpnet.data.images import load_images
from abpnet.data.masks import draw_mask
from commands import COMPLETE, run

TEXTURE = ["builtin:gravel", "--size", "96", "--max-iter", "1", "--n-chains", "2"]


def test_complete_leaves_a_whole_run_folder(completed):
    for name in ("config.json", "metrics.jsonl", "result.json", "report.html", "samples.png", "training images.png"):
        assert (completed / name).is_file(), name
    assert len(list((completed / "completed").glob("*.png"))) == 14
    rows = [json.loads(line) for line in (completed / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    result = json.loads((completed / "result.json").read_text())
    methods = [row["method"] for row in result["table"]]
    assert methods[0] == "abpnet"
    assert [method.split(" (")[0] for method in methods[1:]] == [
        "mean fill",
        "KNNImputer",
        "IterativeImputer",
        "iterative PCA",
        "linear factor analysis",
        "biharmonic inpainting",
        "variational auto-encoder",
    ]
    assert all(0 < row["error, training images"] < 1 and 0 < row["error, new images"] < 1 for row in result["table"])
    assert (completed / "training images, uncertainty.png").is_file()
    for name in ("training images", "new images"):
        certainty = result[f"uncertainty, {name}"]
        assert 0.5 < certainty["held"] <= 1
        assert 0 < certainty["deviation"] < 1
    network = abpnet.GeneratorNetwork.load(completed / "model")
    assert network.noise_scale_ == result["noise_scale"]
    assert not list(completed.glob("checkpoint-*"))
    assert "precision" in json.loads((completed / "config.json").read_text())


def test_colour_files_are_completed_beside_all_other_methods(data, tmp_path):
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(np.load(data / "images.npz")["images"]):
        colours = np.dstack([image, image.T, 255 - image])
        Image.fromarray(colours).save(tmp_path / "photos" / f"{index}.png")
    out = tmp_path / "out"
    assert run("complete", tmp_path / "photos", *COMPLETE, "--out", out) == 0
    rows = json.loads((out / "result.json").read_text())["table"]
    assert len(rows) == 8
    # More columns than chained regressions take.
    assert [row["method"].split(" (")[0] for row in rows if row["error, training images"] is None] == [
        "IterativeImputer"
    ]


def test_new_images_may_come_from_another_folder(data, tmp_path):
    array = np.load(data / "images.npz")["images"]
    np.savez(tmp_path / "train.npz", images=array[:10])
    np.savez(tmp_path / "new.npz", images=array[10:])
    out = tmp_path / "out"
    options = [*COMPLETE, "--no-baselines", "--out", out]
    assert run("complete", tmp_path / "train.npz", "--new-source", tmp_path / "new.npz", *options) == 0
    result = json.loads((out / "result.json").read_text())
    assert (result["n_training"], result["n_new"]) == (10, 4)
    assert len(list((out / "completed").glob("new *.png"))) == 4
    assert len(list((out / "completed").glob("*.png"))) == 14
    assert len(abpnet.GeneratorNetwork.load(out / "model").latents_) == 10


@pytest.mark.parametrize("residuals", ["kriged", "white"])
def test_mirror_images_are_learned_from_and_completed_as_well(data, tmp_path, residuals):
    out = tmp_path / "out"
    np.savez(tmp_path / "train.npz", images=np.load(data / "images.npz")["images"][:10])
    options = [*COMPLETE, "--mirror", "--residuals", residuals, "--no-baselines", "--out", out]
    assert run("complete", tmp_path / "train.npz", *options) == 0
    network = abpnet.GeneratorNetwork.load(out / "model")
    assert len(network.latents_) == 20, "ten images and their mirror images"
    images = load_images(str(tmp_path / "train.npz"))
    kept = draw_mask("pepper:0.4:1", images.pixels.shape, np.random.default_rng(0))
    shown = np.where(kept, images.pixels, np.float32(np.nan))
    starts = [None, None] if residuals == "kriged" else np.split(network.latents_, 2)
    plain, mirrored = network.impute(shown, start=starts[0]), network.impute(shown[..., ::-1], start=starts[1])
    expected = ((plain + mirrored[..., ::-1]) / 2).clip(-1, 1)
    for name, image in zip(images.names, expected, strict=True):
        completed = np.asarray(Image.open(out / "completed" / f"{name}.png")) / 127.5 - 1
        np.testing.assert_allclose(completed, image[0], atol=1 / 127.5)
    assert np.abs(plain - mirrored[..., ::-1]).max() > 0.05, "the two differ, so that their mean can be told"


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


def test_explain_analyses_what_the_network_does_around_the_images(completed, data, tmp_path):
    assert run("explain", completed, data / "photos", "--analysis", "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())["analysis"]
    assert 1 <= found["participation ratio"] <= found["factors"] == 3
    assert 0 < found["factors explained"] < 3
    assert found["linear pieces on a path"] > 1
    page = (tmp_path / "out" / "report.html").read_text()
    for name in ("loadings", "traversals", "pieces", "dimension"):
        assert (tmp_path / "out" / f"{name}.png").is_file()
    assert page.count("<img") == 5
    photo = data / "photos" / "photo 3.png"
    assert run("explain", completed, photo, "--analysis", "--out", tmp_path / "one") == 0
    assert run("explain", completed, photo, "--out", tmp_path / "plain") == 0
    assert not (tmp_path / "plain" / "pieces.png").exists()


def test_texture_and_samples_of_another_size(tmp_path):
    out = tmp_path / "texture"
    assert run("texture", *TEXTURE, "--out", out) == 0
    assert Image.open(out / "synthesis.png").size == (192, 192)
    result = json.loads((out / "result.json").read_text())
    ours, noise, random, matched = (row["distance"] for row in result["table"])
    assert max(ours, random, matched) < noise < 1, "all are made of pieces of it, but the noise"
    assert result["n_photographs"] == 1
    assert result["lattice"] is None
    assert {path.stem for path in out.glob("*.png")} == {
        "original",
        "synthesis",
        "curves",
        "noise of the same spectrum",
        "quilting, pieces at random",
        "quilting, matched pieces",
    }
    assert run("sample", out, "-n", "1", "--map", "2", "5", "--out", tmp_path / "larger") == 0
    assert np.load(tmp_path / "larger" / "samples.npz")["samples"].shape == (1, 1, 128, 320)


def test_a_texture_of_several_photographs_as_a_tile(tmp_path):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"wall {index}.png") for index in range(3)]
    for path, shape in zip(paths, [(120, 100), (97, 140), (110, 110)], strict=True):
        Image.fromarray(rng.integers(0, 255, (*shape, 3), np.uint8)).save(path)
    out = tmp_path / "out"
    settings = ["--pixels", "70", "200", "--tile", "--max-iter", "1", "--n-chains", "2"]
    assert run("texture", paths[0], "--also", *paths[1:], *settings, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["shape"] == [3, 97, 100]
    assert result["n_photographs"] == 3
    assert len(abpnet.GeneratorNetwork.load(out / "model").latents_) == 3, "every photograph has its chain"
    assert Image.open(out / "synthesis.png").size == (256, 128)
    assert (out / "original 3.png").is_file()
    assert json.loads((out / "config.json").read_text())["settings"]["also"] == paths[1:]


def test_a_texture_by_deconvolutions_alone(tmp_path):
    out = tmp_path / "out"
    settings = ["--network", "deconvolution", "--width", "16", "--pixels", "50", "70"]
    assert run("texture", *TEXTURE, *settings, "--out", out) == 0
    assert Image.open(out / "synthesis.png").size == (70, 50)


def test_demo_runs_both_experiments(tmp_path, monkeypatch):
    out = tmp_path / "demo"
    monkeypatch.setattr("abpnet.data.images.digits", lambda: digits()[:60])
    monkeypatch.setattr("abpnet.tasks.demo.NEW_DIGITS", 20)
    assert run("demo", "--digit-passes", "1", "--texture-seconds", "0.01", "--out", out) == 0
    assert (out / "report.html").is_file()
    result = json.loads((out / "result.json").read_text())
    assert set(result) == {"digits", "texture", "table"}
    assert (result["digits"]["n_training"], result["digits"]["n_new"]) == (40, 20)
    assert run("resume", out) == 0


def test_overwrite_replaces_an_earlier_run(data, tmp_path):
    out = tmp_path / "run"
    for _ in range(2):
        arguments = [*COMPLETE, "--no-baselines", "--overwrite", "--out", out]
        assert run("complete", data / "images.npz", *arguments) == 0


@pytest.mark.parametrize(
    "command", ["demo", "complete", "objects", "texture", "sound", "video", "sample", "explain", "resume"]
)
def test_every_command_explains_itself(command, capsys):
    assert run(command, "--help") == 0
    assert "xample" in capsys.readouterr().out
