"""A version in the registry that passed its gates and serves, for tests of what becomes of it."""

import pandas as pd
from sklearn.linear_model import LinearRegression

from resources.registry.model_decisions import serve_first
from resources.registry.model_registry import ModelRegistry
from resources.registry.recording import NewVersion, register


def register_and_serve(registry: ModelRegistry, name: str) -> None:
    """Register a straight line as the next version of a model; the first one serves."""
    frame = pd.DataFrame({"recency": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(frame, frame.recency)
    prediction = pd.DataFrame({"value": model.predict(frame)})
    line = NewVersion(name, "a test", model, frame, prediction, gates="passed")
    register(registry, line, review=lambda number, champion: "", keep=lambda number: None)
    serve_first(registry, name, 1)
