"""Scores of what was recovered."""

import numpy as np
import pytest

from abpnet.tasks.recovery import Part, score


def part_of(truth, scored):
    return Part("new images", truth, truth, scored, ["a", "b"], truth)


def test_scores_count_where_they_are_asked_for_and_something_was_recovered():
    truth = np.zeros((2, 1, 2, 2), np.float32)
    scored = np.zeros(truth.shape, bool)
    scored[:, :, 0] = True
    recovered = np.full(truth.shape, 0.5, np.float32)
    recovered[0, 0, 0, 0], recovered[1] = 9.0, np.nan  # cut to 1; not run
    outcome = score(part_of(truth, scored), recovered)
    assert outcome["error, new images"] == pytest.approx((1.0 + 0.5) / 2 / 2)
    assert outcome["PSNR, new images"] == pytest.approx(10 * np.log10(4 / ((1.0 + 0.25) / 2)))


@pytest.mark.parametrize("case", ["not run", "diverged", "nothing was hidden"])
def test_where_there_is_nothing_to_compare_there_is_no_score(case):
    truth = np.zeros((2, 1, 2, 2), np.float32)
    scored = np.full(truth.shape, case != "nothing was hidden")
    recovered = {"not run": None, "diverged": np.full_like(truth, np.nan), "nothing was hidden": truth}[case]
    assert score(part_of(truth, scored), recovered) == {"error, new images": None, "PSNR, new images": None}
