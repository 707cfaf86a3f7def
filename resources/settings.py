"""The settings of one installation: `CDAP_` variables over the home's own `settings.env`, read once.

``target`` picks catalog, storage and engine together; each can be named alone for another set:

| target | catalog | storage    | engine |
|--------|---------|------------|--------|
| local  | sqlite  | the home   | duckdb |
| aws    | glue    | S3         | athena |
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Catalog = Literal["sqlite", "glue", "rest"]
Engine = Literal["duckdb", "athena", "trino"]
Group = Literal["raw", "curated", "identity", "profiles", "features", "models", "retention", "storage"]
OTHERS = "*"  # every group that a mapping does not name
OWNER = re.compile(r"team:\S+|[^@\s]+@[^@\s]+\.[^@\s]+")  # what Dagster takes for one
TAG = re.compile(r"([\w.-]{1,63}/)?[\w.-]{1,63}", re.ASCII)
BY_TARGET: dict[str, tuple[Catalog, Engine]] = {"local": ("sqlite", "duckdb"), "aws": ("glue", "athena")}


class SettingsError(ValueError):
    """Settings that cannot be used together, and which one to write."""


def wrong_settings(error: ValidationError) -> str:
    """Each setting that cannot be used, with the reason; what several are wrong about together names them itself."""
    reasons = []
    for found in error.errors():
        name = "".join(f"CDAP_{str(part).upper().removeprefix('CDAP_')}: " for part in found["loc"][-1:])
        reasons.append(name + found["msg"].removeprefix("Value error, "))
    return "; ".join(reasons)


class Settings(BaseSettings):
    """Where an installation lives and how it counts days.

    What a person writes (contracts, retention.yaml) is under ``home``; tables, deliveries and exports are
    there as well, or under ``warehouse`` when that is set.
    """

    model_config = SettingsConfigDict(env_prefix="CDAP_", extra="ignore", frozen=True)

    home: Path = Field(Path(".cdap"), description="contracts, retention.yaml, landing, lake, MLflow, exports")
    target: Literal["local", "aws"] = Field("local", description="local: this machine; aws: Glue, S3 and Athena")
    catalog: Catalog = Field("sqlite", description="where tables are listed: sqlite, glue or rest (any Iceberg REST)")
    engine: Engine = Field("duckdb", description="what computes tables: duckdb in this process, athena or trino")
    warehouse: str = Field("", description="s3://bucket/prefix of tables, deliveries and exports; empty: the home")
    database: str = Field("cdap", pattern=r"^[a-z][a-z0-9_]{0,60}$", description="the catalog's database of our tables")
    region: str = Field("", validation_alias=AliasChoices("CDAP_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "region"))
    s3_endpoint: str = Field(
        "", validation_alias=AliasChoices("CDAP_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "s3_endpoint")
    )
    athena_workgroup: str = Field("", description="the workgroup that queries run in and that limits their scans")
    catalog_uri: str = Field("", description="address of an Iceberg REST catalog")
    catalog_warehouse: str = Field("", description="the REST catalog's own name of the warehouse, where it has several")
    catalog_credential: SecretStr = Field(SecretStr(""), description="client:secret for the REST catalog")
    trino_uri: str = Field("", description="https://user@host:port/catalog of a Trino; its password apart")
    trino_password: SecretStr = Field(SecretStr(""), description="of the user in trino_uri")
    query_budget_gb: float = Field(100, gt=0, description="GB (10^9 bytes) that one query may scan")
    run_budget_gb: float = Field(1000, gt=0, description="GB (10^9 bytes) that one run may scan")
    landing_queue: str = Field("", description="URL of the SQS queue that S3 tells of new objects; empty: list instead")
    timezone: str = Field("UTC", description="the zone whose midnight is the cut-off of a snapshot date")
    first_snapshot: date = Field(date(2020, 1, 5), description="the first weekly snapshot date; a Sunday")
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="of the local engine")
    memory_limit: str = Field("4GB", description="of the local engine; beyond it, it spills to disk")
    dagster_port: int = Field(3000, description="where `cdap ui` serves Dagster, on loopback")
    mlflow_port: int = Field(5000, description="where `cdap ui` serves MLflow, on loopback")
    pages_port: int = Field(3001, description="where `cdap ui` serves review pages, on loopback")
    mlflow_uri: str = Field("", description="an MLflow server; empty: the home's own store")
    owners: Annotated[dict[str, str], NoDecode] = Field(
        {OTHERS: "team:data", "models": "team:retention", "retention": "team:retention"},
        description="who owns the assets of each group, * of every other: a team:NAME or an e-mail address",
    )
    tags: Annotated[dict[str, str], NoDecode] = Field({}, description="tags of every asset in Dagster")
    automation: bool = Field(False, description="whether sensors and schedules run once Dagster's daemon does")

    @model_validator(mode="before")
    @classmethod
    def _follow_target(cls, values: dict[str, Any]) -> dict[str, Any]:
        catalog, engine = BY_TARGET.get(values.get("target", "local"), BY_TARGET["local"])
        return {"catalog": catalog, "engine": engine, **{key: value for key, value in values.items() if value != ""}}

    @model_validator(mode="after")
    def _one_usable_set(self) -> Self:
        """Say at once what is missing; a run that ends in its third query has cost time and money."""
        on_aws = self.catalog == "glue" or self.engine == "athena"
        missing = {
            "CDAP_WAREHOUSE (s3://bucket/prefix)": self.shared and not self.warehouse,
            "CDAP_REGION (such as eu-central-1)": on_aws and not self.region,
            "CDAP_ATHENA_WORKGROUP": self.engine == "athena" and not self.athena_workgroup,
            "CDAP_CATALOG_URI (of an Iceberg REST catalog)": self.catalog == "rest" and not self.catalog_uri,
            "CDAP_TRINO_URI (https://user@host:port/catalog)": self.engine == "trino" and not self.trino_uri,
        }
        wanted = [name for name, is_missing in missing.items() if is_missing]
        if wanted:
            raise ValueError(f"catalog {self.catalog} with engine {self.engine} also needs {', '.join(wanted)}")
        if self.engine == "athena" and self.catalog != "glue":
            raise ValueError(f"Athena reads the Glue catalog only, not {self.catalog}; set CDAP_CATALOG=glue")
        if self.engine == "trino" and self.catalog == "sqlite":
            raise ValueError("Trino cannot read a SQLite catalog; set CDAP_CATALOG=glue or rest")
        if self.catalog == "sqlite" and self.warehouse:
            raise ValueError("a SQLite catalog is for tables in the home; unset CDAP_WAREHOUSE, or set CDAP_CATALOG")
        if self.landing_queue and not self.warehouse:
            raise ValueError("a landing queue tells of objects on S3; set CDAP_WAREHOUSE, or unset CDAP_LANDING_QUEUE")
        if self.warehouse and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*", self.warehouse):
            raise ValueError(f"warehouse {self.warehouse!r} is no s3://bucket/prefix without a slash at its end")
        return self

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no IANA time zone; write one such as Europe/Berlin")
        return value

    @field_validator("first_snapshot")
    @classmethod
    def _a_sunday(cls, value: date) -> date:
        if value.isoweekday() != 7:
            raise ValueError(f"{value} is a {value:%A}; snapshots are weekly on Sundays")
        return value

    @field_validator("owners", "tags", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        """YAML, of which JSON is a part: ``{retention: ann@example.com, "*": "team:data"}``."""
        try:
            found = yaml.load(value, yaml.BaseLoader) if isinstance(value, str) else value  # all values are text
        except yaml.YAMLError as error:
            raise ValueError(f"{value!r} is not YAML: {str(error).splitlines()[0]}") from error
        if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
            raise ValueError(f"{value!r} is not a mapping of texts; write one such as {{name: value}}")
        return found

    @field_validator("owners")
    @classmethod
    def _owners_of_groups(cls, value: dict[str, str]) -> dict[str, str]:
        groups = (*get_args(Group), OTHERS)
        if unknown := [group for group in value if group not in groups]:
            raise ValueError(f"{unknown[0]!r} is not a group of assets; the groups are {', '.join(groups)}")
        if missing := [group for group in groups if group not in value and OTHERS not in value]:
            raise ValueError(f"nobody owns {missing[0]}; name an owner under '{OTHERS}' for every other group")
        if wrong := [owner for owner in value.values() if not OWNER.fullmatch(owner)]:
            raise ValueError(f"{wrong[0]!r} is not an owner; write team:NAME or an e-mail address")
        return value

    @field_validator("tags")
    @classmethod
    def _short_tags(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not TAG.fullmatch(name) or name.startswith("dagster/"):
                raise ValueError(
                    f"{name!r} is not the name of a tag; write up to 63 letters, digits, _, - or ., after a prefix/ of "
                    "yours if you like"
                )
            if not TAG.fullmatch(text) or "/" in text:
                raise ValueError(f"tag {name}: {text!r} is not a value; write up to 63 letters, digits, _, - or .")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        home = value.expanduser().absolute()
        if set("?#%") & set(str(home)):
            raise ValueError(f"{str(home)!r} has a ?, # or % in it, which locations of tables read as their own")
        return home

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """The settings of ``home`` (default: ``CDAP_HOME`` or ``.cdap``); variables win over its file.

        Raises pydantic's ``ValidationError`` naming the setting when one cannot be used.
        """
        chosen = home or Path(os.environ.get("CDAP_HOME", ".cdap"))
        return cls(_env_file=chosen / "settings.env", home=chosen)  # type: ignore[call-arg]

    def switched(self, **others: Any) -> Settings:
        """These settings with ``others`` in their place, validated as one set. Raises ``ValidationError``."""
        return Settings(**{**self.model_dump(), **others})

    @property
    def zone(self) -> ZoneInfo:
        """The zone of snapshot dates."""
        return ZoneInfo(self.timezone)

    @property
    def shared(self) -> bool:
        """Whether several machines work on this installation, through a shared catalog and S3."""
        return self.catalog != "sqlite"

    def owner_of(self, group: str) -> str:
        """Who owns the assets of a group."""
        return self.owners.get(group) or self.owners[OTHERS]

    def root(self, name: str) -> str:
        """The address of a store.

        One of ``lake`` (tables), ``archive``, ``reads``, ``runs``, ``landing``, ``exports``, ``pages``, ``locks``.
        """
        return f"{self.warehouse}/{name}" if self.warehouse else f"file://{self.home / name}"

    @property
    def contracts(self) -> Path:
        """One data contract per source."""
        return self.home / "contracts"

    @property
    def landing(self) -> Path:
        """Delivered files, one folder per source."""
        return self.home / "landing"

    @property
    def retention_file(self) -> Path:
        """Budget, channels, margins and contact rules."""
        return self.home / "retention.yaml"

    @property
    def lake(self) -> Path:
        """Catalog and tables."""
        return self.home / "lake"

    @property
    def exports(self) -> Path:
        """Files of approved plans."""
        return self.home / "exports"

    @property
    def pages(self) -> Path:
        """Review pages, one file each."""
        return self.home / "pages"

    def page_url(self, name: str) -> str:
        """The address of a review page while `cdap ui` runs."""
        return f"http://127.0.0.1:{self.pages_port}/{name}"

    @property
    def locks(self) -> Path:
        """Who is doing what, for the processes of this home."""
        return self.home / "locks"
