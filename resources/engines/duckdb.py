"""DuckDB in this process: one in memory per session, over Parquet files of a folder or of S3, always in UTC."""

from __future__ import annotations

import csv
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlglot.expressions as sge

from resources.engines.duckdb_connection import local_connection
from resources.engines.engine import IN_PROCESS, Query, QueryFailed, Source, Staged, check_columns
from resources.engines.file_format import FileFormat, UnreadableFile
from resources.iceberg.table import Column, TableSpec
from resources.stores.stores import Stores

if TYPE_CHECKING:
    import duckdb
    import ibis
    import pandas as pd
    import pyarrow as pa
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables
    from resources.settings import Settings

ROW_GROUP = 1_000_000  # rows of what is kept: larger groups compress better, and are still read in parallel
_MACROS = (
    "CREATE MACRO cdap_local_time(instant, zone) AS timezone(zone, timezone('UTC', instant))",
    # of a doubled hour DuckDB takes the second; the offset of three hours before gives the first
    "CREATE MACRO cdap_utc_last(wall, zone) AS timezone('UTC', timezone(zone, wall))",
    "CREATE MACRO cdap_offset(instant, zone) AS cdap_local_time(instant, zone) - instant",
    "CREATE MACRO cdap_utc_first(wall, zone) AS wall - cdap_offset(cdap_utc_last(wall, zone) - INTERVAL 3 HOUR, zone)",
    "CREATE MACRO cdap_utc_time(wall, zone) AS CASE WHEN cdap_local_time(cdap_utc_first(wall, zone), zone) = wall"
    " THEN cdap_utc_first(wall, zone) ELSE cdap_utc_last(wall, zone) END",
    # DuckDB divides decimals as floats: here by the whole numbers that their digits make
    "CREATE MACRO cdap_digits(number) AS CAST(replace(CAST(abs(number) AS VARCHAR), '.', '') AS HUGEINT)",
    "CREATE MACRO cdap_tenths(over, under) AS CAST(over // under * 10_000_000_000"
    " + (over % under * 10_000_000_000 + under // 2) // under AS DECIMAL(38, 0))",
    "CREATE MACRO cdap_quotient(over, under) AS CAST(sign(over) * sign(under) AS DECIMAL(1, 0))"
    " * cdap_tenths(cdap_digits(over), cdap_digits(under)) * CAST(0.0000000001 AS DECIMAL(11, 10))",
    "CREATE MACRO cdap_sha256(text) AS sha256(text)",
    "CREATE MACRO cdap_parse_time(text, form) AS CAST(try_strptime(text, form) AS TIMESTAMP)",
    "CREATE MACRO cdap_parse_instant(text) AS timezone('UTC', TRY_CAST(text AS TIMESTAMPTZ))",
    "CREATE MACRO cdap_json(line) AS CAST(to_json(line) AS VARCHAR)",
)


