"""Seconds per example and peak memory against examples, factors, resolution and processes, from a memory-mapped file.

    python benchmarks/scaling.py --out runs/scaling
    python benchmarks/scaling.py --out runs/scaling --axes examples --repeats 3
    python benchmarks/scaling.py --out runs/scaling --quick

Synthetic images are written into --out once and learned from by `GeneratorNetwork` with its default recipe in float32,
one thread for each process. Every case is a process of its own (or several, started by torchrun), so that its peak of
memory is its own; cases take turns, --repeats times, and medians are printed. Whatever the number of examples, as many
batches are timed, less if they take more than --seconds; what is done once before them (a look through the file, the
linear start of all chains) is told separately. Milliseconds are those of one example in one pass; beside them those of
the CPU, of all threads of a process, which a busy machine disturbs less. Memory is all that was resident (VmHWM), and
thereof what belongs to no file (RssAnon), in the process that had most; both at their peak.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from abpnet import GeneratorNetwork, learning, parallel
from abpnet.recipes import RECIPES

WARM_UP, SECONDS_BETWEEN_LOOKS, MEGABYTE = 5, 0.02, 1024
WRITTEN_AT_ONCE, N_PATTERNS = 500, 8


@dataclass(frozen=True)
class Case:
    """What is learned, and by how many processes."""

    n: int = 1000
    latent_dim: int = 50
    side: int = 32
    processes: int = 1
    batch: int = 20


AXES = {
    "examples": [Case(n=n) for n in (1_000, 10_000, 100_000)],
    "factors": [Case(latent_dim=latent_dim) for latent_dim in (10, 50, 200)],
    "resolution": [Case(side=side) for side in (32, 64, 128, 256)],
    "processes": [Case(processes=processes, batch=batch) for batch in (20, 100) for processes in (1, 2)],
}
QUICK = {
    "examples": [Case(n=n, side=8, latent_dim=3) for n in (100, 1000)],
    "processes": [Case(n=100, side=8, latent_dim=3, processes=processes) for processes in (1, 2)],
}


def write_images(path: Path, n: int, side: int) -> None:
    """Smooth images (n, 3, side, side) in (-1, 1), some at a time, unless they are there already."""
    if path.exists() and np.load(path, mmap_mode="r").shape == (n, 3, side, side):
        return
    images = np.lib.format.open_memmap(path, "w+", np.float32, (n, 3, side, side))
    rng = np.random.default_rng(0)
    waves = np.sin(np.outer(rng.uniform(1, 6, 2 * N_PATTERNS), np.linspace(0, np.pi, side)))
    patterns = np.einsum("ph,pw->phw", waves[:N_PATTERNS], waves[N_PATTERNS:]).astype(np.float32)
    colours = rng.normal(size=(N_PATTERNS, 3)).astype(np.float32)
    for first in range(0, n, WRITTEN_AT_ONCE):
        strength = rng.normal(size=(min(WRITTEN_AT_ONCE, n - first), N_PATTERNS)).astype(np.float32)
        some = np.tanh(np.einsum("np,pc,phw->nchw", strength, colours, patterns, optimize=True) / 2)
        images[first : first + len(strength)] = some
    images.flush()


def resident(kind: str) -> float:
    """Memory of this process, MB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / MEGABYTE


class Enough(Exception):
    """As many batches were timed as were asked for."""


