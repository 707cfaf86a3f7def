"""Deliveries on S3: taken as from a folder, read once, and noticed by list or by queue."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdap_assets.lineage import read_lineage
from cdap_assets.raw.deliveries import Taken
from cdap_assets.raw.landing import landed, landing, landing_digest
from cdap_assets.work.arrivals import BESIDE_A_QUEUE, Arrivals, arrivals
from resources.engines.file_format import FileFormat
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings, SettingsError
from resources.stores.landing_queue import LandingQueue
from tests.cloud.account import Aws
from tests.cloud.s3 import PREFIX, on_s3
from tests.raw.shop import COLUMNS, HEADER, TUESDAY, WEDNESDAY, Shop, line
from tests.shop import CONTRACT

LANDING = f"{PREFIX}/landing"
CREATED = "ObjectCreated:Put"
NOON = datetime(2026, 1, 4, 12)


@pytest.fixture(autouse=True)
def _environment(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)


class CloudShop(Shop):
    """A shop whose files land in a bucket. Its tables are in its home: where they lie is not of interest here."""

    def __init__(self, aws: Aws, home: Path, bucket: str, **other: Any) -> None:
        super().__init__(home)
        self.settings = on_s3(home, bucket, **other)
        self.s3, self.bucket = aws.client("s3"), bucket

    def put(self, name: str, content: str | bytes, source: str = "till") -> None:
        body = content.encode() if isinstance(content, str) else content
        self.s3.put_object(Bucket=self.bucket, Key=f"{LANDING}/{source}/{name}", Body=body)

    def keys(self) -> list[str]:
        return [found.key for found, _history in landed(landing(self.settings), "till")]


@pytest.fixture
def shop(aws: Aws, bucket: str, tmp_path: Path) -> CloudShop:
    return CloudShop(aws, tmp_path / "home", bucket)


def test_an_object_is_taken_like_a_file_and_leaves_no_copy_behind(shop: CloudShop) -> None:
    shop.put("a.csv", HEADER + line(1) + line(2))
    shop.put("history/b.csv", HEADER + line(3))
    assert list(shop.take().ingested) == ["till/a.csv", "till/history/b.csv"]
    assert sorted(row["receipt"] for row in shop.rows()) == [1, 2, 3]
    assert list((shop.settings.home / "spill").glob("landed-*")) == []
    assert not shop.settings.landing.exists()


def test_what_the_ledger_knows_is_not_read_again(aws: Aws, shop: CloudShop) -> None:
    shop.put("a.csv", HEADER + line(1))
    shop.put("b.csv", HEADER + line(1))
    aws.forget_requests()
    assert list(shop.take().ingested) == ["till/a.csv"]
    assert read(aws) == {"till/a.csv": 1, "till/b.csv": 1}
    aws.forget_requests()
    assert shop.take(TUESDAY) == Taken({}, {})
    assert read(aws) == {}
    shop.put("a.csv", HEADER + line(2))
    assert list(shop.take(WEDNESDAY).ingested) == ["till/a.csv"]


def read(aws: Aws) -> dict[str, int]:
    """How often each landed object was read."""
    calls = [call for call in aws.requests() if call["action"] == "GetObject" and f"/{LANDING}/" in call["path"]]
    return {call["path"].partition(f"/{LANDING}/")[2]: call["count"] for call in calls}


def test_tables_in_the_bucket_hold_what_was_delivered_there(aws: Aws, bucket: str, tmp_path: Path) -> None:
    shop = CloudShop(aws, tmp_path / "home", bucket, database=f"cdap_{bucket.replace('-', '_')}")
    shop.lake = Lakehouse(shop.settings)
    shop.put("a.csv", HEADER + line(1) + line(2, shop="C"))
    shop.take()
    [entry] = shop.ledger()
    assert (entry.event, entry.accepted, entry.quarantined) == ("accepted", 1, 1)
    columns = tuple(dataclasses.replace(c, enum=("A", "B", "C")) if c.name == "shop" else c for c in COLUMNS)
    shop.change(columns=columns)
    shop.replay(entry.delivery.id, TUESDAY)
    assert [row["receipt"] for row in shop.rows()] == [1, 2]
    shop.retract(entry.delivery.id, WEDNESDAY)
    assert shop.events() == ["accepted", "replayed", "retracted"]
    assert {path.name for path in shop.settings.home.iterdir()} <= {"spill"}


def test_a_refusal_names_the_delivered_file_and_not_a_copy(shop: CloudShop) -> None:
    shop.put("a.csv", "receipt,card\n1,c1\n")
    shop.change(file=FileFormat(type="parquet"), version="1.0.0")
    shop.put("b.csv", "no parquet")
    told = shop.take().refused
    assert told["till/b.csv"].startswith("till/b.csv: cannot be read as parquet")
    assert "landed-" not in "".join(told.values())


def test_a_replay_needs_the_object_as_it_was(shop: CloudShop) -> None:
    shop.put("a.csv", HEADER + line(1) + line(2, shop="C"))
    shop.take()
    [entry] = shop.ledger()
    assert shop.replay(entry.delivery.id, TUESDAY).quarantined == 1
    shop.put("a.csv", HEADER + line(1))
    with pytest.raises(ValueError, match="gone or has changed"):
        shop.replay(entry.delivery.id, WEDNESDAY)
    shop.s3.delete_object(Bucket=shop.bucket, Key=f"{LANDING}/till/a.csv")
    with pytest.raises(ValueError, match="gone or has changed"):
        shop.replay(entry.delivery.id, WEDNESDAY)
    assert shop.events() == ["accepted", "replayed"]


def test_every_page_of_a_long_list_is_read_in_the_order_of_a_folder(shop: CloudShop, tmp_path: Path) -> None:
    names = [f"{number:04}.csv" for number in range(1001)] + ["a/b.csv", "a.csv", "ä ö+.csv", "a b%20c.csv"]
    home = Shop(tmp_path / "local")
    for name in names:
        shop.put(name, b"")
        home.land(name, b"")
    found = shop.keys()
    assert len(found) == 1005
    assert found == [file.key for file, _history in landed(landing(home.settings), "till")]


def test_what_is_hidden_unfinished_or_a_console_s_folder_is_passed_over(shop: CloudShop) -> None:
    for name in (".a.csv", "b.csv.part", "c.csv.TMP", ".git/d.csv", "folder/"):
        shop.put(name, "half")
    shop.put("e.csv", "x", source="till_of_another")
    assert shop.keys() == []
    assert landing_digest(shop.settings, shop.contract) is None


# when to look


def settings_with_queue(aws: Aws, home: Path, bucket: str) -> Settings:
    """An installation with a contract for orders and a queue that its bucket notifies."""
    (home / "contracts").mkdir(parents=True)
    (home / "contracts" / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    return on_s3(home, bucket, landing_queue=url)


class Watch:
    """The looks of an installation, one after another."""

    def __init__(self, aws: Aws, home: Path, bucket: str) -> None:
        self.settings = settings_with_queue(aws, home, bucket)
        self.s3, self.sqs, self.bucket = aws.client("s3"), aws.client("sqs"), bucket
        self.lineage = read_lineage(self.settings)
        self.now = NOON
        self.seen: dict[str, Any] = {"listed": NOON.isoformat()}

    def put(self, key: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"x")

    def send(self, body: Any) -> None:
        self.sqs.send_message(
            QueueUrl=self.settings.landing_queue, MessageBody=body if isinstance(body, str) else json.dumps(body)
        )

    def look(self, *, dies: bool = False) -> Arrivals:
        """Whether the landing prefix is to be listed; ``dies`` before that is on record."""
        found = arrivals(self.settings, self.lineage, self.now, self.seen)
        if not dies:
            self.seen = json.loads(json.dumps(found.seen))
        return found

    def left(self) -> int:
        """Messages in the queue, seen or hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.settings.landing_queue, AttributeNames=names)["Attributes"]
        return sum(int(count) for count in found.values())

    def event(self, key: str, *, name: str = CREATED) -> dict[str, Any]:
        """A notification as S3 sends it to a queue."""
        s3 = {"bucket": {"name": self.bucket}, "object": {"key": key, "eTag": "e", "sequencer": "1"}}
        return {"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": s3}]}


