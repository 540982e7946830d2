"""An estimator written down and read again."""

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone

import abpnet
from abpnet import priors
from abpnet.durable import FILES
from abpnet.emissions import Block, ChannelGaussian, Columns, Gaussian
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from estimators import FAST, images
from forging import change_facts


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path, search_shortened):
    fitted.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model")
    x = images(4, seed=4)
    np.testing.assert_array_equal(loaded.transform(x), fitted.transform(x))
    np.testing.assert_array_equal(loaded.sample(3), fitted.sample(3))
    np.testing.assert_array_equal(loaded.latents_, fitted.latents_)
    np.testing.assert_array_equal(loaded.impute(x), fitted.impute(x))
    np.testing.assert_array_equal(loaded.impute(x, 3), fitted.impute(x, 3))
    assert (loaded.residuals_ is None) == (fitted.recipe == "default")
    assert loaded.history_ == fitted.history_
    assert {path.name for path in (tmp_path / "model").iterdir()} == set(FILES)


def test_a_network_of_ones_own_is_passed_to_load(tmp_path, search_shortened):
    own = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    x = np.random.default_rng(0).normal(size=(12, 4))
    weights = [weight.clone() for weight in own.parameters()]
    estimator = GeneratorNetwork(network=own, **FAST).fit(x)
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), weights, strict=True)), "fit works on a copy"
    estimator.save(tmp_path / "model")
    with pytest.raises(InputError, match="network="):
        GeneratorNetwork.load(tmp_path / "model")
    np.testing.assert_array_equal(GeneratorNetwork.load(tmp_path / "model", own).transform(x), estimator.transform(x))


@pytest.mark.parametrize("prior", ["half-normal", priors.HeavyTailed(5.0), priors.Autoregression(0.5 * torch.eye(2))])
def test_a_network_of_ones_own_and_a_prior_of_any_kind_are_saved(tmp_path, prior, search_shortened):
    sequences = isinstance(prior, priors.Autoregression)
    latent_dim, flat = ((2, 3), [torch.nn.Flatten()]) if sequences else (6, [])
    own = torch.nn.Sequential(*flat, torch.nn.Linear(6, 4))
    x = np.random.default_rng(0).normal(size=(12, 4))
    estimator = GeneratorNetwork(**FAST | {"latent_dim": latent_dim}, network=own, prior=prior).fit(x)
    estimator.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model", own)
    np.testing.assert_array_equal(loaded.transform(x), estimator.transform(x))
    np.testing.assert_array_equal(loaded.sample(3), estimator.sample(3))


def test_a_model_of_another_format_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    change_facts(tmp_path / "model", lambda facts: facts.update(format=99))
    with pytest.raises(InputError, match="format 99"):
        GeneratorNetwork.load(tmp_path / "model")


def test_what_stands_for_kriged_residuals_is_kept_and_saved(tmp_path):
    estimator = GeneratorNetwork(2, recipe="kriged", max_iter=3, verbose=False).fit(images())
    assert estimator.equivalent_noise_ > 0
    estimator.save(tmp_path / "saved")
    loaded = GeneratorNetwork.load(tmp_path / "saved")
    assert loaded.equivalent_noise_ == estimator.equivalent_noise_
    np.testing.assert_array_equal(loaded.impute(images()), estimator.impute(images()))
    np.testing.assert_array_equal(loaded.impute(images()[..., ::-1]), loaded.impute(images()[..., ::-1].copy()))
    started = estimator.impute(images(), start=estimator.latents_)
    assert not np.array_equal(started, estimator.impute(images())), "chains that are given a start go on from there"
    for recipe in ("default", "whitened"):
        assert GeneratorNetwork(2, recipe=recipe, max_iter=1, verbose=False).fit(images()).equivalent_noise_ is None


def test_settings_may_be_numpy_scalars(tmp_path, search_shortened):
    estimator = GeneratorNetwork(
        np.int64(2),
        noise_std=np.float32(0.3),
        max_iter=np.int64(2),
        max_seconds=np.float32(9),
        device=torch.device("cpu"),
        verbose=np.bool_(False),
    ).fit(images())
    estimator.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.transform(images()), estimator.transform(images()))


@pytest.mark.parametrize(
    "settings",
    [
        lambda: {"latent_dim": (np.int64(1), 2)},
        lambda: {"prior": priors.HeavyTailed(np.float32(5))},
        lambda: {"emission": ChannelGaussian(tuple(np.float32([0.25, 0.5, 1])))},
        lambda: {"emission": Columns((Block(np.int64(0), np.int64(3), Gaussian(np.float32(0.5))),))},
    ],
    ids=["shape of factors", "prior", "channels", "columns"],
)
def test_settings_may_hold_numpy_scalars(tmp_path, settings, types_unchecked, search_shortened):
    settings, x = settings(), np.random.default_rng(0).normal(size=(12, 3))
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 3))
    estimator = GeneratorNetwork(**FAST | settings, network=own, random_state=np.int64(3)).fit(x)
    estimator.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model", own, device="cpu")
    np.testing.assert_array_equal(loaded.transform(x), estimator.transform(x))
    for name in settings:
        assert getattr(loaded, name) == getattr(estimator, name)
    assert loaded.random_state == 3


