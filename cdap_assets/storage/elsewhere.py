"""Reads that did not come through CDAP, noted like those that did: Athena's history and S3's access logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlsplit

from cdap_assets.storage.policy import Elsewhere
from resources.catalog import Partition
from resources.lakehouse import Lakehouse
from resources.object_store import open_store
from resources.read_history import fetched_objects, queried_tables
from resources.reads import Reads, note
from resources.tiers.inventory import holdings, partitions_of_files

LATE = timedelta(days=1)  # S3 delivers a log hours after what it tells of
Found = dict[tuple[str, Partition], Reads]


def note_reads_elsewhere(lakehouse: Lakehouse, where: Elsewhere, since: datetime, until: datetime) -> None:
    """Note what others read from ``since`` to before ``until`` (UTC), both taken :data:`LATE` earlier.

    Athena tells tables and no partitions: a query of a table counts as one read of every partition of it.
    """
    since, until = since.replace(tzinfo=UTC) - LATE, until.replace(tzinfo=UTC) - LATE
    found: dict[date, Found] = defaultdict(dict)
    for workgroup in where.athena_workgroups:
        queried = queried_tables(lakehouse.settings, workgroup, since, until)
        for table, by_day in queried.tables.items():
            sizes = {held.partition: sum(held.sizes) for held in holdings(lakehouse, table)}
            for day, count in by_day.items():
                for partition, size in sizes.items():
                    _add(found[day], (table, partition), Reads(count, count * size))
    if where.access_logs:
        _from_logs(lakehouse, where, since, until, found)
    for day, reads in found.items():
        note(lakehouse.reads, reads, datetime.combine(day, time()))


def _from_logs(
    lakehouse: Lakehouse, where: Elsewhere, since: datetime, until: datetime, found: Mapping[date, Found]
) -> None:
    place = urlsplit(where.access_logs)
    logs = open_store(f"s3://{place.netloc}", lakehouse.settings)
    lake = lakehouse.settings.root("lake")
    fetched = fetched_objects(logs, place.path.strip("/"), lake, since, until, where.ours).objects
    partitions = {name: partitions_of_files(lakehouse, name) for name in lakehouse.names()}
    whole: dict[tuple[date, str, Partition], int] = defaultdict(int)
    for (key, day), got in fetched.items():
        table = key.split("/")[0]
        partition = partitions.get(table, {}).get(lakehouse.store.location(key))
        if partition is not None:
            whole[day, table, partition] += got.bytes
    for (day, table, partition), size in whole.items():
        _add(found[day], (table, partition), Reads(1, size))


def _add(found: Found, what: tuple[str, Partition], reads: Reads) -> None:
    known = found.get(what, Reads(0, 0))
    found[what] = Reads(known.count + reads.count, known.bytes + reads.bytes)
