"""Only plain files are opened, and nothing keeps a command waiting."""

import os
import socket

import pytest

from abpnet.data.files import open_file
from pixels import refusal_of

LINKS = {"nowhere": "a link to nothing", "loop": "symbolic links"}


def refused(path):
    message = refusal_of(open_file, path, "an image")
    assert str(path) in message
    return message


def test_a_plain_file_is_opened_also_by_a_link_and_under_any_name(tmp_path):
    path = tmp_path / "ein Bild, ünïcode 图\n.png"
    path.write_bytes(b"content")
    (tmp_path / "link").symlink_to(path)
    for name in (path, str(path), tmp_path / "link"):
        with open_file(name, "an image") as file:
            assert file.read() == b"content"


def test_pipes_sockets_and_devices_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for path in (tmp_path / "pipe.png", tmp_path / "socket.png", "/dev/zero", "/dev/stdin"):
            assert "an image" in refused(path)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_keep_one_waiting(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path: real(tmp_path / "file"))
    assert "pipe" in refused(tmp_path / "pipe")


@pytest.mark.parametrize("name", LINKS)
def test_links_to_nothing_and_loops_are_told(tmp_path, name):
    (tmp_path / name).symlink_to("absent" if name == "nowhere" else name)
    assert LINKS[name] in refused(tmp_path / name)


def test_folders_empty_files_and_impossible_names_are_refused(tmp_path):
    (tmp_path / "empty").touch()
    assert "is a folder" in refused(tmp_path)
    assert "is empty" in refused(tmp_path / "empty")
    assert "no such file" in refused(tmp_path / "absent")
    assert "too long" in refused(tmp_path / ("x" * 300))
    assert "null" in refused(f"{tmp_path}/a\0b")


def test_files_without_permission_are_refused(tmp_path, monkeypatch):
    def deny(*arguments):
        raise PermissionError

    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(os, "open", deny)
    assert "permissions" in refused(tmp_path / "file")
