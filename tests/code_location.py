"""A home's definitions as Dagster's webserver and daemon load them, in this process."""

from __future__ import annotations

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext

from cdap_assets.commands.run_origin import LOCATION


def code_location(instance: dg.DagsterInstance) -> WorkspaceProcessContext:
    """The code location of ``CDAP_HOME`` under the name that `cdap ui` gives it; use as a context manager."""
    module = LoadableTargetOrigin(module_name="cdap_assets.definitions")
    origin = InProcessCodeLocationOrigin(module, location_name=LOCATION)
    return WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin))
