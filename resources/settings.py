"""The settings of one installation: `CDAP_` variables over the home's own `settings.env`, read once."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where an installation lives and how it counts days. Everything of it is under ``home``."""

    model_config = SettingsConfigDict(env_prefix="CDAP_", extra="ignore", frozen=True)

    home: Path = Field(Path(".cdap"), description="contracts, retention.yaml, landing, lake, MLflow, exports")
    target: Literal["local"] = Field("local", description="local: SQLite catalog, local files, DuckDB")
    timezone: str = Field("UTC", description="the zone whose midnight is the cut-off of a snapshot date")
    first_snapshot: date = Field(date(2020, 1, 5), description="the first weekly snapshot date; a Sunday")
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="of the local engine")
    memory_limit: str = Field("4GB", description="of the local engine; beyond it, it spills to disk")
    dagster_port: int = Field(3000, description="where `cdap ui` serves Dagster, on loopback")
    mlflow_port: int = Field(5000, description="where `cdap ui` serves MLflow, on loopback")
    pages_port: int = Field(3001, description="where `cdap ui` serves review pages, on loopback")
    mlflow_uri: str = Field("", description="an MLflow server; empty: the home's own store")
    automation: bool = Field(False, description="whether sensors and schedules run once Dagster's daemon does")

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

    @property
    def zone(self) -> ZoneInfo:
        """The zone of snapshot dates."""
        return ZoneInfo(self.timezone)

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
