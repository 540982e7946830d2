"""A run that goes on for long stays as small as it was; `benchmarks/soak.py` has it go on for longer."""

import sys

import pytest


@pytest.fixture
def soaking(import_script):
    return import_script("benchmarks", "soak")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_neither_memory_nor_files_pile_up(soaking):
    result = soaking.soak(300, seconds_between_checkpoints=0.3, warm=60)
    assert result["faults"] == []
    assert result["checkpoints"] >= 3
    assert result["rows"] == 300


def test_what_is_counted_as_a_fault(soaking):
    sound = {"exit_code": 0, "faults_of_metrics": [], "rows": 300, "growth_mb": 3.0, "most_files": 12}
    sound |= {"most_checkpoints": 3, "checkpoints": 9, "left_over": []}
    assert soaking.faults_of(sound, 300) == []
    for harm in (
        {"exit_code": 1},
        {"faults_of_metrics": ["line after iteration 3: out of order"]},
        {"rows": 299},
        {"growth_mb": 20.5},
        {"most_files": 40},
        {"most_checkpoints": 4},
        {"checkpoints": 2},
        {"left_over": [".partial-x"]},
    ):
        assert len(soaking.faults_of(sound | harm, 300)) == 1, harm


def test_lines_that_are_no_metrics_are_found(soaking, tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = soaking.Metrics(path)
    metrics.read_on()
    path.write_text('{"iteration": 1, "energy": 2.0}\n{"iteration": 2, "energy": NaN}\n{"iter')
    metrics.read_on()
    assert metrics.iteration == 2
    assert len(metrics.faults) == 1
    path.write_text(path.read_text() + 'ation": 4, "energy": 1.0}\n')
    metrics.read_on()
    assert len(metrics.faults) == 2
