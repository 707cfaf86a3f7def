"""A shop whose files grow old: its prices make small files worth moving, and a test turns the clock."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from cdap_assets.definitions import build_definitions
from cdap_assets.installation import Installation
from cdap_assets.lineage import Lineage, read_lineage
from cdap_assets.tiering.look import Look, look
from cdap_assets.tiering.moves import Batch, tier
from cdap_assets.tiering.state import State
from cdap_assets.tiering.storage_policy import FILE, PRICE_FILE, read_terms
from resources.iceberg.catalog import Partition
from resources.iceberg.placement import encoded
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.moving import Moved
from tests.curated.till import Line, Shop
from tests.tiering.decided import AT, policy

CURATED = ("order_lines", "orders", "customer_days")
JANUARY, FEBRUARY, MARCH = date(2017, 1, 1), date(2017, 2, 1), date(2017, 3, 1)
MONTHS = (JANUARY, FEBRUARY, MARCH)
ARCHIVE = "shelf"
APPLIED: dict[str, Any] = {"apply": True, "prices": "dear", "margin": 0.01, "min_hot_days": 0}
# a kilobyte costs cents, so that what a test delivers is worth moving
PRICES: dict[str, Any] = {
    "version": "test",
    "currency": "EUR",
    "regions": {
        "dear": {
            "date": date(2024, 1, 1),
            "source": "made up for tests",
            "classes": {
                "desk": {"tier": "hot", "in_place": True, "per_gb_month": 100_000, "transition_per_1000": 0},
                # never worth it by itself: a test that wants it asks for it
                "drawer": {"tier": "cool", "in_place": True, "per_gb_month": 99_000, "transition_per_1000": 9_000},
                ARCHIVE: {
                    "tier": "archived",
                    "in_place": False,
                    "per_gb_month": 1_000,
                    "transition_per_1000": 2,
                    "restore": {"Standard": {"per_gb": 10, "per_1000_requests": 0, "hours": 3}},
                },
            },
        }
    },
}


def line(order: str, day: str, net: str = "5", customer: str = "ann") -> Line:
    """One order line of 2017: ``day`` is month and day."""
    return (order, 1, customer, f"2017-{day} 10:00:00", net)


class AgeingShop(Shop):
    """A till's installation; the clock stands at the instant it was made until a test moves it."""

    def __init__(self, home: Path, *contracts: str) -> None:
        super().__init__(home, *contracts)
        self.began = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.at = self.began
        self.lakehouse = Lakehouse(self.settings, self.clock)
        self._loaded: tuple[list[str], dg.Definitions] | None = None
        self.policy(**APPLIED)
        (home / PRICE_FILE).write_text(yaml.safe_dump(PRICES), encoding="utf-8")

    def clock(self) -> datetime:
        """The instant at which the shop is (UTC)."""
        return self.at

    def pass_days(self, days: int) -> None:
        """Let time go by in which nobody reads."""
        self.at += timedelta(days=days)

    def policy(self, **told: Any) -> None:
        """Write storage.yaml."""
        (self.settings.home / FILE).write_text(yaml.safe_dump(told), encoding="utf-8")

    @property
    def lineage(self) -> Lineage:
        """The lineage of the contracts as they are now."""
        return read_lineage(self.settings)

    @property
    def installation(self) -> Installation:
        """The installation with the contracts as they are now."""
        return Installation.of(self.settings, self.clock)

    def refresh(self, *tables: str) -> dg.ExecuteInProcessResult:
        """Take what has landed and build the named tables, by default those of order lines."""
        raw = [f"raw_{name}" for name in self.lineage.contracts]
        return self.run(self.at, *raw, *(tables or CURATED))

    def job(self, name: str, config: Mapping[str, Any] | None = None, **options: Any) -> dg.ExecuteInProcessResult:
        """Run a job of the installation's own definitions."""
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            return (
                self._definitions()
                .resolve_job_def(name)
                .execute_in_process(
                    run_config={**(config or {}), **quiet}, instance=instance, raise_on_error=False, **options
                )
            )

    def _definitions(self) -> dg.Definitions:
        """The installation's definitions, loaded anew when a file changed that they are made of."""
        made_of = [path.read_text(encoding="utf-8") for path in sorted(self.settings.home.rglob("*.yaml"))]
        if self._loaded is None or self._loaded[0] != made_of:
            self._loaded = (made_of, build_definitions(self.settings, clock=self.clock))
        return self._loaded[1]

    def states(self) -> dict[tuple[str, str], State]:
        """Every partition's state now, by table and partition."""
        return {(state.held.table, state.partition): state for state in self.look().states}

    def look(self) -> Look:
        """A look at storage now."""
        return look(self.lakehouse, read_terms(self.settings, self.lineage), self.at)

    def partitions(self, table: str, *months: date) -> list[Partition]:
        """The partitions of a table that hold rows of ``months``."""
        with self.lakehouse.in_process() as session:
            return sorted(one for one in session.partitions(table) if one[-1] in months)

    def archive(self, table: str, *months: date) -> Moved:
        """Move months of a table to the archive."""
        return self.move("archive", table, *months, to_class=ARCHIVE)

    def move(self, action: str, table: str, *months: date, to_class: str = "") -> Moved:
        """Do with months of a table what the tiering job does."""
        batch = Batch(table, tuple(self.partitions(table, *months)), action, to_class)
        return tier(self.lakehouse, self.lineage, batch, self.at)

    def month(self, table: str, *months: date) -> list[dict[str, Any]]:
        """The rows of a table in some months."""
        with self.lakehouse.session() as session:
            found = session.read(self.lineage.specs[table], {"month": list(months)}).to_pyarrow().to_pylist()
        return sorted(found, key=str)

    def files(self, table: str, month: date) -> list[Path]:
        """The live data files of one month of a table."""
        found = self.lakehouse.load(table)
        assert found is not None
        paths = found.inspect.files()["file_path"].to_pylist()
        return [Path(path.removeprefix("file://")) for path in paths if f"month={month}" in path]


