"""Commands that read folders: what is left out is told everywhere, and a run that goes on reads the same files."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.progress import say
from abpnet.runs import RunFolder
from abpnet.tasks.complete import CompleteSettings
from abpnet.tasks.reading import note_files
from abpnet.tasks.sound import SoundSettings
from abpnet.tasks.texture import TextureSettings
from commands import run

SMALL = ["--latent-dim", "2", "--max-iter", "1", "--precision", "float32", "--no-baselines", "--new-images", "3"]
COMMANDS = {
    "complete": ["--mask", "pepper:0.4:1", "--draws", "0"],
    "sense": ["--measurements", "9"],
    "evaluate": ["--latent-dims", "2"],
    "objects": [],
    "explain": [],
}


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    """What was read is all that matters here: what is made of it may be nothing."""
    monkeypatch.setattr(GeneratorNetwork, "impute", lambda self, X, *_, **__: np.nan_to_num(X))
    monkeypatch.setattr(GeneratorNetwork, "recover", lambda self, Y, *_, **__: np.zeros((len(Y), *self.signal_shape_)))


@pytest.fixture
def photos(data, tmp_path):
    """Fourteen good images, one of them a link out of the folder, and two bad ones."""
    folder = tmp_path / "photos [of/mine"  # brackets mean something to the terminal's library
    folder.mkdir(parents=True)
    for path in (data / "photos").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "photo 0.png").unlink()
    (folder / "photo 0.png").symlink_to(data / "photos" / "photo 0.png")
    (folder / "photo <b>.png").write_text("no picture")
    (folder / "a\x1b[31m\nb.png").touch()
    return folder


def arguments_of(command, folder, completed):
    options = [option for option in SMALL if command != "evaluate" or option not in SMALL[:2]]
    return [command, *((completed, folder) if command == "explain" else (folder, *options)), *COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_left_out_stands_in_the_result_the_report_and_on_the_terminal(
    command, photos, completed, tmp_path, capsys
):
    arguments = arguments_of(command, photos, completed)
    assert run(*arguments, "--out", tmp_path / "out") == 2
    assert "--on-bad-file skip" in capsys.readouterr().err
    assert run(*arguments, "--on-bad-file", "skip", "--follow-links", "--out", tmp_path / "out") == 0
    told = capsys.readouterr().err
    (line,) = [line for line in told.splitlines() if "left out" in line]
    assert "left out 2 files" in line
    assert r"a\x1b[31m\nb.png: is empty" in line
    assert "\x1b" not in told
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result.get("n", result.get("n_training", 0) + result.get("n_new", 0)) == 14
    skipped = result["skipped"]
    assert [one["file"] for one in skipped] == [str(photos / "a\x1b[31m\nb.png"), str(photos / "photo <b>.png")]
    assert "empty" in skipped[0]["reason"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Files left out" in page
    assert "photo &lt;b&gt;.png" in page
    assert "photo <b>" not in page


def test_files_out_of_the_folder_are_left_out_as_well_unless_links_are_followed(photos, completed, tmp_path):
    arguments = arguments_of("explain", photos, completed)
    assert run(*arguments, "--on-bad-file", "skip", "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["n"] == 13


def test_a_run_goes_on_with_the_files_it_began_with_or_not_at_all(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = arguments_of("complete", photos, None)
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "finish", lambda *_: None)
        assert run(*arguments, "--on-bad-file", "skip", "--follow-links", "--out", out) == 0
    good = (photos / "photo 3.png").read_bytes()
    (photos / "photo 3.png").write_text("damaged meanwhile")
    capsys.readouterr()
    assert run("resume", out) == 2
    message = capsys.readouterr().err
    assert "13 images that can be read" in message
    assert "14" in message
    (photos / "photo 3.png").write_bytes(good)
    (photos / "photo <b>.png").write_bytes(good)
    assert run("resume", out) == 2
    assert "15 images that can be read" in capsys.readouterr().err
    (photos / "photo <b>.png").write_text("no picture")
    assert run("resume", out) == 0
    assert len(json.loads((out / "result.json").read_text())["skipped"]) == 2


def test_as_many_files_of_other_names_are_others(tmp_path):
    folder = RunFolder.create(tmp_path / "out", "complete", {})
    note_files(folder, "photos", ["a", "b"])
    note_files(RunFolder(tmp_path / "out"), "photos", ["a", "b"])
    note_files(RunFolder(tmp_path / "out"), "other photos", ["c"])
    with pytest.raises(InputError, match="photos: holds 2 images"):
        note_files(RunFolder(tmp_path / "out"), "photos", ["a", "c"])


@pytest.mark.parametrize("option", [["--max-pixels", "63"], ["--max-gigabytes", "1e-6"]])
def test_limits_of_what_is_decoded_are_settings(option, data, completed, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    for arguments in (
        ["complete", data / "photos"],
        ["explain", completed, data / "photos"],
        ["explain", completed, data / "photos" / "photo 0.png", "--max-pixels", "63"],
        ["complete", data / "images.npz", "--max-gigabytes", "1e-6"],
    ):
        wanted = option if "photos" in str(arguments[-1]) else []
        assert run(*arguments, *wanted, *out) == 2
        assert re.search("--max-(pixels|gigabytes)", capsys.readouterr().err)
    photograph = tmp_path / "wall.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8)).save(photograph)
    assert run("texture", photograph, *option, *out) == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (CompleteSettings(source="x", max_pixels=0), "--max-pixels"),
        (TextureSettings(source="x", max_pixels=2**41), "--max-pixels"),
        (SoundSettings(source="x", max_gigabytes=0.0), "--max-gigabytes"),
        (SoundSettings(source="x", max_gigabytes=float("nan")), "--max-gigabytes"),
        (SoundSettings(source="x", max_gigabytes=float("inf")), "--max-gigabytes"),
    ],
)
def test_limits_out_of_range_are_refused(settings, option):
    with pytest.raises(InputError, match=option):
        settings.check()


def test_settings_are_limits():
    limits = CompleteSettings(source="x", max_pixels=99, max_gigabytes=0.5).limits
    assert limits.max_pixels == 99
    assert limits.max_bytes == 2**29
    assert SoundSettings(source="x", max_gigabytes=2.0).limits.max_bytes == 2**31


def test_what_is_said_is_one_line(capsys):
    say("a\nb\x1b[1m\u202e図 [bold] :smile:")
    assert capsys.readouterr().err == "abpnet: a\\nb\\x1b[1m\\u202e図 [bold] :smile:\n"