@pytest.fixture
def watch(aws: Aws, bucket: str, tmp_path: Path) -> Watch:
    found = Watch(aws, tmp_path / "home", bucket)
    found.sqs.purge_queue(QueueUrl=found.settings.landing_queue)  # of S3's own test message
    return found


ORDERS = f"{LANDING}/orders"


def test_an_object_is_looked_for_once_and_its_message_is_deleted_by_the_next_look(watch: Watch) -> None:
    assert not watch.look().look
    watch.put(f"{ORDERS}/monday 1+ä.csv")
    assert watch.look().look
    assert watch.left() == 1
    assert not watch.look().look
    assert watch.left() == 0


def test_a_look_that_dies_loses_no_delivery(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.stores.landing_queue.HIDDEN_SECONDS", 1)
    watch.put(f"{ORDERS}/monday.csv")
    assert watch.look(dies=True).look
    assert any(watch.look().look for _ in range(10))
    watch.look()
    assert watch.left() == 0


def test_many_objects_are_looked_for_as_their_messages_come(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdap_assets.work.arrivals.MOST", 12)
    for number in range(15):
        watch.put(f"{ORDERS}/{number}.csv")
    assert [watch.look().look for _ in range(3)] == [True, True, False]
    assert watch.left() == 0


def test_a_notification_by_sns_and_one_by_eventbridge_are_read_as_well(watch: Watch) -> None:
    wrapped = {"Type": "Notification", "Message": json.dumps(watch.event(f"{ORDERS}/a+b%C3%A4.csv"))}
    bridged = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": watch.bucket}, "object": {"key": f"{ORDERS}/a+b%.csv", "etag": "e"}},
    }
    for body in (wrapped, bridged):
        watch.send(body)
    found = [key for notice in LandingQueue(watch.settings).receive(10) for key in notice.keys]
    assert sorted(found) == ["orders/a bä.csv", "orders/a+b%.csv"]


def test_what_is_no_delivery_asks_for_nothing_and_is_deleted(watch: Watch) -> None:
    for key in (f"{PREFIX}/lake/orders/a.parquet", f"{ORDERS}/.hidden.csv", f"{ORDERS}/a.csv.part", f"{ORDERS}/", "x"):
        watch.send(watch.event(key))
    watch.send(watch.event(f"{ORDERS}/a.csv", name="ObjectRemoved:Delete"))
    watch.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": watch.bucket})
    assert not watch.look().look
    watch.look()
    assert watch.left() == 0


def test_a_source_without_a_contract_is_told_and_its_message_deleted(watch: Watch) -> None:
    watch.put(f"{LANDING}/returns/a.csv")
    assert "no readable contract for landing/returns" in watch.look().told
    watch.look()
    assert watch.left() == 0


def test_messages_that_are_no_notification_are_told_and_deleted_without_their_text(watch: Watch) -> None:
    strange = ["no json", "[]", "7", "{}", '{"Records": 1}', '{"Type": "Notification", "Message": "x"}']
    for body in strange:
        watch.send(body)
    watch.put(f"{ORDERS}/a.csv")
    found = watch.look()
    assert found.look  # a bad message costs no other
    assert found.told == "6 messages are not notifications of S3 and were dropped"
    watch.look()
    assert watch.left() == 0


def test_a_queue_that_is_not_there_is_named_with_the_setting(watch: Watch) -> None:
    settings = watch.settings.model_copy(update={"landing_queue": watch.settings.landing_queue + "-gone"})
    with pytest.raises(SettingsError, match=r"CDAP_LANDING_QUEUE: there is no queue .*-gone in region eu-central-1"):
        LandingQueue(settings).receive(1)


def test_beside_the_queue_the_prefix_is_listed_now_and_then(watch: Watch) -> None:
    watch.now += BESIDE_A_QUEUE - timedelta(seconds=1)
    assert not watch.look().look
    watch.now += timedelta(seconds=1)
    assert watch.look().look
    assert not watch.look().look


def test_what_a_look_keeps_stays_small(watch: Watch) -> None:
    for number in range(60):
        watch.send(watch.event(f"{ORDERS}/{number}.csv"))
    sizes = [len(json.dumps(watch.look().seen)) for _ in range(3)]
    assert max(sizes) < 64_000
    assert len(watch.seen["handles"]) == 0
