"""The asset that every model is by its recipe: trained, tested out of time, and registered for review."""

import dagster as dg

from cdap_assets.models.candidate import ModelRecipe, Own
from cdap_assets.models.comparison import Incumbent
from cdap_assets.models.gates import gate_specs
from cdap_assets.models.model_policy import ModelPolicyError
from cdap_assets.models.purpose import PurposeRefused, selected_features
from cdap_assets.models.registering import register
from cdap_assets.models.training import TooLittleHistory, TrainingConfig
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry, UnknownVersion


def model_asset(recipe: ModelRecipe[Own]) -> dg.AssetsDefinition:
    """The asset of a model."""

    @dg.asset(
        name=recipe.name,
        group_name="models",
        deps=list(recipe.learns_from),
        code_version=recipe.code_version,
        check_specs=gate_specs(recipe.name, recipe.gates),
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
        pool="training",  # two trainings at once may want more memory than there is
        description=recipe.description,
    )
    def trained_model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
        installation: dg.ResourceParam[Calendar],
    ) -> dg.MaterializeResult:
        try:
            incumbent = _incumbent(registry, recipe.name)
            selection = selected_features(lakehouse.settings, recipe.features)
            with lakehouse.in_process(context.run.run_id) as session:
                candidate = recipe.train(session, config.cutoff, selection, incumbent)
        except (TooLittleHistory, PurposeRefused, ModelPolicyError, UnknownVersion) as error:
            # trying again changes none of these
            raise dg.Failure(str(error), allow_retries=False) from error
        except ValueError as error:
            # too few customers, or a snapshot in which all or none lapsed
            told = f"the {recipe.name.replace('_', ' ')} cannot be trained on these customers: {error}"
            raise dg.Failure(told, allow_retries=False) from error
        return register(recipe, candidate, lakehouse, registry, installation.now(), installation.data_ends)

    return trained_model


def _incumbent(registry: ModelRegistry, name: str) -> Incumbent | None:
    """The champion of a model with its estimator, or ``None``."""
    version = registry.champion(name)
    return Incumbent(version, registry.load(version)) if version else None
