"""Intervals of completed images: which pixels their width is told by."""

import json

import numpy as np
import pytest

from abpnet.tasks import certainty
from commands import run


def test_pixels_are_held_back_of_training_images_alone_and_never_the_last():
    rng = np.random.default_rng(0)
    observed = np.where(rng.random((40, 3, 6, 6)) < 0.5, np.nan, 0.0).astype(np.float32)
    observed[3] = np.nan
    observed[3, :, 0, 0] = 0.0
    is_new = np.arange(40) >= 35
    held_back = certainty.hold_back(observed, is_new, 0)
    assert not held_back[is_new].any()
    assert not held_back[certainty.MOST_CALIBRATING :].any()
    assert not np.isnan(observed[held_back]).any()
    left = ~np.isnan(observed) & ~held_back
    assert left.any((1, 2, 3)).all()
    share = held_back.sum() / (~np.isnan(observed[: certainty.MOST_CALIBRATING])).sum()
    assert 0.07 < share < 0.13
    assert not certainty.hold_back(observed, np.arange(40) < certainty.ENOUGH_NEW, 0).any()


def test_a_network_that_knows_its_few_images_by_heart_gets_no_narrower_intervals(tmp_path):
    """Smooth pictures with noise of .3: 25 of them are learned by heart; what was learned from is no test."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, 12)
    pictures = rng.normal(size=(25, 1, 1, 1)) * ramp[:, None] + rng.normal(size=(25, 1, 1, 1)) * ramp
    pictures = np.clip(0.3 * pictures + 0.3 * rng.normal(size=pictures.shape), -1, 1).astype(np.float32)
    np.save(tmp_path / "pictures.npy", pictures)
    options = ["--mask", "pepper:.5", "--max-iter", "25", "--latent-dim", "10", "--residuals", "white"]
    options += ["--draws", "19", "--no-baselines"]
    assert run("complete", tmp_path / "pictures.npy", *options, "--out", tmp_path / "run") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["uncertainty, training images"]["held"] == pytest.approx(certainty.LEVEL, abs=0.06)
    assert "25 training images that learning was not shown" in (tmp_path / "run" / "report.html").read_text()


def test_few_pixels_leave_intervals_as_they_are(tmp_path):
    np.save(tmp_path / "tiny.npy", np.random.default_rng(0).uniform(-1, 1, (5, 1, 8, 8)).astype(np.float32))
    options = ["--mask", "pepper:.5", "--max-iter", "2", "--latent-dim", "2", "--no-baselines", "--draws", "19"]
    assert run("complete", tmp_path / "tiny.npy", *options, "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["noise_scale"] == 1
    assert "not calibrated" in (tmp_path / "run" / "report.html").read_text()
