from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from cdap_assets.storage.prices import PRICES, PriceError, read_prices

S3 = ("STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")


def changed(tmp_path: Path, change) -> Path:
    content = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_shipped_book_prices_every_class_of_both_regions_and_of_a_disk():
    book = read_prices()
    assert book.currency == "USD"
    for region in ("us-east-1", "eu-central-1"):
        assert tuple(book.region(region).classes) == S3
        assert book.region(region).hot == "STANDARD"
        assert book.region(region).in_tier("cool") == ("STANDARD_IA", "GLACIER_IR")
        assert book.region(region).in_tier("archived") == ("GLACIER", "DEEP_ARCHIVE")
    assert tuple(book.region("local").classes) == ("disk", "disk_recompressed", "archive_directory")


def test_money_is_read_as_written():
    prices = read_prices().region("us-east-1")
    assert prices.of("STANDARD").per_gb_month == Decimal("0.023")
    assert prices.of("DEEP_ARCHIVE").per_gb_month == Decimal("0.00099")
    assert prices.of("GLACIER").restore["Expedited"].per_1000_requests == 10


def test_a_class_that_can_be_read_in_place_is_dearer_to_read_the_less_it_costs_to_keep():
    for region in ("us-east-1", "eu-central-1"):
        prices = read_prices().region(region)
        readable = [prices.of(name) for name in (*prices.in_tier("hot"), *prices.in_tier("cool"))]
        by_storage = sorted(readable, key=lambda at: at.per_gb_month, reverse=True)
        assert by_storage == sorted(readable, key=lambda at: (at.retrieval_per_gb, at.get_per_1000))


def test_a_local_archive_has_no_fee_no_minimum_and_no_wait():
    at = read_prices().region("local").of("archive_directory")
    assert (at.transition_per_1000, at.retrieval_per_gb, at.minimum_days, at.minimum_object_bytes) == (0, 0, 0, 0)
    assert (at.restore["Standard"].per_gb, at.restore["Standard"].hours) == (0, 0)


def test_a_home_brings_its_own_book(tmp_path):
    path = changed(tmp_path, lambda book: book["regions"]["us-east-1"]["classes"]["STANDARD"].update(per_gb_month=0.02))
    assert read_prices(path).region("us-east-1").of("STANDARD").per_gb_month == Decimal("0.02")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda book: book["regions"]["local"]["classes"]["disk"].update(per_gb_month=-1),
            r"prices\.yaml: regions\.local\.classes\.disk\.per_gb_month: .*greater than or equal to 0, found -1",
        ),
        (
            lambda book: book["regions"]["local"]["classes"]["disk"].update(colour="blue"),
            r"regions\.local\.classes\.disk\.colour: Extra inputs are not permitted, found 'blue'",
        ),
        (lambda book: book.pop("currency"), "currency: Field required"),
        (
            lambda book: book["regions"]["us-east-1"]["classes"]["GLACIER"].update(in_place=True),
            "a class of tier archived cannot have in_place: true",
        ),
        (
            lambda book: book["regions"]["us-east-1"]["classes"]["GLACIER"]["restore"].pop("Standard"),
            "needs the restore option Standard",
        ),
        (
            lambda book: book["regions"]["us-east-1"]["classes"]["STANDARD"].update(tier="cool"),
            "expected one class of tier hot, found none",
        ),
        (
            lambda book: book["regions"]["us-east-1"]["classes"]["STANDARD"].update(restore={"Bulk": {}}),
            r"STANDARD\.restore\.Bulk\.per_gb: Field required",
        ),
    ],
)
def test_an_error_names_the_file_the_field_and_what_was_expected(tmp_path, change, told):
    with pytest.raises(PriceError, match=told):
        read_prices(changed(tmp_path, change))


def test_a_book_that_is_absent_or_no_yaml_says_so(tmp_path):
    with pytest.raises(PriceError, match=r"none\.yaml is not there"):
        read_prices(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("version: [", encoding="utf-8")
    with pytest.raises(PriceError, match=r"bad\.yaml is not YAML"):
        read_prices(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    with pytest.raises(PriceError, match=r"empty\.yaml: version: Field required, found nothing"):
        read_prices(tmp_path / "empty.yaml")


def test_an_unknown_region_or_class_is_named_with_those_there_are():
    with pytest.raises(PriceError, match="no region 'mars', only us-east-1, eu-central-1, local"):
        read_prices().region("mars")
    with pytest.raises(PriceError, match="no class 'GLACIER' in local, only disk, "):
        read_prices().region("local").of("GLACIER")
