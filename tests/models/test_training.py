"""What models learn from and how they are judged: no label after the day asked for, and gates that say no."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import ibis
import pandas as pd
import pytest

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.lapse_model import asset as lapse_asset
from cdap_assets.models.lapse_model import judging as lapse_judging
from cdap_assets.models.review_parts import trained_on
from cdap_assets.models.scores import refuse_leak
from cdap_assets.models.training import (
    FEATURES,
    TRAINING_SNAPSHOTS,
    TRAINING_STEP,
    TooLittleHistory,
    TrainingConfig,
    lapse_frame,
    value_frame,
)
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion, TableRead
from resources.settings import Settings

FIRST = date(2023, 1, 1)


def week(number: int) -> date:
    return FIRST + timedelta(days=7 * number)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """24 weeks of features of ann and bob, with the labels that had closed by the 24th."""
    lakehouse = Lakehouse(Settings(home=tmp_path_factory.mktemp("lake"), threads=1, memory_limit="1GB"))
    features, lapses, values = [], [], []
    for number in range(1, 25):
        for customer in ("ann", "bob"):
            key: dict[str, Any] = {"snapshot_date": week(number), "customer_id": customer}
            plain = dict.fromkeys((name for name in CUSTOMER_FEATURES.names if name in FEATURES), number)
            features.append({**plain, **key, "first_purchase": FIRST, "last_purchase": FIRST, "currency": "EUR"})
            if week(number) + timedelta(days=LAPSE_HORIZON) <= week(24):
                eligible = customer == "ann" or number % 5 > 0
                lapses.append({**key, "eligible": eligible, "lapsed": number % 2 == 0 if eligible else None})
            if week(number) + timedelta(days=VALUE_HORIZON) <= week(24):
                values.append({**key, "purchase_days": 1, "net": number})
    with lakehouse.session() as session:
        for spec, rows in ((CUSTOMER_FEATURES, features), (LAPSE_LABELS, lapses), (VALUE_LABELS, values)):
            known = {column.name: column for column in spec.columns}
            full = [
                {
                    name: row.get(name, None if known[name].nullable else _filler(known[name].type))
                    for name in spec.names
                }
                for row in rows
            ]
            expression = ibis.memtable(pd.DataFrame(full)).cast(dict(spec.schema().items()))
            session.publish(spec, expression)
    return lakehouse


def _filler(kind: str) -> Any:
    if kind.startswith("timestamp"):
        return datetime(2023, 1, 1)
    return {"date": FIRST, "string": "EUR", "boolean": False}.get(kind, 0)


@pytest.mark.parametrize("as_of", [None, 24, 23, 22])
def test_no_label_that_closed_after_the_day_asked_for_is_learned(lake: Lakehouse, as_of: int | None) -> None:
    day = None if as_of is None else week(as_of)
    with lake.session() as session:
        frame = lapse_frame(session, day)
    newest = max(frame.rows["snapshot_date"])
    assert newest == frame.snapshots[-1] == week((as_of or 24) - LAPSE_HORIZON // 7)
    assert newest + timedelta(days=LAPSE_HORIZON) <= week(as_of or 24)


def test_a_row_holds_the_features_of_its_own_snapshot_and_only_of_customers_who_may_lapse(lake: Lakehouse) -> None:
    with lake.session() as session:
        frame = lapse_frame(session, None)
        snapshot = session.snapshot_id(CUSTOMER_FEATURES.name)
    for row in frame.rows.to_dict("records"):
        number = (row["snapshot_date"] - FIRST).days // 7
        assert {row[name] for name in FEATURES} == {number}
        assert row["label"] == (number % 2 == 0)
    assert snapshot is not None
    assert frame.sources[CUSTOMER_FEATURES.name] == TableRead(snapshot, 48)
    assert frame.sources[LAPSE_LABELS.name].rows == 40
    fifth = next(entry for entry in frame.card if entry[0] == week(10))
    assert fifth[1:3] == (1, 1)
    assert min(frame.snapshots) == FIRST + timedelta(days=ACTIVE_DAYS)


def test_too_little_history_is_told_with_what_is_needed(lake: Lakehouse) -> None:
    with lake.session() as session:
        with pytest.raises(TooLittleHistory, match=r"lapse model needs 10 weekly snapshots.*28-day.*there are 4"):
            lapse_frame(session, week(15))
        with pytest.raises(TooLittleHistory, match=r"value model needs 1 weekly snapshots.*91-day.*there are 0"):
            value_frame(session, week(18))


def test_features_of_two_snapshots_are_never_mixed_with_labels_that_overlap_them(lake: Lakehouse) -> None:
    with lake.session() as session:
        frame = lapse_frame(session, None)
    for test, days in trained_on(frame, LAPSE_HORIZON, TRAINING_STEP, TRAINING_SNAPSHOTS).items():
        assert all(day + timedelta(days=LAPSE_HORIZON) <= test for day in days)
    assert len(frame.test_snapshots) == 6


def version(name: str, closed: date) -> ModelVersion:
    return ModelVersion(name, 1, ("champion",), "run", {}, {"labels_closed": closed.isoformat(), "gates": "passed"})


def test_a_champion_does_not_score_a_snapshot_whose_future_it_knows() -> None:
    champions = {
        lapse_model.NAME: version(lapse_model.NAME, date(2023, 6, 4)),
        lifetime_value_model.NAME: version(lifetime_value_model.NAME, date(2023, 6, 11)),
    }
    refuse_leak(champions, [date(2023, 6, 11), date(2023, 6, 18)])
    with pytest.raises(dg.Failure, match="lifetime_value_model version 1 learned from days up to 2023-06-11") as caught:
        refuse_leak(champions, [date(2023, 6, 18), date(2023, 6, 4)])
    assert "after the snapshot 2023-06-04" in str(caught.value)
    assert not caught.value.allow_retries
    later = replace(champions[lapse_model.NAME], tags={"labels_closed": "2023-07-02"})
    with pytest.raises(dg.Failure, match="lapse_model version 1 learned from days up to 2023-07-02"):
        refuse_leak({**champions, lapse_model.NAME: later}, [date(2023, 6, 18)])


def test_every_fourth_snapshot_is_learned_so_that_no_two_labels_of_a_customer_overlap() -> None:
    rows = pd.DataFrame({"snapshot_date": [week(number) for number in range(60)]})
    days = sorted(set(lapse_judging.recent(rows)["snapshot_date"]))
    assert days[-1] == week(59)
    assert {(b - a).days for a, b in pairwise(days)} == {LAPSE_HORIZON}
    assert len(days) == 8


def test_a_wrong_as_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="yesterday"):
        _ = TrainingConfig(as_of="yesterday").cutoff
    assert TrainingConfig().cutoff is None


def failure_of_training(lake: Lakehouse, registry: ModelRegistry) -> str:
    """Why the lapse model's step failed, which was tried once."""
    resources = {
        "lakehouse": lake,
        "registry": registry,
        "installation": Calendar(lambda: datetime(2023, 7, 1)),
    }
    result = dg.materialize([lapse_asset.lapse_model], resources=resources, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""


def test_customers_too_few_to_learn_from_fail_the_step_once_with_the_reason(lake: Lakehouse) -> None:
    assert "cannot be trained on these customers" in failure_of_training(lake, ModelRegistry(lake.settings))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_champion_registered_by_hand_fails_the_step_once_with_what_to_do(lake: Lakehouse, tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    registry.client.create_registered_model(lapse_model.NAME)
    by_hand = registry.client.create_model_version(lapse_model.NAME, "file:///models/lapse").version
    registry.client.set_registered_model_alias(lapse_model.NAME, "champion", by_hand)
    told = failure_of_training(lake, registry)
    assert told.startswith("lapse_model version 1 was registered by hand")
    assert "delete it in MLflow" in told
