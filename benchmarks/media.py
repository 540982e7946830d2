"""Damaged and odd media files, given to their readers: what is not read must be refused by one line, and in time.

    python benchmarks/media.py
    python benchmarks/media.py --files 600 --seed 7 --keep runs/media
    python benchmarks/media.py --seed 7 --only 123

Files are made from built-in data by `damage.py`: pictures, arrays, masks, sounds, videos and tables of many formats.
Each is read in a child process that may take 10 s of the processor for it, or 100 s by the clock, and whose memory is
watched; one in twenty goes through the command line instead, learning for one pass if the file can be read, which may
take ten times as long. A file may be read, or refused by an `InputError` of one line that names it (exit code 2);
anything else is a failure and its file is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from damage import KINDS, damaged, judge, originals

# Of the processor, and by the clock: others may use the machine, and what waits for something uses no processor.
SECONDS, SECONDS_BY_CLOCK = 10, 100
# So many times as long for the command line, and for the first files of a process, for which libraries are imported.
PATIENCE = 10
MOST_MEBIBYTES = 2048
EVERY = 20
OUTCOMES = ("read", "refused", "traceback", "hang", "crash")
BRIEFLY = ("--max-iter", "1", "--seed", "0")


def _command(kind: str, path: Path, out: Path) -> list[str]:
    """The command line that reads a file."""
    images = ["--latent-dim", "2", "--no-baselines", "--precision", "float32", "--residuals", "white"]
    if kind == "sounds":
        arguments = ["sound", str(path), "--width", "4", "--n-chains", "1", "--seconds", "1", "--no-rhythm"]
    elif kind == "videos":
        arguments = ["video", str(path), "--latent-dim", "2", "--size", "16", "--width", "8", "--frames", "4"]
        arguments += ["--no-baselines", "--precision", "float32"]
    elif kind == "masks":
        np.savez(path.parent / "digits.npz", np.zeros((4, 8, 8), np.uint8))
        arguments = ["complete", str(path.parent / "digits.npz"), "--mask", str(path), *images]
    elif kind == "images":
        folder = path.parent / "folder"
        folder.mkdir()
        shutil.copy(path, folder)
        for index in range(2):
            (folder / f"good {index}.png").write_bytes(originals()["images"][0][1])
        arguments = ["complete", str(folder), "--mask", "pepper:0.3", "--size", "8", *images]
    elif kind == "tables":
        arguments = ["complete", str(path), "--mask", "pepper:0.3", "--latent-dim", "2", "--no-baselines"]
    else:
        arguments = ["complete", str(path), "--mask", "pepper:0.3", *images]
    return [*arguments, *BRIEFLY, "--out", str(out)]


def _by_command(kind: str, path: Path) -> tuple[str, str]:
    """Outcome and what was said."""
    from abpnet.cli import main

    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(_command(kind, path, path.parent / "out"))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    message = said.getvalue()
    if code == 0:
        return "read", ""
    clear = code == 2 and message.startswith("abpnet: ") and message.count("\n") == 1 and path.name in message
    return ("refused", message) if clear else ("traceback", f"exit code {code}: {message}")


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Most memory since then, MiB; 0 where it is not told."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def _work(connection: Connection) -> None:
    """Child: reads files until there are no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C say much
    while (task := connection.recv()) is not None:
        kind, path, by_command = task
        _forget_peak()
        try:
            outcome, said = (_by_command if by_command else judge)(kind, path)
        except BaseException:
            outcome, said = "traceback", traceback.format_exc()
        connection.send((outcome, said, _peak()))


class _Child:
    """A process that reads files, and is started anew when one was the end of it."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other,), daemon=True)
        self.process.start()
        self.is_new = True
        other.close()

    def _used(self) -> float:
        """Seconds of the processor; 0 where that is not told."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def give(self, kind: str, path: Path, by_command: bool, patience: int = 1) -> tuple[str, str, float]:
        """Outcome, what was said, and memory in MiB."""
        start, used = time.monotonic(), self._used()
        patience, self.is_new = PATIENCE if self.is_new else patience, False
        try:
            self.connection.send((kind, path, by_command))
            while not self.connection.poll(1.0):
                seconds, busy = time.monotonic() - start, self._used() - used
                if seconds > patience * SECONDS_BY_CLOCK or busy > patience * SECONDS:
                    outcome = ("hang", f"no end after {seconds:.0f} s, {busy:.0f} s of the processor", 0.0)
                    break
            else:
                answer: tuple[str, str, float] = self.connection.recv()
                return answer
        except (EOFError, OSError):
            self.process.join()
            outcome = ("crash", f"the process ended with {self.process.exitcode}", 0.0)
        self.process.kill()
        self.process.join()
        self.start()
        return outcome

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="indices of files")
    parser.add_argument("--keep", type=Path, default=Path("runs/media"), help="folder of files that failed")
    arguments = parser.parse_args()
    counts = {kind: dict.fromkeys((*OUTCOMES, "files"), 0) for kind in KINDS}
    peaks = dict.fromkeys(KINDS, 0.0)
    failures = []
    child = _Child()
    # The first calls import libraries, which takes longer than any file may.
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            suffix, content = originals()[kind][0]
            for by_command in (False, True):
                path = Path(folder) / f"{kind} {by_command}" / f"good{suffix}"
                path.parent.mkdir()
                path.write_bytes(content)
                outcome, said, _ = child.give(kind, path, by_command, PATIENCE)
                if outcome != "read":
                    sys.exit(f"{kind}: an undamaged file was not read: {said}")
    for index in arguments.only or range(arguments.files):
        file = damaged(arguments.seed, index)
        by_command = index // len(KINDS) % EVERY == 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"damaged é {index}{file.suffix}"
            path.write_bytes(file.content)
            outcome, said, peak = child.give(file.kind, path, by_command, PATIENCE if by_command else 1)
        counts[file.kind]["files"] += 1
        counts[file.kind][outcome] += 1
        peaks[file.kind] = max(peaks[file.kind], peak)
        if outcome not in ("read", "refused") or peak > MOST_MEBIBYTES or arguments.only:
            print(f"{index} {file.kind} {' > '.join(file.history)}: {outcome}, {peak:.0f} MiB\n{said}", flush=True)
        if outcome not in ("read", "refused") or peak > MOST_MEBIBYTES:
            failures.append({"index": index, "kind": file.kind, "outcome": outcome, "peak_mebibytes": round(peak)})
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{arguments.seed}-{index}{file.suffix}").write_bytes(file.content)
    child.stop()
    print("| kind | files | read | refused | tracebacks | hangs | crashes | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, row in counts.items():
        cells = [row[name] for name in ("files", *OUTCOMES)]
        print(f"| {kind} | {' | '.join(map(str, cells))} | {peaks[kind]:.0f} |")
    total = {name: sum(row[name] for row in counts.values()) for name in ("files", *OUTCOMES)}
    figures = {"seed": arguments.seed, **total, "peak_mebibytes": round(max(peaks.values())), "failures": failures}
    print(json.dumps(figures))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
