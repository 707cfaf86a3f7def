"""The sensors of storage: one follows the decisions, one waits for restores."""

import dagster as dg

from cdap_assets.tiering.batches import JOB
from cdap_assets.tiering.following import tick
from cdap_assets.tiering.restores import wait
from resources.clock import Clock
from resources.settings import Settings

EVERY = 3600  # seconds between two ticks of the sensor


def storage_sensors(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """The sensors of storage."""
    return [tiering_sensor(settings, clock, status), restore_sensor(settings, clock, status)]


def tiering_sensor(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Has one batch at a time moved as it was decided."""

    @dg.sensor(
        name="storage_tiering_sensor",
        job_name=JOB,
        minimum_interval_seconds=EVERY,
        default_status=status,
        required_resource_keys={"lakehouse"},
        description="Moves partitions to the tier that the newest look at storage decided, if storage.yaml lets it.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return tick(context.resources.lakehouse, settings, clock(), context.cursor)

    return sensor


def restore_sensor(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Finishes restores that S3 has made ready, and sends restored partitions back when their days are over."""

    @dg.sensor(
        name="storage_restore_sensor",
        job_name=JOB,
        minimum_interval_seconds=900,
        default_status=status,
        required_resource_keys={"lakehouse"},
        description="Waits for restores, and sends restored partitions back when their days are over.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return wait(context.resources.lakehouse, settings, clock())

    return sensor
