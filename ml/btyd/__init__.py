"""Buy-till-you-die models: how often a customer buys again, whether they are still there, and how much they spend."""

from ml.btyd.beta_geometric import BetaGeometric, ModifiedBetaGeometric
from ml.btyd.gamma_gamma import GammaGamma
from ml.btyd.histories import Histories
from ml.btyd.pareto import ParetoNBD

__all__ = ["BetaGeometric", "GammaGamma", "Histories", "ModifiedBetaGeometric", "ParetoNBD"]
