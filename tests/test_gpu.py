"""What is true on a CPU is true on a GPU: exact posteriors, the same bits again, and recorded work like unrecorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import abpnet
from abpnet import factor_analysis as fa
from abpnet import recording
from abpnet.beginning import begin
from abpnet.inference import langevin, precondition
from abpnet.learning import alternate
from abpnet.networks import LinearNetwork, ObjectNetwork, initialise
from abpnet.observations import Mask, Projection
from abpnet.priors import Autoregression, Recurrence
from abpnet.recipes import RECIPES
from abpnet.recording import WARM_UPS, Recorded
from moments import assert_mean

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SHAPE = (3, 16, 16)


def on_gpu(seed=0):
    return torch.Generator("cuda").manual_seed(seed)


def images(missing=0.0):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(30, 3, 4, 4, generator=generator)
    y = torch.nn.functional.interpolate(coarse, scale_factor=4.0, mode="bilinear").tanh()
    hidden = torch.rand(len(y), 1, *y.shape[2:], generator=generator) < missing
    return y.masked_fill(hidden, torch.nan)


def observed_in(kind):
    if kind == "projections":
        operator = Projection.random(SHAPE, 100)
        return operator(images()), operator
    return images(0.5 if kind == "masked" else 0.0), None


def learning(kind, recipe, precision, passes=3):
    y, observation = observed_in(kind)
    generator = on_gpu()
    model = abpnet.GeneratorModel(initialise(ObjectNetwork(4, SHAPE, 32), generator), (4,)).cuda()
    state = begin(model, y, observation, recipe=recipe, generator=generator)
    iterations = alternate(model, y, observation, recipe=recipe, state=state, precision=precision)
    errors = [next(iterations).error for _ in range(passes)]
    return state, errors


RECIPE = replace(RECIPES["default"], batch_size=8, warm_up=10)
KRIGED = replace(RECIPES["kriged"], batch_size=8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "recipe"),
    [("complete", RECIPE), ("masked", RECIPE), ("masked", KRIGED), ("projections", RECIPE)],
    ids=["complete", "masked", "held out", "projections"],
)
def test_recorded_learning_is_learning(monkeypatch, kind, recipe, precision):
    recordings = []
    record = Recorded._record

    def counted(self, inputs):
        recordings.append(1)
        return record(self, inputs)

    monkeypatch.setattr(recording.Recorded, "_record", counted)
    state, errors = learning(kind, recipe, precision)
    assert len(recordings) == 2, "one for whole batches, one for the last"
    again, errors_again = learning(kind, recipe, precision)
    assert errors == errors_again, "the same bits again"
    assert torch.equal(state.latents.values, again.latents.values)
    monkeypatch.setattr(recording.Recorded, "__call__", lambda self, *inputs: self.work(*inputs))
    unrecorded, errors_unrecorded = learning(kind, recipe, precision)
    assert len(recordings) == 4
    assert errors == errors_unrecorded
    assert torch.equal(state.latents.values, unrecorded.latents.values)
    assert torch.equal(state.generator.get_state(), unrecorded.generator.get_state()), "as much chance was used"


def test_whitened_residuals_are_learned_alike_twice():
    recipe = replace(RECIPES["whitened"], batch_size=8)
    (state, errors), (again, errors_again) = (learning("masked", recipe, "float32", passes=7) for _ in range(2))
    assert state.residuals is not None
    assert errors == errors_again
    assert torch.equal(state.latents.values, again.latents.values)


def test_recorded_chains_draw_from_the_exact_posterior():
    n, generator = 400, on_gpu()
    network = initialise(LinearNetwork(3, (6,)), generator).cuda()
    model = abpnet.GeneratorModel(network, (3,), emission=abpnet.Gaussian(0.7))
    y = model.sample(1, generator).expand(n, -1)
    observed = torch.tensor([[True, False, True, True, False, True]], device="cuda").expand(n, -1)
    layer = network.loadings
    linear = fa.FactorAnalysis(layer.weight.detach().cpu(), layer.bias.detach().cpu(), torch.full((6,), 0.49))
    exact = fa.posterior(linear, y[:1].cpu(), observed[:1].cpu())
    root = precondition(exact.precision[0].cuda())

    def work(z, values, seen):
        return (
            langevin(
                lambda factors: model.energy(factors, values, Mask(seen)),
                z,
                step_size=0.2,
                n_steps=8,
                generator=generator,
                root=root,
            ),
        )

    recorded = Recorded(work, generator)
    (z,) = recorded(torch.zeros(n, 3, device="cuda"), torch.where(observed, y, 1e30), observed)
    draws = []
    for step in range(220):
        (z,) = recorded(z, torch.where(observed, y, 1e30), observed)
        if step >= 20:
            draws.append(z.cpu())
    draws = torch.stack(draws).numpy()
    assert recorded._recordings
    for i in range(3):
        assert_mean(draws[:, :, i], float(exact.mean[0, i]))
        for j in range(i + 1):
            centred = (draws[:, :, i] - float(exact.mean[0, i])) * (draws[:, :, j] - float(exact.mean[0, j]))
            assert_mean(centred, float(exact.covariance[0, i, j]))


def test_weights_may_change_between_replays():
    network = initialise(LinearNetwork(2, (3,)), on_gpu()).cuda()
    recorded = Recorded(lambda z: (network(z).detach(),), on_gpu())
    z = torch.ones(4, 2, device="cuda")
    for _ in range(WARM_UPS + 3):
        torch.testing.assert_close(recorded(z)[0], network(z))
        with torch.no_grad():
            network.loadings.weight.add_(1.0)
    assert len(recorded._recordings) == 1


def test_what_cannot_be_recorded_is_told_and_run_as_it_is():
    recorded = Recorded(lambda z: (z * float(z.sum()),), on_gpu())
    z = torch.arange(3.0, device="cuda")
    for _ in range(WARM_UPS):
        assert torch.equal(recorded(z)[0], 3 * z)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert torch.equal(recorded(z)[0], 3 * z)
    assert torch.equal(recorded(2 * z)[0], 12 * z)


def test_chance_goes_on_where_recording_failed():
    generator, twin = on_gpu(), on_gpu()
    recorded = Recorded(lambda z: (torch.randn(3, generator=generator, device="cuda") * float(z.sum()),), generator)
    z = torch.ones(3, device="cuda")
    drawn = [recorded(z)[0] for _ in range(WARM_UPS)]
    with pytest.warns(UserWarning, match="cannot be recorded"):
        drawn += recorded(z)
    drawn += recorded(z)
    for values in drawn:
        assert torch.equal(values, 3 * torch.randn(3, generator=twin, device="cuda"))


def test_to_resume_is_never_to_have_stopped():
    whole, _ = learning("masked", RECIPE, "float32", passes=6)
    half, _ = learning("masked", RECIPE, "float32", passes=3)
    y, _ = observed_in("masked")
    generator = on_gpu(7)
    model = abpnet.GeneratorModel(initialise(ObjectNetwork(4, SHAPE, 32), generator), (4,)).cuda()
    resumed = begin(model, y, recipe=RECIPE, generator=generator)
    resumed.restore({name: tensor.cpu() for name, tensor in half.tensors().items()}, half.facts())
    iterations = alternate(model, y, recipe=RECIPE, state=resumed)
    for _ in range(3):
        next(iterations)
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name


def test_a_model_learned_on_a_gpu_is_used_without_one(tmp_path):
    y = images(0.3).numpy()
    learned = abpnet.GeneratorNetwork(latent_dim=4, max_iter=3, device="cuda", random_state=0).fit(y)
    learned.save(tmp_path / "model")
    loaded = abpnet.GeneratorNetwork.load(tmp_path / "model", device="cpu")
    assert loaded.sample(3, random_state=1).shape == (3, *SHAPE)
    difference = np.abs(loaded.impute(y[:4]) - learned.impute(y[:4]))
    assert difference.mean() < 0.01 * np.nanstd(y)


def test_what_stands_under_a_mask_changes_nothing():
    states = []
    for value in (float("nan"), 1e30):
        y = images(0.5)
        seen = Mask(~y.isnan())
        generator = on_gpu()
        model = abpnet.GeneratorModel(initialise(ObjectNetwork(4, SHAPE, 32), generator), (4,)).cuda()
        filled = torch.where(seen.observed, y, value)
        state = begin(model, filled, seen, recipe=RECIPE, generator=generator)
        iterations = alternate(model, filled, seen, recipe=RECIPE, state=state)
        for _ in range(3):
            next(iterations)
        states.append(state.latents.values)
    assert torch.equal(*states)


def test_a_recurrent_prior_says_the_same_and_has_a_gradient_in_evaluation_mode():
    prior = Recurrence(Autoregression(0.5 * torch.eye(3)), 5, torch.Generator().manual_seed(0)).eval()
    torch.nn.init.normal_(prior.memory.readout.weight, generator=torch.Generator().manual_seed(1))
    z = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(2), requires_grad=True)
    log_prob = prior.log_prob(z)
    (gradient,) = torch.autograd.grad(log_prob.sum(), z)
    there = z.detach().cuda().requires_grad_()
    moved = prior.cuda()
    torch.testing.assert_close(moved.log_prob(there).cpu(), log_prob, rtol=1e-4, atol=1e-4)
    (gradient_there,) = torch.autograd.grad(moved.log_prob(there).sum(), there)
    torch.testing.assert_close(gradient_there.cpu(), gradient, rtol=1e-4, atol=1e-4)
    assert moved.sample((2, 3, 9), on_gpu()).is_cuda
