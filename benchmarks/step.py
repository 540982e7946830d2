"""Cost of one Langevin step: the plain loop, ours, and the matrix-product floor, side by side.

    python benchmarks/step.py                      # 64x64x3, 512 channels, batch 64
    python benchmarks/step.py --width 64 --rounds 15
    python benchmarks/step.py --device cuda --batch 100

The plain loop is what one writes first: float32, `loss.backward()`, weight gradients computed and thrown away. The
floor is the time that a matrix product of the same type needs for as many operations as the step's convolutions and
products have. All are timed alternately in one run; medians are printed. On a GPU, ours is also
recorded as a CUDA graph and replayed, as learning does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from abpnet.arithmetic import PRECISIONS
from abpnet.inference import langevin
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import ObjectNetwork, initialise
from abpnet.recording import WARM_UPS, Recorded

NOISE_STD, STEP_SIZE = 0.3, 0.1
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}


def seconds(function: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--latent-dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    generator = torch.Generator(device).manual_seed(0)
    shape = (3, arguments.side, arguments.side)
    plain_network = initialise(ObjectNetwork(arguments.latent_dim, shape, arguments.width), generator)
    plain_network = plain_network.to(memory_format=torch.contiguous_format)
    network = initialise(ObjectNetwork(arguments.latent_dim, shape, arguments.width), generator)
    model = GeneratorModel(network, (arguments.latent_dim,))
    z = torch.randn(arguments.batch, arguments.latent_dim, generator=generator, device=device)
    y = torch.rand(arguments.batch, *shape, generator=generator, device=device) * 2 - 1
    side = MATRIX_SIDE[device.type]

    def plain_step() -> None:
        plain_network.zero_grad()
        factors = z.clone().requires_grad_()
        residual = y - plain_network(factors)
        loss = residual.square().sum() / (2 * NOISE_STD**2) + factors.square().sum() / 2
        loss.backward()
        with torch.no_grad():
            factors - STEP_SIZE**2 / 2 * factors.grad + STEP_SIZE * torch.randn_like(factors)

    def our_work(precision: str) -> Callable[[Tensor], tuple[Tensor]]:
        decoder = frozen_decoder(network, precision)
        return lambda start: (
            langevin(
                lambda factors: model.energy(factors, y, decoder=decoder),
                start,
                step_size=STEP_SIZE,
                n_steps=1,
                generator=generator,
            ),
        )

    def our_step(precision: str) -> Callable[[], object]:
        return partial(our_work(precision), z)

    def recorded_step(precision: str) -> Callable[[], object]:
        return partial(Recorded(our_work(precision), generator), z)

    def product(dtype: torch.dtype) -> Callable[[], object]:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return lambda: left @ right

    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:  # forward, and backward to z alone
        factors = z.clone().requires_grad_()
        torch.autograd.grad(network(factors * 1).sum(), factors)
    operations = counter.get_total_flops()

    candidates = {
        "plain loop, float32": plain_step,
        "ours, float32": our_step("float32"),
        "ours, bfloat16": our_step("bfloat16"),
        **({} if device.type == "cpu" else {f"recorded, {name}": recorded_step(name) for name in PRECISIONS}),
        "matrix product, float32": product(torch.float32),
        "matrix product, bfloat16": product(torch.bfloat16),
    }
    for function in candidates.values():
        for _ in range(WARM_UPS + 1):
            function()
    rounds = [
        {name: seconds(function, device) for name, function in candidates.items()} for _ in range(arguments.rounds)
    ]
    median = {name: statistics.median(row[name] for row in rounds) for name in candidates}
    rate = {name: 2 * side**3 / median[f"matrix product, {name}"] for name in PRECISIONS}
    ours = [name for name in candidates if name.startswith(("ours", "recorded"))]
    best = min(ours, key=lambda name: median[name])
    best_precision = best.split(", ")[1]

    print(f"{arguments.side}x{arguments.side}x3, {arguments.width} channels, batch {arguments.batch}: ", end="")
    print(f"{operations / 1e9:.1f} GFLOP a step, {arguments.threads} threads, medians of {arguments.rounds}")
    print(f"{'':28}{'ms':>8}{'x plain':>9}{'of floor':>10}")
    for name in ("plain loop, float32", *ours):
        floor = operations / rate[name.split(", ")[1]]
        ratio = median["plain loop, float32"] / median[name]
        print(f"{name:28}{median[name] * 1e3:8.1f}{ratio:9.2f}{floor / median[name]:10.0%}")
    for name, speed in rate.items():
        print(f"{'floor, ' + name:28}{operations / speed * 1e3:8.1f}   ({speed / 1e9:.0f} GFLOP/s)")
    figures = {
        "gflop": operations / 1e9,
        "plain_ms": median["plain loop, float32"] * 1e3,
        "ours_ms": median[best] * 1e3,
        "ours": best,
        "steps_per_second": 1 / median[best],
        "floor_ms": operations / rate[best_precision] * 1e3,
        "speedup": median["plain loop, float32"] / median[best],
        "fraction_of_floor": operations / rate[best_precision] / median[best],
    }
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}))


if __name__ == "__main__":
    main()
