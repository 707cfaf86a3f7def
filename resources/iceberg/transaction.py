"""A transaction of pyiceberg that works out its metadata once for each set of updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.table import Transaction

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableUpdate


class RememberingTransaction(Transaction):
    """Remembers the table's metadata with its updates applied until either changes.

    pyiceberg applies them anew and copies all of the metadata whenever somebody looks at it, some twenty times in
    a commit, and metadata grows with every snapshot that is kept.
    """

    _remembered: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        if self._remembered is None or self._remembered[0] is not base or self._remembered[1] is not updates:
            self._remembered = (base, updates, super().table_metadata)
        return self._remembered[2]
