"""Every sound of a folder: how near fresh syntheses come to the original, noise of the same spectrum beside them.

    python benchmarks/sounds.py ../shared/data/sounds --out runs/sounds
    python benchmarks/sounds.py ../shared/data/sounds --out runs/sounds --max-seconds 60 --only rain clock

One run folder for each sound. Started again, it goes on where it stopped; folders that are finished are not run again,
whatever their settings. A sound counts as closer if the distance of its statistics is below that of every baseline.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from results import result_of

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
OURS, REFERENCE = "abpnet", "for reference"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/sounds"))
    parser.add_argument("--max-seconds", type=float, default=120.0, help="of learning, for each sound")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of file names")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sources = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    sources = [path for path in sources if any(part in path.name for part in arguments.only)]
    if not sources:
        parser.error(f"{arguments.folder}: no sound files of that name")
    rows = []
    print(f"{'':34}{'abpnet':>9}{'noise':>9}{'halves':>9}{'closer':>8}{'chains':>8}{'passes':>8}{'seconds':>9}")
    for source in sources:
        command = ["sound", source, "--max-seconds", arguments.max_seconds, "--seed", arguments.seed]
        result = result_of(command, arguments.out / source.stem)
        ours, *others = result["table"]
        baselines = [row["distance"] for row in others if not row["method"].startswith(REFERENCE)]
        (halves,) = (row["distance"] for row in others if row["method"].startswith(REFERENCE))
        row = {
            "sound": source.stem,
            "abpnet": ours["distance"],
            "baselines": min(baselines),
            "halves": halves,
            "closer": ours["distance"] < min(baselines),
            "latent_std": result["latent_std"],
            "passes": result["iteration"],
            "seconds": result["seconds"],
        }
        rows.append(row)
        print(
            f"{row['sound'][:33]:34}{row['abpnet']:9.3f}{row['baselines']:9.3f}{row['halves']:9.3f}"
            f"{'yes' if row['closer'] else 'no':>8}{row['latent_std']:8.3f}{row['passes']:8d}{row['seconds']:9.0f}",
            flush=True,
        )
    closer = sum(row["closer"] for row in rows)
    means = {name: statistics.mean(row[name] for row in rows) for name in ("abpnet", "baselines", "halves")}
    stds = [row["latent_std"] for row in rows]
    print(f"{'mean':34}{means['abpnet']:9.3f}{means['baselines']:9.3f}{means['halves']:9.3f}{closer:>5}/{len(rows)}")
    print(
        json.dumps(
            {
                "sounds": len(rows),
                "closer_than_every_baseline": closer,
                "mean_distance": {name: round(value, 4) for name, value in means.items()},
                "chains_std": [round(min(stds), 3), round(max(stds), 3)],
                "most_seconds": round(max(row["seconds"] for row in rows), 1),
                "distance": {row["sound"]: [round(row[name], 4) for name in means] for row in rows},
            }
        )
    )


if __name__ == "__main__":
    main()
