"""The estimators as MLflow models: saved, loaded, and the same to the last digit."""

from pathlib import Path

import numpy as np
import pytest

from ml.btyd import BetaGeometric, GammaGamma, ModifiedBetaGeometric, ParetoNBD
from tests.ml.cdnow import histories


@pytest.mark.parametrize("model", [BetaGeometric, ModifiedBetaGeometric, ParetoNBD, GammaGamma])
def test_a_btyd_model_returns_from_mlflow_as_it_was(tmp_path: Path, model) -> None:
    import mlflow

    X = histories()
    fitted = model().fit(X)
    mlflow.sklearn.save_model(
        fitted, tmp_path / "model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
    )
    loaded = mlflow.sklearn.load_model(str(tmp_path / "model"))
    assert loaded.parameters_.equals(fitted.parameters_)
    ask = "expected_value" if model is GammaGamma else "expected_purchases"
    horizon = () if model is GammaGamma else (39.0,)
    np.testing.assert_array_equal(getattr(loaded, ask)(X, *horizon), getattr(fitted, ask)(X, *horizon))
