"""How money, shares, counts, sizes, dates and measured figures are written: by CLDR, on pages and in messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from math import isfinite
from typing import Literal

from babel import Locale
from babel.dates import format_date, format_time
from babel.lists import format_list
from babel.numbers import format_decimal, format_percent, format_scientific, get_currency_precision

NO_BREAK_SPACE = "\u00a0"
NARROW_SPACE = "\u202f"
MINUS = "\u2212"
LOCALE = Locale.parse("en_GB")  # not plain `en`, which writes the month before the day and a comma before `and`
DIGITS = 400  # more than any float or amount has: the 28 of the decimal module would round a long amount
UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")

Better = Literal["higher", "lower", "zero"]


@dataclass(frozen=True)
class Figure:
    """One measured figure of a model, with its interval and the naive baseline where there is one.

    `unit` is "" for a pure number, "share" for a fraction of 1 (written as a percentage), "%" for a number
    already in percent, or any other word (a currency code, "purchases") written after the number. `low` and
    `high` bound the 95 % interval. `better` says in which direction the figure improves; "zero" is for a
    bias. `meaning` explains the figure in one plain sentence. Raises ValueError when a number is not finite,
    only one end of the interval is given, or the ends are reversed.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    baseline: float | None
    unit: str
    better: Better
    meaning: str

    def __post_init__(self) -> None:
        check_finite(f"figure {self.name!r}", self.value, self.low, self.high, self.baseline)
        check_interval(f"figure {self.name!r}", self.low, self.high)

    @property
    def against_baseline(self) -> str:
        """One of "better", "worse", "the same", "within the interval" (the baseline is), or "" without one."""
        if self.baseline is None:
            return ""
        if self.low is not None and self.high is not None and self.low <= self.baseline <= self.high:
            return "within the interval"
        if self.better == "zero":
            gain = abs(self.baseline) - abs(self.value)
        else:
            gain = self.value - self.baseline if self.better == "higher" else self.baseline - self.value
        if gain == 0:
            return "the same"
        return "better" if gain > 0 else "worse"


def check_finite(owner: str, *numbers: float | None) -> None:
    """Raise ValueError, naming `owner`, when a number is infinite or not a number; None passes."""
    for number in numbers:
        if number is not None and not isfinite(number):
            raise ValueError(f"{owner}: expected finite numbers, found {number}; leave out what was not measured")


def check_interval(owner: str, low: float | None, high: float | None) -> None:
    """Raise ValueError, naming `owner`, unless both ends of an interval are absent or in order."""
    if (low is None) != (high is None):
        raise ValueError(f"{owner}: an interval needs both ends, found low={low} and high={high}")
    if low is not None and high is not None and not low <= high:
        raise ValueError(f"{owner}: expected low <= high, found low={low} and high={high}")


def money(value: Decimal, currency: str) -> str:
    """An exact amount to the digits that its currency is written with, as "USD 1,234.50"; ValueError unless finite."""
    return f"{currency}{NO_BREAK_SPACE}{amount(value, currency)}"


def amount(value: Decimal, currency: str) -> str:
    """An exact amount without its code, for a column whose head names the currency, as "1,234.50"."""
    return _amount(value, currency, get_currency_precision(currency))


def round_money(value: Decimal, currency: str) -> str:
    """An amount in whole units of the currency, for headlines and axes, as "USD 1,235"."""
    return f"{currency}{NO_BREAK_SPACE}{_amount(value, currency, 0)}"


def fine_amount(value: Decimal, currency: str) -> str:
    """An amount that may be next to nothing: up to two digits of less than ten minor units, as "0.0021"."""
    if not value or abs(value) >= Decimal(1).scaleb(1 - get_currency_precision(currency)):
        return amount(value, currency)
    return _amount(value, currency, 1 - value.adjusted(), least=0)


def _amount(value: Decimal, currency: str, digits: int, least: int | None = None) -> str:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ValueError(f"money must be a finite Decimal, found {value!r} {currency}")
    return number(value, digits, least)


def number(value: Decimal | float, digits: int, least: int | None = None) -> str:
    """A number with thousands separated and so many decimals, or with ``least`` at the least."""
    least = digits if least is None else least
    fraction = f".{'0' * least}{'#' * (digits - least)}" if digits else ""
    with localcontext(prec=DIGITS):
        # a float as it is, not as its shortest digits: 0.0005 is above the tie and is rounded up
        return _signed(format_decimal(Decimal(value), format=f"#,##0{fraction}", locale=LOCALE))


