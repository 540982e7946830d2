"""Shared by all tests: shapes and types of annotated functions are checked while they run."""

import importlib
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from PIL import Image

import type_checks

SOURCE = Path(__file__).parents[1] / "src"
# Settings of wrong types, which scikit-learn's checks pass on purpose and files may hold, are refused by themselves.
UNCHECKED = {"abpnet.estimator", "abpnet.recipes", "abpnet.tables.imputer"}

modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")}
type_checks.install(sorted(name for name in modules - UNCHECKED if "__" not in name))


@pytest.fixture(autouse=True)
def _types_checked_anew():
    """In each test, see `type_checks`."""
    type_checks.calls_of.clear()


@pytest.fixture
def types_unchecked(monkeypatch):
    """Arguments of wrong types come in, as they do where no test is running."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def ctrl_c_is_heard():
    """Also where tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folder with images.npz and a subfolder of the same images as files."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    factors, patterns = rng.normal(size=(14, 2)), rng.normal(size=(2, 64))
    pixels = np.clip(127 + 60 * factors @ patterns, 0, 255).astype(np.uint8).reshape(14, 8, 8)
    np.savez(folder / "images.npz", images=pixels)
    (folder / "photos").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "photos" / f"photo {index}.png")
    return folder


@pytest.fixture(scope="session")
def completed(data, tmp_path_factory):
    """Folder of a finished run of `complete`."""
    from commands import COMPLETE, run

    out = tmp_path_factory.mktemp("runs") / "complete"
    assert run("complete", data / "images.npz", *COMPLETE, "--new-images", "4", "--out", out) == 0
    return out


@pytest.fixture(scope="module", params=["default", "kriged", "patches", "whitened"])
def fitted(request):
    """Six passes are one more than those with white residuals."""
    import torch

    from abpnet.estimator import GeneratorNetwork
    from abpnet.networks import ObjectNetwork
    from estimators import images

    with torch.device("meta"):
        network = ObjectNetwork(3, (1, 8, 8), 32)
    passes = 6 if request.param == "whitened" else 3
    return GeneratorNetwork(3, network=network, max_iter=passes, recipe=request.param, verbose=False).fit(images())


@pytest.fixture
def import_script(monkeypatch):
    """Imports a file of a folder beside src by name, as if it were run there, for one test."""
    imported = []

    def script(folder, name):
        monkeypatch.syspath_prepend(str(SOURCE.parent / folder))
        imported.append(name)
        return importlib.import_module(name)

    yield script
    for name in imported:
        sys.modules.pop(name)


@contextmanager
def shortened():
    """What is inferred is not the mode, and not drawn from the posterior, but of the same kind and sooner there."""
    from functools import partial

    from abpnet import explaining
    from abpnet.likelihood import Annealing

    with pytest.MonkeyPatch.context() as patch:
        for module in ("fitted", "posterior", "explaining"):
            patch.setattr(f"abpnet.{module}.explain", partial(explaining.explain, n_steps=3))
        patch.setattr("abpnet.fitted.POSTERIOR_DRAWS", 2)
        patch.setattr("abpnet.fitted.CALIBRATION_DRAWS", 3)
        patch.setattr("abpnet.posterior.WARM_UP", 2)
        patch.setattr("abpnet.likelihood.MOST_STEPS", 5)
        patch.setattr("abpnet.likelihood.Annealing", partial(Annealing, 2, 5, 1))
        for name in ("STEPS_TO_MODE", "STEPS_BEFORE", "STEPS_BETWEEN"):
            patch.setattr(f"abpnet.tables.models.{name}", 1)
        patch.setattr("abpnet.tables.learning.JUDGING_DRAWS", 1)
        patch.setattr("abpnet.tables.imputer.POSTERIOR_DRAWS", 1)
        yield


@pytest.fixture(scope="module")
def searches_shortened():
    """Searches are short in all tests of a file, from the first that asks for it."""
    with shortened():
        yield


@pytest.fixture
def search_shortened():
    """Searches are short in one test."""
    with shortened():
        yield
