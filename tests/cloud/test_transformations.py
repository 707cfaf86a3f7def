"""Every transformation of the lineage, and every form that a contract may write, on both engines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdap_assets.contracts.build import build
from cdap_assets.contracts.expression import parse
from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.snapshots import snapshot_rows
from cdap_assets.table_assets.table_asset import TableAsset
from resources.engines import builtins
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from tests.cloud.account import Aws
from tests.cloud.both_engines import (
    DAYS,
    FLOATS,
    INSTANTS,
    MONEY,
    ODD_MOMENTS,
    ODD_NUMBERS,
    TEXTS,
    WHOLE,
    ZONES,
    Row,
    computed,
    make_home,
    random_rows,
)
from tests.cloud.parity import differences, on_aws
from tests.examples import examples

SEEDS = st.integers(1, 2**32)


def few(number: int) -> settings:
    """The same few examples each time: a statement costs a third of a second."""
    return examples(
        number,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a smaller seed makes no smaller example
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@pytest.fixture
def lake(aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return Lakehouse(on_aws(make_home(tmp_path / "home"), aws, bucket))


@pytest.fixture
def engines(lake: Lakehouse) -> Iterator[tuple[Session, Session]]:
    with lake.session() as athena, lake.in_process() as here:
        yield athena, here


@few(1)
@given(seed=SEEDS)
def test_every_transformation_makes_the_same_of_random_tables(lake: Lakehouse, seed: int) -> None:
    random = Random(seed)
    lineage = read_lineage(lake.settings)
    assert not lineage.broken
    read = sorted({name for asset in lineage.tables for name in asset.inputs})
    with lake.in_process() as session:
        for name in read:
            # any rows that the types allow: what a publish asks of whole tables is not of interest here
            loose = replace(lineage.specs[name], key=(), invariants=(), partition_by=())
            count = random.choice((0, 15, 40, 40, 40, 40))
            session.publish(loose, ibis.memtable(random_rows(random, loose, sorted(lineage.contracts), count)))
    snapshots = snapshot_rows(random.sample(DAYS, 3), ZoneInfo(random.choice(ZONES)))
    found: list[dict[str, list[Row]]] = []
    sessions: list[Session] = [lake.session(), lake.in_process()]
    for session in sessions:
        with session:
            found.append(
                {asset.name: transformed(session, asset, lineage.specs, snapshots) for asset in lineage.tables}
            )
    assert differences(*found) == []


def transformed(
    session: Session, asset: TableAsset, specs: Mapping[str, TableSpec], snapshots: ibis.Table
) -> list[Row]:
    """The rows of an asset as they would be stored."""
    tables = {name: session.read(specs[name]) for name in asset.inputs}
    if asset.scope == "snapshot":
        tables["snapshots"] = snapshots
    rows = computed(session, asset(**tables).select(asset.table.names))
    return pa.Table.from_pylist(rows, schema=asset.table.schema().to_pyarrow()).to_pylist()


# Each kind of value by its leaves, and by the forms that make one of others.
LEAVES = {
    "text": ("a", "b", "'x'", "'7.0'"),
    "whole": ("n", "3", "-1"),
    "money": ("d", "e", "1.5", "0.005"),
    "float": ("f",),
    "day": ("day", "date '2024-03-31'"),
    "instant": ("at", "timestamp '2024-10-27 02:30:00'"),
    "truth": ("d > 0", "a is null", "true"),
}
ANY = (
    "coalesce({it}, {it})", "nullif({it}, {it})", "case when {truth} then {it} else {it} end",
    "case {text} when 'x' then {it} when a then {it} end", "case when {truth} then {it} end",
)  # fmt: skip
FORMS = {
    "text": (
        *ANY, "trim({it})", "lower({it})", "upper({it})", "substring({it}, 2, 3)", "substring({it}, 3)", "{it} || {it}",
        "concat({it}, 'x', {it})", "concat({it}, null)", "cast({whole} as string)", "cast({money} as string)",
        "cast({day} as varchar)", "cast({truth} as string)", "min({it})", "max({it})",
    ),
    "whole": (
        *ANY, "{it} + {it}", "{it} - {it}", "n * 7", "-{it}", "abs({it})", "round({it})", "cast({text} as int)",
        "cast(trim({text}) as bigint)", "cast(d as int)", "cast(f as int)", "sum(n)", "min({it})", "max({it})",
        "count({text})", "count(distinct {text})", "count(distinct {day})", "count(distinct {money})",
    ),
    "money": (
        *ANY, "{it} + {whole}", "{it} - {it}", "{it} * 1.1", "d * e", "d * n", "n / 7", "{it} / e", "d / {whole}",
        "{it} / 0", "-{it}", "abs({it})", "round({it}, 2)", "round({it})", "cast({text} as decimal(18,4))",
        "cast({text} as decimal(6,1))", "cast({whole} as decimal(38,2))", "cast({it} as decimal(38,1))",
        "cast(f as decimal(18,4))", "cast(f as decimal(12,2))", "sum({it})", "min({it})", "max({it})",
    ),
    "float": (
        *ANY, "{it} + {money}", "{it} - {whole}", "{it} * {money}", "{money} / {it}", "{it} / 0", "-{it}", "abs({it})",
        "round({it})", "round({it}, 2)", "min({it})", "max({it})",
    ),
    "day": (*ANY, "cast({text} as date)", "cast({instant} as date)", "cast({it} as date)", "min({it})", "max({it})"),
    "instant": (
        *ANY, "cast({text} as timestamp)", "cast({day} as timestamp)", "cast({it} as timestamp)", "min({it})",
        "max({it})",
    ),
    "truth": (
        "{it} and {it}", "{it} or {it}", "not {it}", "{text} is null", "{money} is not null", "{text} = {text}",
        "{text} <> 'x'", "{text} < {text}", "{whole} >= {money}", "{float} > {money}", "{day} <= {day}",
        "{instant} < {instant}", "{text} in ('', 'x', '7.0')", "{whole} in (1, 7)", "{money} in (0, -9.99)",
        "{day} in (date '2024-03-31')", "{money} between {whole} and {money}", "{text} between 'A' and 'z'",
        "{day} between date '2024-03-10' and {day}",
    ),
}  # fmt: skip
AGGREGATE = re.compile(r"(sum|min|max|count)\(")


def filled(random: Random, kind: str, form: str, depth: int) -> str:
    """A form whose parts are drawn; aggregates stand outermost."""

    def part(match: re.Match[str]) -> str:
        inner = kind if match[1] == "it" else match[1]
        forms = [form for form in FORMS[inner] if not AGGREGATE.search(form)] if depth else LEAVES[inner]
        text = filled(random, inner, random.choice(forms), depth - 1)
        # an aggregate takes a column
        return f"coalesce({LEAVES[inner][0]}, {text})" if AGGREGATE.match(form) else f"({text})"

    return re.sub(r"\{(\w+)\}", part, form)


def expression_rows(random: Random) -> pa.Table:
    """Rows with a column of each kind, in which every awkward value of texts stands once."""
    texts = [*TEXTS, *ODD_NUMBERS, *ODD_MOMENTS, None]
    fourth, second = Decimal("0.0001"), Decimal("0.01")

    def any_of(values: tuple[object, ...]) -> list[object]:
        return random.choices([*values, None], k=len(texts))

    return pa.table({
        "id": pa.array(range(len(texts)), pa.int64()),
        "a": pa.array(texts, pa.string()),
        "b": pa.array(any_of((*TEXTS[:6], "x")), pa.string()),
        "n": pa.array(any_of(WHOLE), pa.int64()),
        "d": pa.array(any_of(tuple(Decimal(text).quantize(fourth) for text in MONEY)), pa.decimal128(18, 4)),
        "e": pa.array(any_of(tuple(Decimal(text).quantize(second) for text in MONEY[:6])), pa.decimal128(9, 2)),
        "f": pa.array(any_of((*FLOATS, 0.285, 1.005, 2.675)), pa.float64()),
        "day": pa.array(any_of(DAYS), pa.date32()),
        "at": pa.array(any_of(INSTANTS), pa.timestamp("us")),
    })  # fmt: skip


@few(3)
@given(seed=SEEDS)
def test_every_form_of_a_contract_means_the_same(engines: tuple[Session, Session], seed: int) -> None:
    random = Random(seed)
    rows = ibis.memtable(expression_rows(random))
    columns = {name: rows[name] for name in rows.columns}
    zone = random.choice(ZONES)
    texts = [filled(random, kind, form, random.choice((0, 1))) for kind, forms in FORMS.items() for form in forms]
    values = {f"c{number}": build(parse(text), columns, zone) for number, text in enumerate(texts)}
    plain = {name: value for name, value in values.items() if not AGGREGATE.search(texts[int(name[1:])])}
    folded = {name: value for name, value in values.items() if name not in plain}
    for key, expression in {"id": rows.select("id", **plain), "b": rows.group_by("b").aggregate(**folded)}.items():
        athena, here = (by_expression(computed(session, expression), key, texts) for session in engines)
        assert differences(here, athena) == [], zone


def by_expression(rows: list[Row], key: str, texts: Sequence[str]) -> dict[str, list[Row]]:
    """The values of each expression by its text, each with the key of its row."""
    names = [name for name in rows[0] if name != key]
    return {texts[int(name[1:])]: [{key: row[key], "value": row[name]} for row in rows] for name in names}


def test_where_engines_differ_by_themselves_contracts_have_one_answer(engines: tuple[Session, Session]) -> None:
    rows = ibis.memtable(pa.table({"n": [2**53 + 1], "f": [2.675]}))
    expected = {
        "n / 7": Decimal("1286742750677284.7142857143"),
        "f * 2.0": 5.35,
        "round(f, 2)": 2.68,
        "cast(f as decimal(18,2))": Decimal("2.68"),
        "cast(0.005 as string)": "0.005",
        "upper('Straße')": "STRAẞE",
        "cast('7\n' as int)": None,
        "cast('0000-01-01' || '' as date)": None,
        "cast('2024-12-31 24:00:00' || '' as timestamp)": None,
        "cast('2024-10-27 02:30:00' || '' as timestamp)": datetime(2024, 10, 27, 0, 30),
        "cast(cast('2024-10-27 02:30:00' || '' as timestamp) as date)": date(2024, 10, 27),
    }
    columns = {name: rows[name] for name in rows.columns}
    values = {f"c{number}": build(parse(text), columns, "Europe/Berlin") for number, text in enumerate(expected)}
    for session in engines:
        [found] = computed(session, rows.select(**values))
        assert dict(zip(expected, found.values(), strict=True)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807 + n",
        "n * 9223372036854775807",
        "cast(d * 1000000 as decimal(9,2))",
        "d / 0.0000000001 * 1000000000000000.0 * 1000000000.0",
    ],
)
def test_what_no_type_holds_is_an_error_and_never_another_value(engines: tuple[Session, Session], text: str) -> None:
    rows = ibis.memtable(pa.table({"n": [2], "d": pa.array([Decimal("99999.5")], pa.decimal128(18, 4))}))
    value = build(parse(text), {name: rows[name] for name in rows.columns}, "UTC")
    for session in engines:
        with pytest.raises(Exception, match=r"(?i)overflow|out of range|cannot cast|could not cast"):
            computed(session, rows.select(value=value))


def test_wall_clocks_of_every_zone_are_read_alike(engines: tuple[Session, Session]) -> None:
    rows = ibis.memtable(pa.table({"at": pa.array(INSTANTS, pa.timestamp("us"))}))
    for zone in (*ZONES, "America/Sao_Paulo", "Antarctica/Troll", "Pacific/Apia"):
        read = {"local": builtins.local_time(rows.at, zone), "utc": builtins.utc_time(rows.at, zone)}
        athena, here = ({zone: computed(session, rows.select("at", **read))} for session in engines)
        assert differences(here, athena) == []
