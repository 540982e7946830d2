"""What the documentation shows runs as it stands there, on stand-ins for what users have and with fewer passes."""

import importlib.util
import inspect
import json
import re
import runpy
import tomllib
from contextlib import closing, suppress
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import abpnet
import stand_ins
from abpnet import cli
from abpnet.baselines import vae
from abpnet.data import builtin
from abpnet.errors import InputError
from abpnet.web import server
from commands import run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
# Blocks that are run, those that are only shown, and those that Sphinx reads.
RUN, SHOWN, READ = {"python", "sh"}, {"text", "json", "toml", "bibtex"}, {"{toctree}", "{eval-rst}", "{include}"}
# Settings of commands are as written, but no larger than this, once they were checked.
AT_MOST = {
    "size": 24,
    "limit": 20,
    "latent_dim": 3,
    "new_images": 3,
    "measurements": 20,
    "imputations": 2,
    "versions": 2,
    "width": 16,
    "n_chains": 2,
    "n_judged": 1,
    "frames": 12,
    "seconds": 1.0,
    "n": 2,
    "draws": 0,
    "digit_passes": 1,
    "texture_seconds": 0.01,
}
MOST_PIXELS = 64
PASSES = 2

spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


def named(page):
    return str(page.relative_to(ROOT))


def shorter(settings):
    """The same settings, those that cost time made small, as far as they make sense to the command."""
    wanted = {"baselines": False, "residuals": "white"}  # both have tests of their own
    for name in (field.name for field in fields(settings)):
        value = getattr(settings, name)
        if name in AT_MOST and (value is not None or name == "limit"):  # no limit is the largest
            wanted[name] = AT_MOST[name] if value is None else min(value, AT_MOST[name])
        elif name == "pixels":  # twice those of the photograph if they are not given
            wanted[name] = tuple(min(part, MOST_PIXELS) for part in value or (MOST_PIXELS, MOST_PIXELS))
        elif name == "map" and value is not None:
            wanted[name] = (2, 2)
        elif name == "latent_dims":
            wanted[name] = value[:2]
    for name, value in wanted.items():
        if hasattr(settings, name):
            with suppress(InputError):
                changed = replace(settings, **{name: value})
                changed.check()
                settings = changed
    return settings


def few(iterations):
    """The passes of learning, a few of them; the estimator is fitted all the same."""

    def passes(*arguments, **named):
        with closing(iterations(*arguments, **named)) as more:
            yield from islice(more, PASSES)

    return passes


def few_passes(learn):
    """Learning of the auto-encoder, no longer."""

    def learn_shortly(*arguments, max_iter, **named):
        return learn(*arguments, max_iter=min(max_iter, PASSES), **named)

    return learn_shortly


def tiled(image, size, rng, matched=True):
    """In the place of quilting, which takes most of the time of a short texture."""
    return np.tile(image, (1, 9, 9))[:, : size[0], : size[1]]


@pytest.fixture
def shortened(search_shortened, monkeypatch):
    """Learning and commands are short; what is written in a block stays as it is."""
    start = cli._start

    def start_shorter(command, settings):
        settings.check()
        start(command, shorter(settings))

    monkeypatch.setattr(cli, "_start", start_shorter)
    # The explorer is laid out and listens where there is room, but waits for nobody.
    monkeypatch.setattr("abpnet.web.server.listening", lambda port, listening=server.listening: listening(0))
    monkeypatch.setattr("uvicorn.Server.run", lambda *arguments, **named: None)
    for kind in (abpnet.GeneratorNetwork, abpnet.TableImputer):
        monkeypatch.setattr(kind, "iterations", few(kind.iterations))
    monkeypatch.setattr(abpnet, "infer", partial(abpnet.infer, n_steps=3))
    monkeypatch.setattr(abpnet, "evaluate", partial(abpnet.evaluate, n_steps=3))
    monkeypatch.setattr("abpnet.tasks.evaluate.evaluate", abpnet.evaluate)
    monkeypatch.setattr(vae, "learn", few_passes(vae.learn))
    monkeypatch.setattr("abpnet.tasks.texture.quilt", tiled)
    monkeypatch.setattr("abpnet.explaining.BATCH", 24)  # batches are filled up to so many rows
    for module in ("abpnet.data", "abpnet.data.images"):
        monkeypatch.setattr(f"{module}.digits", lambda: builtin.digits()[:330])


def run_words(words):
    """Run a command of abpnet here, and check of others that there is what they name."""
    program, *arguments = words
    stand_ins.lay_out(words)
    if program == "abpnet":
        assert run(*arguments) == 0, words
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif program == "pip":
        check_pip(arguments)
    elif program == "torchrun":
        run_torchrun(arguments)
    elif program == "python" and arguments[0] == "-c":
        exec(arguments[1], {})
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), words
    else:
        assert words == [".venv/bin/pre-commit", "install"], f"no test knows how to run {words}"


def check_pip(arguments):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    verb, what = arguments
    found = re.fullmatch(r"(?:abpnet|\.)(?:\[(\w+)\])?", what)
    assert verb == "install"
    assert found, what
    assert found[1] is None or found[1] in project["optional-dependencies"], what


def run_torchrun(arguments):
    """PyTorch reads its own options; what is to be run by several processes runs in this one."""
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(arguments)
    if options.module:
        assert options.training_script == "abpnet"
        assert run(*options.training_script_args) == 0, arguments
    else:
        runpy.run_path(options.training_script, run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page):
    for block in pages.blocks_of(page):
        assert block.language in RUN | SHOWN | READ or re.fullmatch(r"\{include\} \S+", block.language), (
            f"line {block.line}: {block.language or 'indented'}"
        )
        if block.language == "json":
            json.loads(block.code)
        if block.language == "toml":
            tomllib.loads(block.code)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.language in RUN for block in pages.blocks_of(page))], ids=named
)
def test_page_runs(page, shortened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29517"}.items():
        monkeypatch.setenv(name, value)
    names = pages.run_page(page, run_words)
    if page == ROOT / "README.md":
        damaged, recovered = names["images"], names["recovered"]
        assert np.isfinite(recovered).all()
        assert np.array_equal(recovered[~np.isnan(damaged)], damaged[~np.isnan(damaged)])
        assert names["new"].shape == (16, 1, 8, 8)


def test_reference_has_all_public_names():
    shown = []
    for block in pages.blocks_of(DOCS / "api.md"):
        module = None
        for line in block.code.splitlines():
            directive = re.match(r"\.\. auto(\w+):: ([\w.]+)", line)
            if directive:
                owner, _, name = directive[2].rpartition(".")
                module = importlib.import_module(directive[2] if directive[1] == "module" else owner)
                shown.append(module if directive[1] == "module" else getattr(module, name))
                whole = directive[1] == "module"
            members = re.match(r"   :members: (.+)", line)
            if members:
                holder = module if whole else shown[-1]
                found = [getattr(holder, name) for name in members[1].split(", ")]
                assert all(inspect.getdoc(member) for member in found), line
                shown += found
    for name in abpnet.__all__:
        assert any(getattr(abpnet, name) is thing for thing in shown), f"docs/api.md lacks abpnet.{name}"


def test_pictures_are_there_and_small():
    total = 0
    for page in PAGES:
        for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            size = (page.parent / path).stat().st_size
            assert size < 150_000 or path.endswith("textures.jpg"), f"{path}: {size} bytes"
    for path in (DOCS / "gallery").iterdir():
        total += path.stat().st_size
    assert total < 1_500_000
