"""The champions: which version of each model serves, as the registry has it."""

from __future__ import annotations

from cdap_assets.models import lapse_model, lifetime_value_model
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion

MODELS = (lapse_model.NAME, lifetime_value_model.NAME)


def serving(registry: ModelRegistry) -> dict[str, ModelVersion]:
    """The champion of each model that has one.

    Raises :class:`~resources.registry.model_registry.UnknownVersion` for a champion that was registered by hand.
    """
    return {name: version for name in MODELS if (version := registry.champion(name)) is not None}
