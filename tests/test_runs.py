import json
import os
import stat
from pathlib import Path

import pytest
import torch

from abpnet import runs
from abpnet.errors import InputError
from abpnet.runs import RunFolder, read_folder, write_folder

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}
FACTS = {"iteration": 3, "note": "ü", "list": [1, None, 0.1]}


class PowerFailureError(BaseException):
    """Not an Exception, so that nothing in between may swallow it."""


def new_run(tmp_path, **settings):
    return RunFolder.create(tmp_path / "run", "demo", settings)


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_round_trip_keeps_every_tensor_and_fact(tmp_path):
    write_folder(tmp_path / "a" / "state", TENSORS, FACTS)
    tensors, facts = read_folder(tmp_path / "a" / "state")
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["state"]


def test_transposed_and_learnable_tensors_are_written_as_they_look(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    write_folder(tmp_path / "state", {"transposed": weight.T}, {})
    assert torch.equal(read_folder(tmp_path / "state")[0]["transposed"], weight.detach().T)


def test_existing_folder_is_replaced_as_a_whole(tmp_path):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    (tmp_path / "state" / "stray").write_text("left from before")
    write_folder(tmp_path / "state", {"new": torch.ones(1)}, {"iteration": 4})
    tensors, facts = read_folder(tmp_path / "state")
    assert list(tensors) == ["new"]
    assert facts == {"iteration": 4}
    assert not (tmp_path / "state" / "stray").exists()


@pytest.mark.parametrize("fatal_call", [1, 2, 3])
def test_crash_while_writing_leaves_the_old_folder(tmp_path, monkeypatch, fatal_call):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    before, calls, fsync = content_of(tmp_path / "state"), [], os.fsync

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == fatal_call:
            raise PowerFailureError
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(PowerFailureError):
            write_folder(tmp_path / "state", {"new": torch.ones(1)}, {"iteration": 4})
    assert content_of(tmp_path / "state") == before
    write_folder(tmp_path / "state", {"new": torch.ones(1)}, {"iteration": 4})  # what the crash left is in nobody's way
    assert read_folder(tmp_path / "state")[1] == {"iteration": 4}


def test_crash_leaves_no_part_of_a_new_folder(tmp_path, monkeypatch):
    run = new_run(tmp_path)
    run.save_checkpoint(1, TENSORS, {"iteration": 1})

    def fail(descriptor):
        raise PowerFailureError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PowerFailureError):
        run.save_checkpoint(2, TENSORS, {"iteration": 2})
    assert [path.name for path in run.checkpoints()] == ["checkpoint-00000001"]


def test_crash_before_the_rename_leaves_the_old_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    before = content_of(tmp_path / "state")

    def fail(*_):
        raise PowerFailureError

    with monkeypatch.context() as patch:
        for function in ("rename", "replace"):
            patch.setattr(Path, function, fail)
            patch.setattr(os, function, fail)
        with pytest.raises(PowerFailureError):
            write_folder(tmp_path / "state", {"new": torch.ones(1)}, {"iteration": 4})
    assert content_of(tmp_path / "state") == before


def test_tied_weights_are_written(tmp_path):
    tied = torch.ones(3)
    write_folder(tmp_path / "state", {"a": tied, "b": tied}, {})
    assert torch.equal(read_folder(tmp_path / "state")[0]["b"], tied)


@pytest.mark.parametrize(("umask", "folder_mode", "file_mode"), [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640)])
def test_permissions_follow_the_umask(tmp_path, umask, folder_mode, file_mode):
    previous = os.umask(umask)
    try:
        run = new_run(tmp_path)
        run.log({"iteration": 1})
        run.save_checkpoint(1, TENSORS, FACTS)
    finally:
        os.umask(previous)
    for path in [run.path, *run.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (folder_mode if path.is_dir() else file_mode), path


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["absent", "empty", "truncated", "overwritten", "folder"])
def test_damaged_file_is_an_input_error_that_names_it(tmp_path, name, damage):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    path = tmp_path / "state" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes({"empty": b"", "truncated": content[:-9], "overwritten": b"\xff" * len(content)}[damage])
    with pytest.raises(InputError) as refusal:
        read_folder(tmp_path / "state")
    assert str(path) in str(refusal.value)


