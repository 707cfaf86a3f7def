"""The main job as stages: what is left to do for a snapshot date, worked out from the lake itself.

The one place that decides. `cdap run` carries out what is due (:mod:`cdap_assets.commands.running`), and a sensor asks
Dagster for it (:mod:`cdap_assets.work.main_job_sensor`). Nothing is run here and no state is kept: what was done is
read from commits and the registry.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, timedelta
from typing import Any

from cdap_assets.features.customer_features import CUSTOMER_FEATURES, customer_features
from cdap_assets.features.labels import LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from cdap_assets.installation import Installation
from cdap_assets.lineage import Lineage
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.serving import MODELS, serving
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.raw.deliveries import ledger, outstanding
from cdap_assets.raw.landing import landing_digest
from cdap_assets.retention.ledger import REJECTED, plan_basis, plan_states
from cdap_assets.retention.outcomes import CAMPAIGN_OUTCOMES
from cdap_assets.retention.retention_policy import read_policy
from cdap_assets.retention.tables import PLAN_EVENTS
from cdap_assets.table_assets.snapshots import WEEK, last_sunday, weeks_between
from resources.lake.session import Session
from resources.registry.model_decisions import record_decisions

RETRAIN_DAYS = 28
UNPARTITIONED = ("raw", "curated", "identity", "profiles")  # the groups of the stage "lake"
STAGE_TAG, REASON_TAG = "cdap/stage", "cdap/reason"
LONGEST_REASON = 200  # characters of a tag: PostgreSQL indexes them, and a page shows them in one line
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
CODE_VERSIONS = {lapse_model.NAME: lapse_model.VERSION, lifetime_value_model.NAME: lifetime_value_model.VERSION}


@dataclass(frozen=True)
class Stage:
    """One Dagster run of the main job: a job, the snapshot dates it is for, and why it is needed."""

    job: str
    title: str
    why: str
    partitions: tuple[date, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Stage, ...]:
        """The stage as what one run each can do: Dagster runs a range of consecutive weeks in one pass."""
        if not self.partitions:
            return (self,)
        return tuple(replace(self, partitions=tuple(weeks_between(*span))) for span in contiguous(self.partitions))

    @property
    def partition_key(self) -> str | None:
        """The partition of a run for one snapshot date; ``None`` for one that has none, or a range in its tags."""
        return self.partitions[0].isoformat() if len(self.partitions) == 1 else None

    def key(self, state: str) -> str:
        """What names the run that a ``state`` of the home is due for."""
        days = "..".join(day.isoformat() for day in (self.partitions[:1] + self.partitions[-1:]))
        return " ".join(part for part in (self.job, days, state) if part)

    @property
    def tags(self) -> dict[str, str]:
        """What Dagster tells of a run, and the range of its snapshot dates."""
        reason = textwrap.shorten(self.why, LONGEST_REASON, placeholder=" …")
        tags = {STAGE_TAG: self.title, REASON_TAG: reason}
        if len(self.partitions) > 1:
            tags[RANGE_START], tags[RANGE_END] = self.partitions[0].isoformat(), self.partitions[-1].isoformat()
        return tags


class NoSnapshot(ValueError):
    """A snapshot date that cannot be built."""


def latest_snapshot(home: Installation) -> date:
    """The newest snapshot date whose cut-off has passed: by the clock, or by the end of a closed data set."""
    newest = last_sunday(home.clock().replace(tzinfo=UTC).astimezone(home.settings.zone).date())
    closed = home.lineage.closed
    return newest if closed is None else min(newest, last_sunday(closed + timedelta(days=1)))


def chosen_snapshot(home: Installation, asked: date | None) -> date:
    """``asked`` or the latest. Raises :class:`NoSnapshot` when it is no Sunday or its cut-off has not passed."""
    latest = latest_snapshot(home)
    if asked is None:
        return latest
    if asked.isoweekday() != 7:
        raise NoSnapshot(f"{asked} is a {asked:%A}; snapshots are weekly on Sundays, such as {last_sunday(asked)}")
    if asked > latest:
        ends = f", as the data ends on {home.lineage.closed}" if home.lineage.closed else ""
        raise NoSnapshot(f"the newest snapshot that can be built is {latest}{ends}; {asked} is later")
    return asked


def due(home: Installation, target: date, *, look: bool = True, record: bool = True) -> Iterator[Stage]:
    """What is left to do for ``target``, in order; each stage is looked for once the one before was carried out.

    Without ``look`` the landing folder is not listed. With ``record``, what people decided in MLflow itself is recorded
    before scores are looked for. Raises :class:`RetentionPolicyError` for a retention.yaml that cannot be used.
    """

    def planning() -> Stage | None:
        if record:
            record_decisions(home.registry, MODELS, home.clock())
        return planning_stage(home, target)

    finders = (
        lambda: lake_stage(home, look=look),
        lambda: snapshot_stage(home, target),
        lambda: training_stage(home, target),
        planning,
        lambda: outcomes_stage(home),
    )
    for find in finders:
        if (stage := find()) is not None:
            yield stage


def nothing_due(home: Installation, target: date) -> str:
    """What to tell when nothing is due: how far everything is, why there may be no plan, and what comes next."""
    absent = [name for name in MODELS if name not in serving(home.registry)]
    told = f"everything is up to date for {target}"
    if absent:
        told += f", without a plan: no version of {' and '.join(absent)} may serve"
    if home.lineage.closed is not None:
        return f"{told}. This data set is closed; next is what lands"
    return f"{told}. Next is what lands, and the snapshot of {latest_snapshot(home) + WEEK} once that day has begun"


def lake_stage(home: Installation, *, look: bool = True) -> Stage | None:
    """Ingestion up to profiles, when a file has landed or a table is behind its inputs."""
    with home.lakehouse.looking() as session:
        files = {
            name: len(found)
            for name, contract in home.lineage.contracts.items()
            if look and (found := outstanding(home.settings, contract, session))
        }
        if files:
            total = sum(files.values())
            return Stage("refresh_lake", "lake", f"{total} new file{'s' * (total > 1)} in {', '.join(files)}")
        for asset in home.lineage.assets:
            if asset.group in UNPARTITIONED and (work := asset.work(session)).needed:
                return Stage("refresh_lake", "lake", f"{asset.name}: {work.why}")
    return None


def snapshot_stage(home: Installation, until: date) -> Stage | None:
    """Features of every snapshot up to ``until`` that lack them, and labels that have closed or moved."""
    with home.lakehouse.looking() as session:
        span = data_span(session, home.lineage)
        if span is None:
            return None
        first, covered = span
        weeks = weeks_between(max(first + WEEK, home.settings.first_snapshot), until)
        anew = features_anew(session)
        built = set() if anew else built_snapshots(session, CUSTOMER_FEATURES.name)
        wanted = {day for day in weeks if day not in built}
        reasons = [anew or f"{len(wanted)} snapshots without features"] if wanted else []
        for spec, horizon in ((LAPSE_LABELS, LAPSE_HORIZON), (VALUE_LABELS, VALUE_HORIZON)):
            closed = {day for day in weeks if day + timedelta(days=horizon) <= covered}
            last, labels = session.last_publish(spec.name), home.lineage.table(spec.name)
            moved = last is not None and (
                session.has_changed("customer_days", last.inputs.get("customer_days")) or labels.outside_changed(last)
            )
            missing = closed if moved else closed - built_snapshots(session, spec.name)
            if missing:
                reasons.append(f"{len(missing)} snapshots of {spec.name}")
                wanted |= missing
    if not wanted:
        return None
    return Stage("build_snapshots", "features", ", ".join(reasons), tuple(sorted(wanted)))


def features_anew(session: Session) -> str | None:
    """Why every snapshot's features are to be built again: new code, history loaded, a delivery read again.

    Late rows and corrections are no such reason: they were not known at an earlier snapshot.
    """
    last = session.last_publish(CUSTOMER_FEATURES.name)
    if last is None:
        return None
    if last.code_version != customer_features.version:
        return f"features have new code ({last.code_version} became {customer_features.version})"
    for entry in ledger(session).values():
        since = entry.at.replace(tzinfo=UTC)
        if (entry.history or entry.event == "replayed") and since > last.at:
            return f"{entry.delivery.source}: history was loaded or a delivery read again"
    return None


def training_stage(home: Installation, target: date) -> Stage | None:
    """Training, when a model has no version that may score ``target``, or the newest one is 28 days behind."""
    with home.lakehouse.looking() as session:
        if not built_snapshots(session, LAPSE_LABELS.name):
            return None
    newest = {name: home.registry.versions(name) for name in MODELS}
    reasons = []
    for name, versions in newest.items():
        fit = [v for v in versions if v.finished and date.fromisoformat(v.tags["labels_closed"]) <= target]
        if not fit:
            reasons.append(f"no {name} as of {target} yet")
        elif fit[0].tags.get("code_version") != CODE_VERSIONS[name]:
            reasons.append(f"{name} has new code")
        elif (target - date.fromisoformat(fit[0].tags["labels_closed"])).days >= RETRAIN_DAYS:
            reasons.append(f"{name} is {RETRAIN_DAYS} days old or more")
        elif fit[0].passed_gates and home.registry.champion(name) is None:
            # a run that died between registering a first version and letting it serve
            reasons.append(f"{name} has no champion, though version {fit[0].version} passed its gates")
    if not reasons:
        return None
    config = {"as_of": target.isoformat()} if target < latest_snapshot(home) else {}
    ops = {name: {"config": config} for name in MODELS}
    return Stage("train_models", "models", "; ".join(reasons), config={"ops": ops})


def planning_stage(home: Installation, target: date) -> Stage | None:
    """Scores and a plan for ``target``, when either is absent or made of something that has changed since.

    A rejected plan is followed by another draft; an approved one is not, for its customers are being contacted.
    Raises :class:`RetentionPolicyError` for a retention.yaml that cannot be used.
    """
    champions = serving(home.registry)
    if len(champions) < len(MODELS):
        return None
    versions = [champions[name].version for name in MODELS]
    reviewed = all(version.reviewed for version in champions.values())
    with home.lakehouse.looking() as session:
        if target not in built_snapshots(session, CUSTOMER_FEATURES.name):
            return None
        scored = session.read(CUSTOMER_SCORES, {"snapshot_date": [target]})
        columns = ["lapse_model_version", "value_model_version", "reviewed"]
        found = [tuple(row.values()) for row in scored.select(columns).distinct().to_pyarrow().to_pylist()]
        older = _scored_before_features(session, target)
        plans = [state for state in plan_states(session).values() if state.snapshot == target]
    if not found:
        why = f"{target} is not scored"
    elif found != [(*versions, reviewed)]:
        why = "another champion serves, or was reviewed"
    elif older:
        why = f"features of {target} were built anew"
    elif not plans:
        why = f"no plan for {target}"
    elif plans[-1].state == REJECTED:
        why = f"plan {plans[-1].plan_id} was rejected"
    elif plans[-1].open and plans[-1].basis != plan_basis(
        versions[0], versions[1], reviewed, read_policy(home.settings.retention_file)
    ):
        why = "retention.yaml or the models have changed"
    else:
        return None
    return Stage("score_and_plan", "scores and plan", why, (target,))


def _scored_before_features(session: Session, target: date) -> bool:
    last = session.last_publish(CUSTOMER_SCORES.name)
    since = last.inputs.get(CUSTOMER_FEATURES.name) if last else None
    if since is None or not session.has_changed(CUSTOMER_FEATURES.name, since):
        return False
    changed = session.changed_since(CUSTOMER_FEATURES.name, since)
    return changed is None or (target,) in changed


def outcomes_stage(home: Installation) -> Stage | None:
    """Outcomes, when plans were decided or orders came since they were read."""
    asset = home.lineage.table(CAMPAIGN_OUTCOMES.name)
    with home.lakehouse.looking() as session:
        work = asset.work(session)
        decided = session.snapshot_id(PLAN_EVENTS.name) is not None
    return Stage("measure_outcomes", "outcomes", work.why) if work.needed and decided else None


def state(home: Installation, target: date) -> str:
    """A digest of all that a decision about ``target`` rests on: it changes when anything did that a stage reads.

    Tables, deliveries, contracts, policies, code, champions. With the day, so that what failed is tried again tomorrow.
    """
    with home.lakehouse.looking() as session:
        tables = {name: session.snapshot_id(name) for name in home.lineage.specs}
    champions = serving(home.registry).values()
    found = {
        "target": target,
        "day": home.clock().date(),
        "tables": tables,
        "landed": {name: landing_digest(home.settings, one) for name, one in home.lineage.contracts.items()},
        "files": {path.name: path.read_bytes().hex() for path in sorted(home.settings.home.glob("*.yaml"))},
        "code": {asset.name: asset.version for asset in home.lineage.tables} | CODE_VERSIONS,
        "champions": [f"{one.name} {one.version} {one.reviewed}" for one in champions],
    }
    return hashlib.sha256(json.dumps(found, default=str, sort_keys=True).encode()).hexdigest()[:16]


def data_span(session: Session, lineage: Lineage) -> tuple[date, date] | None:
    """First local day with an order, and the first day that the orders do not wholly cover."""
    from cdap_assets.features.labels import covered_until

    days = session.read(lineage.specs["customer_days"])
    covered = covered_until(days, lineage.order_sources)
    found = days.aggregate(first=days.local_date.min(), covered=covered).to_pyarrow().to_pylist()[0]
    return None if found["first"] is None else (found["first"], found["covered"])


def built_snapshots(session: Session, name: str) -> set[date]:
    """The snapshot dates that a table holds."""
    return {partition[0] for partition in session.partitions(name)}


def contiguous(dates: Sequence[date]) -> list[tuple[date, date]]:
    """``dates`` as ranges of consecutive weeks: Dagster runs a range in one pass."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(dates):
        if ranges and day - ranges[-1][1] == WEEK:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges
