"""Whatever is handed over: what comes back is finite and as promised, or one line names what is wrong with it.

FUZZ_EXAMPLES=5000 pytest tests/test_api_fuzzing.py    looks for new cases, a long time
"""

import os
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import abpnet
from abpnet.estimator import GeneratorNetwork
from abpnet.likelihood import Annealing
from abpnet.networks import LinearNetwork
from odd_values import AS_GOOD, FRAMES, ODD, anything, frames

pytestmark = pytest.mark.usefixtures("searches_shortened", "types_unchecked")
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SHAPES = {"vectors": (4,), "images": (1, 3, 3)}
SETTINGS = {"latent_dim": 2, "max_iter": 1, "precision": "float32", "device": "cpu", "verbose": False}
TABLE_SETTINGS = {"latent_dim": 1, "n_networks": 1, "width": 2, "max_iter": 1}
FEW = Annealing(2, 1, 1)
# scikit-learn's contract wants these word for word: one has several lines, the other is a warning.
OF_SCIKIT_LEARN = "The feature names should match", "X (has|does not have valid) feature names"


def rows(shape, n=3):
    return np.random.default_rng(1).uniform(-0.9, 0.9, (n, *shape)).astype(np.float32)


def network(shape):
    with torch.device("meta"):
        return LinearNetwork(2, shape)


def new(shape, **other):
    return GeneratorNetwork(**SETTINGS | {"network": network(shape)} | other)


