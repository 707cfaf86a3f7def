"""What acting on scores earns, for costs that the reader states."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.evaluation.intervals import Floats, checked_values


@dataclass(frozen=True)
class ProfitCurve:
    """Profit of treating the customers with the highest scores, in the currency of the stated money.

    `share` of the customers treated (0..1, shape (points,)) and `profit` over all of them. `rule_share` is
    where "treat when p is above break-even" stops and `rule_profit` what it earns; differences to
    `best_profit` are mostly noise, so the rule is what to act by.
    """

    share: Floats
    profit: Floats
    break_even: float
    rule_share: float
    rule_profit: float
    best_share: float
    best_profit: float


def profit_curve(y: npt.ArrayLike, p: npt.ArrayLike, *, value: float, cost: float, success: float = 1.0) -> ProfitCurve:
    """Profit by depth when treating one customer costs `cost` and saves `value` of a positive with chance `success`.

    `y` is 0 or 1 and `p` its probability, shape (n,). Break-even is cost / (value x success). The chance that
    a treatment works is an assumption until an experiment measured it. Raises ValueError for a cost below 0,
    a value not above 0 or a success outside 0..1.
    """
    truth, predicted, _ = checked_values(y, p, None)
    if cost < 0 or value <= 0 or not 0 < success <= 1:
        raise ValueError(
            f"a profit curve needs cost >= 0, value > 0 and success in (0, 1], found {cost}, {value} and {success}"
        )
    order = np.argsort(-predicted, kind="stable")
    gain = np.concatenate([[0.0], np.cumsum(truth[order] * value * success - cost)])
    depth = np.arange(len(truth) + 1) / len(truth)
    break_even = cost / (value * success)
    rule, best = int((predicted > break_even).sum()), int(gain.argmax())
    points = np.unique(np.linspace(0, len(truth), min(len(truth), 100) + 1).round().astype(int))
    return ProfitCurve(
        depth[points],
        gain[points],
        break_even,
        float(depth[rule]),
        float(gain[rule]),
        float(depth[best]),
        float(gain[best]),
    )
