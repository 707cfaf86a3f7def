"""An archived file comes back as the file it was, with all that Iceberg knew of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import ibis
import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from resources.iceberg.catalog import partition_of, planned_files
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.stores.folder_store import FolderStore
from resources.tiers.manifest import (
    ArchivedFile,
    ArchiveManifest,
    by_partition,
    data_file,
    facts_of,
    read_manifest,
)
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, VISITS, put, visits

AT = datetime(2024, 6, 1, 5)
KEPT = (
    "partition",
    "record_count",
    "file_size_in_bytes",
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
    "split_offsets",
    "spec_id",
)
WIDE = TableSpec(
    "wide",
    (
        Column("land", "string"),
        Column("open", "boolean"),
        Column("year", "int32"),
        Column("day", "date"),
        Column("number", "int64"),
        Column("ratio", "float64"),
    ),
    partition_by=("land", "open", "year", "day"),
)


def loaded(lake: Lakehouse, name: str = "visits") -> Table:
    table = lake.load(name)
    assert table is not None
    return table


def live(table: Table) -> list[DataFile]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return planned_files(table, snapshot.snapshot_id)


def archived(file: DataFile) -> ArchivedFile:
    return ArchivedFile(file.file_path, "k", file.file_size_in_bytes, file.record_count, "sha", facts_of(file))


def known(table: Table, file: DataFile) -> dict[str, Any]:
    told = {name: getattr(file, name) or None for name in KEPT}
    return {**told, "partition": partition_of(table, file.partition)}


def through_a_restore(lake: Lakehouse, name: str) -> None:
    """Archive and restore every partition of a table: its files are known as before."""
    table = loaded(lake, name)
    before = [known(table, file) for file in live(table)]
    assert [known(table, data_file(archived(file), "p")) for file in live(table)] == before
    partitions = list(by_partition(table, live(table)))
    carry_out(lake, begun("archive", name, partitions, AT))
    assert live(loaded(lake, name)) == []
    carry_out(lake, begun("restore", name, partitions, AT))
    after = loaded(lake, name)
    assert sorted((known(after, file) for file in live(after)), key=str) == sorted(before, key=str)


def test_facts_survive_for_partitions_by_text_boolean_number_date_and_null(lake: Lakehouse) -> None:
    rows = [
        {"land": land, "open": is_open, "year": year, "day": day, "number": number, "ratio": float(number)}
        for number, (land, is_open, year, day) in enumerate(
            [("a\"b'/ü %=", True, 2024, FIRST), (None, False, -1, None), ("", None, None, SECOND), (None,) * 4]
        )
    ]
    with lake.session() as session:
        session.publish(WIDE, ibis.memtable(rows, schema=WIDE.schema()))
    through_a_restore(lake, "wide")
    with lake.session() as session:
        read = session.read(WIDE).order_by("number").to_pyarrow().to_pylist()
        assert read == rows
        one = session.read(WIDE, {"land": [None], "day": [None]}).number.to_pyarrow().to_pylist()
    assert sorted(one) == [1, 3]


def test_facts_survive_for_an_unpartitioned_table(lake: Lakehouse) -> None:
    spec = replace(VISITS, partition_by=())
    with lake.session() as session:
        session.publish(spec, visits((1, FIRST), (2, None)))
    through_a_restore(lake, "visits")


def test_files_that_pyiceberg_wrote_with_field_ids_move_and_come_back(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    table = loaded(lake)
    table.append(
        pa.table(
            {"visit": [2, 3], "person": ["Bo", None], "day": [FIRST, SECOND], "spent": [None, None]},
            schema=table.schema().as_arrow(),
        )
    )
    through_a_restore(lake, "visits")
    carry_out(lake, begun("cool", "visits", [(FIRST,)], AT))
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    carry_out(lake, begun("restore", "visits", [(FIRST,)], AT))
    with lake.session() as session:
        rows = session.read(VISITS).order_by("visit").select("visit", "person").to_pyarrow().to_pylist()
    assert rows == [{"visit": 1, "person": "Ann"}, {"visit": 2, "person": "Bo"}, {"visit": 3, "person": None}]


@pytest.mark.parametrize("cooled", [False, True])
def test_a_file_archived_before_a_column_was_added_reads_it_as_null(lake: Lakehouse, cooled: bool) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    if cooled:
        carry_out(lake, begun("cool", "visits", [(FIRST,)], AT))
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    wider = replace(VISITS, columns=(*VISITS.columns, Column("shop", "string")))
    row = {"visit": 3, "person": "Cy", "day": SECOND, "spent": 1, "shop": "S"}
    with lake.session() as session:
        session.publish(wider, ibis.memtable([row], schema=wider.schema()), append=True)
    carry_out(lake, begun("restore", "visits", [(FIRST,)], AT))
    with lake.session() as session:
        found = session.read(wider).order_by("visit").select("visit", "shop").to_pyarrow().to_pylist()
        alone = session.read(wider, {"day": [FIRST]}).shop.to_pyarrow().to_pylist()
    assert found == [{"visit": 1, "shop": None}, {"visit": 2, "shop": None}, {"visit": 3, "shop": "S"}]
    assert alone == [None]
    carry_out(lake, begun("compact", "visits", [(SECOND,)], AT))
    with lake.session() as session:
        assert session.read(wider).order_by("visit").shop.to_pyarrow().to_pylist() == [None, None, "S"]


def test_a_manifest_is_the_same_after_it_was_written(lake: Lakehouse, tmp_path: Any) -> None:
    put(lake, [(1, FIRST), (2, date(1969, 12, 31)), (3, None)])
    files = tuple(archived(file) for file in live(loaded(lake)))
    manifest = ArchiveManifest("m1", "visits", "GLACIER", files)
    store = FolderStore(tmp_path / "archive")
    manifest.write(store)
    again = read_manifest(store, "visits", "m1")
    assert again == manifest
    assert json.dumps(vars(again.files[0])) == json.dumps(vars(files[0]))
    with pytest.raises(FileNotFoundError):
        read_manifest(store, "visits", "m2")


def test_no_personal_value_stands_in_a_manifest(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    for found in lake.stores.archive.list("manifests/"):
        content = (lake.settings.home / "archive" / found.key).read_text()
        assert "Ann" not in content
        assert "QW5u" not in content  # as base64
