"""A table as a Dagster asset: a pure function of tables, and what to rebuild of it when its inputs changed.

No table of the lineage is named here, and nothing is registered: the tables are listed in :mod:`cdap_assets.lineage`.
What makes no table (a model, a plan, an export) is an asset of its own and does not go through this factory.
"""

import inspect
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from cdap_assets.table_assets.figures import Figures, figures_metadata
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.snapshots import snapshot_rows
from cdap_assets.table_assets.table_metadata import publish_metadata
from resources.iceberg.errors import InvariantViolated
from resources.iceberg.placement import PlacedTier
from resources.iceberg.publish_record import LastPublish
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session

if TYPE_CHECKING:
    import ibis

Scope = Literal["whole", "month", "snapshot"]


@dataclass(frozen=True)
class Work:
    """What of a table is to be computed now, and why. ``replace`` is ``None`` for the whole table.

    ``owed`` are months that are left as they were, for their rows are archived: they are rebuilt once these are back.
    """

    why: str
    needed: bool = True
    replace: Mapping[str, Sequence[Any]] | None = None
    owed: frozenset[date | None] = frozenset()
    only: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class InPython:
    """A part of a transformation that Python computes: ``rows`` of ``schema`` from those of a small ``expression``.

    The parameters of ``expression`` name tables. A transformation has such a part as a parameter of its own, so that
    it stays an expression itself, and what it costs can be told without computing anything.
    """

    expression: "Callable[..., ibis.Table]"
    rows: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    schema: "ibis.Schema"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tables that it reads."""
        return _parameters(self.expression)

    def of(self, tables: "Mapping[str, ibis.Table]") -> "ibis.Table":
        """The expression over ``tables``."""
        return self.expression(**{name: tables[name] for name in self.inputs})

    def computed(self, tables: "Mapping[str, ibis.Table]") -> "ibis.Table":
        """The rows, after the expression was run."""
        import ibis

        return ibis.memtable(self.rows(self.of(tables).to_pyarrow().to_pylist()), schema=self.schema)

    def empty(self) -> "ibis.Table":
        """No rows: what an estimate takes in their place."""
        import ibis

        return ibis.memtable([], schema=self.schema)


@dataclass(frozen=True)
class TableAsset:
    """One table of the lineage. Call it with Ibis tables to get its transformation, without Dagster.

    ``scope`` says what a run rebuilds: the whole table, the months that changed in ``driver``, or the
    requested snapshot dates; ``other_months`` adds months that the changed ones concern. A ``snapshot``
    transformation takes the requested dates as its first argument ``snapshots`` (snapshot_date, cutoff_at in
    UTC). ``version`` changes when the meaning of the result does. ``in_python`` are parameters of the
    transformation that are no tables; ``outside`` names what else the result depends on, such as a figure of a policy
    file, with a function that gives its value now: when that changes, the table is built anew. ``figures`` are what
    makes a plot over materializations.
    """

    table: TableSpec
    transform: "Callable[..., ibis.Table]"
    group: str
    scope: Scope = "whole"
    driver: tuple[str, ...] = ()
    version: str = "1"
    inputs: tuple[str, ...] = ()
    other_months: Callable[[Session, set[Any]], set[Any]] | None = None
    in_python: Mapping[str, InPython] = field(default_factory=dict)
    outside: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    figures: Figures | None = None

    def __call__(self, *tables: "ibis.Table", **named: "ibis.Table") -> "ibis.Table":
        given = ("snapshots", *self.inputs) if self.scope == "snapshot" else self.inputs
        return self.expression({**dict(zip(given, tables, strict=False)), **named})

    def expression(self, tables: "Mapping[str, ibis.Table]") -> "ibis.Table":
        """The transformation over ``tables`` by name, after what Python does of it."""
        return self._transformed(tables, {name: part.computed(tables) for name, part in self.in_python.items()})

    def questions(self, tables: "Mapping[str, ibis.Table]") -> "list[ibis.Table]":
        """All that building would ask an engine for, without asking."""
        parts = [part.of(tables) for part in self.in_python.values()]
        return [*parts, self._transformed(tables, {name: part.empty() for name, part in self.in_python.items()})]

    def _transformed(self, tables: "Mapping[str, ibis.Table]", parts: "Mapping[str, ibis.Table]") -> "ibis.Table":
        if not self.in_python:
            return self.transform(**tables)
        given = {**tables, **parts}
        return self.transform(**{name: given[name] for name in _parameters(self.transform)})

    @property
    def name(self) -> str:
        """The table's and the asset's name."""
        return self.table.name

    def definition(
        self,
        specs: Mapping[str, TableSpec],
        partitions: "dg.PartitionsDefinition[str] | None" = None,
        unfilled: Collection[str] = (),
    ) -> dg.AssetsDefinition:
        """The Dagster asset; ``specs`` declares every input by name, ``unfilled`` are inputs that are no assets."""

        @dg.asset(
            name=self.name,
            group_name=self.group,
            deps=[name for name in self.inputs if name not in unfilled],
            description=self.table.description,
            code_version=self.version,
            partitions_def=partitions if self.scope == "snapshot" else None,
            backfill_policy=dg.BackfillPolicy.single_run() if self.scope == "snapshot" else None,
            metadata={"cdap/table": self.name},
            check_specs=promise_specs(self.table),
        )
        def build(
            context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
        ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
            try:
                yield self._built(context, lakehouse, specs, unfilled)
            except InvariantViolated as error:
                yield from broken_promises(self.table, error)
                raise

        return build

    def _built(
        self,
        context: dg.AssetExecutionContext,
        lakehouse: Lakehouse,
        specs: Mapping[str, TableSpec],
        unfilled: Collection[str],
    ) -> dg.MaterializeResult:
        started = time.perf_counter()
        with lakehouse.session(context.run.run_id) as session:
            dates = [date.fromisoformat(key) for key in requested_keys(context)]
            if self.scope == "snapshot" and not dates:
                raise dg.Failure(
                    f"{self.name} is built per snapshot date, and this run names none: choose partitions.",
                    allow_retries=False,
                )
            work = self.work(session, dates)
            if not work.needed:
                state = lakehouse.state(self.name)
                return dg.MaterializeResult(
                    metadata={"rebuilt": work.why, "dagster/row_count": state.rows},
                    check_results=kept_promises(self.table, session),
                )
            tables = {name: session.read(specs[name], work.only.get(name)) for name in self.inputs}
            if self.scope == "snapshot":
                tables = {"snapshots": snapshot_rows(dates, lakehouse.settings.zone), **tables}
            expression = self.expression(tables)
            published = session.publish(
                self.table,
                expression,
                replace=work.replace,
                provenance={"code_version": self.version, "rebuilt": work.why},
                owed=work.owed,
                outside=self.outside_now(),
            )
            context.log.info("%s: %s rows, %s", self.name, published.rows, work.why)
            metadata = publish_metadata(self.table, published, expression, session, unfilled)
            promises = kept_promises(self.table, session)
        if self.figures and published.total_rows:
            metadata = {**figures_metadata(lakehouse, self.table, self.figures), **metadata}
        return dg.MaterializeResult(
            metadata={**metadata, "rebuilt": work.why, "seconds": round(time.perf_counter() - started, 2)},
            check_results=promises,
        )

    def outside_now(self) -> dict[str, str]:
        """The values of what the result depends on beside tables."""
        return {name: value() for name, value in self.outside.items()}

    def outside_changed(self, last: LastPublish) -> list[str]:
        """What of it is other than when the table was last published."""
        return [name for name, value in self.outside_now().items() if last.outside.get(name) != value]

    def work(self, session: Session, dates: Sequence[date] = ()) -> "Work":
        """What to rebuild: the requested snapshots, the months that changed, or everything, with the reason."""
        return self._work(session, dates, self.other_months)

    def foreseen(self, session: Session, dates: Sequence[date] = ()) -> "Work":
        """The same as far as table metadata tells it, without looking at rows.

        Months that hold other versions of the changed rows are not among it.
        """
        return self._work(session, dates, None)

    def _work(
        self,
        session: Session,
        dates: Sequence[date],
        other_months: Callable[[Session, set[Any]], set[Any]] | None,
    ) -> "Work":
        if self.scope == "snapshot":
            told = f"{len(dates)} requested snapshot dates"
            return Work(told, needed=bool(dates), replace={"snapshot_date": list(dates)})
        last = session.last_publish(self.name)
        if last is None:
            return Work("everything: first build")
        if last.code_version != self.version:
            why = f"code version {last.code_version} became {self.version}"
            return self._everything(session, why, "expired")
        if outside := self.outside_changed(last):
            return self._everything(session, f"{', '.join(outside)} changed", "archived", "expired")
        changed = [name for name in self.inputs if session.has_changed(name, last.inputs.get(name))]
        owed = last.owed
        back = owed - self._withheld(session, "archived", "expired")
        if not changed and not back:
            return Work("nothing: no input changed since the last build", needed=False)
        others = [name for name in changed if name not in self.driver]
        if self.scope == "whole" or others:
            return self._everything(session, f"{', '.join(others or changed)} changed", "archived", "expired")
        months: set[Any] = set(back)
        for name in changed:
            since = last.inputs.get(name)
            found = None if since is None else session.changed_since(name, since)
            if found is None:
                why = f"what changed in {name} since the last build is not known"
                return self._everything(session, why, "archived", "expired")
            months |= {partition[-1] for partition in found}
        if other_months:
            months |= other_months(session, months)
        # of a month whose rows were deleted, a late one alone would take the place of what was made of all
        gone = self._withheld(session, "expired")
        told = f"; {len(months & gone)} whose rows are expired stay as they are" if months & gone else ""
        why = (
            f"{len(months)} months that changed in {', '.join(changed)}" if changed else f"{len(back)} months are back"
        )
        return self._months(f"{why}{told}", months - gone, owed - back)

    def _everything(self, session: Session, why: str, *out_of_reach: PlacedTier) -> "Work":
        """The whole table, or of one by months those whose rows are all in reach: the others stay as they are."""
        gone = self._withheld(session, *out_of_reach) if self.scope == "month" else set()
        if not gone:
            return Work(f"everything: {why}")
        there = {partition[-1] for name in (self.name, *self.driver) for partition in session.partitions(name)}
        told = f"{len(gone)} whose rows are {' or '.join(out_of_reach)} stay as they are"
        archived = self._withheld(session, "archived") if "archived" in out_of_reach else set()
        return self._months(f"{len(there - gone)} months: {why}; {told}", there - gone, there & archived)

    def _withheld(self, session: Session, *tiers: PlacedTier) -> set[Any]:
        """The months whose rows are of these tiers, or whose own rows are deleted: they do not come back."""
        read = {partition[-1] for name in self.driver for partition in session.withheld(name, *tiers)}
        return read | {partition[-1] for partition in session.withheld(self.name, "expired")}

    def _months(self, why: str, months: Iterable[Any], owed: Iterable[Any]) -> "Work":
        chosen = sorted(months, key=str)
        only = {name: {"month": chosen} for name in self.driver}
        return Work(why, replace={"month": chosen}, only=only, owed=frozenset(owed))


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def requested_keys(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partition keys that a run names; none when it names none."""
    return context.partition_keys if context.has_partition_key_range or context.has_partition_key else ()


def table_asset(
    table: TableSpec,
    *,
    group: str,
    scope: Scope = "whole",
    driver: Iterable[str] = (),
    version: str = "1",
    in_python: Mapping[str, InPython] | None = None,
    figures: Figures | None = None,
) -> "Callable[[Callable[..., ibis.Table]], TableAsset]":
    """Make a pure function the asset of ``table``; its parameters name the tables it reads, or ``in_python`` parts."""
    parts = in_python or {}

    def decorate(transform: "Callable[..., ibis.Table]") -> TableAsset:
        own = [name for name in _parameters(transform) if name != "snapshots" and name not in parts]
        read = [name for part in parts.values() for name in part.inputs]
        names = tuple(dict.fromkeys((*own, *read)))
        return TableAsset(
            table, transform, group, scope, tuple(driver), version, names, in_python=parts, figures=figures
        )

    return decorate
