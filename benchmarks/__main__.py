"""`python -m benchmarks [--quick]`: the pipeline at several sizes, then the features beside other ways."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import features, pipeline

SCALES = (1.0, 4.0, 16.0)
QUICK_SCALES = (0.02, 0.1)


def main() -> None:
    """Run everything on homes in the temporary folder, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    scales = QUICK_SCALES if parser.parse_args().quick else SCALES
    print(f"{os.cpu_count()} cores; at size 1 about 0.6 M order lines and 3.1 M events\n")
    with TemporaryDirectory(prefix="cdap-benchmark-") as folder:
        sizes = []
        for scale in scales:
            home = Path(folder) / f"home-{scale:g}"
            sizes.append(pipeline.measure(home, scale))
            if scale != scales[-1]:
                shutil.rmtree(home)
        print(f"## Delivered files to features of {pipeline.SNAPSHOTS} snapshots\n\n{pipeline.report(sizes)}\n")
        print(f"## Features at size {scales[-1]:g}\n\n{features.report(features.compare(home, Path(folder)))}")


if __name__ == "__main__":
    main()
