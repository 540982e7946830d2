import numpy as np
import pytest

from abpnet.baselines.quilting import quilt
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data.builtin import texture_photograph
from abpnet.metrics import difference_of_statistics
from abpnet.texture_distance import TextureMeasure, _answers, mean_distance


@pytest.fixture(scope="module")
def gravel():
    return texture_photograph("gravel", 256)


def test_an_image_is_at_no_distance_from_itself(gravel):
    assert all(value == 0 for value in mean_distance([gravel], gravel).values())


def test_more_of_the_same_is_nearer_than_noise_of_its_spectrum_and_that_nearer_than_another_material(gravel):
    rng = np.random.default_rng(0)
    left, right = gravel[:, :, :128], gravel[:, :, 128:]
    near, far, other = (
        mean_distance([image], left)
        for image in (right, phase_randomised(left, rng), texture_photograph("brick", 256)[:, :, :128])
    )
    assert near["distance"] < 0.7 * far["distance"]
    assert far["distance"] < other["distance"]
    assert mean_distance([quilt(left, (256, 128), rng)], left)["distance"] < far["distance"]


def test_a_grating_is_heard_by_its_filter_alone():
    y = np.arange(160)[:, None]
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal((1, 160, 160))
    measure = TextureMeasure.of(noise)
    # 0.15 cycles per pixel, down: the second scale; 90 degrees from right is the fourth of six directions.
    grating = measure(noise + 0.1 * np.cos(2 * np.pi * 0.15 * y))["energy"] - measure.truth["energy"]
    assert grating.argmax() == 6 + 3
    assert grating[9] > 1.0
    assert np.abs(grating[:6]).max() < 0.9
    assert np.abs(grating[[6, 18, 19]]).max() < 0.1


def test_statistics_do_not_depend_on_the_channels_chosen_or_the_contrast():
    rng = np.random.default_rng(0)
    image = 0.1 * rng.standard_normal((3, 128, 128)).cumsum(1) * np.array([1.0, 0.5, 0.2])[:, None, None]
    other = 0.1 * rng.standard_normal((3, 128, 128)).cumsum(1) * np.array([1.0, 0.5, 0.2])[:, None, None]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    plain = mean_distance([other], image)
    turned = mean_distance([np.einsum("kc,chw->khw", 3 * turn, other)], np.einsum("kc,chw->khw", 3 * turn, image))
    for kind in ("pixels", "energy", "sparsity", "correlation", "reach"):
        assert turned[kind] == pytest.approx(plain[kind], rel=0.02), kind


def test_twice_the_contrast_is_log_2_in_energy_and_nothing_in_shape(gravel):
    measure = TextureMeasure.of(gravel)
    doubled = difference_of_statistics(measure(2 * gravel - gravel.mean()), measure.truth)
    assert doubled["energy"] == pytest.approx(np.log(2), rel=0.1)
    assert doubled["correlation"] < 0.01
    assert doubled["reach"] < 0.01


def test_colour_without_variation_stays_finite():
    rng = np.random.default_rng(0)
    grey = np.repeat(0.3 * rng.standard_normal((1, 128, 128)), 3, 0)
    other = np.repeat(0.3 * rng.standard_normal((1, 128, 128)), 3, 0)
    assert np.isfinite(list(mean_distance([other], grey).values())).all()
    assert mean_distance([other], grey)["distance"] < 0.2


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 96"):
        TextureMeasure.of(np.zeros((1, 95, 200)))


def test_answers_are_as_strong_as_what_the_filter_passes():
    x = np.arange(160)
    grating = np.broadcast_to(0.4 * np.cos(2 * np.pi * 0.15 * x), (1, 160, 160))
    strongest = np.abs(_answers(grating))[:, 40:-40, 40:-40].reshape(24, -1)
    assert np.sqrt(np.square(strongest).mean(1)).max() == pytest.approx(0.4 / np.sqrt(2), rel=0.02)
