"""The field of patches: exact for one kind, better than one stationary field where there are several; its draws."""

import warnings

import numpy as np
import pytest
import torch

from abpnet import patch_network, patches, residuals
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.patches import PatchField, conditional_draw, conditional_mean, fit, pixels_of
from abpnet.tasks.complete import CompleteSettings
from abpnet.uncertainty import coverage, credible_interval
from commands import run
from estimators import mapped


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def smooth_covariance(side, down, along):
    """Of a field that is smooth over so many pixels down and along."""
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    far = (place[:, None] - place[None]) / torch.tensor([down, along])
    return torch.exp(-0.5 * far.square().sum(2)) + 1e-2 * torch.eye(side**2)


def two_textures(n, side=24, seed=0):
    """Half of the images striped down, half along, and which pixels are observed."""
    draws = []
    for lengths in ((6.0, 0.8), (0.8, 6.0)):
        root = torch.linalg.cholesky(smooth_covariance(side, *lengths)).float()
        draws.append((root @ torch.randn(side**2, n // 2, generator=seeded(seed))).T)
    images = 0.3 * torch.cat(draws).unflatten(1, (1, side, side))
    return images, torch.rand(n, 1, side, side, generator=seeded(seed + 1)) < 0.5


@pytest.fixture(scope="module")
def textures():
    images, observed = two_textures(40)
    field = fit(torch.where(observed, images, 0.0), observed, torch.zeros_like(images), seeded(2))
    return field, *two_textures(10, seed=5)


def test_hidden_pixels_of_one_patch_are_their_exact_conditional_mean():
    covariance = smooth_covariance(8, 2.0, 1.0)
    root = torch.linalg.cholesky(covariance)
    one = torch.ones(1, 1)
    field = PatchField(one, torch.ones(1), covariance.float()[None, None], root.float()[None, None])
    y = (root @ torch.randn(64, 3, generator=seeded(0)).double()).T
    observed = torch.rand(3, 1, 8, 8, generator=seeded(1)) < 0.5
    images = y.float().view(3, 1, 8, 8)
    found = conditional_mean(field, torch.where(observed, images, 7.0), observed, torch.zeros_like(images))
    for index in range(3):
        seen = observed[index].flatten()
        weights = torch.linalg.solve(covariance[seen][:, seen], covariance[seen])
        expected = (y[index, seen] @ weights).float()
        torch.testing.assert_close(found[index].flatten(), expected, rtol=1e-3, atol=1e-3)


def test_overlapping_patches_have_the_mean_of_the_dense_equations(monkeypatch):
    monkeypatch.setattr("abpnet.patch_network.TOLERANCE", 1e-5)
    monkeypatch.setattr("abpnet.patch_network.MOST_STEPS", 1000)
    covariance, side, one = smooth_covariance(8, 2.0, 1.0), 12, torch.ones(1, 1)
    root = torch.linalg.cholesky(covariance)
    field = PatchField(one, torch.ones(1), covariance.float()[None, None], root.float()[None, None])
    precision, pixels = torch.zeros(side**2, side**2, dtype=torch.float64), torch.arange(side**2).view(side, side)
    for top, left in torch.cartesian_prod(torch.tensor([0, 2, 4]), torch.tensor([0, 2, 4])).tolist():
        place = pixels[top : top + 8, left : left + 8].flatten()
        precision[place[:, None], place] += torch.linalg.inv(covariance)
    y = torch.randn(1, 1, side, side, generator=seeded(0))
    observed = torch.rand(1, 1, side, side, generator=seeded(1)) < 0.5
    hidden = ~observed.flatten()
    pull = -precision[hidden][:, ~hidden] @ y.flatten()[~hidden].double()
    expected = torch.linalg.solve(precision[hidden][:, hidden], pull).float()
    found = patch_network.conditional_mean(field, torch.where(observed, y, 7.0), observed, torch.zeros_like(y))
    torch.testing.assert_close(found.flatten()[hidden], expected, rtol=1e-3, atol=1e-3)


def test_a_search_for_the_mean_that_ends_early_says_so(textures, monkeypatch):
    field, images, observed = textures
    arguments = field, images[:1], observed[:1], torch.zeros_like(images[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patch_network.conditional_mean(*arguments)
    monkeypatch.setattr("abpnet.patch_network.MOST_STEPS", 3)
    with pytest.warns(UserWarning, match="ended after 3 steps"):
        patch_network.conditional_mean(*arguments)


@pytest.mark.parametrize("junk", [float("nan"), 1e30])
def test_hidden_pixels_never_matter_to_overlapping_patches(textures, junk):
    field, images, observed = textures
    signal = torch.randn(images.shape, generator=seeded(4))
    shown, filled = (torch.where(observed, images, value) for value in (0.0, junk))
    expected = patch_network.conditional_mean(field, shown, observed, signal)
    assert torch.equal(patch_network.conditional_mean(field, filled, observed, signal), expected)
    rows = slice(2, 5)
    some = patch_network.conditional_mean(field, shown[rows], observed[rows], signal[rows])
    assert torch.equal(some, expected[rows])


def test_several_kinds_are_found_and_beat_one_field_for_all(textures):
    field, images, observed = textures
    assert len(field.weights) > 4
    shown = torch.where(observed, images, 0.0)
    training, seen = two_textures(40)
    stationary = residuals.estimate(torch.where(seen, training, 0.0), seen)
    by_one = residuals.conditional_mean(stationary, shown, observed)
    by_patches = conditional_mean(field, shown, observed, torch.zeros_like(images))
    errors = [float((guess - images)[~observed].square().mean()) for guess in (by_one, by_patches)]
    assert errors[1] < 0.9 * errors[0], errors
    assert torch.equal(by_patches, conditional_mean(field, shown, observed, torch.zeros_like(images)))


def test_draws_scatter_as_much_as_hidden_pixels_do_and_keep_observed_ones(textures):
    field, images, observed = textures
    shown, nothing, chance = torch.where(observed, images, 0.0), torch.zeros_like(images), seeded(3)
    drawn = [conditional_draw(field, shown, observed, nothing, chance) for _ in range(39)]
    draws = torch.stack([one.mean + one.deviation for one in drawn])
    held = coverage(images.numpy(), credible_interval(draws.numpy()), (~observed).numpy())
    print(f"coverage {held:.3f}")
    assert 0.85 < held < 0.97
    torch.testing.assert_close(draws[:, observed], images[observed].expand(39, -1), rtol=0, atol=2e-3)
    mean = conditional_mean(field, shown, observed, nothing)
    off = (torch.stack([one.mean for one in drawn]).mean(0) - mean)[~observed].std()
    assert off < 0.5 * (mean - images)[~observed].std(), "tilings agree on average"


@pytest.mark.parametrize("junk", [float("nan"), 1e30])
def test_hidden_pixels_never_matter_and_no_image_depends_on_another(textures, junk):
    field, images, observed = textures
    signal = torch.randn(images.shape, generator=seeded(4))
    shown = torch.where(observed, images, 0.0)
    filled = torch.where(observed, images, junk)
    expected = conditional_mean(field, shown, observed, signal)
    assert torch.equal(conditional_mean(field, filled, observed, signal), expected)
    for rows in (slice(3, 4), slice(2, 9)):
        assert torch.equal(conditional_mean(field, shown[rows], observed[rows], signal[rows]), expected[rows])
    drawn = [conditional_draw(field, y, observed, signal, seeded(5)) for y in (shown, filled)]
    assert torch.equal(drawn[0].mean, drawn[1].mean)
    assert torch.equal(drawn[0].deviation, drawn[1].deviation)
    fits = [fit(y, observed, signal, seeded(6)) for y in (shown, filled)]
    assert all(torch.equal(a, b) for a, b in zip(*fits, strict=True))


def test_colours_err_together_and_images_may_be_small_or_empty():
    grey, _ = two_textures(8, side=6)
    images = torch.cat([grey, 0.9 * grey, -grey], 1)
    observed = torch.rand(8, 1, 6, 6, generator=seeded(7)) < 0.6
    observed[0] = False
    shown = torch.where(observed, images, 0.0)
    signal = 0.1 * torch.ones_like(images)
    field = fit(shown, observed, signal, seeded(8))
    assert field.side == 6
    mean = conditional_mean(field, shown, observed, signal)
    assert mean.isfinite().all()
    torch.testing.assert_close(mean[0], signal[0], rtol=0, atol=1e-5)
    assert abs(float(field.colours[:, 0] @ torch.tensor([1.0, 0.9, -1.0])) / np.sqrt(2.81)) > 0.99


@pytest.mark.parametrize("shape", [(1, 8), (16, 1), (2, 9), (1, 1)], ids=str)
def test_images_of_few_pixels_are_covered(shape):
    y = torch.rand(3, 1, *shape, generator=seeded(0)) - 0.5
    observed = torch.rand(y.shape, generator=seeded(1)) < 0.6
    signal = torch.zeros_like(y)
    field = fit(y, observed, signal, seeded(2))
    for mean in (conditional_mean, patch_network.conditional_mean):
        found = mean(field, y, observed, signal)
        torch.testing.assert_close(found[observed], y[observed], rtol=0, atol=2e-3)
        assert found.isfinite().all()
    assert conditional_draw(field, y, observed, signal, seeded(3)).deviation.isfinite().all()


def few_bright():
    """Where residuals are 0 but for a few images that are bright all over."""
    images = torch.zeros(60, 3, 16, 16)
    images[:2] = 0.9
    return images


GREY = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
FLAT = {
    "residuals of 0": torch.zeros(4, 1, 8, 8),
    "colour images without colour": GREY.repeat(1, 3, 1, 1),
    "a channel of 0": torch.cat([GREY, 0 * GREY], 1),
    "few that are not 0": few_bright(),
}


@pytest.mark.parametrize("kind", FLAT)
def test_residuals_may_not_vary_at_all(kind):
    y = FLAT[kind]
    observed = torch.rand(len(y), 1, *y.shape[2:], generator=seeded(1)) < 0.8
    field = fit(y, observed, torch.zeros_like(y), seeded(2))
    some, seen = y[:4], observed[:4]
    mean = patch_network.conditional_mean(field, some, seen, torch.zeros_like(some))
    drawn = conditional_draw(field, some, seen, torch.zeros_like(some), seeded(3))
    for found in (mean, drawn.mean, drawn.deviation):
        assert found.isfinite().all()
    torch.testing.assert_close(mean[seen.expand_as(mean)], some[seen.expand_as(mean)], rtol=0, atol=5e-3)


def test_a_kind_that_varies_along_one_direction_alone_has_a_root():
    covariance = 100 * torch.ones(1, 1, 64, 64)
    solid, root = patches._solid(covariance, 1e-6)
    torch.testing.assert_close(solid, covariance, rtol=1e-3, atol=0)
    torch.testing.assert_close(root @ root.mT, solid, rtol=1e-3, atol=0)


def test_a_field_is_learned_although_none_of_its_images_was_observed():
    y = torch.zeros(2, 3, 8, 8)
    field = fit(y, torch.zeros(2, 1, 8, 8, dtype=torch.bool), torch.ones_like(y), seeded(0))
    assert all(part.isfinite().all() for part in field)


def test_only_the_smooth_part_of_signals_is_their_mean():
    signal = torch.ones(1, 1, 32, 32)
    torch.testing.assert_close(patches.smooth(signal), signal)
    checkered = signal * (-1) ** (torch.arange(32)[:, None] + torch.arange(32))
    assert patches.smooth(checkered)[..., 8:-8, 8:-8].abs().max() < 5e-3


def test_pixels_that_are_observed_in_some_channels_only_are_refused():
    observed = torch.ones(2, 3, 4, 4, dtype=torch.bool)
    assert pixels_of(observed[:1, :1], (2, 3, 4, 4)).shape == (2, 1, 4, 4)
    observed[0, 1, 2, 2] = False
    with pytest.raises(InputError, match="kriged"):
        pixels_of(observed, (2, 3, 4, 4))


@pytest.mark.parametrize("kind", [np.asarray, "mapped"])
def test_they_are_refused_before_anything_is_learned(tmp_path, kind):
    images = np.random.default_rng(0).uniform(-1, 1, (20, 3, 8, 8)).astype(np.float32)
    images[-1, 0, 2:4, 2:4] = np.nan
    given = mapped(tmp_path / "images.npy", images) if kind == "mapped" else images
    network = GeneratorNetwork(2, recipe="patches", max_iter=1, verbose=False)
    with pytest.raises(InputError, match="choose 'kriged'"):
        next(network.iterations(given))
    assert not hasattr(network, "history_")
    images[-1, :, 2:4, 2:4] = np.nan
    pixels_of_all = mapped(tmp_path / "images.npy", images) if kind == "mapped" else images
    assert network.fit(pixels_of_all).patches_ is not None


@pytest.mark.parametrize("residuals", ["patches", "whitened"])
def test_commands_refuse_them_even_if_only_new_images_have_them(tmp_path, capsys, residuals):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "whole.npz", images=images)
    images[-1, 0, 2:4, 2:4] = np.nan
    np.savez(tmp_path / "new.npz", images=images)
    options = ("--residuals", residuals, "--latent-dim", "2", "--max-iter", "1", "--new-source", tmp_path / "new.npz")
    assert run("complete", tmp_path / "whole.npz", *options, "--out", tmp_path / "out") == 2
    assert f"--residuals {residuals} needs pixels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_with_small_holes_are_completed_by_patches():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (3, 1, 40, 40)).astype(np.float32)
    settings = CompleteSettings(source="builtin:digits")

    def recipe(hidden, images=pixels):
        return settings.recipe(np.where(hidden, np.float32(np.nan), images))

    square = np.zeros((3, 1, 40, 40), bool)
    square[:, :, 8:28, 8:28] = True
    assert recipe(rng.random(pixels.shape) < 0.5) == "patches"
    assert recipe(square) == "kriged"
    assert recipe(square[..., :9, :9] | (rng.random((3, 1, 9, 9)) < 0.5), pixels[..., :9, :9]) == "kriged"
    assert recipe(np.zeros_like(square)) == "kriged"
    assert recipe(rng.random(pixels.shape) < 0.9) == "whitened"


def test_a_run_completes_images_by_patches(tmp_path):
    images, observed = two_textures(6, side=32)
    np.savez(tmp_path / "images.npz", images=torch.where(observed, images.clamp(-1, 1), torch.nan).numpy())
    out = tmp_path / "out"
    options = ("--latent-dim", "2", "--max-iter", "2", "--draws", "19", "--no-baselines", "--precision", "float32")
    assert run("complete", tmp_path / "images.npz", *options, "--out", out) == 0
    network = GeneratorNetwork.load(out / "model")
    assert isinstance(network.patches_, PatchField)
    assert network.recipe == "patches"
    assert (out / "training images, uncertainty.png").is_file()
