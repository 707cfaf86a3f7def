"""Money, shares and measured figures as written on a page."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages import formats
from pages.formats import Figure


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("value", "currency", "written"),
    [
        ("1234.5", "USD", "USD 1,234.50"),
        ("-0.004", "USD", "USD 0.00"),
        ("-12.345", "EUR", "EUR -12.34"),
        ("1500", "JPY", "JPY 1,500"),
        ("1.2345", "KWD", "KWD 1.234"),
        ("1234.5", "HUF", "HUF 1,234"),  # nobody has written fillér since 1999, whatever ISO 4217 says
        ("123456789012345678901234567890.12", "USD", "USD 123,456,789,012,345,678,901,234,567,890.12"),
    ],
)
def test_money_is_written_to_the_minor_unit_of_its_currency(value: str, currency: str, written: str) -> None:
    assert plain(formats.money(Decimal(value), currency)) == written


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**20), max_value=10**20))
def test_money_to_the_cent_reads_back_as_the_same_amount(value: Decimal) -> None:
    assert Decimal(plain(formats.amount(value, "USD")).replace(",", "")) == value


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), 1.5])
def test_money_that_is_not_a_finite_decimal_is_refused(value: Decimal) -> None:
    with pytest.raises(ValueError, match="finite Decimal"):
        formats.money(value, "USD")


@pytest.mark.parametrize(
    ("value", "written"),
    [("0", "0.00"), ("1234.5", "1,234.50"), ("0.0954", "0.095"), ("-0.00061", "-0.00061"), ("0.05", "0.05")],
)
def test_an_amount_next_to_nothing_keeps_two_digits(value: str, written: str) -> None:
    assert plain(formats.fine_amount(Decimal(value), "USD")) == written


@pytest.mark.parametrize(
    ("size", "binary", "decimal"),
    [
        (0, "0 bytes", "0 bytes"),
        (1, "1 byte", "1 byte"),
        (1_000, "1,000 bytes", "1.0 KB"),
        (10_000_000, "9.5 MB", "10.0 MB"),
        ((1 << 20) - 1, "1.0 MB", "1.0 MB"),
        (3 << 30, "3.0 GB", "3.2 GB"),
        (5_000 << 50, "5,000.0 PB", "5,629.5 PB"),
    ],
)
def test_a_size_is_told_in_the_units_of_who_bills_it(size: int, binary: str, decimal: str) -> None:
    assert (formats.binary_size(size), formats.decimal_size(size)) == (binary, decimal)


def test_no_size_is_written_as_a_whole_larger_unit() -> None:
    assert formats.binary_unit((1 << 30) - 1) == ("GB", 1 << 30)
    assert formats.binary_unit(1023) == ("bytes", 1)


def test_an_unlikely_share_is_not_rounded_to_never_nor_a_likely_one_to_always() -> None:
    assert plain(formats.percent(0.0002)) == "<0.1 %"
    assert plain(formats.percent(0.9998)) == ">99.9 %"
    assert plain(formats.percent(0.0)) == "0.0 %"
    assert plain(formats.percent(1.0)) == "100.0 %"


def test_a_share_is_told_in_people_of_a_hundred() -> None:
    assert plain(formats.in_hundred(0.0142)) == "1.4 in 100"
    assert plain(formats.in_hundred(0.0042)) == "0.42 in 100"
    assert formats.in_hundred(None) == "not known"


def test_a_figure_keeps_the_decimals_that_its_size_calls_for() -> None:
    assert formats.quantity(0.8537) == "0.854"
    assert plain(formats.quantity(173.04, "USD")) == "173.0 USD"
    assert formats.quantity(1_234_567.0) == "1,234,567"
    assert plain(formats.quantity(-4.2, "%")) == "-4.2 %"
    assert formats.quantity(-0.0001) == "0.000"
    assert formats.quantity(None) == "–"


def test_a_phrase_becomes_a_sentence_and_a_sentence_stays_as_it_is() -> None:
    assert formats.sentence("mean gap of the two ") == "Mean gap of the two."
    assert formats.sentence("How well it ranks?") == "How well it ranks?"
    assert formats.sentence("") == ""


def test_words_are_joined_as_in_a_sentence() -> None:
    assert [formats.listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_an_instant_is_written_in_utc_and_refused_without_a_zone() -> None:
    new_york = timezone(timedelta(hours=-5))
    assert plain(formats.instant(datetime(2017, 12, 3, 22, 30, tzinfo=new_york))) == "4 December 2017, 03:30 UTC"
    assert formats.instant(datetime(2017, 12, 3, tzinfo=UTC)).startswith(formats.day(date(2017, 12, 3)))
    with pytest.raises(ValueError, match="time zone"):
        formats.instant(datetime(2017, 12, 3))


@pytest.mark.parametrize(
    ("value", "low", "high", "baseline", "better", "word"),
    [
        (0.85, 0.83, 0.87, 0.75, "higher", "better"),
        (0.85, 0.83, 0.87, 0.84, "higher", "within the interval"),
        (0.30, 0.29, 0.31, 0.36, "lower", "better"),
        (0.40, 0.39, 0.41, 0.36, "lower", "worse"),
        (-4.2, -6.0, -2.0, 11.8, "zero", "better"),
        (-4.2, -6.0, -2.0, 1.0, "zero", "worse"),
        (0.85, None, None, 0.85, "higher", "the same"),
        (0.85, 0.83, 0.87, None, "higher", ""),
    ],
)
def test_a_figure_beats_its_baseline_only_outside_its_interval_and_in_its_direction(
    value: float,
    low: float | None,
    high: float | None,
    baseline: float | None,
    better: formats.Better,
    word: str,
) -> None:
    assert Figure("f", value, low, high, baseline, "", better, "").against_baseline == word


def test_a_figure_refuses_half_an_interval_a_reversed_one_and_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="both ends"):
        Figure("AUC", 0.8, 0.7, None, None, "", "higher", "")
    with pytest.raises(ValueError, match="low <= high"):
        Figure("AUC", 0.8, 0.9, 0.7, None, "", "higher", "")
    with pytest.raises(ValueError, match=r"figure 'AUC'.*nan"):
        Figure("AUC", float("nan"), None, None, None, "", "higher", "")
