"""The command as a person meets it: what it answers, what it refuses, in words and never with a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from cdap_assets.lineage import read_lineage
from cdap_assets.raw.deliveries import take
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.asking import answer, refusal
from tests.conftest import Cdap, environment
from tests.conftest import command as python
from tests.shop import CUSTOMERS, SNAPSHOT, make_new_shop, make_shop, purchases

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
]
PLAN = f"{SNAPSHOT}-1"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop whose delivery was taken and nothing more: deliveries may be withdrawn and replayed here."""
    settings = make_shop(tmp_path_factory.mktemp("taken"))
    with (settings.landing / "orders" / "orders.csv").open("a", encoding="utf-8", newline="") as file:
        file.write("999999,k999,yesterday,12.50\r\n")
    contract = read_lineage(settings).contracts["orders"]
    with Lakehouse(settings).session() as session:
        take(session, settings, contract, datetime.now(UTC).replace(tzinfo=None))
    return settings


# making a home


def test_init_makes_a_home_once(tmp_path: Path) -> None:
    told = answer(
        tmp_path, "init", str(tmp_path / "shop"), "--timezone", "Europe/Berlin", "--first-snapshot", "2024-01-07"
    )
    assert "orders.yaml.example" in told
    settings = Settings.load(tmp_path / "shop")
    assert (settings.timezone, str(settings.first_snapshot)) == ("Europe/Berlin", "2024-01-07")
    (settings.home / "retention.yaml").write_text("mine")
    assert "is an installation already" in refusal(tmp_path, "init", str(tmp_path / "shop"))
    assert (settings.home / "retention.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--timezone", "Berlin", "Europe/Berlin"),
        ("--first-snapshot", "2024-01-08", "Sunday"),
    ],
)
def test_init_refuses_what_a_home_could_not_be_loaded_with_and_leaves_nothing(
    tmp_path: Path, option: str, value: str, told: str
) -> None:
    assert told in refusal(tmp_path, "init", str(tmp_path / "shop"), option, value)
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_is_no_home_is_told_with_what_to_do(tmp_path: Path) -> None:
    for command in (
        ["status"],
        ["run"],
        ["sql", "select 1"],
        ["models", "list"],
        ["plan", "list"],
        ["deliveries", "list"],
    ):
        assert f"{tmp_path} is not an installation; make one with `cdap init" in refusal(tmp_path, *command)


def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(tmp_path, "init", str(tmp_path / "shop"))
    monkeypatch.setenv("CDAP_TIMEZONE", "Mars/Olympus")
    assert "CDAP_TIMEZONE: " in refusal(tmp_path / "shop", "status")


def test_a_home_without_a_contract_says_where_to_begin(tmp_path: Path) -> None:
    answer(tmp_path, "init", str(tmp_path / "shop"))
    assert "there is no contract in" in refusal(tmp_path / "shop", "run")
    assert "no plan was drafted yet" in answer(tmp_path / "shop", "status")


# looking


def test_status_as_json_has_everything_of_the_home(finished_shop: Settings) -> None:
    found = json.loads(answer(finished_shop.home, "status", "--json"))
    assert set(found) == {
        "home", "data_ends", "broken_contracts", "tables", "deliveries", "models", "plans", "failures", "next",
    }  # fmt: skip
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    assert rows["order_lines"] == len(purchases())
    assert rows["customer_profile"] == CUSTOMERS
    [delivery] = found["deliveries"]
    assert (delivery["state"], delivery["accepted"], delivery["quarantined"]) == ("accepted", len(purchases()), 0)
    assert {model["name"]: model["gates"] for model in found["models"]} == {
        "lapse_model": "passed",
        "lifetime_value_model": "passed",
    }
    [plan] = found["plans"]
    assert (plan["id"], plan["state"], plan["currency"], plan["reviewed"]) == (PLAN, "draft", "EUR", False)
    assert 0 < float(plan["cost"]) <= 40
    assert found["failures"] == []
    assert (found["next"]["stage"], found["next"]["at_work"]) == ("", "")
    assert found["next"]["why"].startswith(f"everything is up to date for {SNAPSHOT}. This data set is closed")


