"""The asset ``champion``: which version of each model serves, and whether a person has approved it."""

import dagster as dg

from cdap_assets.models.links import champion_links
from cdap_assets.models.serving import MODELS, serving
from resources.clock import Calendar
from resources.registry.model_decisions import record_decisions
from resources.registry.model_registry import ModelRegistry, UnknownVersion
from resources.registry.model_version import ModelVersion


def champions_or_failure(registry: ModelRegistry) -> dict[str, ModelVersion]:
    """The champion of every model. Raises ``dg.Failure``, which says what to do, where one cannot serve."""
    try:
        champions = serving(registry)
    except UnknownVersion as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    absent = ", ".join(name for name in MODELS if name not in champions)
    if absent:
        raise dg.Failure(
            f"no champion of {absent}: train it (`cdap run`), and if its gates failed, look at its review page. "
            "A version that passed its gates becomes champion with "
            "`cdap models approve NAME VERSION --reviewer YOU --note WHY`.",
            allow_retries=False,
        )
    return champions


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
def champion(
    registry: dg.ResourceParam[ModelRegistry], installation: dg.ResourceParam[Calendar]
) -> dg.MaterializeResult:
    """Record what a person decided in MLflow itself, and read which versions serve."""
    record_decisions(registry, MODELS, installation.now())
    champions = champions_or_failure(registry)
    lines = ["| model | version | approved by | gates |", "|---|---:|---|---|"]
    lines += [
        f"| {v.name} | {v.version} | {v.tags.get('approved_by') or '**unreviewed**'} | {v.tags.get('gates')} |"
        for v in champions.values()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(" ".join(f"{v.name}:{v.version}:{v.reviewed}" for v in champions.values())),
        metadata={
            **champion_links(registry, champions),
            "champions": dg.MetadataValue.md("\n".join(lines)),
            "reviewed": all(version.reviewed for version in champions.values()),
        },
    )
