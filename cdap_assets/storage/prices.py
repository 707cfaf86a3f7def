"""The price book: what it costs to keep, move, read and restore objects in each storage class of a region."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cdap_assets.policy_file import PolicyError, read_policy_file
from resources.tiers.classes import COLD

Tier = Literal["hot", "cool", "archived"]  # of a class; where a partition was put is a PlacedTier of resources
RestoreSpeed = Literal["Expedited", "Standard", "Bulk"]

GB = 1 << 30  # S3 bills binary gigabytes
MONTH_DAYS = 30  # a month of the decision, of the estimates and of the benchmark's bill
PRICES = Path(__file__).with_name("prices.yaml")


class PriceError(PolicyError):
    """A price book cannot be used, or lacks a region or class; the message names the file or name and the field."""


class RestoreOption(BaseModel):
    """A way to ask for an archived object."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_gb: Decimal = Field(ge=0)
    per_1000_requests: Decimal = Field(ge=0, description="one request per object")
    hours: Decimal = Field(ge=0, description="after which it has usually come, at the latest")


class ClassPrices(BaseModel):
    """One storage class. Money is in the book's currency, sizes are bytes.

    A month of an object costs the price of ``max(size, minimum_object_bytes) + overhead_bytes``, and of
    ``hot_overhead_bytes`` at the price of the region's hot class. ``size_ratio`` is the size that an object is expected
    to have here, relative to the hot class: below 1 where a move also compresses. A class that is read in place takes
    no object of less than its ``minimum_object_bytes``: those stay in the hot one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: Tier
    per_gb_month: Decimal = Field(ge=0)
    transition_per_1000: Decimal = Field(ge=0, description="PUT, COPY or lifecycle transition into the class")
    retrieval_per_gb: Decimal = Field(Decimal(0), ge=0)
    get_per_1000: Decimal = Field(Decimal(0), ge=0)
    minimum_days: int = Field(0, ge=0, description="billed although an object leaves earlier")
    minimum_object_bytes: int = Field(0, ge=0)
    overhead_bytes: int = Field(0, ge=0)
    hot_overhead_bytes: int = Field(0, ge=0)
    size_ratio: Decimal = Field(Decimal(1), gt=0)
    in_place: bool = Field(description="whether a query can read it where it lies")
    restore: Mapping[RestoreSpeed, RestoreOption] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _readable_or_restorable(self) -> ClassPrices:
        if self.in_place == (self.tier == "archived"):
            raise ValueError(f"a class of tier {self.tier} cannot have in_place: {str(self.in_place).lower()}")
        if self.in_place and self.restore:
            raise ValueError("a class that is read in place has no restore options")
        if not self.in_place and "Standard" not in self.restore:
            raise ValueError("an archived class needs the restore option Standard")
        return self


class RegionPrices(BaseModel):
    """The classes of one region, as of ``date`` and from ``source``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: dt.date
    source: str = Field(min_length=1)
    classes: Mapping[str, ClassPrices]

    @model_validator(mode="after")
    def _one_hot_class(self) -> RegionPrices:
        hot = [name for name, prices in self.classes.items() if prices.tier == "hot"]
        if len(hot) != 1:
            raise ValueError(f"expected one class of tier hot, found {hot or 'none'}")
        if mistaken := [name for name in COLD & set(self.classes) if self.classes[name].in_place]:
            raise ValueError(f"S3 cannot read {', '.join(sorted(mistaken))} in place; its tier is archived")
        if self.classes[hot[0]].minimum_days:
            raise ValueError(f"the hot class {hot[0]} must have no minimum_days")
        return self


@dataclass(frozen=True)
class Prices:
    """The prices of one region, with what they are counted in and where they are from."""

    version: str
    currency: str
    region: str
    date: dt.date
    source: str
    classes: Mapping[str, ClassPrices]

    @property
    def hot(self) -> str:
        """The class that live data is written to."""
        return self.in_tier("hot")[0]

    def of(self, storage_class: str) -> ClassPrices:
        """The prices of a class. Raises :class:`PriceError` for one that the region does not have."""
        try:
            return self.classes[storage_class]
        except KeyError:
            raise PriceError(
                f"the price book {self.version} has no class {storage_class!r} in {self.region}, "
                f"only {', '.join(self.classes)}"
            ) from None

    def in_tier(self, tier: Tier) -> tuple[str, ...]:
        """The classes that serve a tier, in the book's order."""
        return tuple(name for name, prices in self.classes.items() if prices.tier == tier)


class PriceBook(BaseModel):
    """The whole file. Prices are list prices without volume discounts or taxes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1)
    currency: str = Field(pattern="^[A-Z]{3}$")
    regions: Mapping[str, RegionPrices] = Field(min_length=1)

    def region(self, name: str) -> Prices:
        """The prices of a region. Raises :class:`PriceError` for one that the book does not have."""
        try:
            found = self.regions[name]
        except KeyError:
            raise PriceError(
                f"the price book {self.version} has no region {name!r}, only {', '.join(self.regions)}; "
                "a home's own book may add it"
            ) from None
        return Prices(self.version, self.currency, name, found.date, found.source, found.classes)


def read_prices(path: Path = PRICES) -> PriceBook:
    """The price book of a file, by default the one that comes with the platform.

    Raises :class:`PriceError` for a file that is absent, not YAML, or wrong: one message with file and fields.
    """
    try:
        return read_policy_file(path, PriceBook, refusal=PriceError)
    except FileNotFoundError as error:
        raise PriceError(f"{path} is not there; expected a price book in YAML") from error
