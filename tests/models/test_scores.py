"""Scoring: streamed in batches into one commit, with intervals where the champion learned them, and its sources."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.models import lapse_model, lifetime_value_model, scores
from cdap_assets.models.scores import score_batches, spooled
from cdap_assets.models.serving import MODELS
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.models.themes import THEMES
from ml.intervals import OutOfTimeIntervals
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import InProcess
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.shop import CLOCK, SNAPSHOT


@pytest.fixture
def session(ran_shop: Settings) -> Iterator[InProcess]:
    with Lakehouse(ran_shop).in_process() as opened:
        yield opened


def scored(registry: ModelRegistry, session: InProcess, day: date = SNAPSHOT, **changed: Any) -> list[pd.DataFrame]:
    champions = {name: registry.version(name, 1) for name in MODELS}
    models = {name: registry.load(version) for name, version in champions.items()}
    for name, intervals in changed.items():
        models[name].intervals_ = intervals
    return list(score_batches(session, [day], champions, models))


def test_scoring_in_batches_is_scoring_in_one_pass_and_an_unbuilt_snapshot_scores_nobody(
    registry: ModelRegistry, session: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(registry, session)
    monkeypatch.setattr(scores, "BATCH", 17)
    parts = scored(registry, session)
    assert len(whole) == 1
    assert len(parts) > 5
    one, many = (pd.concat(found).sort_values("customer_id", ignore_index=True) for found in (whole, parts))
    numbers = ["lapse_probability", "expected_purchases", "lapse_low", "lapse_high", "spend_low", "spend_high"]
    np.testing.assert_allclose(one[numbers].astype(float), many[numbers].astype(float), rtol=1e-9)
    np.testing.assert_allclose(one["expected_spend"].astype(float), many["expected_spend"].astype(float), atol=1e-4)
    rest = [name for name in one.columns if name not in (*numbers, "expected_spend")]
    pd.testing.assert_frame_equal(one[rest], many[rest])
    assert scored(registry, session, SNAPSHOT + timedelta(days=7)) == []


def test_the_sources_of_a_score_are_written_beside_it(session: InProcess) -> None:
    rows = session.read(CUSTOMER_SCORES, {"snapshot_date": [SNAPSHOT]}).to_pandas()
    (snapshot_id,) = set(rows["features_snapshot_id"])
    last = session.last_publish(CUSTOMER_SCORES.name)
    assert last is not None
    assert last.inputs == {CUSTOMER_FEATURES.name: snapshot_id}


def test_a_champion_that_learned_no_interval_leaves_it_empty_and_one_that_did_fills_it(
    registry: ModelRegistry, session: InProcess
) -> None:
    (without,) = scored(registry, session, **dict.fromkeys(MODELS))
    bounds = ["lapse_low", "lapse_high", "spend_low", "spend_high"]
    assert without[bounds].isna().all(axis=None)
    rng = np.random.default_rng(0)
    chance, spend = rng.random(500), rng.gamma(2, 50, 500)
    learned = {
        lapse_model.NAME: OutOfTimeIntervals("probability").fit(chance, rng.random(500) < chance),
        lifetime_value_model.NAME: OutOfTimeIntervals("spend").fit(spend, spend * rng.lognormal(0, 1, 500)),
    }
    (rows,) = scored(registry, session, **learned)
    eligible = rows["eligible"].to_numpy()
    assert (rows["spend_low"] < rows["spend_high"]).all()
    assert (rows.loc[eligible, "lapse_low"] < rows.loc[eligible, "lapse_high"]).all()
    assert rows.loc[~eligible, ["lapse_low", "lapse_high"]].isna().all(axis=None)


@dataclass
class Alive:
    """How many scored batches were still in memory whenever the next one was scored."""

    batches: list[weakref.ref[pd.DataFrame]] = field(default_factory=list)
    most: int = 0

    def watch(self, score: Any) -> Any:
        def watched(*arguments: Any) -> pd.DataFrame:
            self.most = max(self.most, sum(batch() is not None for batch in self.batches))
            found: pd.DataFrame = score(*arguments)
            self.batches.append(weakref.ref(found))
            return found

        return watched


@pytest.mark.filterwarnings("default")
def test_the_asset_holds_one_batch_at_a_time_and_publishes_them_all_in_one_commit(
    ran_shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = Alive()
    monkeypatch.setattr(scores, "BATCH", 20)
    monkeypatch.setattr(scores, "score", alive.watch(scores.score))
    lakehouse = Lakehouse(ran_shop)

    def read() -> tuple[list[int], pd.DataFrame]:
        table = lakehouse.load(CUSTOMER_SCORES.name)
        assert table is not None
        with lakehouse.in_process() as session:
            rows = session.read(CUSTOMER_SCORES).order_by("customer_id").to_pandas()
        return [snapshot.snapshot_id for snapshot in table.snapshots()], rows

    commits, before = read()
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(ran_shop, clock=lambda: CLOCK).resolve_job_def("score_and_plan")
        result = job.execute_in_process(
            partition_key=SNAPSHOT.isoformat(),
            asset_selection=[dg.AssetKey("customer_scores")],
            instance=instance,
        )
    assert result.success
    assert len(alive.batches) >= 10
    assert alive.most <= 1
    after, rows = read()
    assert len(after) == len(commits) + 1
    pd.testing.assert_frame_equal(before, rows)
    assert not list((ran_shop.home / "spill").glob("scores-*"))


def test_a_batch_that_fails_leaves_no_spool_and_no_batch_gives_no_file(
    ran_shop: Settings, registry: ModelRegistry, session: InProcess
) -> None:
    def broken() -> Iterator[pd.DataFrame]:
        yield from scored(registry, session)
        raise ValueError("the second batch cannot be read")

    with pytest.raises(ValueError, match="second batch"), spooled(ran_shop, broken()):
        pass
    with spooled(ran_shop, iter([])) as files:
        assert files == []
    assert not list((ran_shop.home / "spill").glob("scores-*"))


@pytest.mark.parametrize(
    ("since", "gap", "told"),
    [
        (40.0, 8.2, "No purchase for 40 days; usually every 8 days"),
        (1.0, 33.4, "Usually buys only every 33 days, last 1 day ago"),
        (40.0, float("nan"), "No purchase for 40 days"),
    ],
)
def test_who_is_not_late_yet_is_not_called_late(since: float, gap: float, told: str) -> None:
    (overdue,) = (theme for theme in THEMES if theme.name == "overdue")
    assert overdue.sentence({"days_since_last": since, "mean_gap": gap}) == told
