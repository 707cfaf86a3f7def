"""The champions: which version of each model serves, and whether a person has approved it."""

from datetime import UTC

import dagster as dg

from cdap_assets.models import lapse_model, lifetime_value_model
from resources.clock import utc_now
from resources.registry.model_registry import ModelRegistry, ModelVersion

MODELS = (lapse_model.NAME, lifetime_value_model.NAME)


def serving(registry: ModelRegistry) -> dict[str, ModelVersion]:
    """The champion of each model that has one; what a person decided in MLflow itself is recorded before."""
    seen_at = utc_now().replace(tzinfo=UTC)
    return {name: version for name in MODELS if (version := registry.note_decisions(name, seen_at)) is not None}


def missing(champions: dict[str, ModelVersion]) -> str:
    """What to do about models without a champion."""
    absent = ", ".join(name for name in MODELS if name not in champions)
    return (
        f"no champion of {absent}: train it (`cdap run`), and if its gates failed, look at its review page. "
        "A version that passed its gates becomes champion with "
        "`cdap models approve NAME VERSION --reviewer YOU --note WHY`."
    )


@dg.asset(
    group_name="models",
    deps=list(MODELS),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
    description=(
        "The versions that score: made champion by a person in MLflow or with `cdap models approve`. A very first "
        "version that passed its gates serves `unreviewed`: a plan from it can be drafted, not approved. "
        "Its data version is the model versions, so scores follow a change of champion, not every training."
    ),
)
def champion(registry: dg.ResourceParam[ModelRegistry]) -> dg.MaterializeResult:
    """Read the registry."""
    champions = serving(registry)
    if len(champions) < len(MODELS):
        raise dg.Failure(missing(champions), allow_retries=False)
    lines = ["| model | version | approved by | gates |", "|---|---:|---|---|"]
    lines += [
        f"| {v.name} | {v.version} | {v.tags.get('approved_by') or '**unreviewed**'} | {v.tags.get('gates')} |"
        for v in champions.values()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(" ".join(f"{v.name}:{v.version}:{v.reviewed}" for v in champions.values())),
        metadata={
            "champions": dg.MetadataValue.md("\n".join(lines)),
            "reviewed": all(version.reviewed for version in champions.values()),
        },
    )