@pytest.fixture(scope="module")
def nets(searches_shortened):
    return {kind: new(shape).fit(rows(shape, 6)) for kind, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(0).normal(size=(9, 3))
    x[0, 1] = np.nan
    return abpnet.TableImputer(**TABLE_SETTINGS).fit(x)


def held(net, x, **arguments):
    """Scale of the noise, once for each row; the estimator stays as it is."""
    scale, before = net.calibrate(x, 0.5, **arguments).noise_scale_, 1.0
    net.noise_scale_ = before
    return np.full(len(x), scale, np.float32)


# By method and argument: the call, the shape of one row of the argument, and that of the result's; "x" = the signal's.
ARRAYS = {
    "fit X": (lambda net, x, v: new(x.shape[1:]).fit(v).latents_, "x", (2,)),
    "fit start": (lambda net, x, v: new(x.shape[1:]).fit(x, start=v).latents_, (2,), (2,)),
    "fit observed": (lambda net, x, v: new(x.shape[1:]).fit(x, observation=abpnet.Mask(v)).latents_, "x", (2,)),
    "transform X": (lambda net, x, v: net.transform(v), "x", (2,)),
    "reconstruct X": (lambda net, x, v: net.reconstruct(v), "x", "x"),
    "inverse_transform Z": (lambda net, x, v: net.inverse_transform(v), (2,), "x"),
    "impute X": (lambda net, x, v: net.impute(v), "x", "x"),
    "impute start": (lambda net, x, v: net.impute(x, start=v), (2,), "x"),
    "recover Y": (lambda net, x, v: net.recover(v, abpnet.Complete()), "x", "x"),
    "recover start": (lambda net, x, v: net.recover(x, abpnet.Complete(), start=v), (2,), "x"),
    "recover observed": (lambda net, x, v: net.recover(x, abpnet.Mask(v)), "x", "x"),
    "posterior_samples X": (lambda net, x, v: net.posterior_samples(v, 2, 1)[0], "x", (2,)),
    "score_samples X": (lambda net, x, v: net.score_samples(v, annealing=FEW), "x", ()),
    "calibrate X": (lambda net, x, v: held(net, v), "x", ()),
    "calibrate held_back": (lambda net, x, v: held(net, x, held_back=v), "x", ()),
    "infer y": (lambda net, x, v: abpnet.infer(net.model_, v, n_steps=2), "x", (2,)),
    "infer start": (
        lambda net, x, v: abpnet.infer(net.model_, torch.from_numpy(x), start=v, n_steps=2),
        (2,),
        (2,),
    ),
    "infer observed": (
        lambda net, x, v: abpnet.infer(net.model_, torch.from_numpy(x), observation=abpnet.Mask(v), n_steps=2),
        "x",
        (2,),
    ),
}
# Other names by which an argument may be called.
ALSO = {
    "X": "X|observations",
    "y": "y|observations",
    "observed": "observed|a mask",
    "of": "of|observation",
    "model": "model|decoder|observations",
    "prior": "prior",
}


def content(value):
    """What must not change; None where nothing can be told."""
    if isinstance(value, torch.Tensor):
        plain = not (value.is_meta or value.is_sparse or value.is_quantized)
        return value.detach().clone().view(torch.uint8).numpy().tobytes() if plain and value.dim() else None
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas counts digits of huge numbers
        try:
            return repr(value)
        except TypeError:  # and cannot show records
            return None


def handed_over(argument, value, call, *arguments):
    """What the call returns, None if it refuses the value as it should; anything else fails."""
    before, result = content(value), None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", OF_SCIKIT_LEARN[1])
        warnings.filterwarnings("ignore", "no scale of the noise")
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        try:
            result = call(*arguments, value)
        except (ValueError, TypeError) as error:
            message = str(error)
            if not message.startswith(OF_SCIKIT_LEARN[0]):
                assert "\n" not in message, f"more than a line: {message}"
                assert re.search(rf"\b({ALSO.get(argument, argument)})\b", message), f"{argument}? {message}"
    assert content(value) == before, "the argument was changed"
    return result


def tried(nets, name, kind, value):
    """Hand an array over, and look at what comes back."""
    (call, _, of_row), net, x = ARRAYS[name], nets[kind], rows(SHAPES[kind])
    argument = name.split()[1]
    found = handed_over(argument, value, call, net, x)
    if found is not None:
        n = len(value) if argument in ("X", "Y", "Z", "y") else len(x)
        assert found.shape == (n, *(SHAPES[kind] if of_row == "x" else of_row))
        assert found.dtype in (np.float32, torch.float32)
        assert np.isfinite(np.asarray(found)).all()
        if argument in ("X", "Y", "Z") and name.split()[0] not in ("fit", "score_samples", "calibrate"):
            assert isinstance(found, torch.Tensor) == isinstance(value, torch.Tensor)
    return found


@FUZZ
@given(st.data())
def test_any_array_works_or_is_refused_in_one_line(nets, data):
    name, kind = data.draw(st.sampled_from(sorted(ARRAYS))), data.draw(st.sampled_from(sorted(SHAPES)))
    right = ARRAYS[name][1]
    tried(nets, name, kind, data.draw(anything(SHAPES[kind] if right == "x" else right)))


# What was found so: other exceptions, several lines, silent NaN, numbers made of dates, warnings of NumPy and PyTorch.
FOUND = {
    "dates count as numbers": ("score_samples X", np.array([["2020-01-01"] * 4] * 3, "M8[s]")),
    "spans of time": ("calibrate held_back", np.zeros((3, 4), "m8[s]")),
    "complex numbers": ("impute X", np.zeros((3, 4), complex)),
    "complex list": ("recover start", [[0j, 0j]] * 3),
    "squares overflow": ("transform X", np.full((3, 4), 3e38, np.float32)),
    "too large for float32": ("fit X", np.full((3, 4), 1e300)),
    "factors overflow": ("inverse_transform Z", np.full((3, 2), 3e38)),
    "factors missing": ("inverse_transform Z", np.full((3, 2), np.nan)),
    "no factors": ("inverse_transform Z", None),
    "infinite start": ("fit start", torch.full((3, 2), torch.inf)),
    "start far off": ("recover start", np.full((3, 2), 1e18)),
    "array as start": ("infer start", np.zeros((3, 2))),
    "infinite y": ("infer y", torch.full((3, 4), torch.inf)),
    "y without rows": ("infer y", torch.zeros(0, 4)),
    "y without axes": ("infer y", torch.tensor(0.3)),
    "on the meta device": ("transform X", torch.zeros(3, 4, device="meta")),
    "sparse": ("reconstruct X", torch.eye(4).to_sparse()),
    "other byte order": ("recover start", np.zeros((3, 2), ">f8")),
    "backwards": ("recover observed", np.ones((3, 4))[::-1]),
    "a mask of halves": ("recover observed", np.full((3, 4), 0.5)),
    "a mask of NaN": ("fit observed", np.full((3, 4), np.nan)),
    "no mask": ("fit observed", None),
    "a frame as mask": ("infer observed", pd.DataFrame(np.ones((3, 4)))),
    "bfloat16": ("calibrate held_back", torch.ones(3, 4).bfloat16()),
    "with a gradient": ("calibrate held_back", torch.ones(3, 4).requires_grad_()),
    "one axis": ("posterior_samples X", np.zeros(4)),
    "axes of no length": ("fit X", np.zeros((3, 4, 0, 2, 0))),
    "half masked": ("impute X", np.ma.masked_array(np.full((3, 4), 1e30), True)),
    "records": ("recover Y", np.zeros((1, 4), "V8")),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found(nets, case):
    name, value = FOUND[case]
    works = case in (
        "array as start",
        "other byte order",
        "backwards",
        "a frame as mask",
        "bfloat16",
        "with a gradient",
    )
    assert (tried(nets, name, "vectors", value) is not None) == (works or case in ("y without rows", "half masked"))


def results(net, x, z):
    """What estimators make of signals and factors."""
    calls = {"X": (net.transform, net.impute, lambda v: new((4,)).fit(v).latents_), "Z": (net.inverse_transform,)}
    values = {"X": x, "Z": z}
    return [np.asarray(handed_over(name, values[name], call)) for name in calls for call in calls[name]]


@pytest.fixture(scope="module")
def plain(nets):
    """Signals with holes, factors, and what comes of them."""
    x, z = rows((4,), 5), rows((2,))
    x[1, 2] = x[3] = np.nan
    return x, z, results(nets["vectors"], x, z)


@pytest.mark.parametrize("dress", [*AS_GOOD, *FRAMES])
def test_the_same_numbers_give_the_same_bits(nets, plain, dress):
    x, z, expected = plain
    put_on = (AS_GOOD | FRAMES)[dress]
    for found, as_expected in zip(results(nets["vectors"], put_on(x), put_on(z)), expected, strict=True):
        np.testing.assert_array_equal(found, as_expected)


@settings(FUZZ, max_examples=max(EXAMPLES // 10, 5))
@given(st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -7.0]), st.integers(0, 99), st.sampled_from(sorted(SHAPES)))
def test_what_a_mask_hides_never_matters(nets, junk, seed, kind):
    net, x = nets[kind], rows(SHAPES[kind])
    seen = np.random.default_rng(seed).random(x.shape) < 0.6
    mask, hidden = abpnet.Mask(seen), np.where(seen, x, np.float32(junk))
    calls = {
        "Y": lambda v: net.recover(v, mask),
        "X": lambda v: new(x.shape[1:]).fit(v, observation=mask).latents_ if seen.any() else v * 0,
        "y": lambda v: abpnet.infer(net.model_, torch.from_numpy(v), observation=mask, n_steps=2),
    }
    for argument, call in calls.items():
        found = handed_over(argument, hidden, call)
        np.testing.assert_array_equal(found, call(x), argument)
        assert np.isfinite(np.asarray(found)).all()


def cases_of_settings(net, folder):
    """By argument and where it belongs: what takes it, whatever it is."""
    x, decoder = rows((4,)), torch.nn.Linear(2, 4)
    y = torch.from_numpy(x)
    frame = pd.DataFrame({"a": [np.nan, *range(11)], "b": np.random.default_rng(0).normal(size=12)})

    def inferred(model=decoder, **arguments):
        return abpnet.infer(model, y, **{"latent_shape": (2,), "n_steps": 2} | arguments)

    cases = {
        "n_imputations": lambda v: net.impute(x, v),
        "n_chains": lambda v: net.impute(x, 2, n_chains=v),
        "random_state": lambda v: net.impute(x, 1, random_state=v),
        "n_samples": lambda v: net.posterior_samples(x, v, 1),
        "n": lambda v: net.sample(v),
        "latent_shape": lambda v: net.sample(1, latent_shape=v),
        "prior": lambda v: net.sample(1, prior=v),
        "annealing": lambda v: net.score_samples(x[:1], annealing=FEW if v is None else v),
        "level": lambda v: net.calibrate(x, v),
        "share": lambda v: net.calibrate(x, 0.5, v),
        "observation of fit": lambda v: new((4,), network="auto").fit(x, observation=v),
        "observation of recover": lambda v: net.recover(x, v),
        "matrix": lambda v: abpnet.Projection(v),
        "shape": lambda v: abpnet.Projection(np.ones((2, 4)), v),
        "n_measurements": lambda v: abpnet.Projection.random((4,), v),
        "shape of random": lambda v: abpnet.Projection.random(v, 2),
        "of": lambda v: net.recover(x, abpnet.Mask(np.ones((3, 4)), v)),
        "folder": lambda v: GeneratorNetwork.load(v),
        "network of load": lambda v: GeneratorNetwork.load(folder, network=v),
        "device of load": lambda v: GeneratorNetwork.load(folder, device=v),
        "generator": lambda v: inferred(n_restarts=1, generator=v),
    }
    names = ("model", "latent_shape", "observation", "noise_std", "n_steps", "n_restarts", "conditions")
    cases |= {f"{name} of infer": lambda v, name=name: inferred(**{name: v}) for name in names}
    names = ("n_chains", "n_temperatures", "n_leapfrog", "start")
    cases |= {f"{name} of Annealing": lambda v, name=name: Annealing(**{name: v}) for name in names}
    names = GeneratorNetwork().get_params()
    cases |= {f"{name} of fit": lambda v, name=name: new((4,), **{name: v}).fit(x) for name in names}
    cases |= {
        f"{name} of TableImputer": lambda v, name=name: abpnet.TableImputer(**TABLE_SETTINGS | {name: v}).fit(frame)
        for name in abpnet.TableImputer().get_params()
    }
    return cases


@pytest.fixture(scope="module")
def cases(nets):
    with tempfile.TemporaryDirectory() as folder:
        nets["vectors"].save(Path(folder) / "net")
        yield cases_of_settings(nets["vectors"], Path(folder) / "net")


@FUZZ
@given(st.data())
def test_any_setting_works_or_is_refused_in_one_line(cases, data):
    case, odd = data.draw(st.sampled_from(sorted(cases))), data.draw(st.sampled_from(sorted(ODD)))
    argument = case.split()[0]
    if argument == "folder":
        ALSO["folder"] = r"folder|no such file|absent|damaged"
    handed_over(argument, ODD[odd], cases[case])


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("random_state", 2**64),
        ("random_state", "text"),
        ("observation of recover", torch.nn.Linear(3, 4)),
        ("network of fit", torch.nn.Linear(3, 4)),
        ("network of fit", torch.nn.Identity()),
        ("network of load", torch.nn.Identity()),
        ("device of fit", "cuda:99"),
        ("device of load", 7),
        ("generator", 7),
        ("verbose of fit", np.zeros(2)),
        ("verbose of TableImputer", np.zeros(2)),
        ("precision of fit", []),
        ("recipe of fit", []),
        ("noise_std of fit", "text"),
        ("latent_shape of infer", (-1,)),
        ("conditions of infer", [1]),
        ("n_restarts of infer", True),
        ("annealing", 7),
        ("shape", np.zeros(3)),
        ("kinds of TableImputer", 7),
        ("share", "text"),
        ("level", None),
    ],
    ids=str,
)
def test_settings_that_were_found(cases, case, value):
    with pytest.raises((ValueError, TypeError)) as refused:
        cases[case](value)
    assert re.search(rf"\b{case.split()[0]}\b", str(refused.value))
    assert "\n" not in str(refused.value)


