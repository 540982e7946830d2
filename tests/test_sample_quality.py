"""Metrics of samples against brute force on few points, and on pictures whose order is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from abpnet.sample_quality import compare_samples, kernel_distance, precision_recall, random_features


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_kernel_distance_by_brute_force():
    x, y = torch.randn(5, 3, generator=seeded()).double(), torch.randn(7, 3, generator=seeded(1)).double() + 0.5

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    within = [sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) for s in (x, y)]
    expected = within[0] / 20 + within[1] / 42 - 2 * sum(k(a, b) for a in x for b in y) / 35
    assert math.isclose(kernel_distance(x, y), expected, rel_tol=1e-9)


def test_kernel_distance_is_unbiased():
    n, repeats, generator = 10, 500, seeded()
    draws = np.array([kernel_distance(*torch.randn(2, n, 2, generator=generator).unbind()) for _ in range(repeats)])
    assert abs(draws.mean()) < 5 * draws.std() / math.sqrt(repeats)
    # x ~ N(m, 1), y ~ N(0, 1) in one dimension: E (x x' + 1)^3 from the moments of the normal distribution.
    mean = 0.7

    def expected(a, b):
        moments_a, moments_b = ([1, m, m * m + 1, m**3 + 3 * m] for m in (a, b))
        return sum(math.comb(3, p) * moments_a[p] * moments_b[p] for p in range(4))

    truth = expected(mean, mean) + expected(0, 0) - 2 * expected(mean, 0)
    draws = np.array(
        [
            kernel_distance(mean + torch.randn(n, 1, generator=generator), torch.randn(n, 1, generator=generator))
            for _ in range(repeats)
        ]
    )
    assert abs(draws.mean() - truth) < 5 * draws.std() / math.sqrt(repeats)


def test_precision_and_recall_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    samples = torch.tensor([[0.5], [-0.9], [-1.1], [4.0], [30.0]])
    # Radii to the nearest other: real 1, 1, 1, 8; samples 1.4, .2, .2, 3.5, 26.
    assert precision_recall(samples, real, 1) == (3 / 5, 4 / 4)
    assert precision_recall(samples[:3], real, 1) == (2 / 3, 2 / 4)
    assert precision_recall(real, real, 1) == (1.0, 1.0)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_by_brute_force(k):
    samples, real = (torch.randn(n, 4, generator=seeded(n)).double() for n in (13, 17))

    def share(points, centres):
        found = 0
        for point in points:
            for i, centre in enumerate(centres):
                others = sorted(float((centre - other).norm()) for j, other in enumerate(centres) if j != i)
                if float((point - centre).norm()) <= others[k - 1]:
                    found += 1
                    break
        return found / len(points)

    assert precision_recall(samples, real, k) == (share(samples, real), share(real, samples))


def objects(n, seed):
    """Pictures of one sharp-edged ring and bar of random place, size and colour each."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, 32)
    x, y, radius = rng.uniform([-0.3, -0.3, 0.3], [0.3, 0.3, 0.6], (n, 3)).T[:, :, None, None]
    distance = np.hypot(line[None, None, :] - x, line[None, :, None] - y)
    ring = (np.abs(distance - radius) < 0.12) | ((np.abs(line[None, :, None] - y) < 0.08) & (distance < radius))
    colour = rng.uniform(0.2, 1, (n, 3, 1, 1))
    return np.where(ring[:, None], colour, -0.5).astype(np.float32)


@pytest.fixture(scope="module")
def distances():
    real, x, rng = objects(150, 0), objects(150, 1), np.random.default_rng(2)
    patches = x.reshape(150, 3, 2, 16, 2, 16).transpose(0, 2, 4, 1, 3, 5).reshape(150, 4, 3, 16, 16)
    patches = np.stack([image[rng.permutation(4)] for image in patches])
    shuffled = patches.reshape(150, 2, 2, 3, 16, 16).transpose(0, 3, 1, 4, 2, 5).reshape(x.shape)
    noise = rng.standard_normal(x.shape)
    made = {
        "held out": [x],
        "blurred": [gaussian_filter(x, (0, 0, s, s)) for s in (0.5, 1, 2, 4)],
        "noisy": [np.clip(x + s * noise, -1, 1) for s in (0.05, 0.1, 0.2, 0.4)],
        "towards the mean": [(1 - s) * x + s * x.mean(0) for s in (0.25, 0.5, 0.75, 0.999)],
        "shuffled": [shuffled],
        "few modes": [np.tile(x[:k], (150 // k, 1, 1, 1)) + 1e-3 * noise for k in (75, 15, 3)],
    }
    return {name: [compare_samples(each.astype(np.float32), real) for each in series] for name, series in made.items()}


@pytest.mark.parametrize("kind", ["blurred", "noisy", "towards the mean", "shuffled", "few modes"])
def test_the_more_damage_the_greater_the_distance(distances, kind):
    series = [quality.kernel_distance for quality in (*distances["held out"], *distances[kind])]
    assert all(before < after for before, after in pairwise(series)), series


def test_precision_and_recall_see_what_they_are_for(distances):
    (real,) = distances["held out"]
    assert abs(real.kernel_distance) < 0.1
    assert min(real.precision, real.recall) > 0.8
    assert distances["noisy"][-1].precision < 0.2
    recalls = [real.recall, *(quality.recall for quality in distances["few modes"])]
    assert recalls[0] > recalls[1] + 0.2 > recalls[2] + 0.4, recalls
    assert distances["few modes"][-1].precision > 0.7, "samples that copy real images are precise"


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 13), (3, 4, 4)])
def test_features_of_any_size_in_units_of_the_real_images(shape):
    real = torch.randn(60, *shape, generator=seeded())
    features = random_features(real)
    x = features(real)
    assert torch.isfinite(x).all()
    assert x.mean(0).abs().max() < 1e-3
    # Every feature has variance 1, up to what keeps constant ones from being blown up.
    assert 0.7 < float(x.square().sum(1).mean()) / x.shape[1] < 1.05
    assert torch.equal(x, random_features(real)(real)), "the network is the same always"


def test_images_that_are_all_alike_have_features():
    assert np.isfinite(compare_samples(np.zeros((5, 1, 8, 8)), np.ones((6, 1, 8, 8)))).all()
