"""Past scores beside what became of their customers, for the snapshots whose label window has closed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis

from cdap_assets.features.labels import LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.lapse_model import judging as lapse_judging
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.scores import CUSTOMER_SCORES
from resources.iceberg.table import TableSpec
from resources.lake.session import Session
from resources.registry.model_registry import ModelRegistry, UnknownVersion
from resources.registry.model_version import ModelVersion

if TYPE_CHECKING:
    from ml.evaluation import Interval
    from ml.evaluation.realised import RealisedLapse, RealisedSpend

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


def closed_lapses(session: Session, registry: ModelRegistry, arms: TableSpec) -> list[Realised]:
    """Lapse probabilities of the newest snapshots whose label has closed, oldest first.

    Snapshots scored by a version that the registry no longer holds are passed over.
    """
    from ml.evaluation.realised import realised_lapse

    found = []
    for day in _closed(session, LAPSE_LABELS.name):
        rows = _joined(session, LAPSE_LABELS, arms, day, LAPSE_HORIZON)
        rows = rows.filter(rows.eligible & rows.lapse_probability.notnull() & rows.lapsed.notnull())
        frame = rows.select("lapse_probability", "lapsed", version=rows.lapse_model_version).to_pandas()
        version = None if frame.empty else _scorer(registry, lapse_model.NAME, int(frame["version"].iloc[0]))
        if version is None:
            continue
        try:
            figures = realised_lapse(frame["lapsed"], frame["lapse_probability"])
        except ValueError as error:  # too few lapsed, or stayed, to say anything
            found.append(Realised(day, version, {}, (), f"{called(version)} on {day}: {error}"))
        else:
            found.append(_lapse(day, version, figures))
    return found


def closed_spends(session: Session, registry: ModelRegistry, arms: TableSpec) -> list[Realised]:
    """Expected spend of the newest snapshots whose label has closed, oldest first; passed over as for lapses."""
    from ml.evaluation.realised import realised_spend

    found = []
    for day in _closed(session, VALUE_LABELS.name):
        rows = _joined(session, VALUE_LABELS, arms, day, VALUE_HORIZON)
        frame = rows.select(
            expected=rows.expected_spend.cast("float64"),
            actual=rows.net.cast("float64"),
            version=rows.value_model_version,
        ).to_pandas()
        version = None if frame.empty else _scorer(registry, lifetime_value_model.NAME, int(frame["version"].iloc[0]))
        if version is None:
            continue
        try:
            figures = realised_spend(frame["actual"], frame["expected"])
        except ValueError as error:  # nobody spent: a bias in percent has no meaning
            found.append(Realised(day, version, {}, (), f"{called(version)} on {day}: {error}"))
        else:
            found.append(_spend(day, version, figures))
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


def _lapse(day: date, version: ModelVersion, found: RealisedLapse) -> Realised:
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
    metrics = _metrics(auc=found.auc, calibration_gap=found.gap, log_loss=found.log_loss)
    return Realised(day, version, metrics, tuple(wrong), words)


def _spend(day: date, version: ModelVersion, found: RealisedSpend) -> Realised:
    bias, bar = found.bias_percent, value_judging.MOST_BIAS
    wrong = []
    if bias.low > bar or bias.high < -bar:
        wrong.append(
            f"{called(version)} expected {bias.value:+.0f} % of what the customers of {day} spent: values at stake "
            f"are too {'high' if bias.value > 0 else 'low'}; retrain"
        )
    words = f"bias {_told(bias, '+.1f')} %, MAE {_told(found.mae, '.2f')} over {found.n:,} customers"
    return Realised(day, version, _metrics(bias_percent=bias, mae=found.mae), tuple(wrong), words)


def _metrics(**figures: Interval) -> dict[str, float]:
    named = {f"realised_{name}": figure for name, figure in figures.items()}
    return {
        f"{name}{suffix}": value
        for name, figure in named.items()
        for suffix, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))
    }


def _told(figure: Interval, form: str) -> str:
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"
