"""What faults cost: runs killed at random moments and resumed, and checkpoints damaged in every way.

    python benchmarks/faults.py --kills 100 --damaged 1000

A run of `abpnet complete` on built-in digits, which writes a checkpoint after each of its passes, is killed (SIGKILL)
at a random moment and resumed; a share of the runs is of two processes under torchrun, of which one, or torchrun
itself, is killed. The final checkpoint, the model and the samples must be to the bit those of a run nobody killed.

Checkpoints are damaged by truncation, flipped bits, runs of zeros, missing or swapped files, files of other runs, other
schemas and pickles under our names. Each must be a clear error, or the older checkpoint with a warning: never another
state, and never a line of code that is run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from damaged_checkpoints import count_of_wrong, survive_damage

from abpnet.history import History
from abpnet.runs import RunFolder

# What a run needs is imported once, before it is forked; a process that has threads cannot be.
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
NEEDED = ("abpnet.cli", "matplotlib.pyplot", "skimage.restoration", "sklearn.datasets")

PASSES = 40
COMMAND = ("complete", "builtin:digits", "--limit", "40", "--mask", "pepper:0.5:1", "--latent-dim", "4")
COMMAND += ("--max-iter", str(PASSES), "--precision", "float32", "--no-baselines", "--draws", "0", "--device", "cpu")
# The command line with a checkpoint after each pass; the last one is kept.
PROGRAM = """
import shutil
from abpnet import runs
from abpnet.cli import main
from abpnet.tasks import session

session.SECONDS_BETWEEN_CHECKPOINTS = 0.0
finish = runs.RunFolder.finish

def keep_the_last(folder, result):
    if folder.checkpoints():
        shutil.copytree(folder.checkpoints()[-1], folder.path / "final", dirs_exist_ok=True)
    finish(folder, result)

runs.RunFolder.finish = keep_the_last
main()
"""
PATIENCE = 300.0


def _become(arguments: list[str], errors: Path) -> NoReturn:
    """Be the command line from here on, in a child of this process: what is imported need not be once more."""
    os.setsid()
    said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = ["abpnet", *arguments]
    code = 1
    try:
        exec(PROGRAM, {"__name__": "__main__"})
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def start(n_processes: int, errors: Path, *arguments: str | Path) -> int:
    """Process id of the command line, alone or as torchrun of several that learn as one; what it says is in a file."""
    words = [str(argument) for argument in arguments]
    if n_processes == 1:
        return os.fork() or _become(words, errors)
    program = errors.with_suffix(".py")
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    with errors.open("w") as said:
        process = subprocess.Popen([*command, str(program), *words], stdout=said, stderr=said, start_new_session=True)
    process.returncode = 0  # it is waited for by number
    return process.pid


def has_ended(pid: int) -> bool:
    """Whether a child is gone, which is not yet waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_for(pid: int) -> int:
    """Its exit code once all of its session are gone, as after a restart of the machine."""
    deadline = time.monotonic() + PATIENCE
    while not has_ended(pid):
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    _, status = os.waitpid(pid, 0)
    while subprocess.run(["pgrep", "-s", str(pid)], capture_output=True).stdout:
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(status)


def finish(n_processes: int, errors: Path, *arguments: str | Path) -> str:
    """What a command says that must end well."""
    code = wait_for(start(n_processes, errors, *arguments))
    if code != 0:
        raise RuntimeError(f"exit code {code}: {errors.read_text()[-2000:]}")
    return errors.read_text()


