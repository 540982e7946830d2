"""Bad input on the command line is one clear line and exit code 2, and costs nobody anything."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import abpnet
from abpnet import cli
from abpnet.errors import InputError
from abpnet.networks import LinearNetwork
from commands import COMPLETE, run
from forging import change_facts, sign


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def files(tmp_path):
    """Files that are not what their names say."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "text.npy").write_text("no array")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "mask.png")
    np.savez(folder / "nothing.npz", x=np.full((3, 8, 8), np.nan, np.float32))
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), np.float32))
    np.save(folder / "empty.npy", np.zeros((0, 8, 8), np.float32))
    np.save(folder / "huge.npy", np.full((3, 8, 8), 1e300))
    return folder


NUMBERS = [
    ("complete", "--latent-dim", "0"),
    ("complete", "--latent-dim", "100000000000"),
    ("complete", "--new-images", "-1"),
    ("complete", "--limit", "0"),
    ("complete", "--size", "7"),
    ("complete", "--noise-std", "inf"),
    ("complete", "--noise-std", "nan"),
    ("complete", "--noise-std", "1e-300"),
    ("complete", "--noise-std", "1e300"),
    ("complete", "--max-iter", "0"),
    ("complete", "--draws", "-1"),
    ("complete", "--draws", "18"),
    ("complete", "--max-seconds", "-1"),
    ("complete", "--max-seconds", "nan"),
    ("complete", "--seed", "-1"),
    ("complete", "--seed", "18446744073709551616"),
    ("complete", "--device", "abacus"),
    ("complete", "--device", "meta"),
    ("texture", "--size", "95"),
    ("texture", "--size", "257"),
    ("texture", "--n-chains", "10000000000"),
    ("texture", "--n-judged", "0"),
    ("texture", "--width", "0"),
]


@pytest.mark.parametrize(("command", "option", "value"), NUMBERS)
def test_numbers_out_of_range(data, tmp_path, capsys, command, option, value):
    source = data / "images.npz" if command == "complete" else "builtin:gravel"
    message = refused(capsys, command, source, option, value, "--out", tmp_path / "out")
    assert option in message
    assert not (tmp_path / "out").exists()


def test_photographs_that_are_no_texture(tmp_path, capsys):
    rng = np.random.default_rng(0)
    border = np.full((300, 300), 128, np.uint8)
    border[:20] = rng.integers(0, 255, (20, 300))
    Image.fromarray(border).save(tmp_path / "border.png")
    Image.fromarray(rng.integers(0, 255, (120, 140), np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 255, (100, 2049), np.uint8)).save(tmp_path / "wide.png")
    out = ["--max-iter", "1", "--out", tmp_path / "out"]
    cut = refused(capsys, "texture", tmp_path / "border.png", "--also", tmp_path / "grey.png", *out)
    assert "border.png" in cut, "of its middle, all pixels are equal"
    assert "all pixels are equal" in cut
    assert "--size" in refused(capsys, "texture", tmp_path / "wide.png", *out)
    assert "--pixels" in refused(capsys, "texture", tmp_path / "grey.png", "--pixels", "4000", "4000", *out)


@pytest.mark.parametrize(("option", "value"), [("--digit-passes", "0"), ("--texture-seconds", "nan"), ("--seed", "-1")])
def test_the_demo_checks_its_numbers(tmp_path, capsys, option, value):
    assert option in refused(capsys, "demo", option, value, "--out", tmp_path / "out")


