"""`python -m benchmarks [--scales 1 4 16]`: the pipeline at several sizes, then the features beside other ways."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import features, pipeline
from benchmarks.results import Results, table

SCALES = (1.0, 4.0, 16.0)


def main() -> None:
    """Run everything on homes in the temporary folder, keep each row in benchmarks/results, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    scales_help = "sizes, the smallest first; 1 is about 0.6 M order lines and 3.1 M events"
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, metavar="SCALE", help=scales_help)
    scales = parser.parse_args().scales
    print(f"{os.cpu_count()} cores; at size 1 about 0.6 M order lines and 3.1 M events\n")
    agreed = True
    with TemporaryDirectory(prefix="cdap-benchmark-") as folder:
        layers, ways = Results("pipeline"), Results("features")
        built: tuple[float, Path] | None = None
        for scale in scales:
            home = Path(folder) / f"home-{scale:g}"
            if pipeline.measure(layers, home, scale):
                if built:
                    shutil.rmtree(built[1])
                built = scale, home
        print(f"## Delivered files to features of {pipeline.SNAPSHOTS} snapshots\n\n{pipeline.report(layers.rows)}\n")
        if built:
            scale, home = built
            agreed = features.compare(ways, home, Path(folder), f"{scale:g}x")
            print(f"## Features at size {scale:g}\n\n{table(ways.rows)}\n\n{features.NOTE}\n")
        print(f"Kept in {layers.path.name}.")
    if not agreed:
        sys.exit("Ways to the same features differ: the row says where.")


if __name__ == "__main__":
    main()
