"""What a review tells of the champion: how far customers have moved since it learned, and what was changed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from cdap_assets.models.candidate import ReviewContext
from cdap_assets.models.review_parts import changes, drift
from ml.evaluation.drift import Reference
from resources.registry.model_version import ModelVersion

NOW = datetime(2024, 3, 3, tzinfo=UTC)
CHAMPION = ModelVersion(
    "lapse_model",
    4,
    ("champion",),
    "run",
    {"auc": 0.8, "log_loss": 0.3},
    {"code": "2 at abc"},
    {"kind": "all features", "features": "recency, T, touches_91", "seed": "0"},
)


def context(champion: ModelVersion | None, reference: str | None) -> ReviewContext:
    return ReviewContext(5, champion, reference, NOW, "2 at def", None)


def test_a_column_that_moved_since_the_champion_learned_is_far_and_the_others_are_steady() -> None:
    rng = np.random.default_rng(0)
    before = {"recency": rng.normal(10, 2, 3000), "T": rng.normal(20, 5, 3000), "gone": rng.normal(size=3000)}
    now = {"recency": rng.normal(14, 2, 3000), "T": rng.normal(20, 5, 3000), "new": rng.normal(size=3000)}
    told, shifts = drift(now, context(CHAMPION, Reference.of(before).to_json()))
    assert "version 4, the champion" in told
    assert [(shift.column, shift.word) for shift in shifts] == [("recency", "far"), ("T", "steady")]


def test_a_champion_without_a_record_and_no_champion_are_told() -> None:
    assert drift({}, context(None, None)) == ("There is no champion to measure against.", ())
    told, shifts = drift({}, context(CHAMPION, None))
    assert "has kept no record of its inputs" in told
    assert shifts == ()


def test_changed_parameters_features_code_and_figures_are_set_side_by_side() -> None:
    found = changes(
        CHAMPION, {"kind": "all features", "features": "recency, T, responses", "seed": 0}, {"auc": 0.82}, "2 at def"
    )
    assert [(change.what, change.before, change.now) for change in found] == [
        ("features", "3, with touches_91", "3, with responses"),
        ("code", "2 at abc", "2 at def"),
        ("auc", "0.8", "0.82"),
    ]
    assert changes(None, {}, {}, "2") == ()
