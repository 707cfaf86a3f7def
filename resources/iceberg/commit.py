"""The commit: staged files become a table's own, and those that they replace leave it, in one Iceberg snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resources.iceberg.answers import FindingCommits
from resources.iceberg.catalog import Partition, ancestors, partition_of, planned_files
from resources.iceberg.errors import CommitUnknown, StalePublish
from resources.iceberg.placement import placed_now, with_hot
from resources.iceberg.publish_record import INPUTS, last_publish
from resources.iceberg.table import TableSpec
from resources.stores.lock import confirm

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from resources.iceberg.tables import Tables

TRIES = 20
WAITS = {"multiplier": 0.05, "max": 2}  # seconds, with jitter


def evolved(tables: Tables, spec: TableSpec) -> Table:
    """The table of a declaration, made or evolved to it, also when others commit to it meanwhile."""
    from pyiceberg.exceptions import CommitFailedException
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    overtaken = retry_if_exception_type(CommitFailedException)
    again = retry(retry=overtaken, stop=stop_after_attempt(TRIES), wait=wait_random_exponential(**WAITS), reraise=True)
    return again(tables.ensure)(spec)


def commit(
    tables: Tables,
    spec: TableSpec,
    staged: Sequence[DataFile],
    replace: Mapping[str, Sequence[Any]] | None,
    summary: Mapping[str, str],
    *,
    append: bool,
) -> Snapshot:
    """Make ``staged`` part of the table, in place of the partitions in ``replace`` (``None``: of all of it).

    ``summary`` carries ``cdap.publish_id``, by which a commit is known whose answer was lost: it is looked for
    before every further try, so that no try is made twice. Raises :class:`StalePublish`, pyiceberg's
    ``CommitFailedException`` or ``ValidationException`` when others win every time, all with the table as it
    was; :class:`CommitUnknown` when the catalog fails and cannot be asked what became of the commit.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    mine = json.loads(summary[INPUTS])

    @retry(
        # so an overwrite ends that another commit overtook: what it deletes is planned anew. Of conflicts that
        # change nothing of the plan, pyiceberg itself has made all tries that the table's properties allow
        retry=retry_if_exception_type(ValidationException),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(**WAITS),
        reraise=True,
    )
    def attempt() -> Snapshot:
        current = tables.catalog.load_table((tables.database, spec.name))
        if done := _made_by(current, summary["cdap.publish_id"]):
            return done
        snapshot = current.current_snapshot()
        if not append:
            last = last_publish(current)
            _refuse_stale(spec.name, last.read if last else {}, mine)
        gone: list[DataFile] = []
        if snapshot is not None and not append:
            planned = planned_files(current, snapshot.snapshot_id)
            gone = [file for file in planned if _within(spec, partition_of(current, file.partition), replace)]
        # what takes the place of an archived partition is all that there is of it from now on
        anew = [] if append else [one for one in placed_now(current) if _within(spec, one, replace)]
        confirm()  # a process that lost its lock while it computed must not write what the lock guards
        return overwritten(
            current, gone, staged, summary, lambda sequence: with_hot(current, anew, sequence) if anew else {}, append
        )

    try:
        return attempt()
    except (StalePublish, CommitFailedException, ValidationException):
        raise
    except Exception as error:  # noqa: BLE001  whatever the catalog's client raises, the commit may have happened
        return _found_after(error, tables, spec, summary["cdap.publish_id"])


def overwritten(
    table: Table,
    gone: Sequence[DataFile],
    new: Sequence[DataFile],
    summary: Mapping[str, str],
    properties: Callable[[int], Mapping[str, str]],
    append: bool = False,
) -> Snapshot:
    """One snapshot of ``table`` as it was loaded, with ``properties`` of its own sequence number in the same commit.

    Raises pyiceberg's ``ValidationException`` when another commit came first and what was planned is to be
    planned anew, and ``CommitFailedException`` for the rest.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    from resources.iceberg.transaction import RememberingTransaction

    changed = properties(table.metadata.next_sequence_number())
    if changed:
        # pyiceberg would try again on another's snapshot, with properties that speak of this one; it takes the number
        # of tries from the table alone, and nobody has asked it for more upstream that we found (2026-11)
        table.metadata.properties["commit.retry.num-retries"] = "0"
        table.catalog = FindingCommits(table.catalog)  # type: ignore[assignment]  # of a catalog, what a commit asks
    try:
        with RememberingTransaction(table) as transaction:
            if changed:
                transaction.set_properties(dict(changed))
            producer = transaction.update_snapshot(dict(summary))
            with producer.fast_append() if append else producer.overwrite() as update:
                for file in gone:
                    update.delete_data_file(file)
                for file in new:
                    update.append_data_file(file)
    except CommitFailedException as error:
        if changed:
            raise ValidationException(str(error)) from error
        raise
    committed = table.current_snapshot()
    assert committed is not None
    return committed


def _found_after(error: Exception, tables: Tables, spec: TableSpec, publish_id: str) -> Snapshot:
    """The snapshot of a commit whose answer was lost; raises what its try raised when it did not happen."""
    try:
        done = _made_by(tables.catalog.load_table((tables.database, spec.name)), publish_id)
    except Exception as again:  # noqa: BLE001  the same client, asked a second time
        raise CommitUnknown(
            f"table {spec.name}: the catalog failed in a commit ({type(error).__name__}) and does not answer "
            f"({type(again).__name__}: {again}). The table is as before or as published, never between; run again."
        ) from error
    if done is None:
        raise error
    return done


def _made_by(table: Table, publish_id: str) -> Snapshot | None:
    for snapshot in ancestors(table, table.current_snapshot()):
        if snapshot.summary and snapshot.summary.additional_properties.get("cdap.publish_id") == publish_id:
            return snapshot
    return None


def _within(spec: TableSpec, partition: Partition, replace: Mapping[str, Sequence[Any]] | None) -> bool:
    values = dict(zip(spec.partition_by, partition, strict=True))
    return all(values[column] in wanted for column, wanted in (replace or {}).items())


def _refuse_stale(name: str, current: Mapping[str, Sequence[int]], mine: Mapping[str, Sequence[int]]) -> None:
    newer = [source for source, pair in mine.items() if source in current and current[source][1] > pair[1]]
    if newer:
        raise StalePublish(
            f"table {name}: another run has published it from newer {', '.join(sorted(newer))}; "
            "nothing was replaced. Run again."
        )
