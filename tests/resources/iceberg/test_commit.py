"""A commit happens once or not at all, whatever its catalog answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis
import pytest
from pyiceberg.exceptions import CommitFailedException

from resources.iceberg import catalog
from resources.iceberg.errors import CommitUnknown
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from tests.resources.visits import FIRST, SECOND, VISITS, data_files, now_reads, operations, put, visits


class ConnectionReset(Exception):
    """What a catalog's client raises when an answer does not come."""


@pytest.fixture
def lake(open_lake: Callable[..., Lakehouse], monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    """A lake that holds one visit."""
    monkeypatch.setitem(catalog.PROPERTIES, "commit.retry.num-retries", "2")
    lake = open_lake()
    put(lake, [(1, FIRST)])
    return lake


def failing(lake: Lakehouse, error: Exception, *, times: int, after_commit: bool) -> list[str]:
    """Let the next commits of ``lake`` raise, before or after they are made; the list grows by one for each."""
    commit, raised = lake.catalog.commit_table, []

    def commit_and_fail(*arguments: Any) -> Any:
        if len(raised) == times:
            return commit(*arguments)
        raised.append(type(error).__name__)
        if after_commit:
            commit(*arguments)
        raise error

    lake.catalog.commit_table = commit_and_fail  # type: ignore[method-assign]
    return raised


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("error", [ConnectionReset("reset"), CommitFailedException("version has passed")])
def test_a_commit_whose_answer_is_lost_is_found_and_not_made_again(
    lake: Lakehouse, error: Exception, append: bool
) -> None:
    raised = failing(lake, error, times=1, after_commit=True)
    with lake.session("run") as session:
        published = session.publish(VISITS, visits((2, SECOND)), append=append)
        assert session.snapshot_id("visits") == published.snapshot_id
    assert len(raised) == 1
    assert now_reads(lake) == ([1, 2] if append else [2])
    assert operations(lake) == ["append", "append" if append else "overwrite"]
    assert published.snapshot_id == lake.state("visits").snapshot_id


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_is_found_although_others_have_followed_it(lake: Lakehouse, append: bool) -> None:
    commit = lake.catalog.commit_table

    def commit_be_followed_and_fail(*arguments: Any) -> Any:
        lake.catalog.commit_table = commit  # type: ignore[method-assign]
        commit(*arguments)
        put(Lakehouse(lake.settings), [(3, FIRST)], append=True)
        raise ConnectionReset("reset")

    lake.catalog.commit_table = commit_be_followed_and_fail  # type: ignore[method-assign]
    with lake.session() as session:
        published = session.publish(VISITS, visits((2, SECOND)), append=append)
        assert session.read(VISITS).count().to_pyarrow().as_py() == (2 if append else 1)  # its own publish
    assert published.snapshot_id != lake.state("visits").snapshot_id
    assert now_reads(lake) == ([1, 2, 3] if append else [2, 3])


def test_a_commit_that_did_not_happen_raises_what_it_met_and_keeps_the_table(lake: Lakehouse) -> None:
    failing(lake, ConnectionReset("reset"), times=99, after_commit=False)
    with lake.session() as session, pytest.raises(ConnectionReset):
        session.publish(VISITS, visits((2, SECOND)))
    assert now_reads(lake) == [1]
    put(Lakehouse(lake.settings), [(3, FIRST)])
    assert now_reads(lake) == [3]


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_loses_every_race_leaves_no_file(lake: Lakehouse, append: bool) -> None:
    before = data_files(lake)
    raised = failing(lake, CommitFailedException("another was first"), times=99, after_commit=False)
    with lake.session() as session, pytest.raises(CommitFailedException, match="another was first"):
        session.publish(VISITS, visits((2, SECOND)), append=append)
    assert len(raised) == 3  # the table's own number of retries, and no more
    assert now_reads(lake) == [1]
    assert data_files(lake) == before


def test_a_catalog_that_fails_and_then_is_silent_leaves_the_outcome_open(lake: Lakehouse) -> None:
    raised = failing(lake, ConnectionReset("reset"), times=1, after_commit=True)
    load = lake.catalog.load_table

    def load_before_the_commit(name: Any) -> Any:
        if raised and len(operations(Lakehouse(lake.settings))) == 2:
            raise ConnectionReset("silent")
        return load(name)

    lake.catalog.load_table = load_before_the_commit  # type: ignore[method-assign]
    with (
        lake.session() as session,
        pytest.raises(CommitUnknown, match=r"visits: the catalog failed.*ConnectionReset.*silent.*run again"),
    ):
        session.publish(VISITS, visits((2, SECOND)))
    assert now_reads(Lakehouse(lake.settings)) == [2]  # its files were kept, for the table has them


def test_a_change_of_schema_that_another_overtakes_is_made_anew(lake: Lakehouse) -> None:
    wider = TableSpec("visits", (*VISITS.columns, Column("shop", "string")), VISITS.key, VISITS.partition_by)
    raised = failing(lake, CommitFailedException("another was first"), times=2, after_commit=False)
    with lake.session() as session:
        session.publish(wider, visits((2, SECOND)).mutate(shop=ibis.literal("Ä")), append=True)
    assert len(raised) == 2
    assert now_reads(lake, wider) == [1, 2]
