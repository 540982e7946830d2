"""What the words of a command line, and settings files beneath them, come to."""

import dataclasses
import json
import subprocess

import pytest

import abpnet
from abpnet.arguments import parse
from abpnet.errors import InputError
from abpnet.tasks.complete import CompleteSettings
from abpnet.tasks.evaluate import EvaluateSettings
from abpnet.tasks.explain import ExplainSettings
from abpnet.tasks.settings import as_toml
from commands import COMPLETE, run

KINDS = {"complete": CompleteSettings, "explain": ExplainSettings}


@pytest.fixture
def settings_file(tmp_path):
    def written(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return path

    return written


def test_options_come_before_the_file_and_the_file_before_defaults(settings_file):
    path = settings_file(
        'source = "photos"\nlatent-dim = 7\nmax_iter = 5\nmirror = true\nkinds = ["a=count", "b=grade"]'
    )
    command, settings = parse(KINDS, ["complete", "--settings-file", str(path), "--max-iter", "3"])
    assert command == "complete"
    assert (settings.source, settings.latent_dim, settings.max_iter, settings.mirror) == ("photos", 7, 3, True)
    assert settings.kinds == ("a=count", "b=grade")
    assert settings.draws == CompleteSettings(source="photos").draws
    _, settings = parse(KINDS, ["complete", "others", f"--settings-file={path}", "--no-mirror"])
    assert (settings.source, settings.latent_dim, settings.mirror) == ("others", 7, False)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("complete", ['zwölf "photos"\n', "--mirror", "--max-seconds", "1e-5", "--kinds", "a=count", "b=grade"]),
        ("evaluate", ["photos", "--latent-dims", "5", "7", "--crop", "1", "2", "3", "4", "--no-baselines"]),
        ("explain", ["runs/a", "damaged.png", "--analysis", "--seed", "3"]),
    ],
)
def test_settings_of_a_report_are_those_of_the_run(command, words, settings_file):
    kinds = KINDS | {"evaluate": EvaluateSettings}
    _, settings = parse(kinds, [command, *words, "--out", "elsewhere", "--json"])
    _, again = parse(kinds, [command, "--settings-file", str(settings_file(as_toml(settings)))])
    same = {"out": settings.out, "json": True, "settings_file": None}
    assert dataclasses.replace(again, **same) == settings


def test_of_two_positional_settings_a_file_may_have_one(settings_file, capsys):
    path = settings_file('input = "damaged.png"')
    with pytest.raises(SystemExit):
        parse(KINDS, ["explain", "--settings-file", str(path)])
    said = capsys.readouterr().err
    assert "RUN" in said
    assert "IMAGES" not in said
    path = settings_file('source = "runs/a"\ninput = "damaged.png"')
    _, settings = parse(KINDS, ["explain", "--settings-file", str(path)])
    assert (settings.source, settings.input) == ("runs/a", "damaged.png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latent-dmi = 4", "latent-dmi is no setting of abpnet complete; did you mean latent-dim?"),
        ('latent-dim = "x"', "latent-dim = 'x' cannot be used"),
        ("mirror = 1", "mirror = 1 cannot be used"),
        ("[mask]\nkind = 1", "mask = {'kind': 1} cannot be used"),
        ("max-iter", "no TOML"),
        ('settings-file = "other.toml"', "settings-file is no setting"),
    ],
)
def test_what_a_file_may_not_say(settings_file, text, said, capsys):
    path = settings_file(text)
    with pytest.raises(InputError) as raised:
        parse(KINDS, ["complete", "photos", "--settings-file", str(path)])
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert capsys.readouterr().err == ""


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        parse(KINDS, ["complete", "photos", "--settings-file", str(tmp_path / "none.toml")])


def test_a_run_keeps_what_the_file_said_and_prints_json(settings_file, data, tmp_path, capsys):
    path = settings_file('mask = "pepper:0.4:1"\nlatent-dim = 3\nbaselines = false\n')
    out = tmp_path / "out"
    options = ["--settings-file", path, "--max-iter", "2", "--precision", "float32", "--json", "--out", out]
    assert run("complete", data / "images.npz", *options) == 0
    printed = json.loads(capsys.readouterr().out)
    result = json.loads((out / "result.json").read_text())
    assert printed == {"run": str(out), **result}
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert (settings["mask"], settings["latent_dim"], settings["max_iter"]) == ("pepper:0.4:1", 3, 2)
    report = (out / "report.html").read_text()
    assert "--mask pepper:0.4:1 --latent-dim 3" in report
    assert f"--settings-file {path}" not in report
    assert run("resume", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_misspelt_words_get_suggestions(capsys):
    assert run("complet", "x") == 2
    assert "'complet' is no command; did you mean complete?" in capsys.readouterr().err
    assert run("complete", "x", "--latent-dmi", "4") == 2
    said = capsys.readouterr().err
    assert "--latent-dim" in said
    assert "objects" not in said


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"abpnet {abpnet.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_commands_and_options(shell, capsys):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    assert "complete" in script
    assert "latent-dim" in script
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_help_tells_exit_codes(capsys):
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert "Exit codes" in said
    assert "abpnet resume runs/photos" in said


def test_settings_that_change_nothing_leave_a_checkpoint_valid(data, tmp_path):
    from abpnet.runs import RunFolder

    out = tmp_path / "out"
    assert run("complete", data / "images.npz", *COMPLETE, "--no-baselines", "--out", out) == 0
    folder = RunFolder(out)
    before = folder.identity()
    folder.config["settings"] |= {"json": True, "settings_file": "a.toml"}
    assert folder.identity() == before
    folder.config["settings"] |= {"latent_dim": 4}
    assert folder.identity() != before
