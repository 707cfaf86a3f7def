"""What the lakehouse refuses. An error of one subject alone stays with its subject, such as a lock's."""

from __future__ import annotations

from collections.abc import Mapping

from resources.iceberg.table import Tried


class LakehouseError(Exception):
    """What the lakehouse refuses, with what to do about it.

    ├── InvariantViolated    a result breaks what its table promises; nothing was published
    ├── OutsidePartitions    a result holds rows of partitions that were not to be replaced
    ├── HomeMoved            the home was copied or moved, and its tables point to where it was
    ├── StalePublish         another run has published from newer inputs meanwhile
    ├── BudgetExceeded       a query would scan more than the settings allow
    ├── PartitionsArchived   a read would miss rows that are archived
    ├── NotMoved             a partition cannot be moved to another tier
    ├── ArchiveDamaged       an archived file is not what was archived
    └── CommitUnknown        the catalog did not say whether it took a commit
    """


class InvariantViolated(LakehouseError):
    """A result breaks what its table promises; nothing was published.

    ``tried`` tells of every statement of the promises of ``table`` how many rows break it.
    """

    def __init__(self, message: str, *, table: str, tried: Mapping[str, Tried]) -> None:
        super().__init__(message)
        self.table = table
        self.tried = tried


class OutsidePartitions(LakehouseError):
    """A result holds rows of partitions that were not asked for; nothing was published."""


class HomeMoved(LakehouseError):
    """The home is not where its tables say that it is; nothing was read or written."""


class StalePublish(LakehouseError):
    """Another run has published this table from newer inputs; run again to see them."""


class BudgetExceeded(LakehouseError):
    """A query would scan more than a query or a run may; it was not sent."""


class PartitionsArchived(LakehouseError):
    """A read needs partitions that are archived: which ones, and what restoring them takes. Nothing was read."""


class NotMoved(LakehouseError):
    """A partition cannot be moved to another tier as asked; it is where it was."""


class ArchiveDamaged(LakehouseError):
    """An archived file has another checksum than when it was archived; its partition stays archived."""


class CommitUnknown(LakehouseError):
    """The catalog failed in answering a commit and cannot be asked; the table is as before or as published."""
