"""Every table of docs/results.md that a command makes: runs the commands, prints the tables in Markdown.

    python benchmarks/results.py --data ../shared/data
    python benchmarks/results.py --data ../shared/data --only digits "faces P.5"

A run that stands finished in --out is not repeated, and one that was interrupted goes on. All of it takes several hours
on two cores. Sounds, textures and videos have benchmarks of their own, which are run as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

FACES, HEADS = "faces/celeba_89x109_10000.zip", "animals/liontiger_heads64.npz"
TRAINING, NEW = range(1, 1001), range(9001, 9301)
CROP = ["--crop", 12, 24, 76, 88]
SECONDS = 600
# Benchmarks of their own, each named like the folder of its data.
SCRIPTS = ("sounds", "textures", "videos")


def unpack_faces(archive: Path, out: Path) -> tuple[Path, Path]:
    """Folders of the training and the new faces."""
    folders = out / "training", out / "new"
    with zipfile.ZipFile(archive) as files:
        by_id = {int(Path(name).stem): name for name in files.namelist() if Path(name).stem.isdigit()}
        for folder, ids in zip(folders, (TRAINING, NEW), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            for number in ids:
                (folder / f"{number:06d}.jpg").write_bytes(files.read(by_id[number]))
    return folders


def commands(data: Path, out: Path) -> dict[str, list[Any]]:
    """What makes each table."""
    training, new = out / "faces" / "training", out / "faces" / "new"
    faces = [training, "--new-source", new, *CROP, "--max-seconds", SECONDS, "--max-iter", 100_000]
    masks = {"P.5": "pepper:0.5", "P.7": "pepper:0.7", "P.9": "pepper:0.9", "M20": "region:20", "M30": "region:30"}
    digits = ["builtin:digits", "--latent-dim", 20, "--new-images", 300]
    heads = [data / HEADS, "--latent-dim", 2, "--new-images", 40, "--max-seconds", SECONDS, "--max-iter", 100_000]
    return (
        {"digits": ["complete", *digits, "--mask", "pepper:0.5:1"]}
        | {f"faces {name}": ["complete", *faces, "--mirror", "--mask", mask] for name, mask in masks.items()}
        | {f"projections, d = {d}": ["sense", *faces, "--measurements", 1000, "--latent-dim", d] for d in (20, 60, 100)}
        | {
            "evaluation": ["evaluate", *faces, "--latent-dims", 20, 60, 100, 200],
            "faces": ["objects", *faces],
            "heads": ["objects", *heads],
        }
    )


def own_and_passed_on() -> tuple[list[str], list[str]]:
    """Words before a lone -- on the command line, the script's own, and those behind it, for the command it runs."""
    words = sys.argv[1:]
    first = words.index("--") if "--" in words else len(words)
    return words[:first], words[first + 1 :]


def result_of(command: list[Any], out: Path) -> dict[str, Any]:
    """What the command left in result.json; runs it first, or goes on with it."""
    result = out / "result.json"
    if not result.exists():
        action = ["resume", out] if (out / "config.json").exists() else [*command, "--out", out]
        subprocess.run([sys.executable, "-m", "abpnet", *map(str, action)], check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


def markdown(table: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    columns = list(dict.fromkeys(name for row in table for name in row))
    lines = [columns, ["---"] * len(columns), *([cell(row.get(name)) for name in columns] for row in table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the data (faces/, animals/, sounds/, textures/, videos/)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", nargs="+", help="names of tables; all by default")
    arguments = parser.parse_args()
    every = commands(arguments.data, arguments.out)
    others = [name for name in SCRIPTS if arguments.only is None or name in arguments.only]
    unknown = set(arguments.only or ()) - set(every) - set(SCRIPTS)
    if unknown:
        parser.error(f"--only: no such table: {', '.join(sorted(unknown))}; there are {', '.join([*every, *others])}")
    chosen = {name: command for name, command in every.items() if arguments.only is None or name in arguments.only}
    if any(str(arguments.out / "faces") in str(word) for command in chosen.values() for word in command):
        unpack_faces(arguments.data / FACES, arguments.out / "faces")
    tables = {}
    for name, command in chosen.items():
        result = result_of(command, arguments.out / name)
        tables[name] = result["table"]
        print(f"\n## {name}\n\n    abpnet {' '.join(map(str, command))}\n\n{markdown(result['table'])}", flush=True)
        if "latent_std" in result:
            print(f"\nChains: mean {result['latent_mean']:.3f}, standard deviation {result['latent_std']:.3f}.")
    for name in others:
        script = Path(__file__).with_name(f"{name}.py")
        words = [script, arguments.data / name, "--out", arguments.out / name]
        print(f"\n## {name}\n", flush=True)
        subprocess.run([sys.executable, *map(str, words)], check=True)
    print(json.dumps(tables))


if __name__ == "__main__":
    main()
