"""The page of one retention plan: what it proposes, for whom, why, at what cost, and what is not known."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from markupsafe import Markup

from pages import charts
from pages.formats import Figure, check_finite
from pages.page import render

MOST_CUSTOMERS_SHOWN = 50
MOST_CHANGES_SHOWN = 20
MOST_REASONS_SHOWN = 12


@dataclass(frozen=True)
class Reason:
    """One reason for a contact: the `theme` it is counted under, and the plain `sentence` about this customer."""

    theme: str
    sentence: str


@dataclass(frozen=True)
class Contact:
    """One customer the plan contacts.

    `lapse_probability` is 0 to 1; `cost`, `expected_margin` (over the plan's horizon) and `value_at_stake`
    (their product) are in the plan's currency. At most three reasons are shown, the strongest first.
    """

    customer_id: str
    reasons: tuple[Reason, ...]
    channel: str
    cost: Decimal
    lapse_probability: float
    expected_margin: Decimal
    value_at_stake: Decimal

    def __post_init__(self) -> None:
        if not 0 <= self.lapse_probability <= 1:
            raise ValueError(
                f"customer {self.customer_id}: expected a lapse probability from 0 to 1, found {self.lapse_probability}"
            )


@dataclass(frozen=True)
class PlanState:
    """Where the plan stands; `by` (a named person) and `at` (an instant with its zone) unless it is a draft."""

    status: Literal["draft", "approved", "partly approved", "rejected"]
    by: str | None = None
    at: datetime | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.status != "draft" and (self.by is None or self.at is None):
            raise ValueError(f"a plan that is {self.status} names by whom and when, found {self.by}, {self.at}")


@dataclass(frozen=True)
class Champion:
    """A model version behind the plan; `calibration` is a measured figure (ECE, bias), None when not measured."""

    name: str
    version: str
    reviewed: bool
    calibration: Figure | None


@dataclass(frozen=True)
class CurvePoint:
    """Cumulative cost and value at stake of the first `customers` eligible customers, in the plan's order."""

    customers: int
    cost: Decimal
    value_at_stake: Decimal

    def __post_init__(self) -> None:
        check_finite(f"curve at {self.customers} customers", float(self.cost), float(self.value_at_stake))


@dataclass(frozen=True)
class PlanChange:
    """Against the plan before: customer ids that entered and left, and how many stayed."""

    previous_snapshot: date
    entered: tuple[str, ...]
    left: tuple[str, ...]
    kept: int


@dataclass(frozen=True)
class Arms:
    """Customers per arm of the measurement."""

    contacted: int
    control: int
    universal_holdout: int


@dataclass(frozen=True)
class Exclusion:
    """How many customers were left out of the plan for one `reason`, each counted once."""

    reason: str
    customers: int


@dataclass(frozen=True)
class PlanFigures:
    """All that the plan page says.

    `contacts` are all contacted customers, in any order; the headline sums are taken from them. `curve` runs
    over the eligible customers, best first, beyond the cut; empty draws no chart. `break_even_effect` and
    `detectable_effect` are differences in the share of customers who buy (0 to 1), None when not known.
    `data_ends` is the last day of a closed data set, None for a living one. `change` is None for a first
    plan. `whole_list` tells where every contact is (a table or an export). `plan_id` is what the commands
    call the plan, None when it goes by its snapshot date. `reviewed` says that a person had approved all `champions`
    when it was drafted. Money is in `currency`.
    """

    snapshot_date: date
    data_ends: date | None
    horizon_days: int
    currency: str
    state: PlanState
    champions: tuple[Champion, ...]
    reviewed: bool
    contacts: tuple[Contact, ...]
    budget: Decimal | None
    break_even_effect: float | None
    detectable_effect: float | None
    curve: tuple[CurvePoint, ...]
    change: PlanChange | None
    arms: Arms
    exclusions: tuple[Exclusion, ...]
    caveats: tuple[str, ...]
    whole_list: str
    plan_id: str | None = None

    @property
    def cost(self) -> Decimal:
        """What contacting everyone in the plan costs."""
        return sum((contact.cost for contact in self.contacts), Decimal(0))

    @property
    def value_at_stake(self) -> Decimal:
        """Lapse probability times expected margin, summed over the contacts."""
        return sum((contact.value_at_stake for contact in self.contacts), Decimal(0))

    @property
    def reason_counts(self) -> list[tuple[str, int]]:
        """Contacts per theme of their reasons, the most frequent first."""
        counts = Counter(theme for contact in self.contacts for theme in {reason.theme for reason in contact.reasons})
        return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def plan_page(figures: PlanFigures) -> str:
    """The plan as one HTML file, without scripts or outside addresses.

    Raises ValueError when an amount of money is not finite or an instant has no time zone.
    """
    shown = sorted(figures.contacts, key=lambda contact: (-contact.value_at_stake, contact.customer_id))
    reasons = figures.reason_counts
    return render(
        "plan.html",
        plan=figures,
        shown=shown[:MOST_CUSTOMERS_SHOWN],
        changes_shown=MOST_CHANGES_SHOWN,
        reasons=reasons,
        reasons_shown=MOST_REASONS_SHOWN,
        stake_chart=_stake_chart(figures),
        reasons_chart=_reasons_chart(reasons),
        invisible_gain=_invisible_gain(figures),
    )


def _stake_chart(figures: PlanFigures) -> Markup | None:
    if not figures.curve:
        return None
    return charts.stake_curve(
        [(point.customers, float(point.cost), float(point.value_at_stake)) for point in figures.curve],
        cut=float(figures.cost),
        budget=None if figures.budget is None else float(figures.budget),
        currency=figures.currency,
    )


def _reasons_chart(reasons: Sequence[tuple[str, int]]) -> Markup | None:
    if not reasons:
        return None
    return charts.bars(reasons[:MOST_REASONS_SHOWN], axis_title="customers", label_format=",d")


def _invisible_gain(figures: PlanFigures) -> bool:
    """Whether an effect that pays for itself could be too small for the arms to show."""
    if figures.break_even_effect is None or figures.detectable_effect is None:
        return False
    return figures.detectable_effect > figures.break_even_effect