def fill(table, x):
    """A table filled in by an imputer learned from it, or by another."""
    imputer = abpnet.TableImputer(**TABLE_SETTINGS).fit(x) if table is None else table
    return imputer.transform(x), imputer.impute(x, 1)[0]


ALSO["table"] = "X|columns?|table"


@settings(FUZZ, max_examples=max(EXAMPLES // 3, 5))
@given(st.one_of(frames(), anything((3,))), st.booleans())
def test_any_table_is_filled_in_or_refused_in_one_line(table, x, is_new):
    found = handed_over("table", x, lambda v: fill(None if is_new else table, v))
    for filled in found or ():
        assert len(filled) == len(x)
        if isinstance(x, pd.DataFrame):
            seen = x.notna().to_numpy()
            assert filled.notna().to_numpy().all()
            assert all(
                a is b or a == b for a, b in zip(filled.to_numpy(object)[seen], x.to_numpy(object)[seen], strict=True)
            )
        else:
            assert isinstance(filled, np.ndarray)
            assert np.isfinite(filled).all()


def test_a_column_of_another_type_than_was_learned_from_is_named():
    learned = pd.DataFrame({"a": np.random.default_rng(0).normal(size=14), "b": list("cdef" * 4)[:14]})
    table = abpnet.TableImputer(**TABLE_SETTINGS).fit(learned)
    other = learned.assign(b=pd.array([1.5, None] * 7, "Float64"))
    with pytest.raises(ValueError, match="column 'b': is now of type Float64, which cannot hold"):
        table.transform(other)
