import builtins
import importlib.util
import socket

import pytest

from abpnet.errors import InputError
from abpnet.web import server
from abpnet.web.server import ADDRESS, ServeSettings, listening
from commands import run


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    assert run("serve", *arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_a_taken_port_is_refused(capsys, flat):
    with socket.create_server((ADDRESS, 0)) as other:
        port = other.getsockname()[1]
        assert f"--port {port}: cannot be used (Address already in use)" in refused(capsys, flat, "--port", port)


def test_it_listens_on_this_machine_alone():
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed")
def test_what_cannot_be_served_is_one_line(capsys, tmp_path):
    assert "no such folder" in refused(capsys, tmp_path / "nowhere", "--port", 0)
    assert "not the folder of a run" in refused(capsys, tmp_path, "--port", 0)
    assert "needs the folder of a run" in refused(capsys)
    assert "--port must be" in refused(capsys, tmp_path, "--port", 70000)
    assert "--device abacus" in refused(capsys, tmp_path, "--device", "abacus")


def test_without_gradio_it_says_what_to_install(capsys, flat, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    assert "pip install 'abpnet[web]'" in refused(capsys, flat)


def test_the_command_line_needs_no_gradio(monkeypatch):
    imported, usual = [], builtins.__import__

    def watched(name, *more):
        imported.append(name)
        return usual(name, *more)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert run("serve", "--help") == 0
    assert not any(name.split(".")[0] == "gradio" for name in imported)


def test_settings_are_checked():
    with pytest.raises(InputError, match="--max-pixels must be at least 1"):
        ServeSettings(runs=(server.Path("x"),), max_pixels=0).check()