def test_write_json_replaces_the_file_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    runs.write_json(path, {"old": 1})

    def fail(descriptor):
        raise PowerFailureError

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(PowerFailureError):
            runs.write_json(path, {"new": 2})
    assert runs.read_json(path) == {"old": 1}
    runs.write_json(path, {"new": 2})
    assert runs.read_json(path) == {"new": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_new_run_records_command_settings_and_versions(tmp_path):
    run = new_run(tmp_path, seed=3)
    assert run.config["command"] == "demo"
    assert run.config["settings"] == {"seed": 3}
    assert run.config["versions"]["torch"] == torch.__version__
    run.record(precision="bf16")
    assert RunFolder(run.path).config == run.config
    assert run.config["precision"] == "bf16"
    assert run.config["settings"] == {"seed": 3}


def test_empty_folder_is_accepted_and_a_used_one_refused(tmp_path):
    (tmp_path / "run").mkdir()
    run = new_run(tmp_path)
    before = content_of(run.path)
    with pytest.raises(InputError, match="--overwrite") as refusal:
        new_run(tmp_path, seed=1)
    assert str(run.path) in str(refusal.value)
    assert content_of(run.path) == before


def test_overwrite_replaces_an_earlier_run(tmp_path):
    run = new_run(tmp_path)
    run.log({"iteration": 1})
    run.finish({"error": 1.0})
    again = RunFolder.create(run.path, "demo", {"seed": 1}, overwrite=True)
    assert again.config["settings"] == {"seed": 1}
    assert again.metrics() == []
    assert again.result is None
    assert not again.started
    again.log({"iteration": 1})
    assert sorted(path.name for path in again.path.iterdir()) == ["config.json", "metrics.jsonl"]


@pytest.mark.parametrize("content", ["run", "empty", "nothing"])
def test_a_run_that_is_discarded_leaves_the_folder_as_it_was(tmp_path, content):
    path = tmp_path / "run"
    if content == "run":
        run = new_run(tmp_path)
        path = run.path
        run.log({"iteration": 1})
        run.save_checkpoint(1, TENSORS, facts_at(1))
    elif content == "empty":
        path.mkdir()
    before = content_of(path) if path.exists() else None
    RunFolder.create(path, "demo", {"seed": 1}, overwrite=True).discard()
    assert (content_of(path) if path.exists() else None) == before


def test_overwrite_through_a_link_replaces_the_run_it_leads_to(tmp_path):
    run = new_run(tmp_path)
    run.save_checkpoint(1, {"weight": torch.ones(1)}, {"iteration": 1})
    kept = tmp_path / "kept.txt"
    kept.write_text("elsewhere")
    (run.path / "link").symlink_to(kept)
    link = tmp_path / "latest"
    link.symlink_to(run.path)
    RunFolder.create(link, "demo", {"seed": 1}, overwrite=True).finish({})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "result.json"]
    assert link.is_symlink()
    assert kept.exists()


@pytest.mark.parametrize("config", [None, "{", "[]", '{"command": "demo"}', '{"name": "someone else\'s"}', "3"])
def test_overwrite_refuses_what_abpnet_did_not_write(tmp_path, config):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    if config is not None:
        (folder / "config.json").write_text(config)
    before = content_of(folder)
    with pytest.raises(InputError, match=r"thesis"):
        RunFolder.create(folder, "demo", {}, overwrite=True)
    assert content_of(folder) == before


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError) as refusal:
            RunFolder.create(path, "demo", {})
        assert str(path) in str(refusal.value)


def facts_at(iteration):
    return {"iteration": iteration, "history": [{"iteration": done + 1} for done in range(iteration)]}


def test_metrics_come_back_row_by_row(tmp_path):
    run = new_run(tmp_path)
    assert run.metrics() == []
    rows = [{"iteration": 1, "error": 0.1, "note": "a\u2028b\nc"}, {"iteration": 2, "error": None}]
    for row in rows:
        run.log(row)
    assert run.metrics() == rows
    assert (run.path / "metrics.jsonl").read_bytes().count(b"\n") == 2


