"""A small part of benchmarks/faults.py: of damaged checkpoints none is loaded, and nothing in them is run."""

import random

import pytest
import torch

from abpnet.history import History
from abpnet.runs import RunFolder


@pytest.fixture
def damaging(import_script):
    return import_script("benchmarks", "damaged_checkpoints")


def run_of_two(path, seed):
    """Folder of a run with two checkpoints."""
    run = RunFolder.create(path, "demo", {"seed": seed})
    for iteration in (1, 2):
        generator = torch.Generator().manual_seed(10 * seed + iteration)
        tensors = {"weight": torch.randn(50, generator=generator), "latents": torch.randn(7, 3, generator=generator)}
        history = [{"iteration": passed + 1, "error": 0.1 * seed} for passed in range(iteration)]
        run.save_checkpoint(iteration, tensors, {"iteration": iteration, "history": History(history).packed()})
    run.release()
    return path


def test_damaged_checkpoints_are_clear_errors_or_the_older_one(damaging, tmp_path):
    good, other = (run_of_two(tmp_path / f"run {seed}", seed) for seed in (0, 1))
    outcomes = damaging.survive_damage(100, good, other, tmp_path, random.Random(1))
    assert damaging.count_of_wrong(outcomes) == 0, outcomes
    assert all(sum(ends.values()) == 10 for ends in outcomes.values())
    for name, ends in outcomes.items():
        assert ends.get("clear error", 0) > 0, name
        assert ends.get("the older one, with a warning", 0) > 0, name


def test_what_is_counted_as_wrong(damaging):
    assert (
        damaging.count_of_wrong({"cut": {"clear error": 3, "wrong state loaded": 2}, "lose": {"code was run": 1}}) == 3
    )
