"""Activation files: only of approved plans, safe in a spreadsheet, whole or not there, and each in the audit."""

from __future__ import annotations

import csv
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cdap_assets.identity.customer_xref import id_of, linked_keys
from cdap_assets.retention import ledger
from cdap_assets.retention.export import Export, export, neutral
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.retention.tables import CONTACT, PLAN_EVENTS
from tests.retention.lake import NOON, PlanLake, S, policy, regulars

HOSTILE = ["=HYPERLINK(1)", "+49", "-x", "@at", "\ttab", "Žofie 顧客", 'quo"te,comma']
ALL = policy(holdout_share=0.0, control_share=0.0)


@pytest.fixture
def lake(tmp_path: Path) -> PlanLake:
    return PlanLake(tmp_path / "home", [*HOSTILE, *(f"k{number}" for number in range(20))])


def write(lake: PlanLake, plan: PlanId, seconds: int = 0) -> Export:
    with lake.session() as session:
        return export(session, lake.settings, plan, by="Ann", at=NOON + timedelta(hours=1, seconds=seconds))


def approve(lake: PlanLake, plan: PlanId, first: int | None = None) -> None:
    with lake.session() as session:
        ledger.approve(session, plan, by="Ann", at=NOON + timedelta(minutes=5), first=first)


def exported(lake: PlanLake) -> list[dict[str, Any]]:
    with lake.session() as session:
        rows = session.read(PLAN_EVENTS).to_pyarrow().to_pylist()
    return [row for row in rows if row["event"] == "exported"]


def test_only_an_approved_plan_is_exported(lake: PlanLake) -> None:
    plan = lake.draft(rules=ALL)
    with pytest.raises(PlanRefused, match="is draft; only an approved plan is exported"):
        write(lake, plan)
    with lake.session() as session:
        ledger.reject(session, plan, by="Ann", reason="no", at=NOON + timedelta(minutes=1))
    with pytest.raises(PlanRefused, match="is rejected"):
        write(lake, plan)
    with pytest.raises(PlanRefused, match="there is no plan"):
        write(lake, PlanId(S, 7))
    assert not lake.settings.exports.exists()
    assert exported(lake) == []


def test_a_spreadsheet_runs_no_cell_of_the_csv_and_the_parquet_keeps_the_keys_as_they_are(lake: PlanLake) -> None:
    plan = lake.draft(rules=ALL)
    approve(lake, plan)
    files = write(lake, plan)
    with Path(files.csv).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [cell for row in rows for cell in row.values() if cell[:1] in set("=+-@\t\r\n")]
    assert {row["customer_key"] for row in rows} >= {"'=HYPERLINK(1)", "'\ttab", "Žofie 顧客", 'quo"te,comma'}
    assert set(pd.read_parquet(files.parquet)["customer_key"]) == set(lake.keys)
    assert files.rows == len(rows) == len(lake.keys)


@pytest.mark.parametrize("start", list("=+-@\t\r\n"))
def test_every_sign_that_begins_a_formula_is_neutralised(start: str) -> None:
    cell = neutral(pd.DataFrame({"text": [f"{start}1", "a=1", None], "number": [-1, 2, 3]}))
    assert cell["text"].tolist()[:2] == [f"'{start}1", "a=1"]
    assert cell["number"].tolist() == [-1, 2, 3]


def test_each_export_is_in_the_audit_with_its_digest_and_leaves_earlier_files_alone(lake: PlanLake) -> None:
    plan = lake.draft(rules=ALL)
    approve(lake, plan)
    first, second = write(lake, plan), write(lake, plan, seconds=1)
    assert first.csv != second.csv
    assert Path(first.csv).exists()
    for files, noted in zip((first, second), sorted(exported(lake), key=lambda row: row["at"]), strict=True):
        assert noted["file_sha256"] == hashlib.sha256(Path(files.csv).read_bytes()).hexdigest()
        assert (noted["by"], noted["contacts"], noted["note"]) == (
            "Ann",
            files.rows,
            f"exports/{Path(files.folder).name}/",
        )
    with lake.session() as session:
        assert len(ledger.plan_states(session)[plan].exports) == 2


def test_a_partly_approved_plan_exports_just_what_was_approved(lake: PlanLake) -> None:
    plan = lake.draft(rules=ALL)
    approve(lake, plan, first=3)
    with lake.session() as session:
        rows = ledger.plan_rows(session, plan)
    best = rows[rows["decision"] == CONTACT].head(3)["customer_id"]
    assert list(pd.read_parquet(write(lake, plan).parquet)["customer_id"]) == list(best)


def test_a_customer_of_two_keys_is_exported_by_both(lake: PlanLake) -> None:
    link = {"key_space": "shop", "customer_key": "k0", "other_key_space": "web", "other_key": "mail"}
    linked = linked_keys([{**link, "known_at": NOON - timedelta(days=90), "superseded_at": None}])
    person = next(row["customer_id"] for row in linked if row["valid_to"] is None)
    others = [{"customer_key": key, "customer_id": id_of(("shop", key))} for key in lake.keys if key != "k0"]
    lake.publish("customer_xref", *linked, *others)
    scores = [person, *(row["customer_id"] for row in others)]
    names = [name for name in lake.keys if name == "k0"] + [name for name in lake.keys if name != "k0"]
    assert len(regulars(names)) == len(scores)
    lake.keys = names
    lake.score(S, customer_id=scores)
    plan = lake.draft(rules=ALL)
    approve(lake, plan)
    rows = pd.read_parquet(write(lake, plan).parquet)
    mine = rows[rows["customer_id"] == person]
    assert sorted(zip(mine["key_space"], mine["customer_key"], strict=True)) == [("shop", "k0"), ("web", "mail")]


def test_a_merge_after_the_approval_loses_nobody_his_key(lake: PlanLake) -> None:
    plan = lake.draft(rules=ALL)
    approve(lake, plan)
    link = {"key_space": "shop", "customer_key": "k0", "other_key_space": "shop", "other_key": "k1"}
    linked = linked_keys([{**link, "known_at": NOON, "superseded_at": None}])
    others = [
        {"customer_key": key, "customer_id": id_of(("shop", key))} for key in lake.keys if key not in ("k0", "k1")
    ]
    lake.publish("customer_xref", *linked, *others)
    rows = pd.read_parquet(write(lake, plan).parquet)
    assert sorted(rows["customer_key"]) == sorted(lake.keys)


def test_an_export_that_dies_leaves_no_files(lake: PlanLake, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lake.draft(rules=ALL)
    approve(lake, plan)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(OSError, match="no space"):
            write(lake, plan)
    assert not lake.settings.exports.exists()
    assert exported(lake) == []
    with monkeypatch.context() as patch:
        patch.setattr("cdap_assets.retention.export.record_export", full)
        with pytest.raises(OSError, match="no space"):
            write(lake, plan)
    # files that the audit does not know are worse than none
    assert not lake.settings.exports.exists()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="no space"):
            write(lake, plan)
    assert list(lake.settings.exports.iterdir()) == []