def rough(value: float) -> str:
    """A number to two significant digits, as "0.15", "14" or "120"."""
    return _signed(format_decimal(value, format="@#", locale=LOCALE))


def count(number_of: int) -> str:
    """A whole number with thousands separated, as "12,045"."""
    return number(number_of, 0)


def counted(number_of: int, noun: str) -> str:
    """A number with its noun, as "1 customer" or "2 customers"."""
    return f"{count(number_of)}{NO_BREAK_SPACE}{noun if number_of == 1 else noun + 's'}"


def binary_size(size: int) -> str:
    """Bytes as storage is billed, a KB being 1,024 of them: "3.1 GB"."""
    return _size(size, 1024)


def decimal_size(size: int) -> str:
    """Bytes as scans and transfers are billed, a KB being 1,000 of them: "3.1 GB"."""
    return _size(size, 1000)


def binary_unit(size: int) -> tuple[str, int]:
    """The unit that a size is told in, and the bytes of one: "GB" and 2^30."""
    power = _power(size, 1024)
    return UNITS[power], 1024**power


def _size(size: int, base: int) -> str:
    power = _power(size, base)
    return "1 byte" if size == 1 else f"{_of_power(size, base, power)} {UNITS[power]}"


def _power(size: int, base: int) -> int:
    """The power of the base that a size is told in: no size is written as 1,024.0 KB."""
    power = max((power for power in range(len(UNITS)) if size >= base**power), default=0)
    full = power + 1 < len(UNITS) and _of_power(size, base, power) == number(base, 1 if power else 0)
    return power + full


def _of_power(size: int, base: int, power: int) -> str:
    return number(Decimal(size) / base**power, 1 if power else 0)


def unbroken(text: str) -> str:
    """A text that no line break may part."""
    return text.replace(" ", NO_BREAK_SPACE)


def percent(share: float | None) -> str:
    """A fraction of 1 as a percentage; tiny and nearly certain shares are not rounded to 0 or 100 %."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return f"<{percent(0.001)}"
    if 0.999 < share < 1:
        return f">{percent(0.999)}"
    with localcontext(prec=DIGITS):
        return _signed(format_percent(Decimal(share), format=f"#,##0.0{NARROW_SPACE}%", locale=LOCALE))


def in_hundred(share: float | None) -> str:
    """A fraction of 1 as people of a hundred, as "2.4 in 100"; "not known" for None."""
    if share is None:
        return "not known"
    if 0 < share < 0.0001:
        return unbroken("<0.01 in 100")
    return unbroken(f"{number(share * 100, 1 if share >= 0.01 or share == 0 else 2)} in 100")


def quantity(value: float | None, unit: str = "") -> str:
    """A measured number with its unit: three decimals below 10, one below 1,000, then none."""
    if value is None:
        return "–"
    if unit == "share":
        return percent(value)
    if abs(value) >= 1e15:
        text = _signed(format_scientific(value, format="0.##E0", locale=LOCALE))
    elif unit == "%":
        text = number(value, 1)
    else:
        text = number(value, 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0)
    return f"{text}{NO_BREAK_SPACE}{unit}" if unit else text


def interval(low: float | None, high: float | None, unit: str = "") -> str:
    """The two ends of an interval, as "0.831 to 0.872"."""
    if low is None or high is None:
        return "–"
    return f"{quantity(low, unit)} to {quantity(high, unit)}"


def day(value: date) -> str:
    """A calendar day as "3 December 2017"."""
    return unbroken(format_date(value, "long", locale=LOCALE))


def month(value: date) -> str:
    """The month of a day as "December 2017"."""
    return format_date(value, "MMMM y", locale=LOCALE)


def instant(value: datetime) -> str:
    """An instant in UTC, as "3 December 2017, 14:05 UTC"; ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"an instant needs its time zone, found the naive time {value.isoformat()}")
    utc = value.astimezone(UTC)
    return f"{day(utc.date())}, {format_time(utc, 'HH:mm', locale=LOCALE)}{NO_BREAK_SPACE}UTC"


def sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop, unless it ends in a mark of its own."""
    text = text.strip()
    closed = text if text.endswith((".", "!", "?", "…")) or not text else text + "."
    return closed[:1].upper() + closed[1:]


def listed(words: Sequence[str]) -> str:
    """Words joined as in a sentence: "a", "a and b", "a, b and c"."""
    return format_list(words, locale=LOCALE)


def _signed(text: str) -> str:
    """A typographic minus, and none before a zero."""
    if not text.startswith("-"):
        return text
    return text[1:] if not any(digit in "123456789" for digit in text) else MINUS + text[1:]
