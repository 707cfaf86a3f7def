"""The SQS queue that S3 tells of new objects: its messages, read in each of the three forms that AWS sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from resources.settings import SettingsError
from resources.stores.aws import client
from resources.stores.stores import Stores

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

    from resources.settings import Settings

AT_ONCE = 10  # SQS's limit
HIDDEN_SECONDS = 300  # what was received and not deleted by then is received again
NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"}


@dataclass(frozen=True)
class Arrival:
    """An object that was written: its key below the landing prefix, and a mark of this very write."""

    key: str
    mark: str


@dataclass(frozen=True)
class Notice:
    """A message of the queue: by which handle it is deleted, and what it tells.

    No arrivals are of use to nobody: a test, a deletion, or an object outside of the landing prefix. ``readable``
    is false for what is no notification of S3.
    """

    handle: str
    arrivals: tuple[Arrival, ...]
    readable: bool = True


class LandingQueue:
    """The queue in ``settings.landing_queue``. Nothing is connected before first use."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.landing_queue
        self.settings = settings
        self._landing = Stores(settings).landing

    @cached_property
    def client(self) -> SQSClient:
        """boto3's client."""
        return client("sqs", self.settings)

    def receive(self, most: int) -> list[Notice]:
        """Up to ``most`` messages; nobody else sees them for ``HIDDEN_SECONDS``.

        Raises :class:`~resources.settings.SettingsError` when there is no such queue.
        """
        found: list[Notice] = []
        while len(found) < most:
            with self._existing():
                answer = self.client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=min(AT_ONCE, most - len(found)),
                    WaitTimeSeconds=1,  # a queue asked without waiting may answer that it is empty when it is not
                    VisibilityTimeout=HIDDEN_SECONDS,
                )
            messages = answer.get("Messages", [])
            if not messages:
                break
            found += [self._notice(message["ReceiptHandle"], message["Body"]) for message in messages]
        return found

    def delete(self, handles: Sequence[str]) -> None:
        """Delete messages. One that could not be deleted is received again."""
        for start in range(0, len(handles), AT_ONCE):
            batch = handles[start : start + AT_ONCE]
            with self._existing():
                self.client.delete_message_batch(
                    QueueUrl=self.url,
                    Entries=[{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(batch)],
                )

    @contextmanager
    def _existing(self) -> Iterator[None]:
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in NO_QUEUE:
                raise SettingsError(
                    f"CDAP_LANDING_QUEUE: there is no queue {self.url} in region {self.settings.region}; write the "
                    "URL of the queue that the bucket notifies, or unset it to list the landing prefix instead"
                ) from error
            raise

    def _notice(self, handle: str, body: str) -> Notice:
        try:
            objects = list(_objects(json.loads(body)))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            return Notice(handle, (), readable=False)
        arrivals = []
        for bucket, key, mark in objects:
            try:
                arrivals.append(Arrival(self._landing.key(f"s3://{bucket}/{key}"), mark))
            except ValueError:
                continue  # a bucket may hold more than ours
        return Notice(handle, tuple(arrivals))


def _objects(message: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Bucket, key and mark of each object written. Raises ``KeyError`` for what is no notification of S3."""
    if message.get("Type") == "Notification":  # wrapped by SNS
        yield from _objects(json.loads(message["Message"]))
    elif message.get("Event") == "s3:TestEvent":
        return
    elif message.get("source") == "aws.s3":  # from EventBridge, which does not encode keys
        if message["detail-type"] == "Object Created":
            yield _object(message["detail"], message["detail"]["object"]["key"], "etag")
    else:
        for record in message["Records"]:
            if record["eventSource"] == "aws:s3" and record["eventName"].startswith("ObjectCreated:"):
                yield _object(record["s3"], unquote_plus(record["s3"]["object"]["key"]), "eTag")


def _object(told: dict[str, Any], key: str, etag: str) -> tuple[str, str, str]:
    return told["bucket"]["name"], key, f"{told['object'].get(etag, '')}-{told['object'].get('sequencer', '')}"
