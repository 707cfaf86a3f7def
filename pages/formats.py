"""How money, shares, counts, dates and measured figures are written on a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import Literal

NO_BREAK_SPACE = "\u00a0"
MINUS = "\u2212"

# Minor units of ISO 4217 that are not two digits.
_MINOR_UNITS = (
    dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0)
    | dict.fromkeys(("XAF", "XOF", "XPF"), 0)
    | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
)

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
    """An exact amount to the currency's minor unit, as "USD 1,234.50"; ValueError unless finite."""
    return _money(value, currency, _MINOR_UNITS.get(currency, 2))


def amount(value: Decimal, currency: str) -> str:
    """An exact amount without its code, for a column whose head names the currency, as "1,234.50"."""
    return money(value, currency).removeprefix(currency + NO_BREAK_SPACE)


def round_money(value: Decimal, currency: str) -> str:
    """An amount in whole units of the currency, for headlines and axes, as "USD 1,235"."""
    return _money(value, currency, 0)


def _money(value: Decimal, currency: str, digits: int) -> str:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ValueError(f"money must be a finite Decimal, found {value!r} {currency}")
    return f"{currency}{NO_BREAK_SPACE}{_signed(format(value, f',.{digits}f'))}"


def count(number: int) -> str:
    """A whole number with thousands separated, as "12,045"."""
    return _signed(format(number, ",d"))


def counted(number: int, noun: str) -> str:
    """A number with its noun, as "1 customer" or "2 customers"."""
    return f"{count(number)}{NO_BREAK_SPACE}{noun if number == 1 else noun + 's'}"


def percent(share: float | None) -> str:
    """A fraction of 1 as a percentage; tiny and nearly certain shares are not rounded to 0 or 100 %."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1\u202f%"
    if 0.999 < share < 1:
        return ">99.9\u202f%"
    return _signed(f"{share * 100:,.1f}\u202f%")


def in_hundred(share: float | None) -> str:
    """A fraction of 1 as people of a hundred, as "2.4 in 100"; "not known" for None."""
    if share is None:
        return "not known"
    digits = 1 if share >= 0.01 or share == 0 else 2
    if 0 < share < 0.0001:
        return f"<0.01{NO_BREAK_SPACE}in{NO_BREAK_SPACE}100"
    return _signed(f"{share * 100:,.{digits}f}{NO_BREAK_SPACE}in{NO_BREAK_SPACE}100")


def quantity(value: float | None, unit: str = "") -> str:
    """A measured number with its unit: three decimals below 10, one below 1,000, then none."""
    if value is None:
        return "–"
    if unit == "share":
        return percent(value)
    if abs(value) >= 1e15:
        text = f"{value:.3g}"
    elif unit == "%":
        text = f"{value:,.1f}"
    else:
        text = format(value, ",.3f" if abs(value) < 10 else ",.1f" if abs(value) < 1000 else ",.0f")
    return _signed(f"{text}{NO_BREAK_SPACE}{unit}" if unit else text)


def interval(low: float | None, high: float | None, unit: str = "") -> str:
    """The two ends of an interval, as "0.831 to 0.872"."""
    if low is None or high is None:
        return "–"
    return f"{quantity(low, unit)} to {quantity(high, unit)}"


def day(value: date) -> str:
    """A calendar day as "3 December 2017"."""
    return f"{value.day}{NO_BREAK_SPACE}{value:%B}{NO_BREAK_SPACE}{value.year}"


def instant(value: datetime) -> str:
    """An instant in UTC, as "3 December 2017, 14:05 UTC"; ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"an instant needs its time zone, found the naive time {value.isoformat()}")
    utc = value.astimezone(UTC)
    return f"{day(utc.date())}, {utc:%H:%M}{NO_BREAK_SPACE}UTC"


def sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop, unless it ends in a mark of its own."""
    text = text.strip()
    closed = text if text.endswith((".", "!", "?", "…")) or not text else text + "."
    return closed[:1].upper() + closed[1:]


def listed(words: Sequence[str]) -> str:
    """Words joined as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def _signed(text: str) -> str:
    """A typographic minus, and none before a zero."""
    if not text.startswith("-"):
        return text
    return text[1:] if not any(digit in "123456789" for digit in text) else MINUS + text[1:]
