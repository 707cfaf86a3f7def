"""Dagster as `cdap init --target aws` sets it up: runs and events in PostgreSQL, what steps print on S3."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cdap_assets.commands.new_home import make_aws_home
from resources.settings import Settings
from tests.asking import refusal
from tests.cloud.account import Aws
from tests.cloud.permissions import calls, refused
from tests.cloud.postgres import Postgres, postgres_server
from tests.cloud.processes import free_port
from tests.cloud.server_groups import serving
from tests.conftest import Cdap
from tests.shop import make_shop

__all__ = ["postgres_server"]

DEFINITIONS = """
import os
import dagster as dg

@dg.asset
def visits():
    print(f"visits were counted by {os.getpid()}")

@dg.asset(deps=[visits])
def visitors():
    print(f"visitors were counted by {os.getpid()}")

defs = dg.Definitions([visits, visitors], jobs=[dg.define_asset_job("count")])
"""
WORKSPACE = "load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: shop}}}}]"
PATIENCE = 180  # seconds


@dataclass(frozen=True)
class Deployment:
    """Dagster's commands in one folder, as the processes of docs/aws.md."""

    folder: Path
    variables: dict[str, str]

    @property
    def log(self) -> Path:
        """What the servers print."""
        return self.folder / "servers.log"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def await_code(self, port: int) -> None:
        """Wait until the code server answers."""
        until = time.monotonic() + PATIENCE
        # to ask whether it is well takes a process of its own: not before anybody listens
        while not listening(port) or self.command("dagster", "api", "grpc-health-check", "-p", str(port)).returncode:
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.2)


