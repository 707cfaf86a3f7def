"""Reads that did not come through CDAP, noted like those that did: Athena's history and S3's access logs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

from cdap_assets.tiering.storage_policy import Elsewhere
from resources.iceberg.catalog import Partition
from resources.lake.lakehouse import Lakehouse
from resources.lake.read_history import fetched_objects, queried_tables
from resources.lake.reads import Reads, history, note
from resources.stores.object_store import read_bytes
from resources.tiers.inventory import holdings, partitions_of_files

NOTED = "elsewhere.json"  # until when reads of others are noted
FIRST_LOOK_BACK = timedelta(days=45)  # Athena keeps its history for as long
LATE = timedelta(days=1)  # S3 delivers a log hours after what it tells of
Found = dict[tuple[str, Partition], Reads]


def note_reads_elsewhere(lakehouse: Lakehouse, where: Elsewhere, at: datetime) -> None:
    """Note what others read since the last time, up to :data:`LATE` before ``at`` (UTC).

    Athena tells tables and no partitions: a query of a table counts as one read of every partition of it. Days before
    the first on which our own reads were noted are left out: then nobody watched, and unread would mean nothing.
    Its caller holds the lock of the reads, and has folded them.
    """
    watched = min((day for by_day in history(lakehouse.stores.reads).values() for day in by_day), default=None)
    if watched is None or not (where.athena_workgroups or where.access_logs):
        return
    until = at.replace(tzinfo=UTC) - LATE
    since = _noted_until(lakehouse) or until - FIRST_LOOK_BACK
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
        if day >= watched:
            note(lakehouse.stores.reads, reads, day, f"elsewhere-{since:%Y%m%dT%H%M%S}")
    lakehouse.stores.reads.write(NOTED, json.dumps({"until": until.isoformat()}).encode())


def _noted_until(lakehouse: Lakehouse) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(read_bytes(lakehouse.stores.reads, NOTED))["until"])
    except FileNotFoundError:
        return None


def _from_logs(
    lakehouse: Lakehouse, where: Elsewhere, since: datetime, until: datetime, found: Mapping[date, Found]
) -> None:
    place = urlsplit(where.access_logs)
    logs = lakehouse.stores.at(f"s3://{place.netloc}")
    lake = lakehouse.settings.root("lake")
    fetched = fetched_objects(logs, place.path.strip("/"), lake, since, until, where.ours).objects
    partitions = {name: partitions_of_files(lakehouse, name) for name in lakehouse.names()}
    whole: dict[tuple[date, str, Partition], int] = defaultdict(int)
    for (key, day), got in fetched.items():
        table = key.split("/")[0]
        partition = partitions.get(table, {}).get(lakehouse.stores.lake.location(key))
        if partition is not None:
            whole[day, table, partition] += got.bytes
    for (day, table, partition), size in whole.items():
        _add(found[day], (table, partition), Reads(1, size))


def _add(found: Found, what: tuple[str, Partition], reads: Reads) -> None:
    known = found.get(what, Reads(0, 0))
    found[what] = Reads(known.count + reads.count, known.bytes + reads.bytes)
