"""`cdap storage` as people run it: a look, what would move, a restore, and errors in one line."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.commands.storage import show
from cdap_assets.lineage import read_lineage
from cdap_assets.tiering.moves import Batch, tier
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.shop import make_shop
from tests.tiering.conftest import APPLIED, ARCHIVE, PRICES

APRIL = date(2023, 4, 1)
NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def policy(home: Path, **told: object) -> None:
    (home / "storage.yaml").write_text(yaml.safe_dump({**APPLIED, **told}), encoding="utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The small shop with its order lines built, and dear storage."""
    import dagster as dg

    from cdap_assets.definitions import build_definitions

    home = make_shop(tmp_path_factory.mktemp("stored") / "home").home
    (home / "prices.yaml").write_text(yaml.safe_dump(PRICES), encoding="utf-8")
    policy(home, apply=False)
    settings = Settings.load(home)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(settings, clock=lambda: NOW).resolve_job_def("refresh_lake")
        chosen = [dg.AssetKey(name) for name in ("raw_orders", "order_lines", "orders")]
        assert job.execute_in_process(run_config=quiet, asset_selection=chosen, instance=instance).success
    return settings


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a storage command in this process: exit code, what it prints, and its errors."""
    monkeypatch.setenv("CDAP_HOME", str(shop.home))

    def command(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["storage", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return command


def archive(settings: Settings, months: Sequence[date], at: datetime = NOW) -> None:
    policy(settings.home)
    lakehouse = Lakehouse(settings, lambda: at)
    batch = Batch("order_lines", tuple((month,) for month in months), "archive", ARCHIVE)
    tier(lakehouse, read_lineage(settings), batch, at)


def one_line(done: tuple[int, str, str]) -> str:
    """The message of a command that failed, as one line whatever the terminal's width."""
    code, _told, error = done
    assert code == 1
    assert "Traceback" not in error
    return " ".join(error.split()).removeprefix("error: ")


def test_a_look_shows_what_storage_costs_and_moves_nothing(shop: Settings, run: Run) -> None:
    policy(shop.home, apply=False)
    code, looked, error = run("review")
    assert code == 0, error
    assert "EUR a month" in looked
    told = " ".join(looked.split())
    assert re.search(r"nothing would move: \d+ partitions \(\d+ reads not observed for long enough; ", told), told


def test_following_and_bringing_back_work_in_processes_of_their_own(
    shop: Settings, cdap: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    archive(shop, [APRIL])
    followed = cdap(shop.home, "storage", "run", COLUMNS="300")
    assert followed.returncode == 0, followed.stderr
    assert any(line.split()[:2] == ["archived", "1"] for line in followed.stdout.splitlines()), followed.stdout
    back = cdap(shop.home, "storage", "restore", "order_lines", "--partition", f"month={APRIL}", "--days", "3")
    assert back.returncode == 0, back.stderr
    until = {f"are back until {(datetime.now(UTC) + timedelta(days=3 - late)).date()}" for late in (0, 1)}
    assert any(text in " ".join(back.stdout.split()) for text in until), back.stdout
    assert "Traceback" not in followed.stderr + back.stderr


def test_what_would_move_is_shown_with_its_saving_and_what_is_decided_with_the_policy(
    shop: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cdap_assets.storage.tables import STORAGE_TIERS
    from cdap_assets.tiering.assets import published
    from cdap_assets.tiering.look import look, tier_rows
    from cdap_assets.tiering.storage_policy import read_terms

    at = NOW + timedelta(days=200)
    lakehouse = Lakehouse(shop, lambda: at)
    seen = look(lakehouse, read_terms(shop, read_lineage(shop)), at)
    with lakehouse.in_process() as session:
        published(session, STORAGE_TIERS, tier_rows(seen))
    policy(shop.home, apply=False)
    monkeypatch.setattr("cdap_assets.commands.storage.console.width", 300, raising=False)
    show(Lakehouse(shop))
    told = " ".join(capsys.readouterr().out.split())
    assert "partitions should move (a dry run, for storage.yaml does not say `apply: true`): saves " in told
    assert re.search(r"order_lines month=2023-05-01: archive; (199|200) days unread, ", told), told  # midnight may pass
    policy(shop.home)
    monkeypatch.setattr("cdap_assets.commands.storage.SHOWN", 2)
    show(Lakehouse(shop))
    assert "partitions should move (decided): saves " in (told := " ".join(capsys.readouterr().out.split()))
    assert told.endswith(" more; they are in the table storage_tiers")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nonsense", "--partition", "all"), "there is no table nonsense; there are "),
        (("order_lines", "--partition", "month=1999-01-01"), "table order_lines has no partition month=1999-01-01; "),
        (("order_lines", "--partition", "month=2023-02-01"), "table order_lines: month=2023-02-01 is not archived"),
        (("order_lines", "--partition", "month=2023-02-01", "--speed", "Fast"), "there is no speed 'Fast'; a restore"),
    ],
)
def test_a_restore_that_cannot_be_says_why_in_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    assert one_line(run("restore", *arguments)).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apply: [", "is not YAML: "),
        ("prices: mars-1", "has no region 'mars-1'"),
        (
            "{prices: dear, tables: {customer_days: {archive: true}}}",
            "storage.yaml: tables.customer_days: archive: true would take",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_stops_a_look_with_one_message(
    shop: Settings, run: Run, text: str, told: str
) -> None:
    (shop.home / "storage.yaml").write_text(text, encoding="utf-8")
    code, _shown, error = run("review")
    assert code == 1
    assert told in " ".join(error.split())
    assert "Traceback" not in error


def test_a_folder_that_is_no_home_is_refused(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDAP_HOME", str(tmp_path))
    assert "is not an installation" in one_line(run("review"))
