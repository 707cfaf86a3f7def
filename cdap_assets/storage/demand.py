"""How often a partition will be read: what its own history of reads lets us expect over a horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

RESTORED_DAYS = 7  # for which a restored copy can be read: reads of one such spell share a restore
YOUNG_DAYS = 90  # after its last write, within which reads tell of a partition's youth, not of a lasting use
YOUTH_HALF_LIFE = 10.0  # days
HALF_LIFE = 180.0  # days, of reads later in life
PRIOR_READS, PRIOR_DAYS = 0.1, 30.0  # Gamma prior: what one expects of a partition nobody has read yet
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Demand:
    """Expected over a horizon: ``reads`` in whole partitions, and ``restores`` these would need, were it archived."""

    reads: float
    restores: float


def expected_demand(
    reads: Mapping[date, float], *, written: date, observed_since: date, today: date, horizon_days: int
) -> Demand:
    """What to expect in the ``horizon_days`` from ``today`` on.

    ``reads`` are whole-partition equivalents per day: a query for a tenth of the bytes is 0.1. Days before
    ``observed_since`` or the last write, ``today`` and later ones are not looked at. ``restores`` counts
    spells of :data:`RESTORED_DAYS` days with any read, however small, for a restore brings back the whole partition.

    The larger of two estimates. One is a trend: a Gamma-Poisson rate with exponential forgetting (posterior mean of
    prior plus discounted reads over discounted days; Smith 1979's power steady model), to which reads while the
    partition was young add a heat that goes on cooling with its own short half-life. The other is the season: the
    reads of the coming window one year ago, those of its youth left out. Both only grow with any read that is added.

    Raises ValueError for a horizon below one day or reads that are negative.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days must be at least 1, found {horizon_days}")
    start = max(written, observed_since)
    mature_from = written + timedelta(days=YOUNG_DAYS)
    season = (today - YEAR, today - YEAR + min(timedelta(days=horizon_days), YEAR))
    young = dict.fromkeys(("reads", "restores"), 0.0)
    mature, seasonal = dict(young), dict(young)
    spells: set[tuple[str, int]] = set()
    for day, count in sorted(reads.items()):
        if count < 0:
            raise ValueError(f"reads must be >= 0, found {count} on {day}")
        if not count or not start <= day < today:
            continue
        age, spell = (today - day).days, ((today - day).days - 1) // RESTORED_DAYS
        found = [(young, YOUTH_HALF_LIFE, "young")] if day < mature_from else [(mature, HALF_LIFE, "mature")]
        if day >= mature_from and season[0] <= day < season[1]:
            found.append((seasonal, float("inf"), "seasonal"))
        for sums, half_life, name in found:
            sums["reads"] += count * _weight(age, half_life)
            if (name, spell) not in spells:
                spells.add((name, spell))
                sums["restores"] += _weight(spell * RESTORED_DAYS + 1, half_life)
    observed = max(0, (today - start).days)
    days = PRIOR_DAYS + _weights(observed, HALF_LIFE)
    cooling = _weights(horizon_days, YOUTH_HALF_LIFE) / max(1.0, _weights(observed, YOUTH_HALF_LIFE))

    def expect(what: str) -> float:
        trend = (PRIOR_READS + mature[what]) / days * horizon_days + young[what] * cooling
        return max(trend, seasonal[what])

    return Demand(expect("reads"), expect("restores"))


def _weight(days_ago: int, half_life: float) -> float:
    return float(0.5 ** (days_ago / half_life))


def _weights(days: int, half_life: float) -> float:
    """The sum of the weights of the last ``days`` days."""
    ratio = 0.5 ** (1 / half_life)
    return float(ratio * (1 - ratio**days) / (1 - ratio))
