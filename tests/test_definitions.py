"""The definitions that Dagster loads: light, the same by every door, complete, and alive beside a broken contract."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from cdap_assets.commands.new_home import EXAMPLE_CONTRACTS, EXAMPLE_FIRST_SNAPSHOT, EXAMPLE_ZONE, TEMPLATES
from cdap_assets.commands.run_origin import LOCATION
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.definitions import build_definitions
from resources.settings import Group, Settings
from tests.conftest import environment
from tests.shop import CONTRACT

ROOT = Path(__file__).parents[1]
# duckdb is not among them: dagster-duckdb imports it, in 80 ms
HEAVY = ("mlflow", "sklearn", "pandas", "pyiceberg", "scipy", "altair", "boto3", "vl_convert", "matplotlib", "shap")
LOAD = """
import json, sys, time
import dagster
started, used = time.perf_counter(), time.process_time()
from cdap_assets.definitions import defs
found = defs()
spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - used}
keys = sorted(key.to_user_string() for key in found.resolve_asset_graph().get_all_asset_keys())
print(json.dumps({"keys": keys, "heavy": [name for name in %r if name in sys.modules], **spent}))
"""


def example(home: Path) -> Settings:
    """A home with the example's contracts and nothing else."""
    (home / "contracts").mkdir(parents=True)
    for contract in EXAMPLE_CONTRACTS.glob("*.yaml"):
        (home / "contracts" / contract.name).write_text(contract.read_text(encoding="utf-8"), encoding="utf-8")
    return Settings(home=home, timezone=EXAMPLE_ZONE, first_snapshot=EXAMPLE_FIRST_SNAPSHOT)


def loaded(home: Path) -> dict[str, Any]:
    """What a fresh process finds when it loads the definitions of ``home`` as Dagster's tools do."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD % (HEAVY,)],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def keys(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


def test_loading_imports_no_heavy_library_and_gives_no_warning(tmp_path: Path) -> None:
    example(tmp_path / "home")
    found = loaded(tmp_path / "home")
    print(f"definitions load in {found['seconds']:.2f} s, {found['cpu']:.2f} s of them computing")
    assert found["heavy"] == []
    assert "raw_transactions" in found["keys"]


@pytest.mark.parametrize("home", ["missing", "empty"])
def test_a_home_that_is_missing_or_empty_loads_and_is_not_written_to(tmp_path: Path, home: str) -> None:
    if home == "empty":
        (tmp_path / home).mkdir()
    before = sorted(tmp_path.rglob("*"))
    found = loaded(tmp_path / home)
    assert "customer_profile" in found["keys"]
    assert not [key for key in found["keys"] if key.startswith("raw_")]
    assert sorted(tmp_path.rglob("*")) == before


def test_workspace_and_project_file_name_the_same_module_and_location() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    project, dg_project = tool["dagster"], tool["dg"]["project"]
    [entry] = yaml.safe_load((TEMPLATES / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    module = entry["python_module"]
    assert module["module_name"] == project["module_name"] == dg_project["code_location_target_module"]
    assert module["location_name"] == project["code_location_name"] == dg_project["code_location_name"] == LOCATION


def dg_command(home: Path, *arguments: str) -> str:
    """What Dagster's `dg` prints about a home, run in the folder of the repo."""
    done = subprocess.run(
        [Path(sys.executable).parent / "dg", *arguments],
        env=environment(home, DAGSTER_DISABLE_TELEMETRY="yes"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_dg_checks_the_definitions_of_a_home(tmp_path: Path) -> None:
    example(tmp_path / "home")
    assert "All definitions loaded successfully" in dg_command(tmp_path / "home", "check", "defs")


def test_dg_lists_the_definitions_of_a_home(tmp_path: Path) -> None:
    settings = example(tmp_path / "home")
    listed = json.loads(dg_command(settings.home, "list", "defs", "--json"))
    assert {found["asset_key"] for found in listed["assets"]} == keys(build_definitions(settings))
    assert {"decide_plan", "refresh_lake"} <= {found["name"] for found in listed["jobs"]}


def test_definitions_are_fresh_each_time_and_belong_to_their_own_home(tmp_path: Path) -> None:
    first = build_definitions(example(tmp_path / "one"))
    again = build_definitions(Settings.load(tmp_path / "one"))
    other = build_definitions(Settings(home=tmp_path / "two"))
    assert keys(first) == keys(again)
    assert first.resources is not None
    assert again.resources is not None
    assert first.resources["lakehouse"] is not again.resources["lakehouse"]
    raw = {f"raw_{file.stem}" for file in EXAMPLE_CONTRACTS.glob("*.yaml")}
    assert raw < keys(first) - keys(other) <= {*raw, *ENTITIES}


def test_a_broken_contract_is_an_asset_that_fails_with_the_place_and_the_rest_works(tmp_path: Path) -> None:
    settings = example(tmp_path / "home")
    (settings.contracts / "orders.yaml").write_text(CONTRACT.replace("transformLogic: amount", "transformLogic: amout"))
    definitions = build_definitions(settings)
    assert "raw_transactions" in keys(definitions)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey("raw_orders")], instance=instance, raise_on_error=False
        )
    assert not result.success
    [failure] = result.get_step_failure_events()
    assert failure.step_failure_data.user_failure_data is not None
    told = failure.step_failure_data.user_failure_data.description or ""
    assert "orders.yaml: line " in told
    assert "amout" in told
    assert "amount" in told.replace("amout", "")  # and what it may have meant


def test_every_asset_says_what_it_is_whose_it_is_and_where_it_belongs(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        specs = list(build_definitions(example(tmp_path / "home")).resolve_all_asset_specs())
    for spec in specs:
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.group_name not in (None, "default"), spec.key
        assert spec.kinds, spec.key


def test_owners_and_tags_of_assets_are_those_of_the_settings(tmp_path: Path) -> None:
    own = {"*": "team:crm", "models": "ann@example.com"}
    settings = example(tmp_path / "home").model_copy(update={"owners": own, "tags": {"cost-center": "4711"}})
    specs = list(build_definitions(settings).resolve_all_asset_specs())
    assert {spec.group_name for spec in specs} == set(get_args(Group))
    for spec in specs:
        assert spec.owners == ["ann@example.com" if spec.group_name == "models" else "team:crm"]
        assert spec.tags["cost-center"] == "4711"
        assert spec.kinds, spec.key


@pytest.mark.parametrize("switch", [False, True])
def test_nothing_runs_by_itself_unless_automation_is_on(tmp_path: Path, switch: bool) -> None:
    definitions = build_definitions(Settings(home=tmp_path, automation=switch))
    repository = definitions.get_repository_def()
    states = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    states |= {schedule.name: schedule.default_status.value for schedule in repository.schedule_defs}
    assert states == dict.fromkeys(
        [
            "failure_sensor",
            "main_job",
            "storage_restore_sensor",
            "storage_review",
            "storage_tiering_sensor",
            "sweep",
        ],
        "RUNNING" if switch else "STOPPED",
    )


def test_the_asset_graph_of_the_example_is_as_it_was(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    definitions = build_definitions(example(tmp_path / "home"))
    graph = definitions.resolve_asset_graph()
    described = {}
    for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string()):
        node = graph.get(spec.key)
        described[spec.key.to_user_string()] = {
            "group": spec.group_name,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "kinds": sorted(spec.kinds),
            "weekly": spec.partitions_def is not None,
            "checks": sorted(key.name for key in node.check_keys),
        }
    assert described == snapshot
