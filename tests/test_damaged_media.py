"""A small part of benchmarks/media.py: damaged files are read or refused by one line."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
N_FILES = 60


@pytest.fixture(scope="module")
def damage():
    """Module of the mutator."""
    sys.path.insert(0, str(BENCHMARKS))
    import damage

    yield damage
    sys.path.remove(str(BENCHMARKS))
    sys.modules.pop("damage")


def test_undamaged_files_are_read(damage, tmp_path):
    for kind, files in damage.originals().items():
        for index, (suffix, content) in enumerate(files):
            path = tmp_path / f"{kind} {index}{suffix}"
            path.write_bytes(content)
            damage.read(kind, path)


def test_damaged_files_are_read_or_refused_by_one_line(damage, tmp_path):
    outcomes = []
    for index in range(N_FILES):
        file = damage.damaged(1, index)
        path = tmp_path / f"damaged {index}{file.suffix}"
        path.write_bytes(file.content)
        outcome, said = damage.judge(file.kind, path)
        assert outcome in ("read", "refused"), (file.history, said)
        outcomes.append(outcome)
    assert outcomes.count("refused") > N_FILES / 4, "the damage is felt"
    assert outcomes.count("read") > N_FILES / 20


def test_damage_is_the_same_for_the_same_seed(damage):
    assert damage.damaged(3, 5) == damage.damaged(3, 5)
    assert damage.damaged(3, 5) != damage.damaged(4, 5)
