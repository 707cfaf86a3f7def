"""How much of each room the tests run, and a floor below which it may not fall. ``python -m tests.covered``"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path, PurePath

from coverage import Coverage

FLOOR = (
    96.9  # percent of all lines; 97.0 were run when this was set, of processes that tests kill a little more or less
)
DIVIDED = ("cdap_assets", "resources")  # what has rooms of its own


def room(file: str) -> str:
    """The room of a file, relative to the checkout; a file beside rooms belongs to what holds them."""
    parts = PurePath(file).parts
    return "/".join(parts[:2]) if parts[0] in DIVIDED and len(parts) > 2 else parts[0]


def main() -> None:
    """Print a line for each room. Ends with 1 if the whole is below the floor."""
    found = Coverage()
    found.load()
    lines: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    # templates that Jinja compiled are measured too, and cannot be read as Python
    for measured in (file for file in found.get_data().measured_files() if file.endswith(".py")):
        _name, statements, _excluded, missing, _told = found.analysis2(measured)
        place = room(str(Path(measured).relative_to(Path.cwd())))
        lines[place] += len(statements)
        missed[place] += len(missing)
    for place in sorted(lines):
        print(f"{place:28} {lines[place]:6} lines {_percent(lines[place], missed[place]):6.1f} %")
    whole = _percent(lines.total(), missed.total())
    print(f"{'all':28} {lines.total():6} lines {whole:6.1f} %, of which at least {FLOOR} % must be run")
    sys.exit(whole < FLOOR)


def _percent(lines: int, missed: int) -> float:
    return 100 * (1 - missed / lines) if lines else 100.0


if __name__ == "__main__":
    main()