class DuckDBEngine:
    """Computes Ibis expressions over files: which ones a table has, and commits, are the lakehouse's."""

    queries: Sequence[Query] = ()  # nothing here is billed

    def __init__(
        self,
        settings: Settings,
        stores: Stores | None = None,
        connection: AbstractContextManager[duckdb.DuckDBPyConnection] | None = None,
    ) -> None:
        import duckdb
        import ibis

        self.failures: tuple[type[Exception], ...] = (duckdb.Error,)
        self.settings = settings
        self.stores = stores or Stores(settings)
        with ExitStack() as opened:
            con = opened.enter_context(connection or local_connection(settings))
            self.backend = ibis.duckdb.from_connection(con)
            if settings.warehouse:
                from resources.engines.object_files import object_files

                con.register_filesystem(object_files(settings))
            con.execute("; ".join(_MACROS))
            self._opened = opened.pop_all()

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """An engine over the files of an installation's tables, on the connections that these come with."""
        connect = tables.connections.duckdb
        return cls(tables.settings, tables.stores, connect() if connect else None)

    def close(self) -> None:
        """Give the memory back."""
        self._opened.close()

    def read(self, spec: TableSpec, source: Source | None, name: str) -> ibis.Table:
        """The rows of a pinned state of a table; none of one that was never built."""
        return self.scan(spec, [file.file_path for file in source.files] if source else [], name)

    def scan(self, spec: TableSpec, files: Sequence[str], name: str) -> ibis.Table:
        """The rows of Parquet ``files`` in the declared schema; columns a file lacks read as null.

        ``name`` is new to this engine.
        """
        import ibis.expr.operations as ops

        stored = self.parquet(files) if files else self._no_rows()
        there = set(stored.columns)
        columns = [self._declared(column, stored=column.name in there) for column in spec.columns]
        stored.select(*columns).create_view(name)
        # the schema is the declared one: asking DuckDB for it would bind the files once more
        return ops.DatabaseTable(name=name, schema=spec.schema(), source=self.backend).to_expr()

    def _no_rows(self) -> duckdb.DuckDBPyRelation:
        return self.backend.con.sql("SELECT 1 WHERE false")

    def parquet(self, files: Sequence[str]) -> duckdb.DuckDBPyRelation:
        """The rows of Parquet ``files`` as they are stored; columns a file lacks are null."""
        paths = [literal_path(file.removeprefix("file://")) for file in files]
        # not through Ibis, which wants DuckDB's own S3 client
        return self.backend.con.read_parquet(paths, hive_partitioning=False, union_by_name=True)

    def write_large(self, rows: duckdb.DuckDBPyRelation, folder: str, largest: int, level: int) -> list[str]:
        """Write ``rows`` as they are in files of up to about ``largest`` bytes, compressed by zstd at ``level``."""
        name = f"large_{uuid.uuid4().hex}"
        rows.create_view(name)
        local = folder.removeprefix("file://")
        if not local.startswith("s3://"):
            Path(local).mkdir(parents=True, exist_ok=True)
        # order helps compression: what was written together is alike
        self.backend.raw_sql("SET preserve_insertion_order = true")
        target = sge.Literal.string(local).sql(IN_PROCESS)
        self.backend.raw_sql(
            f"COPY {name} TO {target} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {level:d}, "
            f"FILE_SIZE_BYTES {largest:d}, ROW_GROUP_SIZE {ROW_GROUP:d}, OVERWRITE_OR_IGNORE)"
        )
        written = self.stores.at(folder)
        return [written.location(found.key) for found in written.list()]

    def stage(self, spec: TableSpec, expression: ibis.Table, table: Table, name: str, run: str) -> Staged:
        """Write ``expression`` into the folder of ``table``, where no reader sees it, as data files to commit.

        Raises :class:`ValueError` for missing columns; the engine's own error when a value does not fit.
        """
        from pyiceberg.io.pyarrow import parquet_files_to_data_files

        # a folder of its own for every publish, so that a failed one can be cleared whole
        folder = f"{self.stores.lake.key(table.location())}/data/run-{run}/{uuid.uuid4().hex}"

        def discard() -> None:
            self.stores.lake.delete([found.key for found in self.stores.lake.list(f"{folder}/")])

        try:
            paths = self.write(spec, expression, self.stores.lake.location(folder))
            files = list(parquet_files_to_data_files(table.io, table.metadata, iter(paths)))
        except BaseException:
            discard()
            raise
        return Staged(self.scan(spec, paths, name), files, discard)

    def write(self, spec: TableSpec, expression: ibis.Table, folder: str) -> list[str]:
        """Write ``expression`` as Parquet in the declared schema, one file or more per partition."""
        check_columns(spec, expression)
        stage = f"stage_{uuid.uuid4().hex}"
        self.backend.create_view(stage, expression)
        relation = self.backend.con.table(stage).select(*(self._declared(column) for column in spec.columns))
        local = folder.removeprefix("file://")
        if not local.startswith("s3://"):
            Path(local).mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"compression": "zstd"}
        if spec.partition_by:
            options |= {"partition_by": list(spec.partition_by), "write_partition_columns": True}
            target = f"{local}/{stage}"
        else:
            target = f"{local}/{stage}.parquet"
        relation.write_parquet(target, **options)
        written = self.stores.at(folder)
        return [written.location(found.key) for found in written.list(stage)]

    def _declared(self, column: Column, *, stored: bool = True) -> duckdb.Expression:
        # Ibis leaves a cast out where it believes the type is right already, and it is not always
        import duckdb
        import ibis.expr.datatypes as dt

        target = self.backend.compiler.type_mapper.to_string(dt.dtype(column.type).copy(nullable=True))
        value = duckdb.ColumnExpression(column.name) if stored else duckdb.ConstantExpression(None)
        return value.cast(target).alias(column.name)

    def batches(self, expression: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of an expression as Arrow record batches of about ``size`` rows, never whole in memory."""
        name = f"stream_{uuid.uuid4().hex}"
        self.backend.create_view(name, expression)
        yield from self.backend.con.table(name).to_arrow_reader(size)

    def query(self, sql: str) -> pd.DataFrame:
        """The result of a statement over this engine's relations. Raises :class:`QueryFailed` with the reason."""
        import duckdb

        try:
            return self.backend.con.execute(sql).df()
        except duckdb.Error as error:
            raise QueryFailed(str(error)) from error

    def materialize(self, expression: ibis.Table) -> ibis.Table:
        """Compute an expression once, for several readers in this session."""
        return self.backend.create_table(f"once_{uuid.uuid4().hex}", expression, temp=True)

    def delivered(self, path: Path, form: FileFormat) -> tuple[ibis.Table, list[tuple[int, str, str]]]:
        """A delivered file as text columns (CSV, JSON lines) or as typed (Parquet), with ``row_number``.

        Also the lines that could not be split into columns: (line, error, text). Raises
        :class:`UnreadableFile` when the file as a whole cannot be read.
        """
        import duckdb

        name = f"delivered_{uuid.uuid4().hex}"
        con = self.backend.con
        con.execute("SET preserve_insertion_order = true")
        try:
            if form.type == "jsonl":
                rejects = self._json_lines(path, name)
            else:
                relation, parameters = _reader(path, form)
                con.execute(
                    f"CREATE TEMP TABLE {name} AS SELECT *, row_number() OVER () AS row_number FROM {relation}",  # noqa: S608
                    parameters,
                )
                rejects = self._rejected_lines() if form.type == "csv" else []
        except (duckdb.Error, UnicodeError, csv.Error) as error:
            raise UnreadableFile(str(error).splitlines()[0]) from error
        finally:
            con.execute("SET preserve_insertion_order = false")
        return self.backend.table(name), rejects

    def _rejected_lines(self) -> list[tuple[int, str, str]]:
        # one line may have several errors
        con = self.backend.con
        rejects = con.execute(
            "SELECT line, min(error_type::VARCHAR), any_value(csv_line) FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
        return rejects

    def _json_lines(self, path: Path, name: str) -> list[tuple[int, str, str]]:
        # DuckDB's own JSON reader guesses types and gives up at the first value that differs
        con = self.backend.con
        options = r"columns = {line: 'VARCHAR'}, delim = '\x01', quote = '', escape = '', header = false"
        con.execute(
            f"CREATE TEMP TABLE {name}_lines AS "  # noqa: S608
            f"SELECT line, row_number() OVER () AS row_number FROM read_csv(?, {options}, auto_detect = false)",
            [literal_path(path)],
        )
        known = "json_valid(line) AND json_type(line) = 'OBJECT'"
        keys = con.execute(
            f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {name}_lines WHERE {known} ORDER BY key"  # noqa: S608
        ).fetchall()
        rejects = con.execute(
            f"SELECT row_number, 'NO JSON OBJECT', line FROM {name}_lines "  # noqa: S608
            f"WHERE trim(line) <> '' AND NOT coalesce(CASE WHEN json_valid(line) THEN {known} END, false) ORDER BY ALL"
        ).fetchall()
        if rejects and not keys:
            raise UnreadableFile("no line of it is a JSON object")
        pointers = ["/" + key.replace("~", "~0").replace("/", "~1") for (key,) in keys]
        columns = "".join(f"json_extract_string(line, ?) AS {_quoted(key)}, " for (key,) in keys)
        con.execute(
            f"CREATE TEMP TABLE {name} AS SELECT {columns} row_number FROM {name}_lines WHERE {known}",  # noqa: S608
            pointers,
        )
        con.execute(f"DROP TABLE {name}_lines")
        return rejects


def literal_path(path: Path | str) -> str:
    """A path in which DuckDB sees no pattern: a file called ``orders[1].csv`` is that file alone."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reader(path: Path, form: FileFormat) -> tuple[str, list[Any]]:
    if form.type == "parquet":
        return "read_parquet(?, hive_partitioning = false)", [literal_path(path)]
    # all is said, for what DuckDB detects depends on the first rows
    options: dict[str, Any] = {
        "columns": dict.fromkeys(form.columns or _header(path, form), "VARCHAR"),
        "delim": form.delimiter,
        "header": form.header,
        "encoding": form.encoding,
        "nullstr": list(form.null_values),
        "quote": '"',
        "escape": '"',
    }
    settings = ", ".join(f"{key} = ?" for key in options)
    return f"read_csv(?, store_rejects = true, auto_detect = false, {settings})", [
        literal_path(path),
        *options.values(),
    ]


def _header(path: Path, form: FileFormat) -> list[str]:
    encoding = "utf-8-sig" if form.encoding.lower() in ("utf-8", "utf8") else form.encoding
    with path.open(encoding=encoding, newline="") as file:
        names = next(csv.reader(file, delimiter=form.delimiter), [])
    if not names:
        raise UnreadableFile("it is empty, without even a header")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableFile(f"its header names {', '.join(repeated)} more than once")
    return names
