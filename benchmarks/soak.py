"""A long run of the command line: its memory, its files and its metrics, watched from outside until it ends.

    python benchmarks/soak.py
    python benchmarks/soak.py --iterations 2000 --seconds-between-checkpoints 0.2

`abpnet complete` learns from a few tiny images for 20,000 iterations and writes a checkpoint every second. Exit code 1
if its resident memory grows by 20 MB or more after iteration 500, if files or checkpoints pile up, or if a line of
metrics.jsonl is no JSON, out of order, or not finite. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# The command line with another time between checkpoints.
CHILD = """
import sys
from abpnet import cli
from abpnet.tasks import session
session.SECONDS_BETWEEN_CHECKPOINTS = float(sys.argv[1])
cli.main(sys.argv[2:])
"""
SETTINGS = ["--mask", "pepper:0.4:1", "--latent-dim", "2", "--precision", "float32", "--no-baselines"]
N_IMAGES, SIDE = 12, 6
# From that iteration on memory is to stay within so many MB.
WARM, MOST_GROWTH = 500, 20.0
# While learning: config, metrics, lock, two checkpoints of three files, one being written and one being deleted.
MOST_FILES, MOST_CHECKPOINTS = 16, 3
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class Metrics:
    """metrics.jsonl as it grows: each line is read once, when it is complete.

    Attributes:
        path: The file.
        iteration: Of the last line.
        faults: What was wrong with a line.
    """

    path: Path
    iteration: int = 0
    faults: list[str] = field(default_factory=list)
    position: int = 0

    def read_on(self) -> None:
        """Look at the lines that were added."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.position)
            added = file.read()
        complete = added[: added.rfind(b"\n") + 1]
        self.position += len(complete)
        for line in complete.splitlines():
            self._check(line)

    def _check(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            numbers = [value for value in row.values() if value is not None]
            if row["iteration"] != self.iteration + 1 or not all(map(math.isfinite, numbers)):
                raise ValueError("out of order, or not finite")
        except (KeyError, TypeError, ValueError) as error:
            self.faults.append(f"line after iteration {self.iteration}: {error}")
        self.iteration += 1


@dataclass(frozen=True)
class Look:
    """What one look at the run found.

    Attributes:
        seconds: Since its start.
        iteration: Last one in metrics.jsonl.
        resident: Memory, in MB.
        n_files: In its folder.
        megabytes: Of these.
        checkpoint: Name of the newest one, "" if there is none.
        n_checkpoints: How many there are.
    """

    seconds: float
    iteration: int
    resident: float
    n_files: int
    megabytes: float
    checkpoint: str
    n_checkpoints: int


def files_of(folder: Path) -> dict[Path, int]:
    """Files and their bytes; those that vanish meanwhile are left out."""
    sizes = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                sizes[path] = path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes


def resident_of(process: int) -> float:
    """Resident memory in MB; NaN once the process is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return math.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(iterations: int, seconds_between_checkpoints: float, folder: Path) -> tuple[int, list[Look], Metrics]:
    """Exit code of the run, what was seen while it was learning, and its metrics."""
    rng, out = np.random.default_rng(0), folder / "run"
    pixels = np.clip(127 + 60 * rng.normal(size=(N_IMAGES, 2)) @ rng.normal(size=(2, SIDE * SIDE)), 0, 255)
    np.savez(folder / "images.npz", images=pixels.astype(np.uint8).reshape(-1, SIDE, SIDE))
    command = ["complete", str(folder / "images.npz"), *SETTINGS, "--max-iter", str(iterations), "--out", str(out)]
    call = [sys.executable, "-c", CHILD, str(seconds_between_checkpoints), *command]
    metrics, looks, start = Metrics(out / "metrics.jsonl"), [], time.monotonic()
    with (folder / "log.txt").open("wb") as log, subprocess.Popen(call, stdout=log, stderr=log) as process:
        while process.poll() is None:
            metrics.read_on()
            sizes, resident = files_of(out), resident_of(process.pid)
            checkpoints = sorted(path.name for path in out.glob("checkpoint-*"))
            if metrics.iteration < iterations and not math.isnan(resident):
                newest = checkpoints[-1] if checkpoints else ""
                megabytes = sum(sizes.values()) / 1e6
                counts = (len(sizes), megabytes, newest, len(checkpoints))
                looks.append(Look(time.monotonic() - start, metrics.iteration, resident, *counts))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    metrics.read_on()
    if process.returncode:
        print((folder / "log.txt").read_text()[-2000:], file=sys.stderr)
    return process.returncode, looks, metrics


def faults_of(result: dict[str, Any], iterations: int) -> list[str]:
    """What is not as it should be."""
    checks = {
        "the run failed": result["exit_code"] == 0,
        "metrics.jsonl has faults": not result["faults_of_metrics"],
        "metrics.jsonl has other rows than iterations": result["rows"] == iterations,
        f"memory grew by {result['growth_mb']:.1f} MB": result["growth_mb"] < MOST_GROWTH,
        f"{result['most_files']} files while learning": result["most_files"] <= MOST_FILES,
        f"{result['most_checkpoints']} checkpoints at once": result["most_checkpoints"] <= MOST_CHECKPOINTS,
        "too few checkpoints to tell": result["checkpoints"] >= 3,
        "something partial or a checkpoint is left": not result["left_over"],
    }
    return [fault for fault, is_well in checks.items() if not is_well]


def soak(iterations: int, seconds_between_checkpoints: float = 1.0, warm: int = WARM) -> dict[str, Any]:
    """Run, watch, print the table; figures and faults.

    Args:
        iterations: Passes of the run.
        seconds_between_checkpoints: How often it writes one.
        warm: The iteration from which memory is to stay.
    """
    with tempfile.TemporaryDirectory() as folder:
        code, looks, metrics = watched(iterations, seconds_between_checkpoints, Path(folder))
        sizes = files_of(Path(folder) / "run")
        names = {part for path in sizes for part in path.relative_to(folder).parts}
    warmed = [look for look in looks if look.iteration >= warm]
    print("| iterations | seconds | resident MB | files | MB on disk | checkpoints so far |")
    print("|---|---|---|---|---|---|")
    for tenth in range(11):
        reached = [look for look in looks if look.iteration >= max(tenth * iterations // 10, warm)] or looks[-1:]
        for look in reached[:1]:
            so_far = {earlier.checkpoint for earlier in looks if earlier.seconds <= look.seconds} - {""}
            figures = f"{look.resident:.1f} | {look.n_files} | {look.megabytes:.2f} | {len(so_far)}"
            print(f"| {look.iteration} | {look.seconds:.0f} | {figures} |")
    result = {
        "iterations": iterations,
        "seconds": looks[-1].seconds if looks else math.nan,
        "exit_code": code,
        "looks": len(warmed),
        "growth_mb": max(look.resident for look in warmed) - warmed[0].resident if warmed else math.inf,
        "growth_at_end_mb": warmed[-1].resident - warmed[0].resident if warmed else math.inf,
        "most_files": max((look.n_files for look in looks), default=0),
        "most_mb_on_disk": max((look.megabytes for look in looks), default=0.0),
        "checkpoints": len({look.checkpoint for look in looks} - {""}),
        "most_checkpoints": max((look.n_checkpoints for look in looks), default=0),
        "rows": metrics.iteration,
        "faults_of_metrics": metrics.faults[:10],
        "left_over": sorted(name for name in names if name.startswith((".partial", "checkpoint-", ".replaced"))),
        "files_at_end": len(sizes),
    }
    return result | {"faults": faults_of(result, iterations)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--seconds-between-checkpoints", type=float, default=1.0)
    arguments = parser.parse_args()
    result = soak(arguments.iterations, arguments.seconds_between_checkpoints)
    for fault in result["faults"]:
        print(f"FAULT: {fault}")
    print(json.dumps(result))
    sys.exit(bool(result["faults"]))


if __name__ == "__main__":
    main()
