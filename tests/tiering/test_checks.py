"""A file that is gone, cut short or changed fails the check that is about it, by name; what is whole passes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cdap_assets.tiering import checks as module
from cdap_assets.tiering.checks import storage_checks
from cdap_assets.tiering.moves import restore
from tests.tiering.conftest import ARCHIVE, FEBRUARY, JANUARY, MARCH, AgeingShop, made

LIVE, ARCHIVES, COST = "live_files_readable", "archives_whole", "cost_as_expected"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> AgeingShop:
    """A shop with January archived, February archived and restored, and a look at all of it."""
    shop = made(AgeingShop(tmp_path_factory.mktemp("stored") / "home"))
    shop.archive("order_lines", JANUARY, FEBRUARY)
    restore(shop.lakehouse, "order_lines", [(FEBRUARY,)], shop.at)
    assert shop.job("review_storage").success
    return shop


def evaluated(shop: AgeingShop) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks as their own step runs them."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*storage_checks(), dg.AssetSpec("storage_tiers")],
            selection=dg.AssetSelection.checks_for_assets("storage_tiers"),
            resources={"lakehouse": shop.lakehouse},
            instance=instance,
        )
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def failed(shop: AgeingShop) -> dict[str, str]:
    """The checks that do not pass, with what they say."""
    return {name: one.description or "" for name, one in evaluated(shop).items() if not one.passed}


@pytest.fixture
def mended() -> Iterator[list[Path]]:
    """Files that a test names before it harms them, put back after it."""
    harmed: list[Path] = []
    kept: dict[Path, bytes] = {}

    class Remembered(list[Path]):
        def append(self, path: Path) -> None:
            kept[path] = path.read_bytes()
            super().append(path)

    yield Remembered(harmed)
    for path, content in kept.items():
        path.write_bytes(content)


def archived(shop: AgeingShop) -> list[Path]:
    return sorted((shop.settings.home / "archive" / "data").rglob("*.parquet"))


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def test_what_is_whole_passes_with_the_cost_that_was_expected(stored: AgeingShop) -> None:
    assert failed(stored) == {}
    cost = {name: value.value for name, value in evaluated(stored)[COST].metadata.items()}
    assert cost["currency"] == "EUR"
    assert 0 < float(str(cost["expected"])) == pytest.approx(float(str(cost["actual"])), rel=0.001)
    # the files of January and February as they were before they moved
    assert float(str(cost["of_older_snapshots"])) > 0


@pytest.mark.parametrize(("harm", "told"), [(delete, "is not there"), (truncate, "bytes, expected ")])
def test_a_live_file_that_is_harmed_is_named(stored: AgeingShop, mended: list[Path], harm: object, told: str) -> None:
    [file] = stored.files("order_lines", MARCH)
    mended.append(file)
    assert callable(harm)
    harm(file)
    found = failed(stored)
    assert ARCHIVES not in found
    assert found[LIVE].startswith(f"order_lines: file://{file} ")
    assert told in found[LIVE]


@pytest.mark.parametrize(
    ("harm", "told"),
    [(delete, "is not there"), (truncate, "bytes, expected "), (alter, "has another SHA-256 than its manifest")],
)
def test_an_archived_file_that_is_harmed_is_named(
    stored: AgeingShop, mended: list[Path], harm: object, told: str
) -> None:
    file = archived(stored)[0]
    mended.append(file)
    assert callable(harm)
    harm(file)
    found = failed(stored)
    assert LIVE not in found
    assert found[ARCHIVES].startswith("order_lines: ")
    assert file.name in found[ARCHIVES]
    assert told in found[ARCHIVES]


def test_the_archived_files_of_a_restored_month_are_watched_too_for_it_goes_back_to_them(
    stored: AgeingShop, mended: list[Path]
) -> None:
    for file in archived(stored):
        mended.append(file)
        alter(file)
    assert failed(stored)[ARCHIVES].count("has another SHA-256") == 2


def test_an_archive_without_its_manifest_cannot_be_restored_and_says_so(stored: AgeingShop, mended: list[Path]) -> None:
    [manifest] = (stored.settings.home / "archive" / "manifests").rglob("*.json")
    mended.append(manifest)
    manifest.unlink()
    assert "has no manifest, so its partitions cannot be restored" in failed(stored)[ARCHIVES]


def test_a_check_of_many_files_computes_the_checksums_of_some_and_names_a_few(
    stored: AgeingShop, mended: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLED", 1)
    for file in archived(stored):
        mended.append(file)
        alter(file)
    assert failed(stored)[ARCHIVES].count("has another SHA-256") == 1
    monkeypatch.setattr(module, "SAMPLED", 20)
    monkeypatch.setattr(module, "NAMED", 1)
    assert failed(stored)[ARCHIVES].endswith("; and 1 more")


def test_files_beside_the_tables_that_cost_more_than_expected_are_told_of(stored: AgeingShop, tmp_path: Path) -> None:
    lost = stored.settings.home / "archive" / "data" / "order_lines" / "lost"
    shutil.copytree(stored.settings.lake / "order_lines" / "data", lost)
    for number in range(40):
        shutil.copytree(stored.settings.lake / "order_lines" / "data", lost / str(number))
    try:
        result = evaluated(stored)[COST]
    finally:
        shutil.rmtree(lost)
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert float(str(result.metadata["apart"].value)) > 0.1
    assert ARCHIVE == "shelf"
