"""Commits whose answer was lost: made once, and known to have been made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import CommitTableResponse, Table
    from pyiceberg.table.update import TableRequirement, TableUpdate


class FindingCommits:
    """A table's catalog that looks for a commit before it calls it failed.

    boto3 sends a commit again whose answer did not come, and Glue refuses the second as a conflict with the first.
    pyiceberg looks for its snapshot only before a further try of its own: after the last, or the only one, it
    deletes the manifests that the table meanwhile refers to, and nobody can read the table.
    """

    # it looks since apache/iceberg-python #3320, "Add commit retry and concurrency validation for writes"; that it does
    # not after the last try has no report there that we found (2026-11); apache/iceberg #7151 is the same in Java

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit, or find that it was committed. Raises pyiceberg's ``CommitFailedException`` when it was not."""
        from pyiceberg.exceptions import CommitFailedException
        from pyiceberg.table import CommitTableResponse
        from pyiceberg.table.update import AddSnapshotUpdate

        try:
            return self._catalog.commit_table(table, requirements, updates)
        except CommitFailedException:
            now = self._catalog.load_table(table.name())
            new = [update.snapshot.snapshot_id for update in updates if isinstance(update, AddSnapshotUpdate)]
            if new and all(now.snapshot_by_id(one) is not None for one in new):
                return CommitTableResponse(metadata=now.metadata, **{"metadata-location": now.metadata_location})
            raise
