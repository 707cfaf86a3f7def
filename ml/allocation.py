"""Whom to contact under a policy: the most value at stake per money spent, within budget and caps."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import pandas as pd

MONEY_STEP = Decimal("0.0001")  # money is decimal(18,4)

OVER_BUDGET = "over budget"
CONTACT_CAP = "contact cap"
NOT_WORTH_IT = "value at stake below contact cost"
NO_CHANNEL = "no permitted channel"


@dataclass(frozen=True)
class Channel:
    """A way to reach a customer: cost per contact in the policy's currency, and its cap if it has one."""

    name: str
    cost: Decimal
    max_contacts: int | None = None

    def __post_init__(self) -> None:
        if not (self.cost.is_finite() and self.cost >= 0):
            raise ValueError(f"channel {self.name!r}: cost must be >= 0, found {self.cost}")
        if self.max_contacts is not None and self.max_contacts < 0:
            raise ValueError(f"channel {self.name!r}: max_contacts must be >= 0, found {self.max_contacts}")


@dataclass(frozen=True)
class Policy:
    """What a retention plan may do: money in one currency, horizon in days, shares in 0..1.

    `holdout_share` is never contacted by any plan, `control_share` not by this one; both arms are
    assigned by person before the allocation and are not its candidates. Raises ValueError naming the field.
    """

    budget: Decimal
    max_contacts: int
    horizon_days: int
    holdout_share: float
    control_share: float
    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        if not (self.budget.is_finite() and self.budget >= 0):
            raise ValueError(f"budget must be >= 0, found {self.budget}")
        if self.max_contacts < 0:
            raise ValueError(f"max_contacts must be >= 0, found {self.max_contacts}")
        if self.horizon_days < 1:
            raise ValueError(f"horizon_days must be at least 1, found {self.horizon_days}")
        for name, share in (("holdout_share", self.holdout_share), ("control_share", self.control_share)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must lie in 0..1 (1 excluded), found {share}")
        names = [channel.name for channel in self.channels]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"channels must be there and have distinct names, found {names}")


@dataclass
class _Remaining:
    """What is left to spend while contacts are given out."""

    budget: Decimal
    contacts: int
    by_channel: dict[str, int | None] = field(default_factory=dict)

    def refusal(self, channel: Channel) -> str | None:
        if self.contacts == 0 or self.by_channel[channel.name] == 0:
            return CONTACT_CAP
        return OVER_BUDGET if channel.cost > self.budget else None

    def spend(self, channel: Channel) -> None:
        self.budget -= channel.cost
        self.contacts -= 1
        left = self.by_channel[channel.name]
        if left is not None:
            self.by_channel[channel.name] = left - 1


def allocate(candidates: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Choose customers and channels, greedily by value at stake per cost of the cheapest allowed channel.

    `candidates`: customer_id (distinct), lapse_probability in 0..1, expected_margin (money over the
    policy's horizon) and optionally allowed_channels (an iterable of names; without the column all).
    Value at stake = probability x margin: an upper bound of what a contact can save, not an uplift.
    A customer whose cheapest channel is full gets the next cheapest one that is still worth its cost.
    Dantzig's greedy rule is at most one contact short of the best when caps do not bind.

    Returns, by rank from 1: the candidates' columns and value_at_stake, channel, cost (Decimal, None when
    there is no permitted channel), rank, selected, reason (None when selected). A customer who is not
    selected keeps the channel they would have had. Ties go to the lower customer_id.
    Raises ValueError naming the column or customer that is missing, doubled or unusable.
    """
    _check(candidates)
    margins = [_money(value) for value in candidates["expected_margin"]]
    stakes = [
        (Decimal(repr(float(p))) * margin).quantize(MONEY_STEP)
        for p, margin in zip(candidates["lapse_probability"], margins, strict=True)
    ]
    allowed = _allowed_channels(candidates, policy)
    # No permitted channel ranks last, then value per cost; a free channel ranks before any paid one.
    order = sorted(
        range(len(candidates)),
        key=lambda i: (
            not allowed[i],
            *(_by_return(stakes[i], allowed[i][0].cost) if allowed[i] else ()),
            str(candidates["customer_id"].iloc[i]),
        ),
    )
    left = _Remaining(policy.budget, policy.max_contacts, {c.name: c.max_contacts for c in policy.channels})
    decisions = [_decide(stakes[i], allowed[i], left) for i in order]

    plan = candidates.iloc[order].reset_index(drop=True)
    plan["value_at_stake"] = pd.Series([stakes[i] for i in order], dtype=object)
    plan["channel"] = pd.Series([c.name if c else None for c, _ in decisions], dtype=object)
    plan["cost"] = pd.Series([c.cost if c else None for c, _ in decisions], dtype=object)
    plan["rank"] = range(1, len(plan) + 1)
    plan["selected"] = pd.Series([refusal is None for _, refusal in decisions], dtype=bool)
    plan["reason"] = pd.Series([refusal for _, refusal in decisions], dtype=object)
    return plan


def _decide(stake: Decimal, channels: list[Channel], left: _Remaining) -> tuple[Channel | None, str | None]:
    if not channels:
        return None, NO_CHANNEL
    worthwhile = [channel for channel in channels if channel.cost <= stake]
    if not worthwhile:
        return channels[0], NOT_WORTH_IT
    for channel in worthwhile:
        if left.refusal(channel) is None:
            left.spend(channel)
            return channel, None
    return worthwhile[0], left.refusal(worthwhile[0])


def _by_return(stake: Decimal, cost: Decimal) -> tuple[bool, Decimal]:
    return (True, -stake / cost) if cost else (False, -stake)


def _allowed_channels(candidates: pd.DataFrame, policy: Policy) -> list[list[Channel]]:
    cheapest_first = sorted(policy.channels, key=lambda channel: (channel.cost, channel.name))
    if "allowed_channels" not in candidates:
        return [cheapest_first] * len(candidates)
    known = {channel.name for channel in policy.channels}
    allowed = []
    for customer, names in zip(candidates["customer_id"], candidates["allowed_channels"], strict=True):
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ValueError(f"customer {customer}: allowed_channels must be a list of names, found {names!r}")
        permitted = set(names)
        if permitted - known:
            raise ValueError(
                f"customer {customer}: allowed_channels names {sorted(permitted - known)}, "
                f"the policy has {sorted(known)}"
            )
        allowed.append([channel for channel in cheapest_first if channel.name in permitted])
    return allowed


def _check(candidates: pd.DataFrame) -> None:
    needed = ("customer_id", "lapse_probability", "expected_margin")
    missing = [name for name in needed if name not in candidates.columns]
    if missing:
        raise ValueError(f"missing column(s): {', '.join(missing)}")
    twice = candidates["customer_id"].duplicated()
    if twice.any():
        raise ValueError(f"customer {candidates['customer_id'][twice].iloc[0]} is a candidate twice")
    p, margin = candidates["lapse_probability"], candidates["expected_margin"]
    unusable = {"lapse_probability in 0..1": ~p.between(0, 1), "a known expected_margin": margin.isna()}
    for expected, rows in unusable.items():
        if rows.any():
            row = candidates[rows].iloc[0]
            raise ValueError(
                f"customer {row['customer_id']}: expected {expected}, found probability "
                f"{row['lapse_probability']} and margin {row['expected_margin']} ({int(rows.sum())} such rows)"
            )


def _money(value: Decimal | float) -> Decimal:
    amount = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not amount.is_finite():
        raise ValueError(f"expected_margin must be finite, found {value}")
    return amount
