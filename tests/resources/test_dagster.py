"""What Dagster shows of an installation, and what its runs are given: as it is set up, or as one run asks for."""

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from dagster._core.remote_representation.external_data import RepositorySnap, ResourceSnap  # what the UI is given
from dagster_duckdb import DuckDBResource

from cdap_assets.definitions import build_definitions
from resources.clock import Calendar
from resources.dagster import duckdb_connection, resources_of, without_password
from resources.engines.duckdb_connection import connection_config, local_connection
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from resources.stores.aws import CredentialsExpired
from resources.stores.s3_store import S3Store
from tests.resources.visits import FIRST, VISITS, visits
from tests.shop import CLOCK, make_new_shop

SECRET = "geheim"
S3 = {"warehouse": "s3://bucket/prefix", "region": "eu-central-1"}
LOCAL: dict[str, Any] = {}
AWS = {"target": "aws", **S3, "athena_workgroup": "cdap"}
TRINO = {
    **S3,
    "catalog": "rest",
    "engine": "trino",
    "catalog_uri": f"https://reader:{SECRET}@catalog.example/v1?token={SECRET}",
    "catalog_credential": f"client:{SECRET}",
    "trino_uri": f"https://reader:{SECRET}@trino.example:8443/lake",
    "trino_password": SECRET,
    "mlflow_uri": f"https://reader:{SECRET}@mlflow.example",
}


