"""Who is who over time: components of links at each instant, whatever order the links came in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from time import perf_counter
from typing import Any

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import CUSTOMER_DAYS
from cdap_assets.identity.customer_xref import (
    CUSTOMER_XREF,
    components,
    customer_id,
    customer_xref,
    id_of,
    linked_keys,
    resolve,
)
from resources.engines.engine import Engine
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.examples import examples
from tests.rows import found, table

SIDES = ("customer_traits", "contacts", "events", "touches", "responses", "subscriptions", "consents", "customer_links")
Links = list[dict[str, Any]]


def at(day: int) -> datetime:
    return datetime(2017, 1, 1) + timedelta(days=day)


def link(one: str, other: str, known: int, until: int | None = None) -> dict[str, Any]:
    return {
        "key_space": "shop",
        "customer_key": one,
        "other_key_space": "web",
        "other_key": other,
        "known_at": at(known),
        "superseded_at": None if until is None else at(until),
    }


def owner(periods: Links, space: str, key: str, day: int) -> str:
    """The id of a key at an instant; exactly one period covers it."""
    [held] = [
        row["customer_id"]
        for row in periods
        if (row["key_space"], row["customer_key"]) == (space, key)
        and (row["valid_from"] is None or row["valid_from"] <= at(day))
        and (row["valid_to"] is None or row["valid_to"] > at(day))
    ]
    return str(held)


def reached(links: Links, start: tuple[str, str], day: int) -> set[tuple[str, str]]:
    """Keys joined to ``start`` by links held on a day, by a plain walk."""
    group = {start}
    while True:
        more = set(group)
        for row in links:
            if row["known_at"] <= at(day) and (row["superseded_at"] is None or row["superseded_at"] > at(day)):
                ends = {(row["key_space"], row["customer_key"]), (row["other_key_space"], row["other_key"])}
                if ends & more:
                    more |= ends
        if more == group:
            return group
        group = more


@st.composite
def many_links(draw: st.DrawFn) -> Links:
    links = []
    for _ in range(draw(st.integers(1, 8))):
        known = draw(st.integers(0, 5))
        until = draw(st.none() | st.integers(known + 1, 8))
        links.append(link(draw(st.sampled_from("abcd")), draw(st.sampled_from("wxyz")), known, until))
    return links


@examples(150)
@given(many_links())
def test_at_every_instant_keys_share_an_id_exactly_when_links_join_them(links: Links) -> None:
    periods = linked_keys(links)
    keys = {(row["key_space"], row["customer_key"]) for row in periods}
    for day in range(-1, 10):
        for key in keys:
            assert owner(periods, *key, day) == min(map(id_of, reached(links, key, day)))


@examples(100)
@given(many_links(), st.randoms(use_true_random=False))
def test_the_order_of_links_and_their_direction_in_the_list_change_nothing(links: Links, random: Any) -> None:
    shuffled = list(links)
    random.shuffle(shuffled)
    assert sorted(linked_keys(shuffled), key=str) == sorted(linked_keys(links), key=str)


@examples(100)
@given(many_links())
def test_the_periods_of_a_key_follow_each_other_without_gap_and_change_the_id(links: Links) -> None:
    by_key: dict[tuple[str, str], Links] = {}
    for row in linked_keys(links):
        by_key.setdefault((row["key_space"], row["customer_key"]), []).append(row)
    for spans in by_key.values():
        assert spans[0]["valid_from"] is None
        assert spans[-1]["valid_to"] is None
        for before, after in pairwise(spans):
            assert before["valid_to"] == after["valid_from"]
            assert before["customer_id"] != after["customer_id"]


def test_a_withdrawn_link_splits_the_customer_again() -> None:
    periods = linked_keys([link("a", "x", 1, 4)])
    assert owner(periods, "shop", "a", 2) == owner(periods, "web", "x", 2)
    for day in (0, 5):
        assert owner(periods, "shop", "a", day) == id_of(("shop", "a"))
        assert owner(periods, "web", "x", day) == id_of(("web", "x"))


def test_many_separate_pairs_known_at_as_many_instants_are_quick() -> None:
    began = perf_counter()
    periods = linked_keys([link(f"a{n}", f"w{n}", n) for n in range(5_000)])
    assert len(periods) == 15_000  # one of each pair keeps its id, the other changes once
    assert perf_counter() - began < 10


def test_components_join_chains_and_leave_strangers_alone() -> None:
    keys = [("s", name) for name in "abcd"]
    ids = components(keys, [(keys[0], keys[1]), (keys[1], keys[2])])
    assert len({ids[key] for key in keys[:3]}) == 1
    assert ids[keys[3]] == id_of(keys[3])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), threads=1, memory_limit="1GB")
    engine = Lakehouse(settings).in_process().engine
    yield engine
    engine.close()


@examples(25)
@given(st.tuples(*[st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)] * 2))
def test_the_engine_and_python_give_a_key_the_same_id(engine: Engine, key: tuple[str, str]) -> None:
    rows = ibis.memtable([{"space": key[0], "key": key[1]}], schema={"space": "string", "key": "string"})
    [given_id] = engine.backend.to_pyarrow(rows.select(id=customer_id(rows.space, rows.key)))["id"].to_pylist()
    assert given_id == id_of(key)
    assert len(given_id) == 21


def xref(engine: Engine, keys: list[str], links: Links) -> Links:
    days = table(CUSTOMER_DAYS, *({"customer_key": key, "local_date": at(0).date()} for key in keys))
    sides = {name: table(ENTITIES[name].table) for name in SIDES}
    full = [{**row, "source": "shop", "method": "stated", "probability": 1.0} for row in links]
    sides["customer_links"] = table(ENTITIES["customer_links"].table, *full)
    rows: Links = engine.backend.to_pyarrow(customer_xref(days, **sides)).to_pylist()
    return rows


def test_a_key_that_was_never_linked_is_one_customer_from_the_start(engine: Engine) -> None:
    rows = xref(engine, ["Zoë", "雪", "Zoë"], [])
    assert sorted(row["customer_id"] for row in rows) == sorted([id_of(("shop", "Zoë")), id_of(("shop", "雪"))])
    assert {(row["valid_from"], row["valid_to"]) for row in rows} == {(None, None)}


def test_a_linked_key_stands_in_the_cross_reference_once_per_period_and_no_key_is_lost(engine: Engine) -> None:
    rows = xref(engine, ["a", "b"], [link("a", "x", 3)])
    assert {(row["key_space"], row["customer_key"]) for row in rows} == {("shop", "a"), ("shop", "b"), ("web", "x")}
    places = [(row["key_space"], row["customer_key"], row["valid_from"]) for row in rows]
    assert len(places) == len(set(places)) == 4
    assert owner(rows, "shop", "a", 4) == owner(rows, "web", "x", 4)


def test_a_key_resolves_to_the_customer_of_the_instant_that_is_asked_for() -> None:
    periods = table(CUSTOMER_XREF, *linked_keys([link("a", "x", 3)]))
    days = table(
        CUSTOMER_DAYS,
        *({"key_space": s, "customer_key": k, "local_date": at(0).date()} for s, k in (("shop", "a"), ("web", "x"))),
    )

    def ids(instant: datetime | None) -> set[str]:
        rows = found(resolve(days, periods, instant))
        assert len(rows) == 2
        return {row["customer_id"] for row in rows}

    assert ids(at(2)) == {id_of(("shop", "a")), id_of(("web", "x"))}
    assert ids(at(3)) == ids(None) == {min(id_of(("shop", "a")), id_of(("web", "x")))}
