"""What models may learn from: each feature followed back to the source columns that it is made of.

Followed are the columns whose values become a feature: of each contract that fills the canonical table, the
columns in the expression, in the output's filter and of its joined sources; the local day leads to the event
time. Not followed are keys, which join rows and are no feature, and the sign of an amount, which tells a purchase
from a refund.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdap_assets.contracts.contract import Contract, Output, SourceColumn
from cdap_assets.contracts.reading import read_contracts
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.features.customer_features import WINDOWS
from cdap_assets.models.model_policy import ModelPolicy, read_model_policy
from resources.settings import Settings

MODEL_TRAINING = "model_training"
_DAYS = {"order_lines": ("local_date",)}
_MONEY = {"order_lines": ("local_date", "net")}
# by feature of customer_features: the canonical table and the columns whose values it is made of
MADE_OF: dict[str, Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("frequency", "recency", "T", "days_since_last", "mean_gap", "overdue"), _DAYS),
    **{f"purchase_days_{days}": _DAYS for days in WINDOWS},
    **{f"net_{days}": _MONEY for days in WINDOWS},
    "monetary_value": _MONEY,
    "spend_per_day_all": _MONEY,
    "touches_91": {"touches": ("sent_at",)},
    "responses_91": {"responses": ("responded_at",)},
    "responses": {"responses": ("responded_at",)},
}
# what an expression reads of a delivery's own columns comes from the event time
_FROM_EVENT_TIME = {"local_date", "occurred_at", "month", "known_at"}
# fmt: off
SENSITIVE_WORDS = frozenset((
    "age", "birth", "birthday", "birthdate", "gender", "sex", "income", "salary", "wage", "marital", "married",
    "religion", "ethnicity", "race", "nationality", "citizenship", "health", "disability", "orientation", "politics",
    "union", "children", "kids",
))
# fmt: on


class PurposeRefused(ValueError):
    """A model cannot be trained, for what it needs is not allowed for that; the message says where to allow it."""


@dataclass(frozen=True)
class HeldBack:
    """A feature, or a source column written ``source.column``, that no model learns from, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """The features that a model may use, and everything held back."""

    used: tuple[str, ...]
    held_back: tuple[HeldBack, ...]

    def require(self, needed: Sequence[str], model: str) -> None:
        """Raise :class:`PurposeRefused` when ``model`` cannot be made without a feature that is held back."""
        reasons = {entry.name: entry.reason for entry in self.held_back}
        lacking = [name for name in needed if name not in self.used]
        if lacking:
            told = "; ".join(sorted({reasons[name] for name in lacking}))
            raise PurposeRefused(f"{model} cannot be trained without {', '.join(lacking)}, held back: {told}")


def selected_features(settings: Settings, features: Sequence[str]) -> Selection:
    """Which of ``features`` a model of this home may use, by its contracts and models.yaml.

    Raises :class:`~cdap_assets.models.model_policy.ModelPolicyError` for a policy that cannot be used.
    """
    entities = {name: entity.mapped for name, entity in ENTITIES.items()}
    contracts, _broken = read_contracts(settings.contracts, entities) if settings.contracts.exists() else ({}, {})
    return select(features, contracts, read_model_policy(settings.home))


def select(features: Sequence[str], contracts: Mapping[str, Contract], policy: ModelPolicy) -> Selection:
    """Which of ``features`` may be used: all source columns behind one must allow it."""
    used, held_back = [], []
    read: set[tuple[str, str]] = set()
    for feature in features:
        columns = list(_columns_of(feature, contracts))
        read |= {(contract.name, column.name) for contract, column in columns}
        reasons = [why for contract, column in columns if (why := refusal(contract, column, policy))]
        if reasons:
            held_back.append(HeldBack(feature, reasons[0]))
        else:
            used.append(feature)
    for contract in contracts.values():
        for column in contract.columns:
            if (contract.name, column.name) not in read and is_sensitive(column):
                why = refusal(contract, column, policy) or f"{column.name} is allowed, but no feature is made of it"
                held_back.append(HeldBack(f"{contract.name}.{column.name}", why))
    return Selection(tuple(used), tuple(held_back))


def refusal(contract: Contract, column: SourceColumn, policy: ModelPolicy) -> str | None:
    """Why a source column may not become a feature; ``None`` when it may."""
    purposes = contract.purposes if column.purposes is None else column.purposes
    stated = column.purposes is not None or bool(contract.purposes)
    if stated and MODEL_TRAINING not in purposes:
        told = ", ".join(purposes) or "nothing"
        return f"contract {contract.name} allows {column.name} for {told}, not for {MODEL_TRAINING}"
    if is_sensitive(column) and column.name not in policy.allow_sensitive:
        return f"{column.name} of contract {contract.name} is sensitive, and models.yaml does not allow it by name"
    return None


def is_sensitive(column: SourceColumn) -> bool:
    """Whether a column tells of the person: so declared, a quasi or direct identifier, or named after such a trait."""
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower()))
    return column.sensitive or column.personal in ("quasi", "direct") or bool(words & SENSITIVE_WORDS)


def _columns_of(feature: str, contracts: Mapping[str, Contract]) -> Iterator[tuple[Contract, SourceColumn]]:
    for entity, targets in MADE_OF[feature].items():
        for contract in contracts.values():
            for output in contract.outputs:
                if output.entity == entity:
                    names = sorted(_names(output, targets))
                    found = [pair for name in names for pair in _found(name, contract, contracts)]
                    # a constant is made of no column, but of the contract's rows
                    yield from found or [(contract, SourceColumn("its rows", "string"))]


def _names(output: Output, targets: Sequence[str]) -> set[str]:
    expressions = [output.columns[target] for target in targets if target in output.columns]
    if output.where is not None:
        expressions.append(output.where)
    return {name for expression in expressions for name, _position in expression.placed_columns()}


def _found(name: str, contract: Contract, contracts: Mapping[str, Contract]) -> Iterator[tuple[Contract, SourceColumn]]:
    source, _dot, column = name.rpartition(".")
    owner = contracts.get(source, contract) if source else contract
    wanted = owner.event_time if column in _FROM_EVENT_TIME else column
    yield from ((owner, known) for known in owner.columns if known.name == wanted)
