"""Without a daemon: restores first, then a look, what it decided batch by batch, and a look at the end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cdap_assets.tiering.following import follow
from cdap_assets.tiering.moves import restore
from cdap_assets.work.stages import Stage
from resources.tiers.journal import Journal
from resources.tiers.moving import begun
from tests.tiering.conftest import APPLIED, ARCHIVE, FEBRUARY, JANUARY, AgeingShop


def followed(shop: AgeingShop) -> list[Stage]:
    """The stages, each run before the next is asked for."""
    done = []
    for stage in follow(shop.lakehouse, shop.settings, shop.clock):
        assert shop.job(stage.job, stage.config).success, stage.why
        done.append(stage)
        assert len(done) < 20
    return done


def test_what_was_left_and_what_is_due_comes_before_what_is_decided(shop: AgeingShop) -> None:
    shop.policy(**APPLIED, tables={name: {"archive": False} for name in ("orders", "raw_till")})
    shop.archive("order_lines", JANUARY)
    restore(shop.lakehouse, "order_lines", [(JANUARY,)], "", 3, shop.at)
    shop.pass_days(150)
    left = begun("archive", "order_lines", [(FEBRUARY,)], shop.at, storage_class=ARCHIVE)
    Journal(shop.lakehouse.stores.archive).begin(left)
    done = followed(shop)
    assert [stage.job for stage in done][:2] == ["tier_partitions", "review_storage"]
    assert done[0].why == "return 1 partitions of order_lines"
    assert [stage.why for stage in done if "order_lines" in stage.why][1:] == ["archive 1 partitions of order_lines"]
    assert [stage.job for stage in done].count("review_storage") == 2
    assert done[-1].job == "review_storage"
    tiers = {state.tier for (table, _text), state in shop.states().items() if table == "order_lines"}
    assert tiers == {"archived"}
    assert list(Journal(shop.lakehouse.stores.archive).pending()) == []

    # nothing is left to do: one look, and no second one
    shop.at += timedelta(hours=2)
    assert [stage.job for stage in followed(shop)] == ["review_storage"]


def test_a_dry_run_only_looks(tmp_path: Path) -> None:
    shop = AgeingShop(tmp_path / "home")
    shop.policy(**{**APPLIED, "apply": False})
    assert [stage.job for stage in follow(shop.lakehouse, shop.settings, shop.clock)] == ["review_storage"]
