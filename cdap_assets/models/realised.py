"""Past scores beside what became of their customers, for the snapshots whose label window has closed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis

from cdap_assets.features.labels import LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.candidate import interval_metrics
from cdap_assets.models.lapse_model import judging as lapse_judging
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.tables import CUSTOMER_SCORES, VERSION_COLUMNS
from resources.iceberg.table import TableSpec
from resources.lake.session import Session
from resources.registry.model_registry import ModelRegistry, UnknownVersion
from resources.registry.model_version import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

    from ml.evaluation import Interval

SNAPSHOTS_COMPARED = 6  # the newest closed ones, as many as a version is tested on
CONTACT = "contact"  # the arm whose customers somebody tried to keep


@dataclass(frozen=True)
class Realised:
    """What came true of one version's scores of one snapshot.

    ``wrong`` says in words what is off beyond noise, and what to do; ``words`` tells the figures.
    """

    snapshot: date
    version: ModelVersion
    metrics: Mapping[str, float]
    wrong: tuple[str, ...]
    words: str


def called(version: ModelVersion) -> str:
    """A version in words."""
    return f"{version.name} v{version.version}"


@dataclass(frozen=True)
class _Promise:
    """What a model's scores promise, and how it is looked up what came true.

    ``chosen`` picks the rows and columns to compare, and the version that scored, from scores with their labels;
    ``judged`` gets them, and raises ``ValueError`` where they say nothing.
    """

    model: str
    labels: TableSpec
    horizon: int
    chosen: Callable[[ibis.Table], ibis.Table]
    judged: Callable[[date, ModelVersion, pd.DataFrame], Realised]


def closed_lapses(session: Session, registry: ModelRegistry, arms: TableSpec) -> list[Realised]:
    """Lapse probabilities of the newest snapshots whose label has closed, oldest first.

    Snapshots scored by a version that the registry no longer holds are passed over.
    """
    return _realised(session, registry, arms, LAPSES)


def closed_spends(session: Session, registry: ModelRegistry, arms: TableSpec) -> list[Realised]:
    """Expected spend of the newest snapshots whose label has closed, oldest first; passed over as for lapses."""
    return _realised(session, registry, arms, SPENDS)


def _realised(session: Session, registry: ModelRegistry, arms: TableSpec, promise: _Promise) -> list[Realised]:
    found = []
    for day in _closed(session, promise.labels.name):
        rows = promise.chosen(_joined(session, promise.labels, arms, day, promise.horizon)).to_pandas()
        if rows.empty:
            continue
        version = _scorer(registry, promise.model, int(rows[VERSION_COLUMNS[promise.model]].iloc[0]))
        if version is None:
            continue
        try:
            found.append(promise.judged(day, version, rows))
        except ValueError as error:  # too few lapsed, or stayed, or nobody spent: nothing can be said
            found.append(Realised(day, version, {}, (), f"{called(version)} on {day}: {error}"))
    return found


def _scorer(registry: ModelRegistry, name: str, number: int) -> ModelVersion | None:
    """The version that scored; ``None`` where the scores are older than the registry."""
    try:
        return registry.version(name, number)
    except UnknownVersion:
        return None


def _closed(session: Session, labels: str) -> list[date]:
    """The newest snapshots that are both scored and labelled, oldest first."""
    both = session.partitions(CUSTOMER_SCORES.name) & session.partitions(labels)
    return sorted(day for (day,) in both)[-SNAPSHOTS_COMPARED:]


def _joined(session: Session, labels: TableSpec, arms: TableSpec, day: date, horizon: int) -> ibis.Table:
    """Scores of a snapshot with its labels, without customers whom a plan contacted before the window closed.

    A contact is made to prove the score wrong; who was left alone or in control shows whether it was right.
    """
    only = {"snapshot_date": [day]}
    scores, truth, arm = session.read(CUSTOMER_SCORES, only), session.read(labels, only), session.read(arms)
    window = (arm["at"] >= ibis.literal(day).cast("timestamp")) & (
        arm["at"] < ibis.literal(day + timedelta(days=horizon)).cast("timestamp")
    )
    contacted = arm.filter((arm.arm == CONTACT) & window).select("customer_id").distinct()
    wanted = [name for name in truth.columns if name not in ("snapshot_date", "eligible")]
    return scores.join(truth.select(wanted), "customer_id").anti_join(contacted, "customer_id")


def _lapses(rows: ibis.Table) -> ibis.Table:
    rows = rows.filter(rows.eligible & rows.lapse_probability.notnull() & rows.lapsed.notnull())
    return rows.select("lapse_probability", "lapsed", "lapse_model_version")


def _judged_lapses(day: date, version: ModelVersion, rows: pd.DataFrame) -> Realised:
    from ml.evaluation.realised import realised_lapse

    found = realised_lapse(rows["lapsed"], rows["lapse_probability"])
    said, bar = found.lapses / found.n + found.gap.value, lapse_judging.MOST_CALIBRATION_ERROR
    wrong = []
    if found.gap.low > bar or found.gap.high < -bar:
        wrong.append(
            f"{called(version)} said on {day} that {said:.1%} lapse, and {found.lapses / found.n:.1%} did: plans "
            f"rest on values {'too high' if found.gap.value > 0 else 'too low'}; retrain"
        )
    tested = version.metrics.get("auc_low")
    if tested is not None and found.auc.high < tested:
        wrong.append(
            f"{called(version)} ranked the customers of {day} with AUC {found.auc.value:.3f}, at most "
            f"{found.auc.high:.3f}, where its test had at least {tested:.3f}; retrain"
        )
    words = (
        f"{said:.1%} said and {found.lapses / found.n:.1%} of {found.n:,} lapsed, AUC {_told(found.auc, '.3f')}, "
        f"log loss {_told(found.log_loss, '.3f')}"
    )
    metrics = interval_metrics(
        realised_auc=found.auc, realised_calibration_gap=found.gap, realised_log_loss=found.log_loss
    )
    return Realised(day, version, metrics, tuple(wrong), words)


def _spends(rows: ibis.Table) -> ibis.Table:
    return rows.select(
        "value_model_version", expected=rows.expected_spend.cast("float64"), actual=rows.net.cast("float64")
    )


def _judged_spends(day: date, version: ModelVersion, rows: pd.DataFrame) -> Realised:
    from ml.evaluation.realised import realised_spend

    found = realised_spend(rows["actual"], rows["expected"])
    bias, bar = found.bias_percent, value_judging.MOST_BIAS
    wrong = []
    if bias.low > bar or bias.high < -bar:
        wrong.append(
            f"{called(version)} expected {bias.value:+.0f} % of what the customers of {day} spent: values at stake "
            f"are too {'high' if bias.value > 0 else 'low'}; retrain"
        )
    words = f"bias {_told(bias, '+.1f')} %, MAE {_told(found.mae, '.2f')} over {found.n:,} customers"
    metrics = interval_metrics(realised_bias_percent=bias, realised_mae=found.mae)
    return Realised(day, version, metrics, tuple(wrong), words)


def _told(figure: Interval, form: str) -> str:
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


LAPSES = _Promise(lapse_model.NAME, LAPSE_LABELS, LAPSE_HORIZON, _lapses, _judged_lapses)
SPENDS = _Promise(lifetime_value_model.NAME, VALUE_LABELS, VALUE_HORIZON, _spends, _judged_spends)
