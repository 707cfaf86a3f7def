"""How good predictions are; every figure the platform shows comes from here."""

from ml.evaluation.classification import (
    Decile,
    auc,
    auc_interval,
    deciles,
    expected_calibration_error,
    log_loss,
    paired_auc_lift,
    reliability,
)
from ml.evaluation.intervals import (
    Interval,
    Metric,
    SingleClassError,
    UndefinedFigureError,
    bootstrap,
    paired_difference,
)
from ml.evaluation.profit import ProfitCurve, profit_curve
from ml.evaluation.splits import customer_folds, rolling_origins, temporal_split
from ml.evaluation.values import (
    bias_percent,
    coverage,
    gini,
    interval_score,
    mean_absolute_error,
    poisson_deviance,
    root_mean_squared_error,
)

__all__ = [
    "Decile",
    "Interval",
    "Metric",
    "ProfitCurve",
    "SingleClassError",
    "UndefinedFigureError",
    "auc",
    "auc_interval",
    "bias_percent",
    "bootstrap",
    "coverage",
    "customer_folds",
    "deciles",
    "expected_calibration_error",
    "gini",
    "interval_score",
    "log_loss",
    "mean_absolute_error",
    "paired_auc_lift",
    "paired_difference",
    "poisson_deviance",
    "profit_curve",
    "reliability",
    "rolling_origins",
    "root_mean_squared_error",
    "temporal_split",
]