def made(shop: AgeingShop, *lines: Line) -> AgeingShop:
    """``shop`` with a first delivery and the tables of order lines."""
    shop.deliver("till", 1, lines or three_months())
    assert shop.refresh().success
    return shop


def three_months() -> list[Line]:
    """Forty lines in each of three months."""
    return [
        line(f"{month}-{number:02}", f"{month:02}-{1 + number % 28:02}", f"{number}.25", f"c{number % 9}")
        for month in (1, 2, 3)
        for number in range(40)
    ]


def as_json(partitions: Sequence[Partition]) -> list[str]:
    """Partitions as a batch names them."""
    return [json.dumps(encoded(partition)) for partition in partitions]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the first failed step of a run said."""
    assert not result.success
    told = result.get_step_failure_events()[0].step_failure_data
    if told.user_failure_data is not None and told.user_failure_data.description:
        return told.user_failure_data.description
    error = told.error
    while error is not None and error.cause is not None:
        error = error.cause
    assert error is not None
    return error.message


class Again:
    """A shop whose home is put back for each test: tables hold absolute paths, so that it lies where it was made."""

    def __init__(self, folder: Path, *lines: Line) -> None:
        self.home, self.saved = folder / "home", folder / "saved"
        self.began = made(AgeingShop(self.home), *lines).began
        shutil.copytree(self.home, self.saved)

    def shop(self) -> AgeingShop:
        """The shop as it was made."""
        shutil.rmtree(self.home)
        shop = AgeingShop(self.home)
        shutil.copytree(self.saved, self.home, dirs_exist_ok=True)
        shop.began = shop.at = self.began
        return shop


@pytest.fixture(scope="session")
def three_months_again(tmp_path_factory: pytest.TempPathFactory) -> Again:
    """The shop of all tests that change one."""
    return Again(tmp_path_factory.mktemp("again"))


@pytest.fixture
def shop(three_months_again: Again) -> AgeingShop:
    """A shop that a test may change."""
    return three_months_again.shop()


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> AgeingShop:
    """A shop that tests share: they leave its tables and its policy as they are."""
    return made(AgeingShop(tmp_path_factory.mktemp("seen") / "home"))


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home whose storage.yaml is applied."""
    settings = Settings(home=tmp_path, first_snapshot=date(2024, 1, 7), threads=1, memory_limit="500MB")
    policy(settings, apply=True)
    return settings


@pytest.fixture
def lake(home: Settings) -> Lakehouse:
    """The lake of that home at the instant of the ticks."""
    return Lakehouse(home, lambda: AT)