def test_a_mixture_of_chains_is_saved_as_a_prior(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 3))
    chains = GeneratorNetwork(**FAST).fit(x).latents_
    estimator = GeneratorNetwork(**FAST, prior=priors.fit_mixture(torch.from_numpy(chains), 2)).fit(x)
    estimator.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.transform(x), estimator.transform(x))
    np.testing.assert_array_equal(loaded.sample(3), estimator.sample(3))
    again, refitted = loaded.fit(x), estimator.fit(x)
    np.testing.assert_array_equal(again.latents_, refitted.latents_)
    facts = json.loads((tmp_path / "model" / "state.json").read_text())
    assert facts["prior"] == facts["settings"]["prior"] == {"kind": "Mixture"}


def test_a_prior_of_ones_own_cannot_be_saved_and_is_named(tmp_path):
    class Wide(priors.StandardNormal):
        def __repr__(self):
            return "everything it holds"

    estimator = GeneratorNetwork(**FAST, prior=Wide()).fit(np.random.default_rng(0).normal(size=(12, 3)))
    with pytest.raises(InputError, match=r"model: Wide is none of abpnet's priors and emissions; it cannot be saved"):
        estimator.save(tmp_path / "model")


def test_the_precision_is_kept(tmp_path):
    estimator = GeneratorNetwork(**FAST, precision="bfloat16").fit(images())
    estimator.save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model")
    assert loaded.precision_ == estimator.precision_ == {"precision": "bfloat16"}


def test_saving_spares_what_abpnet_did_not_write(fitted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else"):
        fitted.save(tmp_path)
    with pytest.raises(InputError, match="something else"):
        fitted.save(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_model_learned_elsewhere_computes_here(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    here = GeneratorNetwork.load(tmp_path / "model", device="cpu")
    change_facts(tmp_path / "model", lambda facts: facts["settings"].update(device="cuda:7"))
    loaded = GeneratorNetwork.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.transform(images()), here.transform(images()))


DAMAGE = {
    "no settings": lambda facts: facts.pop("settings"),
    "no shape of factors": lambda facts: facts.pop("latent_shape"),
    "no history": lambda facts: facts.pop("history"),
    "another setting": lambda facts: facts["settings"].update(colour="blue"),
    "another network": lambda facts: facts["settings"].update(network={"kind": "Transformer"}),
    "no emission": lambda facts: facts.update(emission=None),
    "no precision": lambda facts: facts.update(precision=None),
    "shape of factors a number": lambda facts: facts.update(latent_shape=5),
    "empty recipe": lambda facts: facts["settings"].update(recipe={}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_named(fitted, tmp_path, damage):
    fitted.save(tmp_path / "model")
    change_facts(tmp_path / "model", DAMAGE[damage])
    with pytest.raises(InputError, match="model"):
        GeneratorNetwork.load(tmp_path / "model")


def test_names_of_columns_are_kept(tmp_path):
    import pandas as pd

    x = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)), columns=list("abc"))
    GeneratorNetwork(**FAST).fit(x).save(tmp_path / "model")
    loaded = GeneratorNetwork.load(tmp_path / "model")
    assert list(loaded.feature_names_in_) == list("abc")
    loaded.transform(x)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.transform(x[list("cab")])


@pytest.mark.parametrize("prior", ["normal", "exponential"])
def test_a_clone_of_what_was_loaded_learns_a_network_of_the_same_kind(tmp_path, prior):
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    settings = FAST | {"prior": prior}
    with torch.device("meta"):
        network = abpnet.LinearNetwork(2, (4,))
    for given, kind in ((network, abpnet.LinearNetwork), ("auto", abpnet.VectorNetwork)):
        first = GeneratorNetwork(network=given, **settings).fit(x)
        first.save(tmp_path / "model")
        again = clone(GeneratorNetwork.load(tmp_path / "model")).fit(x)
        found = again.model_.network.network if prior == "exponential" else again.model_.network
        assert type(found) is kind
        np.testing.assert_array_equal(again.latents_, first.latents_)


def test_links_are_followed_and_the_folder_one_stands_in_is_refused(fitted, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fitted.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()
    monkeypatch.chdir(tmp_path / "real")
    for here in (".", "", tmp_path / "real"):
        with pytest.raises(InputError, match="name one within it"):
            fitted.save(here)
