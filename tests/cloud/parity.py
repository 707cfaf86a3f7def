"""Two installations with the same deliveries, one on this machine and one on AWS, and whether their tables agree."""

from __future__ import annotations

import math
from typing import Any

from cdap_assets.lineage import read_lineage
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.stores import open_store
from tests.cloud.account import Aws, database_of

CLOSE = 1e-9  # relative
Rows = list[dict[str, Any]]
# What tells of the run and not of the data: how the store names a file's version, and Iceberg a snapshot.
OF_THE_RUN = {"deliveries": {"version"}, "customer_scores": {"features_snapshot_id"}}


def on_aws(local: Settings, aws: Aws, bucket: str, **changes: Any) -> Settings:
    """The settings of the same home with its lake, landing and exports on AWS; deliveries are copied there."""
    told = local.model_dump(exclude={"target", "catalog", "engine", "warehouse", "database", "region", "s3_endpoint"})
    told |= {
        "target": "aws",
        "warehouse": f"s3://{bucket}/lake",
        "database": database_of(bucket),
        "region": aws.region,
        "s3_endpoint": aws.endpoint,
        "athena_workgroup": aws.workgroup,
    }
    settings = Settings(**{**told, **changes})
    landing = open_store(settings.root("landing"), settings)
    for path in sorted(local.landing.rglob("*")):
        if path.is_file():
            landing.write(path.relative_to(local.landing).as_posix(), path.read_bytes())
    return settings


def every_table(settings: Settings) -> dict[str, Rows]:
    """All rows of all tables of an installation."""
    with Lakehouse(settings).in_process() as session:
        return {
            name: session.read(spec).drop(*OF_THE_RUN.get(name, ())).to_pyarrow().to_pylist()
            for name, spec in read_lineage(settings).specs.items()
        }


def differences(local: dict[str, Rows], cloud: dict[str, Rows]) -> list[str]:
    """Which tables differ and in what, in words; floats may differ by 1e-9 relative, all else not at all."""
    assert local.keys() == cloud.keys()
    return [told for name in local for told in _differences(name, local[name], cloud[name])]


def _differences(name: str, local: Rows, cloud: Rows) -> list[str]:
    if len(local) != len(cloud):
        return [f"{name}: {len(local)} rows here, {len(cloud)} on AWS"]
    pairs = zip(sorted(local, key=_order), sorted(cloud, key=_order), strict=True)
    wrong = [(here, there) for here, there in pairs if not _same(here, there)]
    return [f"{name}: {len(wrong)} rows differ, such as\n  {wrong[0][0]}\n  {wrong[0][1]}"] if wrong else []


def _order(row: dict[str, Any]) -> tuple[str, list[float]]:
    exact = repr({column: value for column, value in row.items() if not isinstance(value, float)})
    return exact, [value for value in row.values() if isinstance(value, float)]


def _same(here: dict[str, Any], there: dict[str, Any]) -> bool:
    return here.keys() == there.keys() and all(_equal(here[column], there[column]) for column in here)


def _equal(here: Any, there: Any) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, rel_tol=CLOSE, abs_tol=CLOSE) or (math.isnan(here) and math.isnan(there))
    return type(here) is type(there) and here == there
