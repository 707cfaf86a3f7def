"""Fetch the programs that tests of AWS run, so that no test waits for a download. ``python -m tests.cloud.fetching``"""

from __future__ import annotations

from tests.cloud.rest_catalog import libraries
from tests.cloud.trino_files import TrinoMissing, java, trino_home


def main() -> None:
    """Fetch what is absent. What cannot be had is told; the tests that want it are skipped, or fail where CI is set."""
    try:
        java()
        trino_home()
        libraries()
    except TrinoMissing as missing:
        print(missing)


if __name__ == "__main__":
    main()
