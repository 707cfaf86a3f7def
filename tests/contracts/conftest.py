"""An engine in memory, and contracts written for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cdap_assets.contracts.contract import Contract
from cdap_assets.contracts.reading import read_contract
from cdap_assets.curated.entities import ENTITIES
from resources.engines.engine import Engine
from resources.iceberg.table import Column
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

SHOP = """\
apiVersion: v3.1.0
kind: DataContract
id: till
name: till
version: 1.0.0
status: active
description: {purpose: Till receipts., limitations: A test.}
customProperties:
  - {property: timezone, value: Europe/Berlin}
  - {property: currency, value: EUR}
  - {property: eventTime, value: paid_at}
  - {property: eventTimeZone, value: UTC}
  - {property: history, value: {lag: 2 hours}}
  - {property: format, value: {type: csv, delimiter: ";", nullValues: ["", "-"]}}
schema:
  - name: till
    physicalType: file
    properties:
      - name: receipt
        logicalType: integer
        required: true
        primaryKey: true
      - {name: position, logicalType: integer, primaryKey: true}
      - {name: card, logicalType: string, customProperties: [{property: personalData, value: pseudonymous}]}
      - {name: shop, logicalType: string, enum: [{value: A}, {value: B}]}
      - {name: amount, logicalType: number, physicalType: "decimal(18,4)", logicalTypeOptions: {maximum: 1000}}
      - {name: rebate, logicalType: number, physicalType: "decimal(18,4)"}
      - {name: paid_at, logicalType: timestamp, logicalTypeOptions: {format: "%d.%m.%Y %H:%M"}}
  - name: order_lines
    physicalType: canonical
    properties:
      - {name: customer_key, transformLogic: card}
      - {name: order_id, transformLogic: receipt}
      - {name: line, transformLogic: "concat(position, '-', row_number)"}
      - {name: ordered_at, transformLogic: paid_at}
      - {name: net, transformLogic: amount - rebate}
"""


@pytest.fixture(scope="session")
def entities() -> Mapping[str, tuple[Column, ...]]:
    return {name: entity.mapped for name, entity in ENTITIES.items()}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), threads=1, memory_limit="1GB")
    engine = Lakehouse(settings).in_process().engine
    yield engine
    engine.close()


@pytest.fixture
def shop(tmp_path: Path, entities: Mapping[str, tuple[Column, ...]]) -> Callable[..., Contract]:
    """Reads the shop's contract after replacing texts in it: ``shop(("EUR", "USD"))``."""

    def read(*changes: tuple[str, str]) -> Contract:
        text = SHOP
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "till.yaml"
        path.write_text(text, encoding="utf-8")
        return read_contract(path, entities)

    return read
