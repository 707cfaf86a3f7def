"""The sensors of storage: one follows the decisions, one waits for restores."""

import dagster as dg

from cdap_assets.tiering.batches import JOB
from cdap_assets.tiering.following import tick
from cdap_assets.tiering.restores import wait
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

EVERY = 3600  # seconds between two ticks of the sensor


def storage_sensors(settings: Settings, status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """The sensors of storage."""
    return [tiering_sensor(settings, status), restore_sensor(settings, status)]


def tiering_sensor(settings: Settings, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Has one batch at a time moved as it was decided."""

    @dg.sensor(
        name="storage_tiering_sensor",
        job_name=JOB,
        minimum_interval_seconds=EVERY,
        default_status=status,
        description="Moves partitions to the tier that the newest look at storage decided, if storage.yaml lets it.",
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        installation: dg.ResourceParam[Calendar],
    ) -> dg.SensorResult | dg.SkipReason:
        return tick(lakehouse, settings, installation.now(), context.cursor)

    return sensor


def restore_sensor(settings: Settings, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Finishes restores that S3 has made ready, and sends restored partitions back when their days are over."""

    @dg.sensor(
        name="storage_restore_sensor",
        job_name=JOB,
        minimum_interval_seconds=900,
        default_status=status,
        description="Waits for restores, and sends restored partitions back when their days are over.",
    )
    def sensor(
        lakehouse: dg.ResourceParam[Lakehouse], installation: dg.ResourceParam[Calendar]
    ) -> dg.SensorResult | dg.SkipReason:
        return wait(lakehouse, settings, installation.now())

    return sensor
