"""YAML files in which the owner of a home decides something: read by one function, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Policy = TypeVar("Policy", bound=BaseModel)


class PolicyError(ValueError):
    """A policy file cannot be used; the message names the file, the field, what was expected and what was found."""


def read_policy_file(path: Path, model: type[Policy], *, refusal: type[PolicyError]) -> Policy:
    """The policy in ``path`` as a ``model``.

    Raises ``FileNotFoundError`` when there is no such file, and ``refusal`` for one that is not YAML or breaks the
    model.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refusal(f"{path} is not YAML: {error}") from error
    try:
        return model.model_validate({} if content is None else content)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, found['loc'])) or 'the file'}: {found['msg']}, found {_told(found['input'])}"
            for found in error.errors()
        )
        raise refusal(f"{path.name}: {told}") from error


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return f"the fields {', '.join(map(str, value))}" if value else "nothing"
    return repr(value)
