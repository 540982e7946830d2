"""Folders and files that are whole or absent, and known to be what was written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from abpnet import durable
from abpnet.durable import read_folder, write_folder
from abpnet.errors import InputError
from forging import sign

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


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
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
    durable.write_json(path, {"old": 1})

    def fail(descriptor):
        raise PowerFailureError

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(PowerFailureError):
            durable.write_json(path, {"new": 2})
    assert durable.read_json(path) == {"old": 1}
    durable.write_json(path, {"new": 2})
    assert durable.read_json(path) == {"new": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_facts_that_are_a_list_are_refused(tmp_path):
    write_folder(tmp_path / "folder", TENSORS, {})
    (tmp_path / "folder" / "state.json").write_text("[1]")
    with pytest.raises(InputError, match="folder"):
        read_folder(tmp_path / "folder")


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_no_flipped_bit_is_loaded(tmp_path, name):
    write_folder(tmp_path / "state", {"weight": torch.tensor([1.0])}, {"iteration": 3})
    path = tmp_path / "state" / name
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            tensors, facts = read_folder(tmp_path / "state")
        except InputError:
            continue
        assert name == "manifest.json", f"byte {place} of {name}"  # another kind of white space there says the same
        assert (tensors["weight"].item(), facts) == (1.0, {"iteration": 3})


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_told_with_who_wrote_it(tmp_path, schema):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    sign(tmp_path / "state", schema=schema, written_by="abpnet 9.1")
    with pytest.raises(InputError, match=f"written by 'abpnet 9.1' in schema {schema}.*reads schema 1"):
        read_folder(tmp_path / "state")


@pytest.mark.parametrize("files", [{}, [], None, {"state.json": {}}, {"../state.json": {}, "state.safetensors": {}}])
def test_a_manifest_that_lists_other_files_is_refused(tmp_path, files):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    sign(tmp_path / "state", files=files)
    with pytest.raises(InputError, match=r"manifest\.json: damaged"):
        read_folder(tmp_path / "state")


def test_pickles_under_our_names_are_refused_and_never_run(tmp_path):
    canary = tmp_path / "canary"

    class Malicious:
        def __reduce__(self):
            return Path.write_text, (canary, "code was run")

    write_folder(tmp_path / "state", TENSORS, FACTS)
    torch.save({"weight": Malicious()}, tmp_path / "state" / "state.safetensors")
    sign(tmp_path / "state")
    with pytest.raises(InputError, match=r"state\.safetensors: absent or damaged"):
        read_folder(tmp_path / "state")
    assert not canary.exists()
    torch.load((tmp_path / "state" / "state.safetensors").rename(tmp_path / "state.pt"), weights_only=False)
    assert canary.exists()  # it would have


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_a_pipe_under_our_names_is_refused_and_not_waited_for(tmp_path, name):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    (tmp_path / "state" / name).unlink()
    os.mkfifo(tmp_path / "state" / name)
    with pytest.raises(InputError, match=name):
        read_folder(tmp_path / "state")


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from abpnet.durable import write_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
write_folder(Path(sys.argv[1]), {"weight": torch.ones(5000)}, {"note": "x" * 40000})
"""


@pytest.mark.parametrize("room", [10_000, 30_000], ids=["for no tensors", "for no facts"])
def test_where_there_is_no_room_the_old_folder_is_kept_and_nothing_left_behind(tmp_path, room):
    write_folder(tmp_path / "state", TENSORS, FACTS)
    before = content_of(tmp_path)
    run = subprocess.run([sys.executable, "-c", LIMITED, tmp_path / "state", str(room)], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"NotWrittenError: {tmp_path / 'state'}: cannot be written (" in run.stderr
    assert "File too large" in run.stderr
    assert content_of(tmp_path) == before


def test_deeply_nested_facts_are_an_input_error(tmp_path):
    (tmp_path / "facts.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"facts\.json: damaged"):
        durable.read_json(tmp_path / "facts.json")
