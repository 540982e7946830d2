"""Dynamic textures of a folder of clips: ours beside linear dynamic systems.

    python benchmarks/videos.py ../shared/data/videos --out runs/videos
    python benchmarks/videos.py clips/ --out runs/clips --seconds 60 -- --transition recurrent

Runs `abpnet video` on every file in the folder that ends in .mp4, .gif or .avi; what comes after -- is passed on to it.
A run that stands finished in --out is not repeated. Prints the tables, and for how many clips ours is closer to the
original, on both temporal statistics, than the linear dynamic systems of equal d (moved as ours, and by least squares).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from results import own_and_passed_on, result_of

STATISTICS = ("spectral distance, dB", "difference distance")
COLUMNS = (STATISTICS[0], "its spread", STATISTICS[1], "spread", "error", "sharpness", "parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/videos"))
    parser.add_argument("--seconds", type=float, default=240.0, help="of learning, for each clip")
    own, options = own_and_passed_on()
    arguments = parser.parse_args(own)
    clips = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in (".mp4", ".gif", ".avi"))
    tables = {
        clip.stem: result_of(["video", clip, "--max-seconds", arguments.seconds, *options], arguments.out / clip.stem)[
            "table"
        ]
        for clip in clips
    }
    print(f"{'clip':16}{'method':58}" + "".join(f"{name.split(',')[0]:>21}" for name in COLUMNS))
    for name, rows in tables.items():
        for row in rows:
            cells = (row[column] for column in COLUMNS)
            figures = "".join(f"{'-':>21}" if cell is None else f"{cell:21.4g}" for cell in cells)
            print(f"{name:16}{row['method']:58}{figures}")
    closer = [
        name
        for name, (ours, linear, fitted, *_) in tables.items()
        if all(ours[statistic] < min(linear[statistic], fitted[statistic]) for statistic in STATISTICS)
    ]
    print(f"closer than the linear dynamic systems of equal d on both statistics: {len(closer)} of {len(tables)} clips")
    print(json.dumps({"clips": tables, "closer_on_both": closer}))


if __name__ == "__main__":
    main()
