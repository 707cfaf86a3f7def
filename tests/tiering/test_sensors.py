"""The sensors themselves: they look through their resources and ask for runs that their jobs accept."""

from __future__ import annotations

from datetime import UTC

import dagster as dg

from cdap_assets.definitions import build_definitions
from cdap_assets.tiering.following import tick
from cdap_assets.tiering.sensors import storage_sensors
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.tiering.decided import AT, decided, look


def test_the_sensors_themselves_look_through_their_resources(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1))
    definitions = {sensor.name: sensor for sensor in storage_sensors(home, dg.DefaultSensorStatus.STOPPED)}
    tiering, restoring = definitions["storage_tiering_sensor"], definitions["storage_restore_sensor"]
    resources = {"lakehouse": lake, "installation": Calendar(lambda: AT)}
    context = dg.build_sensor_context(cursor=None, resources=resources)
    found = tiering.evaluate_tick(context)
    [request] = found.run_requests or []
    expected = tick(lake, home, AT, None)
    assert isinstance(expected, dg.SensorResult)
    assert [request.run_key] == [one.run_key for one in expected.run_requests or []]
    assert found.cursor == expected.cursor
    context = dg.build_sensor_context(cursor=found.cursor, resources=resources)
    assert tiering.evaluate_tick(context).skip_message == "all 1 batches decided on 2024-06-01 04:00 were started"
    idle = restoring.evaluate_tick(dg.build_sensor_context(resources=resources))
    assert idle.skip_message == "no restore is under way, and no restored partition is due"


def test_a_run_that_a_sensor_asks_for_is_one_that_its_job_accepts(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1))
    step = tick(lake, home, AT, None)
    assert isinstance(step, dg.SensorResult)
    [request] = step.run_requests or []
    repository = build_definitions(home, clock=lambda: AT.replace(tzinfo=UTC)).get_repository_def()
    for name in ("storage_tiering_sensor", "storage_restore_sensor"):
        sensor = repository.get_sensor_def(name)
        assert dg.validate_run_config(repository.get_job(sensor.job_name), request.run_config)


def test_the_sensors_are_given_the_resources_of_their_definitions(home: Settings) -> None:
    definitions = build_definitions(home, clock=lambda: AT)
    sensor = definitions.get_repository_def().get_sensor_def("storage_restore_sensor")
    assert definitions.resources is not None
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources=dict(definitions.resources)) as context,
    ):
        idle = sensor.evaluate_tick(context)
    assert idle.skip_message == "no restore is under way, and no restored partition is due"
