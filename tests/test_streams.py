"""Standard output and error may be closed, full, or read only in part."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from abpnet import cli

ABPNET = f"{sys.executable} -m abpnet"


def shell(command):
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"{ABPNET} --help >&-", 0, ""),
        (f"{ABPNET} resume nowhere 2>&-", 2, ""),
        (f"{ABPNET} --help | true", 141, ""),
        (f"{ABPNET} --version > /dev/full", 2, "abpnet: output: No space left on device\n"),
    ],
    ids=["no output", "no messages", "read in part", "full"],
)
def test_streams_that_take_nothing(command, code, said):
    done = shell(command)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_other_processes_hear_of_output_that_nobody_reads(monkeypatch):
    heard = []

    @contextmanager
    def ending(notes):
        heard.append(notes)
        yield True

    def unread(arguments):
        raise BrokenPipeError

    monkeypatch.setattr("abpnet.parallel.ending", ending)
    monkeypatch.setattr("abpnet.cli._run", unread)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    with pytest.raises(SystemExit, match="141"):
        cli.main([])
    assert heard == [None]