def made(home: Path, **chosen: Any) -> Settings:
    return Settings(home=home, threads=1, memory_limit="1GB", **chosen)


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of an installation whose one source of orders is closed."""
    calendar = Calendar(lambda: CLOCK, date(2023, 10, 7))
    return resources_of(Lakehouse(settings, lambda: CLOCK), ModelRegistry(settings), calendar, {"till": FIRST})


def given(settings: Settings, key: str, look: Callable[[Any], Any] = lambda it: it, **config: Any) -> Any:
    """What a run of ``config`` is given as the resource ``key``, or what ``look`` makes of it within the run."""
    seen = []

    @dg.op(required_resource_keys={key})
    def looking(context: dg.OpExecutionContext) -> None:
        seen.append(look(getattr(context.resources, key)))

    @dg.job(resource_defs=resources(settings))
    def once() -> None:
        looking()

    with dg.DagsterInstance.ephemeral() as instance:
        once.execute_in_process(run_config={"resources": {key: {"config": config}}}, instance=instance)
    [found] = seen
    return found


def refusal(settings: Settings, key: str, **config: Any) -> str:
    with pytest.raises(dg.DagsterError) as refused:
        given(settings, key, **config)
    return str(refused.value.__cause__)


def cards(settings: Settings) -> dict[str, ResourceSnap]:
    definitions = build_definitions(settings, clock=lambda: CLOCK)
    return {card.name: card for card in RepositorySnap.from_def(definitions.get_repository_def()).resources}


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")  # Dagster asks itself for it
@pytest.mark.filterwarnings("ignore:Deprecated in 0.8.0")  # pyiceberg would be told of an OAuth server
@pytest.mark.parametrize(
    ("chosen", "catalog", "engine"), [(LOCAL, "sqlite", "duckdb"), (AWS, "glue", "athena"), (TRINO, "rest", "trino")]
)
def test_the_cards_of_each_set_say_what_it_is_and_hold_no_secret(
    tmp_path: Path, chosen: dict[str, Any], catalog: str, engine: str
) -> None:
    make_new_shop(tmp_path / "home")
    settings = made(tmp_path / "home", timezone="Europe/Berlin", **chosen)
    found = cards(settings)
    connections = ["duckdb", *(["s3"] if settings.warehouse else [])]
    assert sorted(found) == sorted(["installation", "lakehouse", "registry", *connections])
    shown = {}
    for name, card in found.items():
        assert card.resource_snapshot.description, name
        assert [field.name for field in card.config_field_snaps if not field.description] == []
        shown[name] = {key: json.loads(str(value)) for key, value in card.configured_values.items()}
    assert (shown["lakehouse"]["catalog"], shown["lakehouse"]["engine"]) == (catalog, engine)
    assert shown["lakehouse"]["storage"] == settings.warehouse
    assert sorted(found["lakehouse"].nested_resources) == connections
    assert shown["duckdb"]["connection_config"]["memory_limit"] == "1GB"
    assert shown["installation"] == {
        "home": str(settings.home),
        "timezone": "Europe/Berlin",
        "first_snapshot": "2020-01-05",
        "closed": {"orders": "2023-10-07"},
        "as_of": "",
    }
    assert "mlflow" in shown["registry"]["tracking_uri"]
    if settings.warehouse:
        assert shown["s3"]["region_name"] == "eu-central-1"
    assert SECRET not in str([card.__dict__ if hasattr(card, "__dict__") else card for card in found.values()])
    assert SECRET not in json.dumps(shown)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (
            "postgresql+psycopg2://cdap:p@ss/word@db:5432/mlflow?sslpassword=x",
            "postgresql+psycopg2://cdap@db:5432/mlflow",
        ),
        ("postgresql://db/mlflow?user=cdap&password=p@ss", "postgresql://db/mlflow"),
        ("https://cdap:p?ss@host", "https://cdap"),
        ("https://reader@host:8443/lake", "https://reader@host:8443/lake"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_a_run_gets_the_set_that_its_config_names(tmp_path: Path) -> None:
    def publish(lakehouse: Lakehouse) -> tuple[str, str, str]:
        with lakehouse.session("run") as session:
            session.publish(VISITS, visits((1, FIRST)))
        return lakehouse.settings.catalog, lakehouse.settings.engine, lakehouse.settings.warehouse

    settings = made(tmp_path, **TRINO)
    chosen = {"catalog": "sqlite", "storage": "", "engine": "duckdb"}
    assert given(settings, "lakehouse", publish, **chosen) == ("sqlite", "duckdb", "")
    assert Lakehouse(made(tmp_path)).state("visits").rows == 1
    in_process = given(settings, "lakehouse", engine="duckdb").settings
    assert (in_process.catalog, in_process.engine, in_process.warehouse) == ("rest", "duckdb", S3["warehouse"])
    assert in_process.catalog_credential.get_secret_value() == f"client:{SECRET}"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"engine": "trino"}, "Trino cannot read a SQLite catalog; set CDAP_CATALOG=glue or rest"),
        ({"engine": "athena", "catalog": "glue"}, "also needs CDAP_WAREHOUSE (s3://bucket/prefix), CDAP_ATHENA_WORKG"),
        ({"storage": "s3://bucket/prefix"}, "a SQLite catalog is for tables in the home; unset CDAP_WAREHOUSE"),
        ({"database": "Our Tables"}, "CDAP_DATABASE: String should match pattern"),
    ],
)
def test_a_set_that_cannot_work_is_refused_as_settings_are(tmp_path: Path, config: dict[str, str], told: str) -> None:
    # where Trino and a region are known, only what is still missing is told
    settings = made(tmp_path, region="eu-central-1", trino_uri="https://reader@trino.example/lake")
    assert told in refusal(settings, "lakehouse", **config)


@pytest.mark.parametrize(
    ("key", "field", "value", "set_by"),
    [
        ("installation", "timezone", "Europe/Berlin", "CDAP_TIMEZONE, before anything is built"),
        ("installation", "first_snapshot", "2021-01-03", "CDAP_FIRST_SNAPSHOT"),
        ("installation", "closed", {}, "`ends` in the contract of the source"),
        ("lakehouse", "trino_uri", "https://reader@elsewhere.example/lake", "CDAP_TRINO_URI"),
        ("registry", "tracking_uri", "https://elsewhere.example", "CDAP_MLFLOW_URI"),
    ],
)
def test_what_is_only_shown_is_refused_when_a_run_asks_for_another(
    tmp_path: Path, key: str, field: str, value: Any, set_by: str
) -> None:
    assert refusal(made(tmp_path), key, **{field: value}).startswith(
        f"{field} is not chosen for a run; it is set by {set_by}"
    )


def test_as_of_is_now_to_a_run_and_empty_means_now(tmp_path: Path) -> None:
    settings = made(tmp_path)
    now = given(settings, "installation")
    assert (now.now(), now.data_ends) == (CLOCK, date(2023, 10, 7))
    then = given(settings, "installation", as_of="2023-03-05T06:00:00+02:00")
    assert (then.now(), then.data_ends) == (datetime(2023, 3, 5, 4), date(2023, 10, 7))
    assert "is later than now, 2023-10-09T08:00:00Z" in refusal(settings, "installation", as_of="2023-10-09T08:00:01Z")
    for text in ("2023-03-05", "2023-03-05T06:00:00", "yesterday"):
        assert "is not an instant" in refusal(settings, "installation", as_of=text)


def test_runs_of_one_process_share_what_is_costly_to_open(tmp_path: Path) -> None:
    own = resources(made(tmp_path))
    with dg.build_resources(own) as first, dg.build_resources(own) as second:
        assert first.registry is second.registry
        assert first.lakehouse.catalog is second.lakehouse.catalog


def test_one_client_of_s3_serves_all_stores_of_a_run(tmp_path: Path) -> None:
    with dg.build_resources(resources(made(tmp_path, **AWS))) as run:
        lake, landing = run.lakehouse.stores.lake, run.lakehouse.stores.landing
        assert isinstance(lake, S3Store)
        assert isinstance(landing, S3Store)
        assert lake.client is landing.client
    with_s3 = {"catalog": "glue", "storage": "s3://bucket/prefix"}
    elsewhere = given(made(tmp_path, region="eu-central-1"), "lakehouse", lambda run: run.stores.lake, **with_s3)
    assert elsewhere.client.meta.region_name == "eu-central-1"


def test_the_client_of_s3_names_us_and_refuses_credentials_that_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    sent: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        body = SimpleNamespace(stream=lambda *_, **__: iter([b"<Error><Code>ExpiredToken</Code></Error>"]))
        return AWSResponse(request.url, 400, {}, body)

    client = given(made(tmp_path, **AWS), "lakehouse", lambda run: run.stores.lake).client
    client.meta.events.register("before-send.s3", answer)
    with pytest.raises(CredentialsExpired, match="ExpiredToken from ListObjectsV2"):
        client.list_objects_v2(Bucket="bucket")
    assert str(sent[0].headers["User-Agent"]).split()[-1] == "cdap"


def opened_plainly(settings: Settings) -> Any:
    return local_connection(settings)


def opened_by_dagster(settings: Settings) -> Any:
    return duckdb_connection(DuckDBResource(database=":memory:", connection_config=connection_config(settings)))


@pytest.mark.parametrize("opened", [opened_plainly, opened_by_dagster])
def test_a_connection_is_in_utc_within_its_limits_and_closed_when_its_body_fails(
    tmp_path: Path, opened: Callable[[Settings], Any]
) -> None:
    names = ("TimeZone", "threads", "memory_limit", "temp_directory")
    used: list[duckdb.DuckDBPyConnection] = []
    found: list[Any] = []

    def fail() -> None:
        with opened(made(tmp_path)) as connection:
            used.append(connection)
            told = ", ".join(f"current_setting('{name}')" for name in names)
            found.append(connection.execute(f"SELECT {told}").fetchone())
            raise RuntimeError("body")

    with pytest.raises(RuntimeError, match="body"):
        fail()
    assert found == [("UTC", 1, "953.6 MiB", str(tmp_path / "spill"))]
    with pytest.raises(duckdb.ConnectionException):
        used[0].execute("SELECT 1")


def test_a_session_of_a_run_closes_dagsters_connection_when_the_run_fails(tmp_path: Path) -> None:
    left: list[duckdb.DuckDBPyConnection] = []
    agents: list[Any] = []

    def fail(lakehouse: Lakehouse) -> None:
        with lakehouse.in_process() as session:
            left.append(session.engine.backend.con)
            agents.extend(left[0].execute("SELECT current_setting('custom_user_agent')").fetchone() or ())
            raise RuntimeError("body")

    with pytest.raises(RuntimeError, match="body"):
        given(made(tmp_path), "lakehouse", fail)
    assert agents == ["dagster"]
    with pytest.raises(duckdb.ConnectionException):
        left[0].execute("SELECT 1")
