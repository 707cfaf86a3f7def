"""What notices a delivery: a sensor that lists the landing folder, and one that a queue tells of new objects."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

import dagster as dg

from cdap_assets.lineage import Lineage
from cdap_assets.raw.landing import is_delivery, landing_digest
from resources.settings import Settings
from resources.stores.landing_queue import LandingQueue, Notice

EVERY = 30  # seconds
BESIDE_A_QUEUE = 900  # seconds: then the list is only for what the queue was not told
MOST = 50  # messages in one tick, for their handles stay in the cursor until the next
REMEMBERED = 200  # objects of earlier ticks, by which a message that comes twice is known


def landing_sensors(settings: Settings, lineage: Lineage, status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """The sensors of an installation: with a queue both, without one the list alone."""
    sensors = [landing_sensor(settings, lineage, status)]
    if settings.landing_queue:
        sensors.append(landing_queue_sensor(settings, lineage, status))
    return sensors


def landing_sensor(settings: Settings, lineage: Lineage, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Runs a source's raw asset when what lies in its landing folder has changed.

    The cursor holds one digest per source, of names, sizes and versions: it does not grow with the number of
    files. Whether a file is new is for the ledger to say.
    """

    @dg.sensor(
        name="landing_sensor",
        target=dg.AssetSelection.groups("raw"),
        minimum_interval_seconds=BESIDE_A_QUEUE if settings.landing_queue else EVERY,
        default_status=status,
        description="Watches landing/<source>/ and takes what is delivered.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        requests = []
        for name, contract in sorted(lineage.contracts.items()):
            digest = landing_digest(settings, contract)
            if digest is not None and digest != seen.get(name):
                requests.append(_request(name, digest))
                seen[name] = digest
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(seen))

    return sensor


def landing_queue_sensor(settings: Settings, lineage: Lineage, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Runs a source's raw asset when S3 has told the queue of an object below its landing prefix.

    The cursor holds the handles of this tick's messages, which the next tick deletes: a tick that dies before
    its runs are requested leaves them to be received again. It also holds marks of the last objects, so that a
    message that SQS delivers twice asks for no second run.
    """

    @dg.sensor(
        name="landing_queue_sensor",
        target=dg.AssetSelection.groups("raw"),
        minimum_interval_seconds=EVERY,
        default_status=status,
        description="Takes what S3 tells the landing queue of.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = json.loads(context.cursor or '{"handles": [], "marks": []}')
        queue = LandingQueue(settings)
        queue.delete(before["handles"])
        notices = queue.receive(MOST)
        marks = _marks(notices)
        requests, unknown = [], []
        for source, found in sorted(marks.items()):
            new = [mark for mark in found if mark not in before["marks"]]
            if source not in lineage.contracts:
                unknown.append(source)
            elif new:
                requests.append(_request(source, hashlib.sha256("".join(sorted(new)).encode()).hexdigest()[:16]))
        told = _told(notices, unknown)
        if told:
            context.log.warning(told)
        arrived = [mark for found in marks.values() for mark in sorted(found)]
        remembered = list(dict.fromkeys([*before["marks"], *arrived]))
        cursor = {"handles": [notice.handle for notice in notices], "marks": remembered[-REMEMBERED:]}
        skipped = None if requests else (told or "no new delivery")
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=json.dumps(cursor))

    return sensor


def _request(source: str, digest: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{source}-{digest}", asset_selection=[dg.AssetKey(f"raw_{source}")])


def _marks(notices: Sequence[Notice]) -> dict[str, set[str]]:
    """Short marks of what has arrived, by source."""
    found: dict[str, set[str]] = defaultdict(set)
    for notice in notices:
        for arrival in notice.arrivals:
            if is_delivery(arrival.key):
                mark = hashlib.sha256(f"{arrival.key} {arrival.mark}".encode()).hexdigest()[:12]
                found[arrival.key.split("/")[0]].add(mark)
    return found


def _told(notices: Sequence[Notice], unknown: Sequence[str]) -> str:
    """What was in the queue and is not taken; it is deleted, or it would be received for ever."""
    told = []
    if unreadable := sum(not notice.readable for notice in notices):
        told.append(f"{unreadable} messages are no notification of S3 and were dropped")
    if unknown:
        told.append(
            f"there is no readable contract for landing/{', landing/'.join(unknown)}; its files are taken once there is"
        )
    return "; ".join(told)
