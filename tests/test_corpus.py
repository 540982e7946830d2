"""What fuzzing found once is read or refused, and so are the files that fuzzing starts from."""

from pathlib import Path

import pytest

FUZZ, CORPUS = Path(__file__).parents[1] / "fuzz", Path(__file__).parent / "corpus"
TARGETS = sorted(path.name.removesuffix("_target.py") for path in FUZZ.glob("*_target.py"))


@pytest.fixture
def target(request, import_script):
    """Module of a target; `read(content)` passes or refuses, and raises nothing else."""
    return import_script("fuzz", f"{request.param}_target")


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_seeds_are_read(target):
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.read(seed)


FOUND = [(path.parent.name, path.name) for path in sorted(CORPUS.glob("*/*"))]


@pytest.mark.parametrize(("target", "name"), FOUND, indirect=["target"])
def test_findings_are_read_or_refused(target, name, request):
    target.read((CORPUS / request.node.callspec.params["target"] / name).read_bytes())
