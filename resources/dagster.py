"""What an installation is made of, as Dagster shows and hands it: lakehouse, model registry, calendar, connections.

The one file of this room that imports Dagster. Each resource shows what it is in fields that hold no secret, and hands
a plain object to assets, checks, jobs and sensors. Dagster makes a resource anew for each run from its fields alone, so
what is no field is an attribute of the class, which :func:`resources_of` makes for its installation.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field, ValidationError, create_model

from resources.clock import Calendar
from resources.connections import Connections
from resources.engines.duckdb_connection import IN_MEMORY, connection_config, in_utc
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.settings import Catalog, Engine, Settings, SettingsError, wrong_settings
from resources.stores.aws import TRIES, as_ours

if TYPE_CHECKING:
    import duckdb


class LakehouseResource(dg.ConfigurableResource[Lakehouse]):
    """The tables: where they are listed, where their files lie, and what computes them.

    A run may choose another catalog, storage or engine in its launchpad, of those that the installation's settings
    have what they need for:

        resources: {lakehouse: {config: {engine: duckdb}}}
    """

    catalog: Catalog = Field(description="Where tables are listed: in SQLite, in Glue, or by an Iceberg REST catalog.")
    storage: str = Field(description="s3://bucket/prefix of tables, deliveries and exports. Empty: the home.")
    engine: Engine = Field(description="What computes tables of tables: DuckDB in this process, Athena or a Trino.")
    database: str = Field(description="The catalog's database of the tables.")
    athena_workgroup: str = Field(description="The Athena workgroup that queries run in and that limits their scans.")
    query_budget_gb: float = Field(description="GB (10^9 bytes) that one query may scan, where queries are billed.")
    run_budget_gb: float = Field(description="GB (10^9 bytes) that one run may scan, where queries are billed.")
    catalog_uri: str = Field(description="Address of the Iceberg REST catalog. Shown only; CDAP_CATALOG_URI sets it.")
    trino_uri: str = Field(description="Address of the Trino, without a password. Shown only; CDAP_TRINO_URI sets it.")
    duckdb: dg.ResourceDependency[DuckDBResource]
    s3: Annotated[Any, "resource_dependency"] = None  # which Dagster hands on as its client

    installed: ClassVar[Lakehouse]

    def create_resource(self, context: dg.InitResourceContext) -> Lakehouse:
        """The installation's lakehouse, or one on the chosen set. Raises :class:`SettingsError` that says why not."""
        settings = self.installed.settings
        changed = _changed(self, *_lakehouse_fields(settings))
        _refuse_changed(changed, {"catalog_uri": "CDAP_CATALOG_URI", "trino_uri": "CDAP_TRINO_URI"})
        if "storage" in changed:
            # a queue that tells of objects in one place tells nothing of another
            changed |= {"warehouse": changed.pop("storage"), "landing_queue": ""}
        if changed:
            try:
                settings = settings.switched(**changed)
            except ValidationError as error:
                raise SettingsError(wrong_settings(error)) from error
        connections = Connections(
            duckdb=functools.partial(duckdb_connection, self.duckdb),
            s3=functools.cache(lambda: as_ours(self.s3 or _s3_class()(**_s3_fields(settings)).get_client())),
        )
        if changed:
            return Lakehouse(settings, self.installed.clock, connections)
        return self.installed.through(connections)


class LocalEngineResource(DuckDBResource):
    """DuckDB in this process, in memory and in UTC: for tables that no other engine computes, and what Python reads."""


class ModelRegistryResource(dg.ConfigurableResource[ModelRegistry]):
    """MLflow: versions of the models with their evidence, and which of them serves."""

    tracking_uri: str = Field(description="Where MLflow is, without a password. Shown only; CDAP_MLFLOW_URI sets it.")

    installed: ClassVar[ModelRegistry]

    def create_resource(self, context: dg.InitResourceContext) -> ModelRegistry:
        """The installation's registry. Raises :class:`SettingsError` where a run asks for another."""
        _refuse_changed(_changed(self, "tracking_uri"), {"tracking_uri": "CDAP_MLFLOW_URI"})
        return self.installed


