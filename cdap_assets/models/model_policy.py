"""models.yaml: what models of an installation may learn from, as the people responsible for it decide."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE = "models.yaml"


class ModelPolicyError(ValueError):
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
    """The policy of a home. Raises :class:`ModelPolicyError` for a file that is no YAML, or wrong."""
    path = home / FILE
    if not path.exists():
        return ModelPolicy()
    try:
        return ModelPolicy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise ModelPolicyError(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}, found {e['input']!r}" for e in error.errors()
        )
        raise ModelPolicyError(f"{path.name}: {told}") from error