def listening(port: int) -> bool:
    """Whether somebody takes connections on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ended(server: Postgres, database: str) -> tuple[str, str]:
    """The one run, with its status once it has ended."""
    until = time.monotonic() + PATIENCE
    while True:
        runs = server.rows(database, "SELECT run_id, status FROM runs")
        if [status for _, status in runs] in (["SUCCESS"], ["FAILURE"]):
            return runs[0][0], runs[0][1]
        assert time.monotonic() < until, runs
        time.sleep(0.3)


def logged(aws: Aws, bucket: str, prefix: str) -> dict[str, str]:
    """Every object below ``prefix`` and what is in it."""
    s3 = aws.client("s3")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys}


def test_a_queued_run_is_recorded_in_postgresql_and_what_its_steps_print_is_on_s3(
    tmp_path: Path, postgres_server: Postgres, aws: Aws, bucket: str
) -> None:
    make_aws_home(tmp_path)
    (tmp_path / "shop.py").write_text(DEFINITIONS)
    port = free_port()
    (tmp_path / "workspace.yaml").write_text(WORKSPACE.format(port=port))
    database = "dagster"
    deployment = Deployment(
        tmp_path,
        {
            **os.environ,
            **aws.environment,
            "DAGSTER_HOME": str(tmp_path / "dagster"),
            "CDAP_POSTGRES_URL": postgres_server.create(database),
            "CDAP_LOGS_BUCKET": bucket,
            "CDAP_LOGS_PREFIX": "cdap/logs",
        },
    )
    server = [
        sys.executable,
        "-m",
        "dagster",
        "code-server",
        "start",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-f",
        "shop.py",
    ]
    daemon = [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
    # the daemon has no credentials: it launches runs and touches no data
    without = {name: value for name, value in deployment.variables.items() if name not in aws.environment}
    aws.forget_requests()
    with serving(server, deployment.variables, tmp_path, deployment.log):
        deployment.await_code(port)
        with serving(daemon, without, tmp_path, deployment.log):
            launched = deployment.command(
                "dagster", "job", "launch", "-w", "workspace.yaml", "-l", "shop", "-j", "count"
            )
            assert launched.returncode == 0, launched.stderr
            run_id, status = ended(postgres_server, database)
    assert status == "SUCCESS", deployment.log.read_text()
    assert refused(["cdap-runs"], calls(aws)) == set()
    events = "SELECT asset_key FROM event_logs WHERE run_id = %s AND dagster_event_type = %s ORDER BY id"
    assert postgres_server.rows(database, events, run_id, "ASSET_MATERIALIZATION") == [
        ('["visits"]',),
        ('["visitors"]',),
    ]
    assert len(postgres_server.rows(database, events, run_id, "PIPELINE_ENQUEUED")) == 1
    printed = {key: text for key, text in logged(aws, bucket, "cdap/logs/").items() if key.endswith(".out")}
    assert all(run_id in key for key in printed)
    [visits] = [text for text in printed.values() if "visits were counted by" in text]
    [visitors] = [text for text in printed.values() if "visitors were counted by" in text]
    assert visits.split()[-1] != visitors.split()[-1]  # a process each
    assert not list((tmp_path / "dagster").rglob("*.db"))


def test_a_home_on_aws_has_what_a_local_one_has_and_lets_one_run_go_at_a_time(tmp_path: Path) -> None:
    make_shop(tmp_path / "local")
    make_aws_home(tmp_path / "aws")
    local, aws = (
        yaml.safe_load((tmp_path / target / "dagster" / "dagster.yaml").read_text()) for target in ("local", "aws")
    )
    assert {name: aws[name] for name in local} == {
        **local,
        "concurrency": {**local["concurrency"], "runs": {"max_concurrent_runs": 1}},
    }


def test_no_file_of_a_home_on_aws_has_a_place_for_a_password(tmp_path: Path) -> None:
    make_aws_home(tmp_path)
    dagster_yaml = yaml.safe_load((tmp_path / "dagster" / "dagster.yaml").read_text())
    assert dagster_yaml["storage"] == {"postgres": {"postgres_url": {"env": "CDAP_POSTGRES_URL"}}}
    settings = (tmp_path / "settings.env").read_text()
    assert "CDAP_POSTGRES_URL=" not in settings
    assert "PASSWORD" not in settings


def test_a_new_home_on_aws_says_what_it_still_wants(tmp_path: Path, cdap: Cdap) -> None:
    home = tmp_path / "shop"
    made = cdap(home, "init", str(home), "--target", "aws", "--timezone", "Europe/Berlin")
    assert made.returncode == 0, made.stderr
    assert "docs/aws.md" in made.stdout
    assert {path.name for path in home.iterdir()} == {"contracts", "dagster", "retention.yaml", "settings.env"}
    wanted = "error: catalog glue with engine athena also needs CDAP_WAREHOUSE"
    assert refusal(home, "status").startswith(wanted)
    assert "is an installation already" in refusal(home, "init", str(home), "--target", "aws")
    example = refusal(home, "init", str(tmp_path / "other"), "--target", "aws", "--example")
    assert "the example is for a local home" in example
    assert not (tmp_path / "other").exists()


def test_what_the_settings_of_a_home_on_aws_leave_open_can_be_written_as_shown(tmp_path: Path) -> None:
    make_aws_home(tmp_path)
    file = tmp_path / "settings.env"
    shown = re.sub(r"^# (CDAP_\w+=)", r"\1", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(shown, encoding="utf-8")
    settings = Settings.load(tmp_path)
    assert (settings.engine, settings.warehouse) == ("athena", "s3://bucket/prefix")
    named = {name.removeprefix("CDAP_").lower() for name in re.findall(r"^(CDAP_\w+)=", shown, flags=re.MULTILINE)}
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "reads CDAP_POSTGRES_URL from the environment"),
        ("postgresql://cdap:hush@127.0.0.1:{port}/dagster", "write postgresql+psycopg2://"),
        ("postgresql+psycopg2://cdap:hush@127.0.0.1:{port}/dagster", "CDAP_POSTGRES_URL does not answer"),
        ("dagster at hush", "CDAP_POSTGRES_URL does not answer"),
    ],
)
def test_without_its_database_a_run_ends_soon_and_says_what_is_missing(
    tmp_path: Path, url: str | None, told: str
) -> None:
    settings = make_shop(tmp_path / "home")
    make_aws_home(tmp_path / "aws")
    (tmp_path / "aws" / "dagster" / "dagster.yaml").replace(settings.home / "dagster" / "dagster.yaml")
    variables = {"CDAP_POSTGRES_URL": url.format(port=free_port())} if url else {}
    began = time.monotonic()
    error = refusal(settings.home, "run", CDAP_LOGS_BUCKET="none", CDAP_LOGS_PREFIX="none", **variables)
    assert told in error
    assert "hush" not in error
    assert time.monotonic() - began < 60
