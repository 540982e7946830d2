"""Fuzz one reader: `python fuzz/run.py TARGET [--seconds 30] [--keep FOLDER]`, TARGET_target.py beside this file.

Whatever raises something else than InputError, hangs or takes 2 GiB is written to tests/corpus/TARGET, where a test
replays it for ever. Needs atheris: pip install -e ".[fuzz]".
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE.parent / "tests" / "corpus"
# Python code that reads files, in which new paths are looked for.
INSTRUMENTED = [
    "abpnet.data",
    "abpnet.durable",
    "abpnet.saving",
    "PIL",
    "numpy.lib",
    "zipfile",
    "soundfile",
    "safetensors",
]
SECONDS_PER_FILE, MEGABYTES, LONGEST_FILE = 10, 2048, 1 << 16


def main() -> None:
    """Fuzz until the time is over or something is found."""
    import atheris

    names = sorted(path.name.removesuffix("_target.py") for path in HERE.glob("*_target.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=names)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="folder of files that reached new paths, to go on from next time")
    arguments = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    logging.disable(logging.CRITICAL)  # Pillow logs what it meets
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module(f"{arguments.target}_target")
        seeds = list(target.seeds())
        for seed in seeds:  # plug-ins are imported when they are needed
            target.read(seed)
    found = CORPUS / arguments.target
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        grown = arguments.keep or Path(temporary)
        grown.mkdir(parents=True, exist_ok=True)
        for index, seed in enumerate(seeds):
            (grown / f"seed-{index:03d}").write_bytes(seed)
        limits = [f"-max_total_time={arguments.seconds}", f"-timeout={SECONDS_PER_FILE}", f"-rss_limit_mb={MEGABYTES}"]
        options = [f"-max_len={LONGEST_FILE}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *options, str(grown), str(found)], target.read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