def test_status_tells_what_is_due_and_why_and_who_is_at_work(tmp_path: Path) -> None:
    settings = make_shop(tmp_path / "home")
    assert f"due for {SNAPSHOT}: lake, 1 new file in orders (`cdap run` does it)" in answer(settings.home, "status")
    settings.locks.mkdir(exist_ok=True)
    (settings.locks / "run.holder").write_text("`cdap run` (process 4711 of here) since 2023-10-09 08:00 UTC")
    with FileLock(settings.locks / "run.lock"):
        told = answer(settings.home, "status")
    assert "at work: `cdap run` (process 4711 of here) since 2023-10-09 08:00 UTC" in told


def test_status_tells_of_a_policy_that_cannot_be_read_instead_of_failing(
    finished_shop: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "retention.yaml"
    broken.write_text("currency: EUR")
    monkeypatch.setattr(Settings, "retention_file", property(lambda _settings: broken))
    told = " ".join(answer(finished_shop.home, "status").split())
    assert "scores and plan, cannot be told: " in told
    assert "retention.yaml: " in told


@pytest.mark.parametrize("width", ["80", "120"])
def test_nothing_that_status_prints_breaks_inside_a_word(finished_shop: Settings, cdap: Cdap, width: str) -> None:
    told = cdap(finished_shop.home, "status", COLUMNS=width).stdout
    assert max(len(line) for line in told.splitlines() if str(finished_shop.home) not in line) <= int(width)
    for word in ("lifetime_value_model v1", "customer_categories", "AUC 0.", "unreviewed", PLAN, "value at stake"):
        assert word in told
    assert "…" not in told


def test_plans_and_models_are_listed_and_shown(finished_shop: Settings) -> None:
    home = finished_shop.home
    assert PLAN in answer(home, "plan", "list")
    assert json.loads(answer(home, "plan", "list", "--json"))[0]["id"] == PLAN
    assert "draft" in answer(home, "plan", "show", PLAN)
    assert answer(home, "plan", "diff", PLAN, PLAN).startswith("kept ")
    models = json.loads(answer(home, "models", "list", "--json"))
    assert [model["version"] for model in models] == [1, 1]
    assert "frequency alone: AUC" in answer(home, "models", "list")
    assert "there is no plan 2023-01-01-9" in refusal(home, "plan", "show", "2023-01-01-9")
    assert "there is no plan 2023-01-01-9" in refusal(home, "plan", "diff", PLAN, "2023-01-01-9")
    assert "has no version 7" in refusal(home, "models", "approve", "lapse_model", "7", "--by", "Ann")


# SQL


def test_sql_reads_with_joins_aliases_and_common_table_expressions(finished_shop: Settings) -> None:
    home = finished_shop.home
    assert answer(home, "sql", "select count(*) as n from customer_profile", "--csv").split() == ["n", str(CUSTOMERS)]
    query = """
        with Spent as (select customer_key, sum(net) as net from ORDER_LINES group by 1)
        select count(*) as n, sum(s.net) as net from spent s join customer_xref x on x.customer_key = s.customer_key
    """
    total = sum(float(amount) for _customer, _day, amount in purchases())
    customers, net = answer(home, "sql", query, "--csv").splitlines()[1].split(",")
    assert (int(customers), float(net)) == (CUSTOMERS, pytest.approx(total))
    sampled = answer(home, "sql", "select count(*) as n from order_lines tablesample 0 percent", "--csv")
    assert sampled.split() == ["n", "0"]


@pytest.mark.parametrize(
    "query",
    [
        "insert into customer_profile select * from customer_profile",
        "drop table customer_profile",
        "delete from orders",
        "copy (select 1) to 'stolen.csv'",
        "attach 'other.db'",
        "set threads = 1",
        "install httpfs",
        "select 1; select 2",
        "",
    ],
)
def test_sql_runs_one_select_and_nothing_else(finished_shop: Settings, query: str) -> None:
    assert "one SELECT is what can be run here" in refusal(finished_shop.home, "sql", query)


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{file}')",
        "read_text('{file}')",
        "read_parquet('{file}')",
        "glob('{file}')",
        "'{file}'",
        '"{file}"',
        "query('select 1')",
        "query_table('{file}')",
        "information_schema.tables",
        "duckdb_settings()",
        "duckdb_tables",
    ],
)
def test_sql_opens_no_file_and_no_inside_of_the_engine(finished_shop: Settings, tmp_path: Path, source: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("word\nopen sesame\n")
    for query in (
        "select * from {}",
        "select (select count(*) from {})",
        "with x as (select * from {}) select * from x",
    ):
        told = refusal(finished_shop.home, "sql", query.format(source.format(file=file)))
        assert "sesame" not in told
        assert "customer_profile" in told  # the tables there are


def test_sql_opens_no_file_by_the_name_of_a_common_table_expression(finished_shop: Settings, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("word\nopen sesame\n")
    query = f'select * from "{file}" where exists (with "{file}" as (select 1) select 1)'
    assert "cannot name a common table expression" in refusal(finished_shop.home, "sql", query)


def test_sql_that_the_engine_refuses_is_one_line(finished_shop: Settings) -> None:
    told = refusal(finished_shop.home, "sql", "select nosuch from customer_profile")
    assert "the query cannot be run" in told
    assert "nosuch" in told
    assert "the query cannot be read" in refusal(finished_shop.home, "sql", "selec 1 from")


# running


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("2023-10-07", "2023-10-07 is a Saturday; snapshots are weekly on Sundays, such as 2023-10-01"),
        ("2023-10-15", "2023-10-15 is later"),
        ("2199-01-06", "as the data ends on 2023-10-07"),
    ],
)
def test_a_snapshot_that_cannot_be_is_refused_with_the_reason(finished_shop: Settings, asked: str, told: str) -> None:
    assert told in refusal(finished_shop.home, "run", "--snapshot", asked)