class InstallationResource(dg.ConfigurableResource[Calendar]):
    """The home, and how it counts time. Only ``as_of`` can be chosen for a run."""

    home: str = Field(description="The folder of contracts, retention.yaml and, unless on S3, of all data. Shown only.")
    timezone: str = Field(description="The zone whose midnight is the cut-off of a snapshot date. Shown only.")
    first_snapshot: str = Field(description="The first weekly snapshot date. Shown only.")
    closed: dict[str, str] = Field(
        description="The last day of each source of orders that is a closed data set, and of no other. Shown only."
    )
    as_of: str = Field(
        default="",
        description=(
            "What now is to a run, such as 2024-03-03T06:00:00Z, and not in the future. Empty: now. The run records it "
            "as its own instant; the tables that it reads are those of today."
        ),
    )

    installed: ClassVar[Calendar]

    def create_resource(self, context: dg.InitResourceContext) -> Calendar:
        """The calendar that a run goes by. Raises :class:`SettingsError` for another installation's, or the future."""
        set_by = {
            "home": "CDAP_HOME",
            "timezone": "CDAP_TIMEZONE, before anything is built: snapshots hold the cut-offs of one zone",
            "first_snapshot": "CDAP_FIRST_SNAPSHOT",
            "closed": "`ends` in the contract of the source",
        }
        _refuse_changed(_changed(self, *set_by), set_by)
        if not self.as_of:
            return self.installed
        at = _instant(self.as_of)
        if at > (now := self.installed.now()):
            raise SettingsError(f"as_of {self.as_of} is later than now, {now:%Y-%m-%dT%H:%M:%SZ}; leave it empty")
        return Calendar(lambda: at, self.installed.data_ends, self.installed.zone)


def resources_of(
    lakehouse: Lakehouse, registry: ModelRegistry, calendar: Calendar, closed: Mapping[str, date]
) -> dict[str, Any]:
    """The resources of an installation by key; ``closed`` is the last day of each closed source of orders.

    Nothing is connected. ``s3`` is there only where storage is on S3.
    """
    settings = lakehouse.settings
    connections: dict[str, Any] = {
        "duckdb": LocalEngineResource.configure_at_launch(
            database=IN_MEMORY, connection_config=connection_config(settings)
        )
    }
    if settings.warehouse:
        connections["s3"] = _s3_class().configure_at_launch(**_s3_fields(settings))
    shown = {
        "home": str(settings.home),
        "timezone": settings.timezone,
        "first_snapshot": settings.first_snapshot.isoformat(),
        "closed": {source: day.isoformat() for source, day in sorted(closed.items())},
    }
    return {
        "lakehouse": _of(LakehouseResource, lakehouse, _lakehouse_fields(settings), **connections),
        "registry": _of(ModelRegistryResource, registry, {"tracking_uri": without_password(registry.uri)}),
        "installation": _of(InstallationResource, calendar, shown),
        **connections,
    }


@contextmanager
def duckdb_connection(resource: DuckDBResource) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection of Dagster's own resource, closed also when an exception passes, which that leaves open."""
    with resource.get_connection() as opened, in_utc(opened) as connection:
        yield connection


def _s3_class() -> type[Any]:
    try:
        from dagster_aws.s3 import S3Resource
    except ModuleNotFoundError as error:
        raise SettingsError("S3 needs more packages than a laptop: install cdap[aws] or cdap[trino]") from error
    return S3Resource


def _s3_fields(settings: Settings) -> dict[str, Any]:
    # credentials come from the environment, a profile or the machine's role, and are never a field's value
    return {"region_name": settings.region or None, "endpoint_url": settings.s3_endpoint or None, "max_attempts": TRIES}


def without_password(uri: str) -> str:
    """An address without the password and the parameters that it may have."""
    scheme, separator, rest = uri.partition("://")
    place = rest.partition("?")[0]
    if "@" in rest and "@" not in place:
        place = place.partition(":")[0]  # the question mark may be one within a password
    user, at, host = place.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"


def _lakehouse_fields(settings: Settings) -> dict[str, Any]:
    return {
        "catalog": settings.catalog,
        "storage": settings.warehouse,
        "engine": settings.engine,
        "database": settings.database,
        "athena_workgroup": settings.athena_workgroup,
        "query_budget_gb": settings.query_budget_gb,
        "run_budget_gb": settings.run_budget_gb,
        "catalog_uri": without_password(settings.catalog_uri),
        "trino_uri": without_password(settings.trino_uri),
    }


def _of(resource: type[Any], installed: object, shown: Mapping[str, Any], **connections: Any) -> Any:
    """``resource`` of an installation, whose own values are the defaults: a run names only what it wants otherwise."""
    fields: dict[str, Any] = {}
    for name, value in shown.items():
        declared = resource.model_fields[name]
        fields[name] = (declared.annotation, Field(default=value, description=declared.description))
    own = create_model(
        resource.__name__, __base__=resource, __module__=resource.__module__, __doc__=inspect.getdoc(resource), **fields
    )
    own.installed = installed
    return own(**shown, **connections)


def _changed(resource: Any, *names: str) -> dict[str, Any]:
    """What a run wants otherwise than the installation has it."""
    declared = type(resource).model_fields
    return {name: value for name in names if (value := getattr(resource, name)) != declared[name].default}


def _refuse_changed(changed: Mapping[str, Any], set_by: Mapping[str, str]) -> None:
    for name, setting in set_by.items():
        if name in changed:
            raise SettingsError(f"{name} is not chosen for a run; it is set by {setting}")


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise SettingsError(f"as_of {text!r} is not an instant; write one with its offset, as 2024-03-03T06:00:00Z")
    return at.astimezone(UTC).replace(tzinfo=None)
