"""Where a person looks at a version: its review page and its run in MLflow, as links for Dagster."""

from __future__ import annotations

import dagster as dg

from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion


def page_name(version: ModelVersion) -> str:
    """The file of a version's review page."""
    return f"{version.name}-v{version.version}.html"


def version_links(registry: ModelRegistry, version: ModelVersion, of: str = "") -> dict[str, dg.UrlMetadataValue]:
    """``review`` and ``mlflow_run``, each after ``of``; no run where no server shows it."""
    links = {f"{of}review": dg.MetadataValue.url(registry.settings.page_url(page_name(version)))}
    run = registry.run_url(version)
    return links if run is None else {**links, f"{of}mlflow_run": dg.MetadataValue.url(run)}


def champion_links(registry: ModelRegistry, champions: dict[str, ModelVersion]) -> dict[str, dg.UrlMetadataValue]:
    """The links of several models' versions, each after the model's name."""
    return {
        key: link
        for name, version in champions.items()
        for key, link in version_links(registry, version, f"{name}_").items()
    }