def test_line_torn_by_a_crash_is_left_out(tmp_path):
    run = new_run(tmp_path)
    run.log({"iteration": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 2}')  # complete, but who knows: no end of line
    assert run.metrics() == [{"iteration": 1}]


def test_resuming_drops_rows_after_the_checkpoint_and_the_torn_line(tmp_path):
    run = new_run(tmp_path)
    for iteration in range(1, 6):
        run.log({"iteration": iteration})
        if iteration == 3:
            run.save_checkpoint(iteration, TENSORS, facts_at(iteration))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 6, "er')
    tensors, facts = RunFolder(run.path).load_checkpoint()
    assert facts == facts_at(3)
    assert torch.equal(tensors["weight"], TENSORS["weight"])
    run.log({"iteration": 4, "again": True})
    assert run.metrics() == [{"iteration": 1}, {"iteration": 2}, {"iteration": 3}, {"iteration": 4, "again": True}]


@pytest.mark.parametrize("damage", [b"\0" * 20 + b"\n", b'{"a": 1}\n', b"[1]\n", b"\xff\n", None])
def test_resuming_needs_no_metrics(tmp_path, damage):
    run = new_run(tmp_path)
    run.save_checkpoint(2, TENSORS, facts_at(2))
    if damage is not None:  # such as a power cut leaves
        (run.path / "metrics.jsonl").write_bytes(damage)
    run.load_checkpoint()
    assert run.metrics() == [{"iteration": 1}, {"iteration": 2}]


@pytest.mark.parametrize("facts", [{}, {"iteration": 2, "history": []}, {"iteration": "x", "history": [{}]}])
def test_a_checkpoint_that_contradicts_itself_is_refused(tmp_path, facts):
    run = new_run(tmp_path)
    write_folder(run.path / "checkpoint-00000002", TENSORS, facts)
    with pytest.raises(InputError, match="checkpoint-00000002"):
        run.load_checkpoint()


def test_facts_that_are_a_list_are_refused(tmp_path):
    write_folder(tmp_path / "folder", TENSORS, {})
    (tmp_path / "folder" / "state.json").write_text("[1]")
    with pytest.raises(InputError, match="folder"):
        read_folder(tmp_path / "folder")


def test_resuming_without_a_checkpoint_starts_the_metrics_anew(tmp_path):
    run = new_run(tmp_path)
    assert run.load_checkpoint() is None
    run.log({"iteration": 1})
    assert run.load_checkpoint() is None
    assert run.metrics() == []


def test_newest_checkpoint_alone_is_kept(tmp_path):
    run = new_run(tmp_path)
    for iteration in (9, 10, 100):
        run.save_checkpoint(iteration, {"at": torch.tensor(iteration)}, facts_at(iteration))
    assert [path.name for path in run.checkpoints()] == ["checkpoint-00000100"]
    assert run.load_checkpoint()[0]["at"] == 100


def test_older_checkpoint_outlives_a_crash_before_it_was_deleted(tmp_path, monkeypatch):
    run = new_run(tmp_path)
    write_folder(run.path / "checkpoint-00000002", {}, facts_at(2))
    write_folder(run.path / "checkpoint-00000010", {}, facts_at(10))
    (run.path / ".partial-checkpoint-00000011").mkdir()
    assert [path.name for path in run.checkpoints()] == ["checkpoint-00000002", "checkpoint-00000010"]
    assert run.load_checkpoint()[1] == facts_at(10)


def test_finishing_writes_the_result_and_deletes_the_checkpoints(tmp_path):
    run = new_run(tmp_path)
    run.save_checkpoint(1, TENSORS, FACTS)
    assert run.result is None
    run.finish({"error": 0.05})
    assert run.result == {"error": 0.05}
    assert run.checkpoints() == []


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_damaged_json_of_a_run_is_an_input_error_that_names_it(tmp_path, name):
    run = new_run(tmp_path)
    run.finish({})
    (run.path / name).write_text('{"command": ')
    with pytest.raises(InputError, match=name):
        RunFolder(run.path).result  # noqa: B018


def test_damaged_row_of_metrics_is_an_input_error_that_names_the_file(tmp_path):
    run = new_run(tmp_path)
    (run.path / "metrics.jsonl").write_text('{"iteration": 1}\n{"iter\n{"iteration": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        run.metrics()


def test_metrics_are_plain_json_lines(tmp_path):
    run = new_run(tmp_path)
    run.log({"iteration": 1, "error": 0.25})
    assert json.loads((run.path / "metrics.jsonl").read_text()) == {"iteration": 1, "error": 0.25}
