"""Rows of numbers come back as they were, and take little room."""

import json
import math
import tracemalloc

import pytest

from abpnet.history import History

ROWS = [
    {"iteration": 1, "energy": -1.5, "acceptance": None, "diverged": 0},
    {"iteration": 2, "energy": 0.1 + 0.2, "acceptance": 1e-300, "diverged": 2**40},
    {"iteration": 3, "energy": 3.0, "acceptance": -0.0, "diverged": 0},
]


def test_rows_are_what_they_were():
    history = History(ROWS[:2])
    history.append(ROWS[2])
    assert list(history) == ROWS
    assert len(history) == 3
    assert history[-1] == ROWS[2]
    assert history[:2] == ROWS[:2]
    assert json.dumps(list(history)) == json.dumps(ROWS), "whole numbers are whole, others are not"
    with pytest.raises(IndexError):
        history[3]


def test_packed_and_unpacked_rows_are_the_same_to_the_bit():
    packed = json.loads(json.dumps(History(ROWS).packed()))
    assert json.dumps(list(History.unpacked(packed))) == json.dumps(ROWS)
    assert list(History.unpacked(History().packed())) == []


def test_what_is_no_number_is_none():
    assert list(History([{"iteration": 1, "energy": math.inf}])) == [{"iteration": 1, "energy": None}]


def test_rows_of_other_names_are_refused():
    with pytest.raises(ValueError, match="expected a row of"):
        History([{"iteration": 1}, {"pass": 2}])


@pytest.mark.parametrize(
    "damage",
    [{"names": ["iteration"]}, {"numbers": "AAAA"}, {"numbers": "?"}, {"whole": None}, {"names": [1, 2, 3, 4]}],
)
def test_damaged_rows_are_refused(damage):
    with pytest.raises((TypeError, ValueError)):
        History.unpacked(History(ROWS).packed() | damage)


def test_a_long_run_takes_little_room():
    tracemalloc.start()
    history = History(ROWS)
    for iteration in range(20_000):
        history.append({"iteration": iteration, "energy": 0.5, "acceptance": 0.25, "diverged": 0})
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6, f"{size / 1e6:.1f} MB now, {peak / 1e6:.1f} at most"
