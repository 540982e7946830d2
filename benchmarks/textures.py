"""Every texture of a folder: how near fresh syntheses come to the photograph, noise and quilting beside them.

    python benchmarks/textures.py ../shared/data/textures --out runs/textures
    python benchmarks/textures.py ../shared/data/textures --out runs/textures --max-seconds 60 --only grass rust

One run folder for each photograph. Started again, it goes on where it stopped; folders that are finished are not run
again, whatever their settings. Behind -- stand more options of `abpnet texture`, such as `-- --n-judged 16`. A texture
counts as closer if the distance of its statistics is below that of every baseline.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from results import own_and_passed_on, result_of

SUFFIXES = (".png", ".jpg", ".jpeg")
METHODS = ("abpnet", "noise", "random quilt", "matched quilt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/textures"))
    parser.add_argument("--max-seconds", type=float, default=240.0, help="of learning, for each texture")
    parser.add_argument("--only", nargs="*", default=["_224"], help="parts of file names")
    parser.add_argument("--seed", type=int, default=0)
    own, options = own_and_passed_on()
    arguments = parser.parse_args(own)
    sources = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    sources = [path for path in sources if any(part in path.name for part in arguments.only)]
    if not sources:
        parser.error(f"{arguments.folder}: no images of that name")
    distances, stds = {}, []
    titles = "".join(f"{method:>14}" for method in METHODS)
    print(f"{'':28}{titles}{'closer':>8}{'chains':>8}{'passes':>8}{'seconds':>9}")
    for source in sources:
        command = ["texture", source, "--max-seconds", arguments.max_seconds, "--seed", arguments.seed]
        result = result_of([*command, *options], arguments.out / source.stem)
        row = [each["distance"] for each in result["table"]]
        distances[source.stem] = row
        stds.append(result["latent_std"])
        print(
            f"{source.stem[:27]:28}{''.join(f'{value:14.4f}' for value in row)}"
            f"{'yes' if row[0] < min(row[1:]) else 'no':>8}{result['latent_std']:8.3f}{result['iteration']:8d}"
            f"{result['seconds']:9.0f}",
            flush=True,
        )
    means = [statistics.mean(column) for column in zip(*distances.values(), strict=True)]
    closer = sum(row[0] < min(row[1:]) for row in distances.values())
    print(f"{'mean':28}{''.join(f'{value:14.4f}' for value in means)}{closer:>5}/{len(distances)}")
    print(
        json.dumps(
            {
                "textures": len(distances),
                "closer_than_every_baseline": closer,
                "mean_distance": dict(zip(METHODS, (round(value, 4) for value in means), strict=True)),
                "chains_std": [round(min(stds), 3), round(max(stds), 3)],
                "distance": {name: [round(value, 4) for value in row] for name, row in distances.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
