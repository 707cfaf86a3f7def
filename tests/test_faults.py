"""What goes wrong around the main job: killed, a crowd on a new home, no MLflow, no model, no space, no folder."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

import cdap as product
from cdap_assets.commands.running import execute
from cdap_assets.installation import Installation
from cdap_assets.work.stages import Stage
from resources.settings import Settings
from tests.asking import answer
from tests.conftest import Cdap, environment
from tests.shop import CLOCK, FEW_LINES, SNAPSHOT, make_new_shop, make_shop, purchases

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
]
COMMAND = [sys.executable, "-c", "from cdap_assets.cli import app; app()"]
# a stage as `cdap run` announces it, and the seconds within which it is killed
KILLS = [("lake", 8.0), ("features", 6.0), ("models", 12.0), ("scores and plan", 3.0)]
BY_THE_CLOCK = {"features_snapshot_id", "lapse_model_version", "value_model_version", "at", "delivered_at"}
SAME = (
    "order_lines", "orders", "customer_days", "customer_xref", "customer_segments", "customer_profile",
    "customer_features", "lapse_labels", "value_labels", "customer_scores", "retention_plan",
)  # fmt: skip


def rows(lake: product.Lake, name: str) -> list[dict[str, Any]]:
    """The rows of a table without what only tells when or by which version it was made."""
    table = lake.table(name)
    kept = [column for column in table.columns if column not in BY_THE_CLOCK]
    return sorted(table.select(kept).to_pyarrow().to_pylist(), key=str)


def killed_in(settings: Settings, stage: str, after: float) -> bool:
    """Start the main job and kill it some seconds into a stage; whether it was still at work then."""
    process = subprocess.Popen(
        [*COMMAND, "run"],
        env=environment(settings.home, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"{stage}: "):
            break
    time.sleep(after)
    at_work = process.poll() is None
    process.kill()
    process.stdout.close()
    process.wait()
    return at_work


def test_a_run_killed_at_any_moment_leaves_readable_tables_and_the_next_one_completes(
    finished_shop: Settings, tmp_path: Path, cdap: Cdap
) -> None:
    drawn = random.Random(1)
    settings = make_shop(tmp_path / "home")
    at_work = 0
    for stage, longest in KILLS:
        at_work += killed_in(settings, stage, drawn.uniform(0, longest))
        lake = product.open(settings.home)
        for name in lake.tables:
            lake.table(name).count().to_pyarrow()
        assert rows(lake, "raw_orders") == [] or len(rows(lake, "raw_orders")) == len(purchases())
    assert at_work >= 2
    run = cdap(settings.home, "run")
    assert run.returncode == 0, run.stdout + run.stderr

    whole, undisturbed = product.open(settings.home), product.open(finished_shop.home)
    [accepted] = [row["accepted"] for row in rows(whole, "deliveries") if row["event"] == "accepted"]
    assert accepted == len(rows(whole, "raw_orders")) == len(purchases())
    for name in SAME:
        assert rows(whole, name) == rows(undisturbed, name), name
    found = json.loads(answer(settings.home, "status", "--json"))
    assert [plan["state"] for plan in found["plans"]] == ["draft"]


def test_four_at_once_on_a_new_home_finish_or_say_who_holds_it(tmp_path: Path) -> None:
    settings = make_new_shop(tmp_path / "home")
    commands = [["run"], ["run"], ["status", "--json"], ["models", "list"]]
    processes = [
        subprocess.Popen(
            [*COMMAND, *command],
            env=environment(settings.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    told = [process.communicate(timeout=600) for process in processes]
    assert not [errors for _output, errors in told if "Traceback" in errors]
    held = [errors for _output, errors in told[:2] if "is being run by `cdap run` (process" in " ".join(errors.split())]
    assert len(held) <= 1
    assert [process.returncode for process in processes[2:]] == [0, 0], told[2:]
    lake = product.open(settings.home)
    assert len(rows(lake, "raw_orders")) == FEW_LINES
    assert len(rows(lake, "deliveries")) == 1


FEW = 40  # customers


@pytest.fixture(scope="module")
def unlearned(
    tmp_path_factory: pytest.TempPathFactory, cdap: Cdap
) -> tuple[Settings, subprocess.CompletedProcess[str]]:
    """A shop too small to learn from, and its first run, whose MLflow server did not answer."""
    settings = make_shop(tmp_path_factory.mktemp("unlearned") / "home", FEW)
    return settings, cdap(settings.home, "run", CDAP_MLFLOW_URI="http://127.0.0.1:9")


def test_without_its_mlflow_server_the_tables_are_built_and_the_error_says_what_to_do(
    unlearned: tuple[Settings, subprocess.CompletedProcess[str]],
) -> None:
    settings, run = unlearned
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    told = " ".join(run.stderr.split())
    assert "error: MLflow at http://127.0.0.1:9 does not answer" in told
    assert "Nothing was registered" in told
    lake = product.open(settings.home)
    assert len(rows(lake, "order_lines")) == len(purchases(FEW))
    assert rows(lake, "lapse_labels")
    assert rows(lake, "customer_scores") == []


def test_a_first_version_that_fails_its_gate_ends_the_run_with_the_reason(
    unlearned: tuple[Settings, subprocess.CompletedProcess[str]], cdap: Cdap
) -> None:
    settings, _run = unlearned
    run = cdap(settings.home, "run")
    assert run.returncode == 0, run.stdout + run.stderr
    told = " ".join(run.stdout.split())
    assert "lake: " not in told
    assert f"No plan for {SNAPSHOT}" in told
    assert "lapse_model v1 has gates failed: beats_frequency, beats_recency, calibrated, enough_lapses" in told
    assert "nobody can approve it" in told
    again = cdap(settings.home, "run")
    assert again.returncode == 0
    assert "nothing is new" in again.stdout
    assert f"No plan for {SNAPSHOT}" in again.stdout


def test_a_home_below_a_file_is_told_in_one_line(tmp_path: Path, cdap: Cdap) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["init", str(tmp_path / "file" / "home")], ["status"], ["run"]):
        done = cdap(tmp_path / "file" / "home", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_a_run_goes_on_when_its_progress_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_new_shop(tmp_path / "home")
    has_run = dg.DagsterInstance.has_run

    def full(instance: dg.DagsterInstance, run_id: str) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise OperationalError("SELECT", {}, OSError("disk I/O error"))
        return has_run(instance, run_id)

    monkeypatch.setattr(dg.DagsterInstance, "has_run", full)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
    execute(Installation.of(settings, lambda: CLOCK), Stage("refresh_lake", "lake", "a test asks"))
    assert len(rows(product.open(settings.home), "order_lines")) == FEW_LINES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_heals_when_there_is_space(small_disk: Path, cdap: Cdap) -> None:
    settings = make_new_shop(small_disk / "home")
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"0" * 65536)
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - 700_000)  # room for catalogs to begin, not for the tables
    run = cdap(settings.home, "run")
    assert run.returncode != 0  # 1, or Python's own 120 where not even a log could be flushed
    assert "Traceback" not in run.stderr
    assert "error: " in run.stderr
    filler.unlink()
    cdap(settings.home, "run")
    lake = product.open(settings.home)
    assert len(rows(lake, "raw_orders")) == len(rows(lake, "order_lines")) == FEW_LINES
    assert len(rows(lake, "deliveries")) == 1