@pytest.mark.parametrize(("option", "values"), [("-n", ["0"]), ("--map", ["0", "0"]), ("--map", ["2", "2"])])
def test_samples_that_cannot_be(completed, tmp_path, capsys, option, values):
    assert option in refused(capsys, "sample", completed, option, *values, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_memory_holds(completed, tmp_path, capsys):
    assert "not enough memory" in refused(capsys, "sample", completed, "-n", 10**15, "--out", tmp_path / "out")


def test_files_that_cannot_be_used(data, files, completed, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    source = data / "images.npz"
    cases = {
        ("complete", tmp_path / "absent"): "absent",
        ("complete", tmp_path / ("long" * 100)): "too long",
        ("complete", files / "text.png"): "text.png",
        ("complete", files / "text.npy"): "text.npy",
        ("complete", files / "empty.npy"): "no images",
        ("complete", files / "huge.npy"): "1e+300",
        ("complete", files / "one.npz"): "learning needs 2",
        ("texture", files / "text.png"): "text.png",
        ("texture", files): "is a folder",
        ("complete", source, "--mask", files / "mask.png"): "mask.png",
        ("complete", source, "--mask", "pepper:2"): "pepper",
        ("complete", source, "--mask", ""): "--mask",
        ("complete", files / "nothing.npz"): "no pixel",
        ("complete", source, "--new-images", "13"): "--new-images",
        ("objects", source, "--new-images", "13"): "--new-images",
        ("objects", files / "nothing.npz"): "missing pixels",
        ("objects", files / "text.png"): "text.png",
        ("objects", source, "--noise-std", "0"): "--noise-std",
        ("complete", "builtin:digits", "--size", "16"): "size",
        ("complete", "builtin:digits", "--crop", "0", "0", "8", "8"): "crop",
        ("texture", "builtin:velvet"): "builtin:gravel",
        ("sample", tmp_path): "neither a run nor a saved model",
        ("sample", tmp_path / "absent"): "no such folder",
        ("sample", files / "text.png"): "no such folder",
        ("explain", completed, files / "text.png"): "text.png",
        ("explain", completed, files / "absent"): "image",
        ("explain", completed, files / "text.png", "--analysis"): "text.png",
        ("resume", files / "text.png"): "text.png",
    }
    for arguments, named in cases.items():
        after = out if arguments[0] != "resume" else []
        assert named in refused(capsys, *arguments, *after), arguments
        assert not (tmp_path / "out").exists(), f"{arguments} left a folder behind"
    assert "config.json" in refused(capsys, "resume", tmp_path)


def test_a_file_named_like_a_mask_does_not_get_in_the_way(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nan").write_text("a file")
    arguments = ["--latent-dim", "2", "--max-iter", "1", "--no-baselines"]
    assert run("complete", data / "images.npz", *arguments, "--out", "out") == 0


def test_nobody_loses_anything(data, completed, tmp_path, capsys):
    before = content_of(completed)
    assert "not empty" in refused(capsys, "complete", data / "images.npz", "--out", completed)
    assert "absent" in refused(capsys, "complete", tmp_path / "absent", "--out", completed, "--overwrite")
    assert "--out" in refused(capsys, "sample", completed, "--out", completed, "--overwrite")
    assert "--out" in refused(capsys, "explain", completed, completed / "completed", "--out", completed, "--overwrite")
    assert content_of(completed) == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert "config.json" in refused(capsys, "complete", data / "images.npz", "--overwrite", "--out", foreign)
    assert (foreign / "thesis.txt").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(capsys, "complete", tmp_path / "absent", "--out", empty)
    assert empty.is_dir()


def test_a_run_that_fails_half_way_keeps_what_it_has(data, tmp_path, capsys, monkeypatch):
    def fail(settings, folder):
        folder.log({"iteration": 1})
        raise InputError("the disk is made of cheese")

    monkeypatch.setitem(cli.COMMANDS, "complete", (cli.COMMANDS["complete"][0], fail))
    assert "cheese" in refused(capsys, "complete", data / "images.npz", "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "metrics.jsonl"]


def test_a_fault_of_abpnet_is_one_line_and_a_file(data, tmp_path, capsys, monkeypatch):
    def fail(settings, folder):
        raise KeyError("surprise")

    monkeypatch.setitem(cli.COMMANDS, "complete", (cli.COMMANDS["complete"][0], fail))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("complete", data / "images.npz", "--out", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    (file,) = tmp_path.glob("abpnet-error-*.txt")
    assert str(file) in message
    assert "Traceback" in file.read_text()
    assert "surprise" in file.read_text()


def test_runs_without_a_model_say_so(completed, tmp_path, capsys):
    assert run("sample", completed, "-n", "1", "--out", tmp_path / "samples") == 0
    assert "keeps no model" in refused(capsys, "sample", tmp_path / "samples", "--out", tmp_path / "out")
    (tmp_path / "samples" / "d2" / "model").mkdir(parents=True)
    named = f"name instead {tmp_path / 'samples' / 'd2'}"
    assert named in refused(capsys, "sample", tmp_path / "samples", "--out", tmp_path / "out")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(completed / "config.json", unfinished)
    assert "abpnet resume" in refused(capsys, "sample", unfinished, "--out", tmp_path / "out")


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4), (2, 3, 4, 4)], ids=str)
def test_models_of_what_is_no_image(shape, completed, data, tmp_path, capsys):
    x = np.random.default_rng(0).uniform(-1, 1, (6, *shape)).astype(np.float32)
    net = abpnet.GeneratorNetwork(2, network=LinearNetwork(2, shape), max_iter=1, verbose=False).fit(x)
    net.save(tmp_path / "model")
    assert run("sample", tmp_path / "model", "-n", "3", "--out", tmp_path / "samples") == 0
    assert np.load(tmp_path / "samples" / "samples.npz")["samples"].shape == (3, *shape)
    assert "images" in refused(capsys, "explain", tmp_path / "model", data / "photos", "--out", tmp_path / "out")


def test_models_without_noise_are_not_analysed(completed, data, tmp_path, monkeypatch, capsys):
    learned = abpnet.GeneratorNetwork.load(completed / "model")
    learned.model_.emission = type("Coins", (), {"log_prob": lambda self, y, x: -(y - x).square()})()
    monkeypatch.setattr("abpnet.tasks.explain.load_model", lambda path, device: learned)
    source = [completed, data / "photos"]
    line = refused(capsys, "explain", *source, "--analysis", "--out", tmp_path / "out")
    assert "--analysis needs a model of additive noise, not of Coins" in line


DAMAGE = {
    "settings a list": lambda config: config.update(settings=[]),
    "command a list": lambda config: config.update(command=["complete"]),
    "no versions": lambda config: config.pop("versions"),
    "a text for a number": lambda config: config["settings"].update(max_iter="x"),
    "a number out of range": lambda config: config["settings"].update(latent_dim=0),
    "a device of another machine": lambda config: config["settings"].update(device="cuda:99"),
    "an unknown setting": lambda config: config["settings"].update(colour="blue"),
    "an unknown setting of the recipe": lambda config: config["recipe"].update(colour="blue"),
    "a recipe that contradicts itself": lambda config: config["recipe"].update(learn_noise=True, held_out=0.5),
    "a setting missing": lambda config: config["settings"].pop("source"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_settings_of_a_run(completed, tmp_path, capsys, damage):
    config = json.loads((completed / "config.json").read_text())
    DAMAGE[damage](config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(capsys, "resume", tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "not a table", "without history"])
def test_damaged_checkpoints(data, tmp_path, capsys, damage, monkeypatch):
    monkeypatch.setattr("abpnet.runs.RunFolder.finish", lambda *_: None)  # the checkpoint stays
    monkeypatch.setattr("abpnet.tasks.session.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    assert run("complete", data / "images.npz", *COMPLETE, "--no-baselines", "--out", tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "out" / "model")
    for checkpoint in (tmp_path / "out").glob("checkpoint-*"):
        if damage == "cut off":
            path = checkpoint / "state.safetensors"
            path.write_bytes(path.read_bytes()[:-7])
        elif damage == "not a table":
            (checkpoint / "state.json").write_text("[]")
            sign(checkpoint)
        else:
            change_facts(checkpoint, lambda facts: facts.update(history=[]))
    assert "checkpoint-" in refused(capsys, "resume", tmp_path / "out")


def test_learned_on_a_gpu_it_samples_here(completed, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(completed / "model", model)
    change_facts(model, lambda facts: facts["settings"].update(device="cuda:99"))
    assert run("sample", model, "-n", "2", "--device", "cpu", "--out", tmp_path / "samples") == 0
    samples = [np.load(path)["samples"] for path in tmp_path.glob("samples/samples.npz")]
    assert torch.isfinite(torch.from_numpy(samples[0])).all()


def test_new_images_must_be_like_the_others(data, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 9, 9), np.uint8))
    options = [*COMPLETE, "--out", tmp_path / "out"]
    message = refused(capsys, "complete", data / "images.npz", "--new-source", tmp_path / "other.npz", *options)
    assert "other.npz" in message
    assert "(1, 9, 9)" in message
    both = ["--new-source", tmp_path / "other.npz", "--new-images", "2"]
    assert "exclude each other" in refused(capsys, "complete", data / "images.npz", *both, *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["sense", "evaluate", "objects"])
def test_images_with_holes_are_named_where_whole_ones_are_needed(data, tmp_path, capsys, command):
    pixels = np.load(data / "images.npz")["images"] / 127.5 - 1
    pixels[3, 2, 2] = np.nan
    np.savez(tmp_path / "holes.npz", images=pixels)
    options = ["--measurements", "5"] if command == "sense" else []
    out = ["--out", tmp_path / "out"]
    message = refused(capsys, command, tmp_path / "holes.npz", "--new-images", "2", *options, *out)
    assert "holes.npz: image 000003 has missing pixels" in message
    message = refused(capsys, command, data / "images.npz", "--new-source", tmp_path / "holes.npz", *options, *out)
    assert "holes.npz: image new 000003 has missing pixels" in message
    assert not (tmp_path / "out").exists()
