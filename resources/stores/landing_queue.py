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
class Notice:
    """A message of the queue: by which handle it is deleted, and what it tells.

    ``keys`` are those of the objects that were written, below the landing prefix. None are of use to nobody: a test,
    a deletion, or an object elsewhere. ``readable`` is false for what is no notification of S3.
    """

    handle: str
    keys: tuple[str, ...]
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
        keys = []
        for bucket, key in objects:
            try:
                keys.append(self._landing.key(f"s3://{bucket}/{key}"))
            except ValueError:
                continue  # a bucket may hold more than ours
        return Notice(handle, tuple(keys))


def _objects(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Bucket and key of each object written. Raises ``KeyError`` for what is no notification of S3."""
    if message.get("Type") == "Notification":  # wrapped by SNS
        yield from _objects(json.loads(message["Message"]))
    elif message.get("Event") == "s3:TestEvent":
        return
    elif message.get("source") == "aws.s3":  # from EventBridge, which does not encode keys
        if message["detail-type"] == "Object Created":
            yield message["detail"]["bucket"]["name"], message["detail"]["object"]["key"]
    else:
        for record in message["Records"]:
            if record["eventSource"] == "aws:s3" and record["eventName"].startswith("ObjectCreated:"):
                yield record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
