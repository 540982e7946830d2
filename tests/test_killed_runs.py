"""One folder is one process's alone, and no kill leaves one that cannot be used."""

import contextlib
from pathlib import Path

import pytest
import torch

from abpnet.errors import InputError
from abpnet.runs import RunFolder
from test_runs import PowerFailureError, content_of, dying, facts_at, new_run

TENSORS = {"weight": torch.ones(2)}


def test_a_folder_is_one_process_alone(tmp_path):
    run = new_run(tmp_path)
    before = content_of(run.path)
    with pytest.raises(InputError, match="another process is at work"):
        RunFolder(run.path).hold()
    with pytest.raises(InputError, match="another process is at work"):
        RunFolder.create(run.path, "demo", {"seed": 1}, overwrite=True)
    assert content_of(run.path) == before
    run.release()
    held = RunFolder(run.path).hold()
    with pytest.raises(InputError, match="another process is at work"):
        RunFolder(run.path).hold()
    held.finish({})
    RunFolder.create(run.path, "demo", {"seed": 1}, overwrite=True).discard()
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "result.json"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    run = new_run(tmp_path)
    run.log({"iteration": 1})
    run._lock.release()  # as the system does; the file stays
    (run.path / ".partial-checkpoint-00000001").mkdir()
    assert (run.path / ".lock").exists()
    RunFolder(run.path).hold().finish({})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "metrics.jsonl", "result.json"]


@pytest.mark.parametrize("moment", range(1, 6))
def test_killed_while_an_earlier_run_is_put_aside_it_is_not_lost(tmp_path, monkeypatch, moment):
    run = new_run(tmp_path)
    run.log({"iteration": 1})
    run.save_checkpoint(1, TENSORS, facts_at(1))
    run.finish({"error": 1.0})
    before, dies = content_of(run.path), dying(moment)

    with monkeypatch.context() as patch:
        for name in ("rename", "mkdir", "replace"):
            patch.setattr(Path, name, dies(getattr(Path, name)))
        with contextlib.suppress(PowerFailureError):
            RunFolder.create(run.path, "demo", {"seed": 1}, overwrite=True).release()
    RunFolder.create(run.path, "demo", {"seed": 2}, overwrite=True).discard()
    assert content_of(run.path) == before


def test_killed_before_there_are_settings_the_folder_can_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".partial-config.json").write_text("{")
    run = new_run(tmp_path)
    run.finish({})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "result.json"]
