"""Figures of a plan and of two model reviews, near those of the example data, for the tests of the pages."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from pages.formats import Figure
from pages.plan import (
    Arms,
    Champion,
    Contact,
    CurvePoint,
    Exclusion,
    PlanChange,
    PlanFigures,
    PlanState,
    Reason,
)
from pages.review import (
    Gate,
    Importance,
    LabelCount,
    ModelReview,
    ReliabilityBin,
    SnapshotFigure,
    Source,
    Split,
)

CALIBRATION = Figure(
    name="Expected calibration error",
    value=0.0104,
    low=0.0071,
    high=0.0163,
    baseline=None,
    unit="",
    better="lower",
    meaning="On average a probability is off by this much.",
)


def contact(rank: int, **changes: object) -> Contact:
    """The `rank`-th best contact of a plan; value at stake falls with the rank."""
    margin = Decimal(120 - rank % 90) + Decimal("0.40")
    lapse = 0.62 - 0.001 * rank
    themes = [
        Reason("Longer pause than usual", f"No purchase for {20 + rank % 30} days; usually buys every 8"),
        Reason("Smaller baskets", "The last three baskets were 31 % smaller than before"),
        Reason("Fewer departments", "Buys from 3 departments, 7 a quarter ago"),
        Reason("Coupons unused", "No coupon redeemed since August"),
    ]
    fields: dict[str, object] = {
        "customer_id": f"c_{rank * 7919 % 99991:05d}",
        "reasons": tuple(themes[i] for i in range(4) if (rank >> i) & 1)[:3] or (themes[0],),
        "channel": "e-mail" if rank % 3 else "letter",
        "cost": Decimal("0.35") if rank % 3 else Decimal("1.85"),
        "lapse_probability": lapse,
        "expected_margin": margin,
        "value_at_stake": (margin * Decimal(str(lapse))).quantize(Decimal("0.0001")),
        **changes,
    }
    return Contact(**fields)  # type: ignore[arg-type]


def plan(**changes: object) -> PlanFigures:
    """A draft of 214 contacts from a reviewed champion."""
    contacts = tuple(contact(rank) for rank in range(214))
    cost = value = Decimal(0)
    curve = []
    for number in range(1, 500):
        cost += Decimal("0.87")
        value += Decimal("60") * Decimal("0.992") ** number
        curve.append(CurvePoint(number, cost, value))
    fields: dict[str, object] = {
        "snapshot_date": date(2017, 12, 31),
        "data_ends": date(2017, 12, 31),
        "horizon_days": 28,
        "currency": "USD",
        "state": PlanState("draft"),
        "champions": (Champion("lapse_model", "3", reviewed=True, calibration=CALIBRATION),),
        "reviewed": True,
        "contacts": contacts,
        "budget": Decimal("250"),
        "break_even_effect": 0.0142,
        "detectable_effect": 0.0631,
        "curve": tuple(curve),
        "change": PlanChange(
            date(2017, 12, 24),
            entered=tuple(f"c_{i * 6133 % 99991:05d}" for i in range(1, 48)),
            left=tuple(f"c_{i * 4211 % 99991:05d}" for i in range(1, 12)),
            kept=167,
        ),
        "arms": Arms(contacted=214, control=54, universal_holdout=112),
        "exclusions": (
            Exclusion("opted out of marketing", 131),
            Exclusion("contacted in the last 14 days", 88),
            Exclusion("value at stake below contact cost", 1204),
            Exclusion("over budget", 285),
        ),
        "caveats": (
            "Opt-outs are synthetic: the panel has none.",
            "The panel was chosen for frequent shoppers; most pauses end by themselves.",
        ),
        "whole_list": "retention_plan, snapshot_date = 2017-12-31",
        "plan_id": "2017-12-31-2",
        **changes,
    }
    return PlanFigures(**fields)  # type: ignore[arg-type]


def lapse_review(**changes: object) -> ModelReview:
    """A challenger for lapse risk that passes every gate."""
    days = [date(2017, 9, 10) + timedelta(weeks=4 * i) for i in range(4)]
    fields: dict[str, object] = {
        "name": "lapse_model",
        "version": "3",
        "stage": "challenger",
        "replaces": "2",
        "trained_at": datetime(2018, 1, 2, 6, 30, tzinfo=UTC),
        "code_version": "4f2c91a",
        "data_ends": date(2017, 12, 31),
        "predicts": "The probability that a regular customer will buy nothing in the next 28 days.",
        "label": "Lapsed: bought in the 56 days before the snapshot, and nothing in the 28 days from it.",
        "unit": "share",
        "base_name": "lapsed",
        "baseline": "days since the last purchase",
        "label_card": tuple(
            LabelCount(day, 2204 + 9 * i, 265 - 9 * i, 0.114 + 0.006 * i) for i, day in enumerate(days)
        ),
        "splits": tuple(
            Split(
                test=day,
                training=tuple(date(2017, 4, 2) + timedelta(weeks=w) for w in range(19 + 4 * i)),
                training_rows=41_000 + 8_900 * i,
                last_label_closed=day - timedelta(days=7),
            )
            for i, day in enumerate(days)
        ),
        "figures": (
            Figure("AUC", 0.854, 0.836, 0.871, 0.754, "", "higher", "How well it ranks who lapses."),
            Figure("Log loss", 0.293, 0.279, 0.308, 0.361, "", "lower", "How good the probabilities are."),
            Figure("Calibration error", 0.0104, 0.0071, 0.0163, 0.012, "", "lower", "Mean gap to what happened."),
            Figure("Lift of AUC, paired", 0.1, 0.081, 0.119, 0.0, "", "higher", "Gain on the same customers."),
        ),
        "measure": "AUC",
        "snapshots": tuple(
            SnapshotFigure(day, 0.848 + 0.004 * i, 0.822 + 0.004 * i, 0.874 + 0.004 * i, 0.75 + 0.006 * i)
            for i, day in enumerate(days)
        ),
        "reliability": tuple(
            ReliabilityBin(p, o, n)
            for p, o, n in [
                (0.02, 0.018, 900),
                (0.05, 0.055, 700),
                (0.1, 0.093, 420),
                (0.19, 0.21, 260),
                (0.33, 0.31, 170),
                (0.55, 0.58, 90),
            ]
        ),
        "importance_measure": "Loss of AUC when the values of a feature are shuffled among customers.",
        "importances": tuple(
            Importance(name, value)
            for name, value in [
                ("days_since_last / mean_gap", 0.082),
                ("purchases_decayed_8_weeks", 0.061),
                ("days_since_last", 0.034),
                ("gap_variation", 0.012),
                ("net_mean_basket", 0.004),
                ("coupons_redeemed", -0.001),
            ]
        ),
        "gates": (
            Gate("enough lapses", True, "1,118", "≥ 200", "Too few to judge the model by."),
            Gate("beats the baseline", True, "+0.081", "> 0", "The simple rule ranks as well; use the rule."),
            Gate("calibrated", True, "0.010", "≤ 0.030", "Value at stake would be wrong in money."),
        ),
        "lineage": (
            Source("features.customer_features", 6012345678901234567),
            Source("features.lapse_labels", 912345678901234567),
        ),
        "caveats": ("Every household with a pause of more than 56 days came back within the year.",),
        **changes,
    }
    return ModelReview(**fields)  # type: ignore[arg-type]


def value_review(**changes: object) -> ModelReview:
    """A challenger for lifetime value in US dollars that fails one gate."""
    return lapse_review(
        **{
            "name": "lifetime_value_model",
            "version": "1",
            "replaces": None,
            "predicts": "What a customer will spend in the next 91 days.",
            "label": "Net spend in the 91 days from the snapshot, in USD.",
            "unit": "USD",
            "base_name": "mean spend",
            "baseline": "own past weekly spend × horizon",
            "label_card": (LabelCount(date(2017, 10, 1), 2469, 0, 455.2),),
            "figures": (
                Figure("MAE", 173.0, 166.0, 181.0, 198.0, "USD", "lower", "Mean error in money."),
                Figure("Bias", -4.2, -6.3, -2.1, 11.8, "%", "zero", "Total predicted against total spent."),
                Figure("Gini", 0.864, 0.851, 0.876, 0.858, "", "higher", "How well it ranks the spenders."),
            ),
            "measure": "MAE, USD",
            "snapshots": (SnapshotFigure(date(2017, 10, 1), 173.0, 166.0, 181.0, 198.0),),
            "reliability": tuple(ReliabilityBin(x, 0.95 * x + 8, 247) for x in (12, 60, 140, 260, 420, 700, 1250)),
            "gates": (
                Gate("beats the baseline", True, "−25 USD", "< 0", "The past spend predicts as well; use it."),
                Gate("unbiased", False, "−4.2 %", "±3 %", "Budgets built on the total would be wrong."),
            ),
            **changes,
        }
    )
