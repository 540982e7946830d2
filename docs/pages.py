"""The blocks of code of a page, in order, and how they are run; `make gallery` and the tests both do.

python docs/pages.py docs/tutorials/images.md --folder /tmp/images      # runs the page as it stands there
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

__all__ = ["Block", "blocks_of", "call", "commands_of", "run_page"]

# A block of Python whose first line is "# name.py" is a file of that name.
FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: What stands behind its fence; empty for an indented block.
        code: Its text.
        line: Of the page, counted from 1, where the text begins.
    """

    language: str
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a Markdown file."""
    found = []
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block") and token.map is not None:
            found.append(Block(token.info.strip(), token.content, token.map[0] + 1 + (token.type == "fence")))
    return found


def commands_of(block: Block) -> Iterator[list[str]]:
    """Words of each command of a block of shell, without comments; a line that ends in a backslash goes on."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_page(page: Path, command: Callable[[list[str]], Any]) -> dict[str, Any]:
    """Run all blocks of a page in order, in the folder where the process stands.

    Args:
        page: Its blocks of Python share one namespace, which is returned.
        command: Called with the words of each command of the shell.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language == "python":
            file = FILE.match(block.code)
            if file:
                Path(file[1]).write_text(block.code)
            else:
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        elif block.language == "sh":
            for words in commands_of(block):
                command(words)
    return names


def call(words: list[str]) -> None:
    """Run a command, and show it."""
    print("$", shlex.join(words), flush=True)
    subprocess.run(words, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where it runs")
    arguments = parser.parse_args()
    path = arguments.page.absolute()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.folder)
    run_page(path, call)
