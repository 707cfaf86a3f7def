"""A publish is one whole commit that later readers see, or nothing at all."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import ibis
import pytest

from resources.iceberg.errors import HomeMoved, InvariantViolated, OutsidePartitions, StalePublish
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.resources.visits import (
    FIRST,
    SECOND,
    THIRD,
    VISITS,
    data_files,
    now_reads,
    numbers,
    operations,
    put,
    visits,
)


def test_a_table_never_published_reads_as_its_schema_without_rows(lake: Lakehouse) -> None:
    with lake.session() as session:
        table = session.read(VISITS)
        assert table.columns == VISITS.names
        assert table.to_pyarrow().num_rows == 0
    assert lake.state("visits").snapshot_id is None


def test_a_publish_of_everything_replaces_everything_in_one_overwrite_snapshot(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, SECOND), (4, THIRD)])
    assert now_reads(lake) == [3, 4]
    assert operations(lake) == ["append", "overwrite"]  # there was nothing to overwrite at first


def test_a_publish_of_partitions_replaces_those_alone_in_one_overwrite_snapshot(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    put(lake, [(20, SECOND)], replace={"day": [SECOND, THIRD]})
    assert now_reads(lake) == [1, 20]
    assert operations(lake) == ["append", "overwrite"]


def test_a_partition_replaced_by_nothing_is_empty(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [], replace={"day": [FIRST]})
    assert now_reads(lake) == [2]


def test_a_result_without_rows_asks_no_engine_and_is_published_as_any_other(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("an engine was asked")

    put(lake, [(1, FIRST), (2, SECOND)])
    with monkeypatch.context() as patch:
        patch.setattr("resources.engines.duckdb.DuckDBEngine.stage", asked)
        with lake.session() as session:
            published = session.publish(VISITS, visits())
    assert (published.rows, published.total_rows, published.replaced) == (0, 0, "the whole table")
    assert (now_reads(lake), operations(lake)) == ([], ["append", "overwrite"])
    with lake.session() as session, pytest.raises(ValueError, match="the result lacks"):
        session.publish(VISITS, visits().drop("spent"))
    put(lake, [(3, THIRD)])
    assert now_reads(lake) == [3]


def test_an_append_keeps_what_is_there(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    put(lake, [(2, FIRST)], append=True)
    assert now_reads(lake) == [1, 2]
    assert operations(lake)[-1] == "append"


def test_publishing_no_rows_makes_an_empty_table(lake: Lakehouse) -> None:
    put(lake, [])
    assert lake.names() == ["visits"]
    assert now_reads(lake) == []
    put(lake, [(1, FIRST)])
    put(lake, [])
    assert now_reads(lake) == []
    assert lake.state("visits").rows == 0


def test_a_null_is_a_partition_like_any_other(lake: Lakehouse) -> None:
    put(lake, [(1, None), (2, FIRST)])
    with lake.session() as session:
        assert session.partitions("visits") == {(None,), (FIRST,)}
        assert session.read(VISITS, {"day": [None]}).visit.to_pyarrow().to_pylist() == [1]
        assert sorted(session.read(VISITS, {"day": [None, FIRST]}).visit.to_pyarrow().to_pylist()) == [1, 2]
    put(lake, [(3, None)], replace={"day": [None]})
    assert now_reads(lake) == [2, 3]


def test_what_was_published_says_how_much_was_written(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    with lake.session() as session:
        published = session.publish(VISITS, visits((3, FIRST)), replace={"day": [FIRST]})
    assert (published.rows, published.total_rows, published.replaced) == (1, 2, "1 of day")
    assert published.snapshot_id == lake.state("visits").snapshot_id
    assert published.sample == [{"visit": 3, "day": FIRST, "spent": Decimal("1.5000")}]  # no person


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (visits((1, FIRST, "Ann", "-0.01")), "spent: nobody spends less than nothing: 1 of 1 rows"),
        (visits((5, FIRST), (5, SECOND)), r"\(visit\) is unique: 1 of 2 rows"),
        (visits((1, FIRST)).mutate(visit=ibis.null("int64")), "visit is never null: 1 of 1 rows"),
    ],
)
def test_a_broken_promise_leaves_the_table_and_its_folder_as_they_were(
    lake: Lakehouse, rows: ibis.Table, told: str
) -> None:
    put(lake, [(1, FIRST)])
    files = data_files(lake)
    with lake.session() as session, pytest.raises(InvariantViolated, match=told):
        session.publish(VISITS, rows)
    assert now_reads(lake) == [1]
    assert data_files(lake) == files


def test_rows_of_another_partition_than_asked_for_are_refused(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    files = data_files(lake)
    with lake.session() as session, pytest.raises(OutsidePartitions, match="2024-03-02"):
        session.publish(VISITS, visits((3, FIRST), (4, SECOND)), replace={"day": [FIRST]})
    assert now_reads(lake) == [1, 2]
    assert data_files(lake) == files


def test_a_decimal_that_does_not_fit_is_an_error_and_nothing_is_published(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    files = data_files(lake)
    huge = visits((2, SECOND)).mutate(spent=ibis.literal(Decimal("1e17")).cast("decimal(38, 4)"))
    with lake.session() as session, pytest.raises(Exception, match=r"(?i)decimal"):
        session.publish(VISITS, huge)
    assert now_reads(lake) == [1]
    assert data_files(lake) == files


def test_a_result_that_lacks_a_column_names_it(lake: Lakehouse) -> None:
    with lake.session() as session, pytest.raises(ValueError, match=r"visits.*lacks \['spent'\]"):
        session.publish(VISITS, visits((1, FIRST)).drop("spent"))


def test_only_partition_columns_can_be_replaced(lake: Lakehouse) -> None:
    with lake.session() as session, pytest.raises(ValueError, match="partitioned by"):
        session.publish(VISITS, visits((1, FIRST)), replace={"person": ["Ann"]})


def test_the_file_has_the_declared_type_whatever_the_engine_computes(lake: Lakehouse) -> None:
    totals = TableSpec("totals", (Column("visits", "int64"), Column("spent", "decimal(18, 4)")))
    rows = visits((1, FIRST), (2, FIRST))
    with lake.session() as session:  # DuckDB sums int64 to HUGEINT and multiplies scales
        session.publish(totals, rows.aggregate(visits=rows.visit.sum(), spent=(rows.spent * rows.spent).sum()))
        assert session.read(totals).to_pyarrow().to_pylist() == [{"visits": 3, "spent": Decimal("4.5000")}]


def test_a_run_with_older_inputs_may_not_overwrite_a_newer_result(lake: Lakehouse) -> None:
    counts = TableSpec("counts", (Column("n", "int64"),))
    put(lake, [(1, FIRST)])
    with lake.session("slow") as slow, lake.session("fast") as fast:
        stale = slow.read(VISITS).aggregate(n=lambda t: t.count())
        put(lake, [(2, FIRST)], append=True)
        fast.publish(counts, fast.read(VISITS).aggregate(n=lambda t: t.count()))
        files = data_files(lake, "counts")
        with pytest.raises(StalePublish, match="newer visits"):
            slow.publish(counts, stale)
    with lake.session() as session:
        assert session.read(counts).n.to_pyarrow().to_pylist() == [2]
    assert data_files(lake, "counts") == files


def test_a_column_declared_later_is_null_in_old_files_and_old_pins_still_read(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    wider = TableSpec("visits", (*VISITS.columns, Column("shop", "string")), VISITS.key, VISITS.partition_by)
    with lake.session("before") as before:
        assert numbers(before) == [1, 2]
        with lake.session() as session:
            session.publish(wider, visits((3, SECOND)).mutate(shop=ibis.literal("A")), replace={"day": [SECOND]})
        with lake.session() as session:
            read = session.read(wider).select("visit", "shop").to_pyarrow().to_pylist()
        assert sorted((row["visit"], row["shop"]) for row in read) == [(1, None), (3, "A")]
        assert numbers(before) == [1, 2]
        assert numbers(before, wider) == [1, 2]


NAMES = ["O'Brien", 'say "hi"', "Zoë, 東京", "a/b=c&d%20e", "white  space", "[x]*?", "#1", ""]


def test_names_with_any_character_are_partition_values(lake: Lakehouse) -> None:
    by_person = TableSpec("by_person", VISITS.columns, partition_by=("person",))
    rows = visits(*((number, FIRST, name, "1") for number, name in enumerate(NAMES)))
    with lake.session() as session:
        session.publish(by_person, rows)
    with lake.session() as session:
        assert session.partitions("by_person") == {(name,) for name in NAMES}
        for number, name in enumerate(NAMES):
            assert session.read(by_person, {"person": [name]}).visit.to_pyarrow().to_pylist() == [number]
    with lake.session() as session:
        session.publish(by_person, rows.filter(rows.visit < 0), replace={"person": NAMES[:3]})
    assert now_reads(lake, by_person) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("home", ["it's home", "Zoë 東京", "a [b] *c", "a & b", 'the "home"', "a=b"])
def test_a_home_may_be_called_anything(open_lake: Callable[..., Lakehouse], home: str) -> None:
    lake = open_lake(home)
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, SECOND)], replace={"day": [SECOND]})
    assert now_reads(open_lake(home)) == [1, 3]
    assert (lake.settings.lake / "catalog.db").is_file()


def test_values_of_personal_columns_are_in_no_metadata_file(lake: Lakehouse) -> None:
    rows = visits((1, FIRST, "Wilhelmina", "1"), (2, FIRST, "Zacharias", "2"))
    shop = TableSpec(VISITS.name, (*VISITS.columns, Column("shop", "string")), partition_by=("day",))
    with lake.session() as session:
        session.publish(shop, rows.mutate(shop=ibis.literal("Corner")))
        session.publish(shop, rows.mutate(shop=ibis.literal("Corner")), append=True)
    written = [path for path in (lake.settings.lake / "visits" / "metadata").rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".avro", ".json"}
    told = b"".join(path.read_bytes() for path in written)
    assert b"Wilhelmina" not in told
    assert b"Zacharias" not in told
    table = lake.load("visits")
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None
    bounds = [
        entry.data_file.lower_bounds or {}
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
    ]
    fields = {name: table.schema().find_field(name).field_id for name in ("person", "shop")}
    assert bounds
    assert all(fields["shop"] in bound for bound in bounds)
    assert not any(fields["person"] in bound for bound in bounds)


def test_what_changed_since_a_snapshot_is_known_by_partition(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    since = lake.state("visits").snapshot_id
    assert since is not None
    put(lake, [(20, SECOND)], replace={"day": [SECOND]})
    put(lake, [], replace={"day": [THIRD]})
    with lake.session() as session:
        assert session.changed_since("visits", since) == {(SECOND,), (THIRD,)}
        assert session.changed_since("visits", 42) is None


def test_the_newest_publish_tells_its_code_and_its_inputs(lake: Lakehouse) -> None:
    counts = TableSpec("counts", (Column("n", "int64"),))
    put(lake, [(1, FIRST)])
    with lake.session() as session:
        assert session.last_publish("counts") is None
        rows = session.read(VISITS)
        session.publish(counts, rows.aggregate(n=rows.count()), provenance={"code_version": "7"})
        last = session.last_publish("counts")
    assert last is not None
    assert last.code_version == "7"
    assert last.inputs == {"visits": lake.state("visits").snapshot_id}


def test_reading_between_bounds_skips_no_row_within(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    with lake.session() as session:
        read = session.read(VISITS, between={"visit": (2, 3)}).visit.to_pyarrow().to_pylist()
    assert sorted(read) == [2, 3]  # a file per day, so the first is skipped whole


def test_a_declared_type_must_be_one_that_tables_store(lake: Lakehouse) -> None:
    odd = TableSpec("odd", (Column("when", "time"),))
    with lake.session() as session, pytest.raises(ValueError, match="not stored"):
        session.publish(odd, ibis.memtable({"when": [datetime.time(1)]}))


def test_a_copy_of_a_home_is_refused_for_it_would_write_into_the_one_it_was_copied_from(
    lake: Lakehouse, tmp_path: Path
) -> None:
    put(lake, [(1, FIRST)])
    copied, linked = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(lake.settings.home, copied)
    with Lakehouse(Settings(home=copied)).session() as session, pytest.raises(HomeMoved, match="copied or moved"):
        session.read(VISITS)
    linked.symlink_to(lake.settings.home)
    assert now_reads(Lakehouse(Settings(home=linked))) == [1]
