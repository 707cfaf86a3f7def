"""A version in the registry that passed its gates and serves, for tests of what becomes of it."""

import pandas as pd
from sklearn.linear_model import LinearRegression

from resources.registry.model_registry import ModelRegistry


def register_and_serve(registry: ModelRegistry, name: str) -> None:
    """Register a straight line as the next version of a model; the first one serves."""
    frame = pd.DataFrame({"recency": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(frame, frame.recency)
    registry.register(
        name,
        model,
        example=frame,
        prediction=pd.DataFrame({"value": model.predict(frame)}),
        params={},
        metrics={},
        tags={"gates": "passed"},
        datasets={},
        description="a test",
        review=lambda number, champion: "",
        keep=lambda number: None,
        card={},
    )
    registry.serve_first(name, 1)
