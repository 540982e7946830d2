import json
import os
import shutil
import stat

import pytest
import torch

from abpnet.durable import write_folder
from abpnet.errors import InputError, NotWrittenError
from abpnet.history import History
from abpnet.runs import RunFolder

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


def dying(moment):
    """What makes functions fail from a certain one of their calls on, as a machine does whose power is gone."""
    calls = []

    def dies(function):
        def call(*arguments, **options):
            calls.append(function)
            if len(calls) >= moment:
                raise PowerFailureError
            return function(*arguments, **options)

        return call

    return dies


def new_run(tmp_path, **settings):
    return RunFolder.create(tmp_path / "run", "demo", settings)


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_crash_leaves_no_part_of_a_new_folder(tmp_path, monkeypatch):
    run = new_run(tmp_path)
    run.save_checkpoint(1, TENSORS, {"iteration": 1})

    def fail(descriptor):
        raise PowerFailureError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PowerFailureError):
        run.save_checkpoint(2, TENSORS, {"iteration": 2})
    assert [path.name for path in run.checkpoints()] == ["checkpoint-00000001"]


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
    again.release()
    assert sorted(path.name for path in again.path.iterdir()) == ["config.json", "metrics.jsonl"]


@pytest.mark.parametrize("content", ["run", "empty", "nothing"])
def test_a_run_that_is_discarded_leaves_the_folder_as_it_was(tmp_path, content):
    path = tmp_path / "run"
    if content == "run":
        run = new_run(tmp_path)
        path = run.path
        run.log({"iteration": 1})
        run.save_checkpoint(1, TENSORS, facts_at(1))
        run.release()
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
    run.release()
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
    return {"iteration": iteration, "history": History({"iteration": done + 1} for done in range(iteration)).packed()}


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


def test_resuming_without_a_checkpoint_starts_the_metrics_anew(tmp_path):
    run = new_run(tmp_path)
    assert run.load_checkpoint() is None
    run.log({"iteration": 1})
    assert run.load_checkpoint() is None
    assert run.metrics() == []


def test_newest_checkpoint_and_the_one_before_are_kept(tmp_path):
    run = new_run(tmp_path)
    for iteration in (9, 10, 100):
        run.save_checkpoint(iteration, {"at": torch.tensor(iteration)}, facts_at(iteration))
    assert [path.name for path in run.checkpoints()] == ["checkpoint-00000010", "checkpoint-00000100"]
    assert run.load_checkpoint()[0]["at"] == 100


def test_older_checkpoint_outlives_a_crash_before_it_was_deleted(tmp_path, monkeypatch):
    run = new_run(tmp_path)
    run.save_checkpoint(2, {}, facts_at(2))
    run.save_checkpoint(10, {}, facts_at(10))
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


def damaged(path, damage):
    """Damage a checkpoint."""
    tensors, facts, manifest = (path / name for name in ("state.safetensors", "state.json", "manifest.json"))
    content = bytearray(tensors.read_bytes())
    if damage == "flipped bit":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "cut off":
        facts.write_bytes(facts.read_bytes()[:-3])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "half deleted":
        tensors.unlink()
    else:
        shutil.rmtree(path)
        path.write_text("no folder")


@pytest.mark.parametrize("damage", ["flipped bit", "cut off", "no manifest", "half deleted", "a file"])
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_loaded_and_the_user_told(tmp_path, damage):
    run = new_run(tmp_path)
    run.save_checkpoint(9, {"at": torch.tensor(9)}, facts_at(9))
    run.save_checkpoint(10, {"at": torch.tensor(10)}, facts_at(10))
    damaged(run.path / "checkpoint-00000010", damage)
    with pytest.warns(UserWarning, match=r"checkpoint-00000010.*; goes on from checkpoint-00000009 instead"):
        tensors, facts = run.load_checkpoint()
    assert tensors["at"] == 9
    assert facts == facts_at(9)
    assert run.metrics() == [{"iteration": done + 1} for done in range(9)]


def test_where_both_checkpoints_are_damaged_the_user_is_told_what_to_do(tmp_path):
    run = new_run(tmp_path)
    for iteration in (9, 10):
        run.save_checkpoint(iteration, TENSORS, facts_at(iteration))
    for iteration in (9, 10):
        damaged(run.path / f"checkpoint-{iteration:08d}", "flipped bit")
    with pytest.raises(InputError, match=r"00000010.*00000009.*delete .*checkpoint-\* to begin anew"):
        run.load_checkpoint()


def test_checkpoints_of_other_runs_or_names_are_not_loaded(tmp_path):
    one = new_run(tmp_path, seed=1)
    other = RunFolder.create(tmp_path / "other", "demo", {"seed": 2})
    one.save_checkpoint(3, TENSORS, facts_at(3))
    shutil.copytree(one.path / "checkpoint-00000003", other.path / "checkpoint-00000003")
    with pytest.raises(InputError, match="of another run"):
        other.load_checkpoint()
    (one.path / "checkpoint-00000003").rename(one.path / "checkpoint-00000004")
    with pytest.raises(InputError, match="do not fit its iteration"):
        one.load_checkpoint()


@pytest.mark.parametrize("change", [{"recipe": {"step_size": 0.2}}, {"precision": "other"}, {"data": "0"}])
def test_checkpoints_are_not_loaded_under_changed_settings(tmp_path, change):
    run = new_run(tmp_path)
    run.record(recipe={"step_size": 0.1}, precision="float32", data="1")
    run.save_checkpoint(3, TENSORS, facts_at(3))
    assert RunFolder(run.path).load_checkpoint() is not None
    run.record(**change)
    with pytest.raises(InputError, match="were changed after it was written"):
        RunFolder(run.path).load_checkpoint()


def test_runs_may_move_to_another_folder_or_device_and_learn_longer(tmp_path):
    run = RunFolder.create(tmp_path / "run", "demo", {"seed": 1, "out": str(tmp_path / "run"), "device": "cuda"})
    run.save_checkpoint(3, TENSORS, facts_at(3))
    config = json.loads((run.path / "config.json").read_text())
    config["settings"] |= {"out": "elsewhere", "device": "cpu", "max_iter": 9}
    (run.path / "config.json").write_text(json.dumps(config))
    moved = run.path.rename(tmp_path / "moved")
    assert RunFolder(moved).load_checkpoint()[1] == facts_at(3)


def test_what_only_looks_like_a_checkpoint_is_left_alone(tmp_path):
    run = new_run(tmp_path)
    (run.path / "checkpoint-of mine").mkdir()
    for iteration in (99999999, 100000000):
        run.save_checkpoint(iteration, TENSORS, FACTS)
    assert [path.name for path in run.checkpoints()] == ["checkpoint-99999999", "checkpoint-100000000"]
    run.save_checkpoint(100000001, TENSORS, FACTS)
    assert [path.name for path in run.checkpoints()] == ["checkpoint-100000000", "checkpoint-100000001"]
    assert (run.path / "checkpoint-of mine").exists()


def test_where_metrics_cannot_be_written_the_user_is_told(tmp_path):
    run = new_run(tmp_path)
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(NotWrittenError, match=r"metrics\.jsonl: cannot be written \(No space left on device\)"):
        run.log({"iteration": 1})
