from itertools import groupby

from benchmarks.storage_policy import POLICIES, SIZES, simulate
from cdap_assets.storage.prices import read_prices


def test_no_pattern_costs_more_than_tiering_by_age_or_never_moving():
    sizes = {name: SIZES[name] for name in ("40 x 256 MB", "400 x 1 MB")}
    outcomes = list(simulate(read_prices().region("us-east-1"), days=2 * 365, sizes=sizes))
    for pattern, found in groupby(outcomes, key=lambda outcome: outcome.pattern):
        cost = dict.fromkeys(POLICIES, 0)
        for outcome in found:
            assert outcome.ratio("by age") <= 1, (pattern, outcome.sizes)
            assert outcome.ratio("never") <= 1, (pattern, outcome.sizes)
            cost = {policy: cost[policy] + outcome.cost[policy] for policy in POLICIES}
        assert cost["ours"] <= min(cost["by age"], cost["never"]), (pattern, cost)
    assert {outcome.pattern for outcome in outcomes} == {"hot tail", "yearly seasonal", "never read"}
