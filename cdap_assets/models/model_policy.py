"""models.yaml: what models of an installation may learn from, as the people responsible for it decide."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cdap_assets.policy_file import PolicyError, read_policy_file

FILE = "models.yaml"


class ModelPolicyError(PolicyError):
    """models.yaml cannot be used; the message names the field, what was expected and what was found."""


class ProfitTerms(BaseModel):
    """What a treatment costs and brings, for the profit curve of a review; money in the data's currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cost: float = Field(default=1.0, ge=0, description="of one contact")
    value: float = Field(default=30.0, gt=0, description="margin kept when a customer who would lapse stays")
    effect: float = Field(default=0.1, gt=0, le=1, description="share of lapsing customers whom a contact keeps")


class ModelPolicy(BaseModel):
    """The whole file; a home without one allows no sensitive trait.

    ``allow_sensitive`` are names of source columns, such as ``age``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_sensitive: tuple[str, ...] = ()
    profit: ProfitTerms = ProfitTerms()


def read_model_policy(home: Path) -> ModelPolicy:
    """The policy of a home. Raises :class:`ModelPolicyError` for a file that is not YAML, or wrong."""
    path = home / FILE
    return read_policy_file(path, ModelPolicy, refusal=ModelPolicyError) if path.exists() else ModelPolicy()
