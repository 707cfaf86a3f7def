"""retention.yaml: what a plan may do and cost, as the user of the installation decides it."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.policy_file import PolicyError, read_policy_file

if TYPE_CHECKING:
    from ml.allocation import Policy


Segment = Literal["champions", "loyal", "new or rare", "cannot lose", "at risk", "need attention", "dormant"]


class RetentionPolicyError(PolicyError):
    """retention.yaml cannot be used; the message names the field, what was expected and what was found."""


class ChannelRules(BaseModel):
    """A way to reach customers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    cost: Decimal = Field(ge=0, description="of one contact, in the policy's currency")
    max_contacts: int | None = Field(None, ge=0)


class RetentionPolicy(BaseModel):
    """The whole file. Money is in ``currency``; shares are 0 to 1; spans are days."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(pattern="^[A-Z]{3}$")
    margin: Decimal = Field(gt=0, le=1, description="share of net sales left after the cost of goods")
    budget: Decimal = Field(ge=0)
    max_contacts: int = Field(ge=0)
    min_days_between_contacts: int = Field(28, ge=0)
    holdout_share: float = Field(ge=0, lt=1)
    control_share: float = Field(ge=0, lt=1)
    channels: tuple[ChannelRules, ...] = Field(min_length=1)
    exclude_segments: tuple[Segment, ...] = ()
    require_consent: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _distinct_channels(self) -> RetentionPolicy:
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise ValueError(f"two channels have one name: {names}")
        return self

    @property
    def horizon_days(self) -> int:
        """Over which a customer's value is counted: what the value model predicts, for a horizon does not scale."""
        return VALUE_HORIZON

    @property
    def digest(self) -> str:
        """A short name of its content: the same rules have the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def allocation(self) -> Policy:
        """What the allocation needs of it."""
        from ml.allocation import Channel, Policy

        return Policy(
            budget=self.budget,
            max_contacts=self.max_contacts,
            horizon_days=self.horizon_days,
            holdout_share=self.holdout_share,
            control_share=self.control_share,
            channels=tuple(Channel(c.name, c.cost, c.max_contacts) for c in self.channels),
        )


def read_policy(path: Path) -> RetentionPolicy:
    """The policy of a home. Raises :class:`RetentionPolicyError` for a file that is absent, not YAML, or wrong."""
    try:
        return read_policy_file(path, RetentionPolicy, refusal=RetentionPolicyError)
    except FileNotFoundError as error:
        raise RetentionPolicyError(f"{path} is not there; `cdap init` writes one to begin with") from error
