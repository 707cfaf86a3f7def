"""What people decide about plans: the one way for the command line, Dagster and whoever comes next.

Each function takes the lock, decides, and renews the plan's page; an approval also writes the activation files.
What was decided and where things are is returned; nothing is printed here. What a decision may be is the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from cdap_assets.retention import ledger
from cdap_assets.retention.ledger import PlanState
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy, read_policy
from resources.clock import Clock
from resources.iceberg.errors import LakehouseError
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry, RegistryUnavailable, UnknownVersion

if TYPE_CHECKING:
    from cdap_assets.retention.export import Export
    from resources.lake.session import Session
    from resources.settings import Settings


@dataclass(frozen=True)
class Desk:
    """What people decide at: the lake with the plans, the models behind them, and the clock.

    ``data_ends`` is the last day of a closed data set, ``None`` for a living one; the plan's page says it.
    """

    lakehouse: Lakehouse
    registry: ModelRegistry
    clock: Clock
    data_ends: date | None

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        return self.lakehouse.settings

    @property
    def policy(self) -> RetentionPolicy:
        """retention.yaml as it is now. Raises :class:`RetentionPolicyError`."""
        return read_policy(self.settings.retention_file)

    @contextmanager
    def deciding(self) -> Iterator[Session]:
        """A session in which nobody else decides. Raises :class:`PlanRefused` when another process does."""
        with ledger.deciding(self.settings), self.lakehouse.in_process() as session:
            yield session


@dataclass(frozen=True)
class Decided:
    """A plan as it stands after a decision, where its page is, and the files that an approval has written."""

    state: PlanState
    page: str
    export: Export | None = None


class Unfinished(RuntimeError):
    """The decision stands, and what was to follow has failed; the message says what, and how to make up for it."""

    def __init__(self, state: PlanState, failed: str, cause: Exception) -> None:
        super().__init__(f"plan {state.plan_id} is {state.state}, but {failed}: {cause}")
        self.state = state


def edit(
    desk: Desk, plan_id: PlanId, *, drop: Sequence[str] = (), add: Sequence[str] = (), by: str, reason: str
) -> Decided:
    """Take customers out of a draft, or put some in.

    Raises :class:`PlanRefused`, :class:`RetentionPolicyError` or :class:`Unfinished`.
    """
    policy = desk.policy
    with desk.deciding() as session:
        state = ledger.edit(session, plan_id, drop=drop, add=add, by=by, reason=reason, at=desk.clock())
    return Decided(state, _renewed_page(desk, state, policy))


def approve(
    desk: Desk, plan_id: PlanId, *, by: str, first: int | None = None, note: str = "", with_files: bool = True
) -> Decided:
    """Approve a plan, whole or its ``first`` contacts, within the limits of retention.yaml as it is now.

    ``with_files`` writes the activation files at once. Raises as :func:`edit`.
    """
    policy = desk.policy
    with desk.deciding() as session:
        state = ledger.approve(
            session,
            plan_id,
            by=by,
            at=desk.clock(),
            first=first,
            note=note,
            budget=policy.budget,
            max_contacts=policy.max_contacts,
        )
    try:
        written = _written(desk, state, by) if with_files else None
    finally:  # also when the files could not be written: the page tells who has approved
        page = _renewed_page(desk, state, policy)
    return Decided(state, page, written)


def reject(desk: Desk, plan_id: PlanId, *, by: str, reason: str) -> Decided:
    """Reject a plan. Raises as :func:`edit`."""
    policy = desk.policy
    with desk.deciding() as session:
        state = ledger.reject(session, plan_id, by=by, reason=reason, at=desk.clock())
    return Decided(state, _renewed_page(desk, state, policy))


def export(desk: Desk, plan_id: PlanId, *, by: str) -> Export:
    """Write the activation files of an approved plan once more. Raises :class:`PlanRefused`."""
    from cdap_assets.retention.export import export as write

    with desk.deciding() as session:
        return write(session, desk.settings, plan_id, by=by, at=desk.clock())


def _written(desk: Desk, state: PlanState, by: str) -> Export:
    with _standing(state, f"its files are not written (`cdap plan export {state.plan_id} --by NAME` writes them)"):
        return export(desk, state.plan_id, by=by)


def _renewed_page(desk: Desk, state: PlanState, policy: RetentionPolicy) -> str:
    from cdap_assets.retention.plan_page import write_plan_page

    with _standing(state, "its page shows it as it was before"):
        return write_plan_page(desk.lakehouse, desk.registry, state.plan_id, policy, desk.data_ends)


@contextmanager
def _standing(state: PlanState, failed: str) -> Iterator[None]:
    try:
        yield
    except (OSError, LakehouseError, RegistryUnavailable, UnknownVersion, ledger.PlanRefused) as error:
        raise Unfinished(state, failed, error) from error