def measure(case: Case, path: Path, n_batches: int, max_seconds: float) -> dict[str, float]:
    """Learn from so many batches; times are this process's, memory that of the process that has most."""
    torch.set_num_threads(1)
    images, ended, anonymous, over = np.load(path, mmap_mode="r")[: case.n], [], [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            anonymous[0] = max(anonymous[0], resident("RssAnon"))

    def timed(step: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: object) -> object:
            result = step(*arguments)
            ended.append((time.perf_counter(), time.process_time()))
            n_timed = len(ended) - 1 - WARM_UP
            is_late = n_timed > 0 and ended[-1][0] - ended[WARM_UP][0] > max_seconds
            if parallel.largest(int(n_timed >= n_batches or is_late)):
                raise Enough
            return result

        return count

    make_step = learning.batch_step
    learning.batch_step = lambda *arguments: timed(make_step(*arguments))
    recipe = replace(RECIPES["default"], batch_size=case.batch)
    network = GeneratorNetwork(case.latent_dim, recipe=recipe, max_iter=10**6, precision="float32", verbose=False)
    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    try:
        network.fit(images)
    except Enough:
        over.set()
    n_timed = len(ended) - 1 - WARM_UP
    wall, cpu = (1e3 * (last - first) for first, last in zip(ended[WARM_UP], ended[-1], strict=True))
    return {
        "ms_per_example": wall / n_timed / case.batch,
        "cpu_ms_per_example": cpu / n_timed / case.batch,
        "batches": n_timed,
        "seconds_before": ended[0][0] - start,
        "resident_mb": parallel.largest(round(resident("VmHWM"))),
        "anonymous_mb": parallel.largest(round(anonymous[0])),
    }


def run_case(case: Case, path: Path, n_batches: int, max_seconds: float) -> dict[str, float]:
    """Measure in processes of its own; the first one tells."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.processes)]
    arguments = ["--case", json.dumps(asdict(case)), "--file", str(path)]
    arguments += ["--batches", str(n_batches), "--seconds", str(max_seconds)]
    command = [sys.executable, *(launch if case.processes > 1 else ()), __file__, *arguments]
    told = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(f"{case}: failed\n{told.stderr}")
    return json.loads(told.stdout.splitlines()[-1])


def medians(repeats: Iterable[dict[str, float]]) -> dict[str, float]:
    repeats = list(repeats)
    return {name: statistics.median(row[name] for row in repeats) for name in repeats[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"), help="folder of the images and scaling.json")
    parser.add_argument("--axes", nargs="*", choices=AXES, default=list(AXES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=200, help="timed in every case")
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing at most")
    parser.add_argument("--quick", action="store_true", help="small images, few batches: does it run?")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n_batches = min(arguments.batches, 10) if arguments.quick else arguments.batches
    if arguments.case is not None:
        with parallel.started_by_torchrun():
            figures = measure(Case(**json.loads(arguments.case)), arguments.file, n_batches, arguments.seconds)
            if parallel.is_first():
                print(json.dumps(figures))
        return

    axes = {axis: cases for axis, cases in (QUICK if arguments.quick else AXES).items() if axis in arguments.axes}
    cases = list(dict.fromkeys(case for of_axis in axes.values() for case in of_axis))
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = {}
    for side in sorted({case.side for case in cases}):
        files[side] = arguments.out / f"images {side}.npy"
        write_images(files[side], max(case.n for case in cases if case.side == side), side)
    load = [os.getloadavg()[0]]
    rounds = []
    for _ in range(arguments.repeats):
        rounds.append({case: run_case(case, files[case.side], n_batches, arguments.seconds) for case in cases})
        load.append(os.getloadavg()[0])

    figures = {case: medians(one[case] for one in rounds) for case in cases}
    rows = {axis: [{**asdict(case), **figures[case]} for case in of_axis] for axis, of_axis in axes.items()}
    for axis, of_axis in rows.items():
        print(f"\n{axis}\n\n| examples | factors | side | processes | batch | ms | of CPU | before | MB | no file's |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for row in of_axis:
            settings = f"{row['n']:,} | {row['latent_dim']} | {row['side']} | {row['processes']} | {row['batch']}"
            costs = f"{row['ms_per_example']:.3f} | {row['cpu_ms_per_example']:.3f} | {row['seconds_before']:.1f} s"
            print(f"| {settings} | {costs} | {row['resident_mb']:.0f} | {row['anonymous_mb']:.0f} |")
    report = {"repeats": arguments.repeats, "cores": os.cpu_count(), "load": [round(one, 2) for one in load], **rows}
    if "examples" in rows:
        for name in ("ms_per_example", "cpu_ms_per_example"):
            costs = [row[name] for row in rows["examples"]]
            report[f"{name}, most over least"] = max(costs) / min(costs)
            print(f"\n{name}, most over least: {max(costs) / min(costs):.3f}")
        memory = [row["resident_mb"] for row in rows["examples"]]
        report["growth_mb"] = max(memory) - memory[0]
        print(f"memory grows by {report['growth_mb']:.0f} MB")
    print(f"load before and after each round, on {os.cpu_count()} cores: {report['load']}")
    (arguments.out / "scaling.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