def family_of(pid: int) -> list[int]:
    """Process ids of it and of what it started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [pid, *map(int, listed.stdout.split())]


def wait_until(happened: Callable[[], bool], pid: int) -> None:
    """Wait for something that a process does, or for its end."""
    deadline = time.monotonic() + PATIENCE
    while not happened() and not has_ended(pid):
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {pid} does nothing")
        time.sleep(0.002)


def outcome(folder: Path) -> dict[str, bytes]:
    """All that must not depend on whether somebody was killed; times left out."""

    def without_times(path: Path) -> bytes:
        facts = json.loads(path.read_text())
        facts.pop("seconds", None)
        rows = History.unpacked(facts["history"]) if isinstance(facts["history"], dict) else facts["history"]
        facts["history"] = [row | {"seconds": None} for row in rows]
        return json.dumps(facts, sort_keys=True).encode()

    found = {}
    for name in ("final", "model"):
        found[f"{name} tensors"] = (folder / name / "state.safetensors").read_bytes()
        found[f"{name} facts"] = without_times(folder / name / "state.json")
    found["samples"] = (folder / "samples.png").read_bytes()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = json.dumps([row | {"seconds": None} for row in rows]).encode()
    return found


def kill_and_resume(
    n_processes: int, folder: Path, whole: dict[str, bytes], delay: float, chance: random.Random
) -> str:
    """Kill a run after so many seconds of it, resume it, and say how that went."""
    errors = folder.with_suffix(".txt")
    pid = start(n_processes, errors, *COMMAND, "--out", folder)
    wait_until((folder / "config.json").exists, pid)
    time.sleep(delay)
    where = "after its end" if has_ended(pid) else "before its end"
    os.kill(chance.choice(family_of(pid)), signal.SIGKILL)
    wait_for(pid)
    said = finish(n_processes, errors, "resume", folder)
    if "warning" in said:
        return f"killed {where}, warned: {said}"
    differing = [name for name, content in outcome(folder).items() if content != whole[name]]
    return f"differs in {', '.join(differing)}" if differing else f"equal, killed {where}"


def survive_kills(kills: int, shared: int, scratch: Path, chance: random.Random) -> dict[str, int]:
    """How many killed runs ended how; `shared` of them are of two processes."""
    tally = Counter[str]()
    for n_processes, n_kills in ((1, kills - shared), (2, shared)):
        if not n_kills:
            continue
        folder = scratch / f"whole {n_processes}"
        pid = start(n_processes, scratch / "said.txt", *COMMAND, "--out", folder)
        wait_until((folder / "config.json").exists, pid)
        begun = time.monotonic()
        if wait_for(pid):
            raise RuntimeError((scratch / "said.txt").read_text()[-2000:])
        lasting, whole = time.monotonic() - begun, outcome(folder)
        for index in range(n_kills):
            folder = scratch / f"killed {n_processes} {index}"
            ended = kill_and_resume(n_processes, folder, whole, chance.uniform(0, lasting), chance)
            tally[f"{n_processes} process{'es' * (n_processes > 1)}: {ended}"] += 1
            print(f"  {n_processes} process(es), {index + 1} of {n_kills}: {ended}", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    return dict(sorted(tally.items()))


def interrupted_run(scratch: Path, seed: int) -> Path:
    """Folder of a run with two checkpoints."""
    folder = scratch / f"seed {seed}"
    pid = start(1, scratch / "said.txt", *COMMAND, "--seed", str(seed), "--out", folder)
    wait_until(lambda: (folder / "config.json").exists() and len(RunFolder(folder).checkpoints()) > 1, pid)
    os.kill(pid, signal.SIGINT)
    wait_for(pid)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--shared", type=int, default=None, help="of these, runs of two processes; a fifth by default")
    parser.add_argument("--damaged", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shared = arguments.kills // 5 if arguments.shared is None else arguments.shared
    chance = random.Random(arguments.seed)
    torch.set_num_threads(1)
    for module in NEEDED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="abpnet-faults-") as folder:
        scratch = Path(folder)
        damaged, killed = {}, {}
        if arguments.damaged:
            runs = [interrupted_run(scratch, seed) for seed in (0, 1)]
            damaged = survive_damage(arguments.damaged, *runs, scratch, chance)
        if arguments.kills:
            killed = survive_kills(arguments.kills, shared, scratch, chance)
    print("| damage | outcome | checkpoints |\n|---|---|---|")
    for damage, ends in damaged.items():
        for ended, number in ends.items():
            print(f"| {damage.replace('_', ' ')} | {ended} | {number} |")
    print("\n| killed | runs |\n|---|---|")
    for ended, number in killed.items():
        print(f"| {ended} | {number} |")
    equal = sum(number for ended, number in killed.items() if ": equal" in ended)
    wrong = count_of_wrong(damaged)
    print(json.dumps({"kills": arguments.kills, "equal": equal, "damaged": arguments.damaged, "wrong": wrong}))
    sys.exit(equal != arguments.kills or wrong > 0)


if __name__ == "__main__":
    main()
