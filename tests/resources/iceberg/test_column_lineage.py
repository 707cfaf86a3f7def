"""Column lineage names the input columns that an output column is computed from."""

from __future__ import annotations

import ibis

from resources.iceberg.column_lineage import column_lineage
from resources.lake.lakehouse import Lakehouse
from tests.resources.visits import FIRST, VISITS, put

ORDERS = ibis.table({"id": "int64", "customer": "string", "net": "decimal(18, 4)", "tax": "decimal(18, 4)"}, "orders")
PEOPLE = ibis.table({"customer": "string", "name": "string", "city": "string"}, "people")


def lineage(expression: ibis.Table) -> dict[str, list[tuple[str, str]]]:
    return column_lineage(expression, lambda name: name)


def test_a_computed_column_names_all_it_is_computed_from() -> None:
    found = lineage(ORDERS.select("id", gross=ORDERS.net + ORDERS.tax, one=ibis.literal(1)))
    assert found == {"id": [("orders", "id")], "gross": [("orders", "net"), ("orders", "tax")], "one": []}


def test_a_join_names_the_side_that_a_column_comes_from() -> None:
    joined = ORDERS.join(PEOPLE, "customer").select("id", "city", told=PEOPLE.name.concat(ORDERS.customer))
    assert lineage(joined) == {
        "id": [("orders", "id")],
        "city": [("people", "city")],
        "told": [("orders", "customer"), ("people", "name")],
    }


def test_a_left_join_with_equal_names_keeps_them_apart() -> None:
    other = ORDERS.view()
    joined = ORDERS.left_join(other, ORDERS.id == other.id, rname="{name}_2")
    found = lineage(joined)
    assert found["net"] == [("orders", "net")]
    assert found["net_2"] == [("orders", "net")]


def test_a_union_names_both_sides() -> None:
    left, right = ORDERS.select(who=ORDERS.customer), PEOPLE.select(who=PEOPLE.name)
    assert lineage(left.union(right)) == {"who": [("orders", "customer"), ("people", "name")]}


def test_an_aggregate_and_a_window_name_what_they_sort_and_group_by() -> None:
    totals = ORDERS.group_by("customer").aggregate(net=ORDERS.net.sum())
    assert lineage(totals) == {"customer": [("orders", "customer")], "net": [("orders", "net")]}
    place = ibis.row_number().over(group_by=ORDERS.customer, order_by=ORDERS.id)
    ranked = ORDERS.mutate(place=place).filter(ibis._.place == 0).select("net", "place")
    assert lineage(ranked) == {"net": [("orders", "net")], "place": [("orders", "customer"), ("orders", "id")]}


def test_a_long_chain_is_walked_to_its_inputs() -> None:
    table = ORDERS.select("id", "net")
    for _ in range(50):
        table = table.mutate(net=ibis._.net + 1).filter(ibis._.id > 0).distinct()
    assert lineage(table)["net"] == [("orders", "net")]


def test_constants_come_from_nowhere() -> None:
    table = ibis.memtable([{"a": 1}], schema={"a": "int64"})
    assert lineage(table.mutate(b=table.a)) == {"a": [], "b": []}


def test_a_relation_of_a_session_is_told_by_its_table(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    never = type(VISITS)("never", VISITS.columns)
    with lake.session() as session:
        rows = session.read(VISITS).select("visit").union(session.read(never).select("visit"))
        assert column_lineage(rows, session.table_of) == {"visit": [("never", "visit"), ("visits", "visit")]}
