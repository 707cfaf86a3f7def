"""Monitoring: do the customers scored resemble those a champion learned from, and did past scores come true?

Every figure is also a metric ``monitoring/...`` on the MLflow run of the version that scored, by snapshot date.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.lapse_model import judging as lapse_judging
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.realised import Realised, called, closed_lapses, closed_spends
from cdap_assets.models.registering import REFERENCE
from cdap_assets.models.scores import BATCH
from cdap_assets.models.tables import CUSTOMER_SCORES, VERSION_COLUMNS
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import InProcess, Session
from resources.registry.model_registry import ModelRegistry, UnknownVersion
from resources.registry.model_version import ModelVersion
from resources.registry.recording import log_monitoring

if TYPE_CHECKING:
    import ibis

    from ml.evaluation.drift import Drift, Reference

MONITORED = ("score_drift", "input_drift", "realised_as_predicted")  # the checks
SCORES = {lapse_model.NAME: "lapse_probability", lifetime_value_model.NAME: "expected_spend"}
AGEING = {"T", "recency", "frequency"}  # grow with every week that the data covers
NOT_YET = (
    f"no label window has closed yet: lapses show {LAPSE_HORIZON} days after a scored snapshot, "
    f"spend after {VALUE_HORIZON}"
)
WAITS = "Skipped while there is nothing to compare with; the log of its run says why."
Rows = Callable[[Session, str, date], "ibis.Table"]  # of a model and a snapshot, in columns that a reference names


@dataclass(frozen=True)
class Spread:
    """How far columns of the newest scored snapshot are from a version's training, the furthest first.

    ``drifts`` is ``None`` for a version that recorded no reference.
    """

    snapshot: date
    version: ModelVersion
    drifts: "Sequence[Drift] | None"

    @property
    def steady(self) -> bool:
        """Whether no column is known to have shifted."""
        return not any(drift.shifted for drift in self.drifts or ())

    @property
    def words(self) -> str:
        """What a person should know and do."""
        name = called(self.version)
        if self.drifts is None:
            return f"{name} recorded no reference of its training: its drift is unknown until it is retrained"
        moved = [drift for drift in self.drifts if drift.shifted]
        if not moved:
            return f"as in the training of {name}"
        far = any(drift.far for drift in moved)
        told = ", ".join(f"{drift.column} {drift.psi:.2f}" for drift in moved)
        if all(drift.column in AGEING for drift in moved):
            advice = "customers have longer histories than then, as in any young data set; retrain as snapshots close"
        else:
            advice = "retrain before these scores are used" if far else "find out why"
        return f"{'FAR' if far else 'shifted'} from the training of {name}: {told}: {advice}"


def monitoring_checks(specs: Mapping[str, TableSpec]) -> list[dg.AssetChecksDefinition]:
    """The checks on ``customer_scores``; ``specs`` declares the tables by name."""

    realised = dg.AssetCheckSpec(
        "realised_as_predicted",
        asset=CUSTOMER_SCORES.name,
        additional_deps=[LAPSE_LABELS.name, VALUE_LABELS.name],
        description=(
            "past scores came true once the label window of their snapshot closed, beyond noise: the lapse rate "
            f"within {lapse_judging.MOST_CALIBRATION_ERROR:.0%} of customers, the ranking as tested, total spend "
            f"within {value_judging.MOST_BIAS:.0f} %. Customers whom a plan contacted are left out. {WAITS}"
        ),
    )

    # a check that may be left out is one of several that can be chosen of
    @dg.multi_asset_check(name=realised.name, specs=[realised], can_subset=True)
    def realised_as_predicted(
        context: dg.AssetCheckExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.AssetCheckResult]:
        with lakehouse.in_process() as session:
            found = [*closed_lapses(session, registry, specs["arms"]), *closed_spends(session, registry, specs["arms"])]
        if found:
            yield realised_result(found, registry)
        else:
            context.log.info(NOT_YET)

    return [
        drift_check(
            "score",
            score_rows,
            (),
            "the newest scores are spread as in the training of the versions that scored: population stability index "
            "at most .1, or within chance; above .25 they are the scores of other customers",
        ),
        drift_check(
            "input",
            input_rows,
            (CUSTOMER_FEATURES.name,),
            "each input of the newest scores is spread as in the training of the versions that scored: population "
            "stability index at most .1, or within chance; above .25 the model has not met such customers",
        ),
        realised_as_predicted,
    ]


def drift_check(what: str, rows: Rows, reads: Sequence[str], description: str) -> dg.AssetChecksDefinition:
    """The check on the drift of ``what`` ("score" or "input") in ``rows``; ``reads`` are tables beside the scores."""

    spec = dg.AssetCheckSpec(
        f"{what}_drift",
        asset=CUSTOMER_SCORES.name,
        additional_deps=list(reads),
        description=f"{description}. {WAITS}",
    )

    @dg.multi_asset_check(name=spec.name, specs=[spec], can_subset=True)
    def drift_of(
        context: dg.AssetCheckExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.AssetCheckResult]:
        with lakehouse.in_process() as session:
            found = spreads(session, registry, rows)
        if any(spread.drifts for spread in found):
            yield drift_result(what, found, registry)
        else:
            context.log.info("; ".join(spread.words for spread in found) or "nothing is scored yet")

    return drift_of


def spreads(session: InProcess, registry: ModelRegistry, rows: Rows) -> list[Spread]:
    """The drift of the newest scored snapshot for each version that scored it; none before the first score."""
    from ml.evaluation.drift import Reference

    days = [day for (day,) in session.partitions(CUSTOMER_SCORES.name)]
    if not days:
        return []
    scores = session.read(CUSTOMER_SCORES, {"snapshot_date": [max(days)]})
    (scored_by,) = scores.select(*VERSION_COLUMNS.values()).limit(1).to_pyarrow().to_pylist()
    found = []
    for name, column in VERSION_COLUMNS.items():
        try:
            version = registry.version(name, scored_by[column])
        except UnknownVersion:
            continue  # scored before this registry was: the next scoring tells
        text = registry.text_if_there(version, REFERENCE)
        drifts = None if text is None else drift(session, Reference.from_json(text), rows(session, name, max(days)))
        found.append(Spread(max(days), version, drifts))
    return found


def drift(session: InProcess, reference: "Reference", rows: "ibis.Table") -> "list[Drift]":
    """The drift of each column of ``rows`` that the reference knows, read in batches; none of no rows."""
    known = [name for name in rows.columns if name in reference.columns]
    counted: dict[str, Any] = {}
    for batch in session.engine.batches(rows.select(known), BATCH):
        if batch.num_rows:
            part = reference.counted({name: batch.column(name).to_numpy(zero_copy_only=False) for name in known})
            counted = {name: counts + counted.get(name, 0) for name, counts in part.items()}
    return reference.drift_of(counted)


def score_rows(session: Session, model: str, snapshot: date) -> "ibis.Table":
    """The scores that a model gave, as floats."""
    scores = session.read(CUSTOMER_SCORES, {"snapshot_date": [snapshot]})
    score = scores[SCORES[model]]
    return scores.filter(score.notnull()).select(score.cast("float64").name(SCORES[model]))


def input_rows(session: Session, model: str, snapshot: date) -> "ibis.Table":
    """The numbers that a model could read of the customers it scored, as floats."""
    features = session.read(CUSTOMER_FEATURES, {"snapshot_date": [snapshot]})
    if model == lapse_model.NAME:
        features = features.filter(features[f"purchase_days_{ACTIVE_DAYS}"] > 0)
    features = features.mutate(spend_per_day_all=features.monetary_value)
    numbers = [name for name in features.columns if features[name].type().is_numeric()]
    return features.select(**{name: features[name].cast("float64") for name in numbers})


def drift_result(what: str, found: Sequence[Spread], registry: ModelRegistry) -> dg.AssetCheckResult:
    """The drift of ``what`` ("score" or "input") as a check, logged on the runs of the versions; at least one."""
    for spread in found:
        metrics = {f"{what}_psi_{drift.column}": drift.psi for drift in spread.drifts or ()}
        log_monitoring(registry, spread.version, metrics, spread.snapshot)
    rows: list[dict[str, str | int | float]] = [
        {
            "version": called(spread.version),
            "column": drift.column,
            "index": round(drift.psi, 3),
            "chance alone": round(drift.chance, 3),
            "customers": drift.n,
        }
        for spread in found
        for drift in spread.drifts or ()
    ]
    largest = max((drift.psi for spread in found for drift in spread.drifts or ()), default=0.0)
    return dg.AssetCheckResult(
        passed=all(spread.steady for spread in found),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(spread.words for spread in found),
        metadata={
            "snapshot": found[0].snapshot.isoformat(),
            "largest index": largest,
            "drift": _table(rows),
        },
    )


def realised_result(found: Sequence[Realised], registry: ModelRegistry) -> dg.AssetCheckResult:
    """What came true as a check that judges each model by its newest closed snapshot; logged on the versions' runs."""
    for one in found:
        log_monitoring(registry, one.version, one.metrics, one.snapshot)
    newest = list({one.version.name: one for one in found}.values())
    wrong = [told for one in newest for told in one.wrong]
    told: list[dict[str, str | int | float]] = [
        {"snapshot": one.snapshot.isoformat(), "version": called(one.version), "what came true": one.words}
        for one in found
    ]
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(wrong) or "as predicted",
        metadata={
            "realised": _table(told),
            **{name: value for one in newest for name, value in one.metrics.items()},
        },
    )


def _table(rows: Sequence[Mapping[str, str | int | float]]) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])