def test_a_second_run_says_that_nothing_is_new(finished_shop: Settings, cdap: Cdap) -> None:
    told = (finished_shop.home / "done").read_text()
    assert "done in " in told
    again = cdap(finished_shop.home, "run")
    assert again.returncode == 0
    assert f"nothing is new: everything is up to date for {SNAPSHOT}" in again.stdout
    assert PLAN in again.stdout
    assert "This data set is closed" in again.stdout


def test_a_run_beside_another_says_who_holds_the_home(tmp_path: Path) -> None:
    settings = make_shop(tmp_path / "home")
    settings.locks.mkdir(exist_ok=True)
    (settings.locks / "run.holder").write_text("process 4711")
    with FileLock(settings.locks / "run.lock"):
        assert "is being run by process 4711; wait for it, or stop it" in refusal(settings.home, "run")


def test_a_broken_contract_is_told_and_the_rest_runs(tmp_path: Path, cdap: Cdap) -> None:
    settings = make_new_shop(tmp_path / "home")
    good = (settings.contracts / "orders.yaml").read_text()
    (settings.contracts / "returns.yaml").write_text(good.replace("orders", "returns").replace("amount}", "amout}"))
    run = cdap(settings.home, "run")
    assert "contract left out: " in run.stdout
    assert "returns.yaml:line" in "".join(run.stdout.split())  # a long path may be wrapped anywhere
    assert "order lines 19" in answer(settings.home, "sql", "select 'order lines ' || count(*) from order_lines")
    assert "raw_returns" not in run.stderr


# deliveries


def test_a_delivery_is_listed_replayed_and_withdrawn(taken: Settings) -> None:
    home = taken.home
    [delivery] = json.loads(answer(home, "deliveries", "list", "--json"))
    assert (delivery["accepted"], delivery["quarantined"]) == (len(purchases()), 1)
    assert delivery["id"] in answer(home, "deliveries", "list")
    assert "1 in quarantine" in answer(home, "deliveries", "replay", delivery["id"])
    assert "rows are withdrawn" in answer(home, "deliveries", "retract", delivery["id"], "--by", "Ann")
    [after] = json.loads(answer(home, "deliveries", "list", "--json"))
    assert (after["state"], after["note"]) == ("retracted", "by Ann")
    assert "was retracted already" in refusal(home, "deliveries", "retract", delivery["id"], "--by", "Ann")
    assert "is not in the ledger" in refusal(home, "deliveries", "replay", "orders-0000")


def test_help_lists_every_command(tmp_path: Path) -> None:
    told = answer(tmp_path, "--help")
    for command in ("init", "run", "ui", "status", "sql", "backfill", "plan", "models", "deliveries"):
        assert command in told


def test_the_command_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    code = "import sys, cdap_assets.cli; print({'mlflow', 'pandas', 'sklearn', 'duckdb', 'pyiceberg'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("arguments", [["sql", "select count(*) from customer_profile"], ["status"], ["run"]])
def test_what_runs_nothing_does_not_load_dagster(finished_shop: Settings, arguments: list[str]) -> None:
    code = """
import atexit, sys
atexit.register(lambda: print("dagster" in sys.modules))
from tests.shop import main
main()
"""
    done = python(finished_shop.home, "-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
