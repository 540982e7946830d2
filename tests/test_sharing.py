"""Models for others: a folder with a model card, or a repository on the Hub."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from abpnet.durable import FILES
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from commands import run
from estimators import images

ROWS = [{"method": "abpnet", "error": 0.0891234}, {"method": "mean | fill", "error": None}]


def test_a_pushed_folder_is_loaded_and_explains_itself(fitted, tmp_path):
    folder = tmp_path / "pushed model"
    fitted.push(folder, title="Halves of digits", results=ROWS)
    assert {path.name for path in folder.iterdir()} == {*FILES, "README.md"}
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: abpnet\n")
    assert "# Halves of digits" in card
    assert "| abpnet | 0.08912 |" in card
    assert "| mean \\| fill | - |" in card
    assert f"| recipe | {fitted.recipe} |" in card
    code = card.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    np.testing.assert_array_equal(names["new"], fitted.sample(16))


def test_chains_are_given_away_only_if_asked_for(fitted, tmp_path):
    x = images(4, seed=4)
    fitted.push(tmp_path / "without")
    loaded = GeneratorNetwork.load(tmp_path / "without")
    assert loaded.latents_.shape == (0, 3)
    np.testing.assert_array_equal(loaded.transform(x), fitted.transform(x))
    np.testing.assert_array_equal(loaded.impute(x), fitted.impute(x))
    fitted.push(tmp_path / "with", with_chains=True)
    np.testing.assert_array_equal(GeneratorNetwork.load(tmp_path / "with").latents_, fitted.latents_)


def test_only_models_are_replaced(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    fitted.push(tmp_path / "model", title="First")
    fitted.push(tmp_path / "model", title="Second")
    assert "# Second" in (tmp_path / "model" / "README.md").read_text()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        fitted.push(tmp_path / "model")
    assert "# Second" in (tmp_path / "model" / "README.md").read_text()


def test_the_command_tells_results_and_finds_the_model(completed, tmp_path, capsys):
    folder = tmp_path / "model"
    assert run("push", completed, folder, "--title", "Digits") == 0
    assert "GeneratorNetwork.load" in capsys.readouterr().out
    first = json.loads((completed / "result.json").read_text())["table"][0]
    card = (folder / "README.md").read_text()
    assert "# Digits" in card
    assert f"| abpnet | {first['error, training images']:.4g} |" in card
    assert run("push", folder, tmp_path / "again") == 0
    assert "## Results" not in (tmp_path / "again" / "README.md").read_text()
    assert run("push", tmp_path / "none", tmp_path / "b") == 2


def test_the_hub_is_asked_for_what_it_needs(fitted, tmp_path, monkeypatch):
    """What is said to the Hub's client, in place of which a folder stands."""
    import shutil

    said = []

    def upload_folder(**arguments):
        said.append(("upload", arguments["repo_id"]))
        shutil.copytree(arguments["folder_path"], tmp_path / "hub")

    def snapshot_download(name, allow_patterns):
        said.append(("download", name))
        assert set(allow_patterns) == set(FILES)
        return str(tmp_path / "hub")

    client = SimpleNamespace(
        create_repo=lambda name, **options: said.append(("create", name, options)),
        upload_folder=upload_folder,
        snapshot_download=snapshot_download,
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    fitted.push("hf://me/digits", title="Digits")
    assert said == [("create", "me/digits", {"private": True, "exist_ok": True}), ("upload", "me/digits")]
    assert "load('hf://me/digits')" in (tmp_path / "hub" / "README.md").read_text()
    loaded = GeneratorNetwork.load("hf://me/digits")
    assert said[-1] == ("download", "me/digits")
    np.testing.assert_array_equal(loaded.sample(2), fitted.sample(2))


def test_the_real_client_has_what_is_asked_for():
    import inspect

    huggingface_hub = pytest.importorskip("huggingface_hub")
    for name, options in {
        "create_repo": ("private", "exist_ok"),
        "upload_folder": ("repo_id", "folder_path", "commit_message"),
        "snapshot_download": ("allow_patterns",),
    }.items():
        assert set(options) <= set(inspect.signature(getattr(huggingface_hub, name)).parameters)


def test_a_name_that_is_none_is_refused_before_anything_is_sent(monkeypatch):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(InputError, match="cannot be downloaded"):
        GeneratorNetwork.load("hf://no such/na/me")


def test_without_the_client_it_says_what_to_install(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for act in (lambda: fitted.push("hf://me/digits"), lambda: GeneratorNetwork.load("hf://me/digits")):
        with pytest.raises(InputError, match=r"abpnet\[hub\]"):
            act()
