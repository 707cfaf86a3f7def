"""Storage classes of files: S3's, changed by copying an object onto itself, and asked back from a cold one."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

from resources.iceberg.errors import NotMoved
from resources.stores.folder_store import FolderStore
from resources.stores.object_store import ObjectStore
from resources.stores.s3_store import S3Store

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from mypy_boto3_s3.type_defs import CopySourceTypeDef, HeadObjectOutputTypeDef, RestoreRequestTypeDef

PIECE = 1 << 20  # bytes
COPIED_AT_ONCE = 1 << 30  # bytes; S3 would copy 5 GB by one request, and bills each part of a larger object as one
PART = 512 << 20  # bytes of a larger object
PARTS_AT_ONCE = 4
SMALLEST_IN_IA = 128 * 1024  # bytes; S3 bills a smaller object of Standard-IA and Glacier Instant as one of these
COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # not readable until asked back
STANDARD = "STANDARD"
# it is on its way already, or there is no room for an expedited one now: the next run asks again
ASKED_LATER = frozenset({"RestoreAlreadyInProgress", "GlacierExpeditedRetrievalNotAvailable"})
CANNOT_ASK = frozenset({"MethodNotAllowed", "NotImplemented"})  # a store that is called S3 and has no RestoreObject


def copy(source: ObjectStore, key: str, target: ObjectStore, target_key: str) -> None:
    """Copy a file whole, in S3 by S3 itself, very large objects in parts; the copy is standard, without tags."""
    if isinstance(source, S3Store) and isinstance(target, S3Store):
        # S3 copies tags along unless told otherwise: a restored file would go on being called archived
        extra = {"TaggingDirective": "REPLACE", "StorageClass": STANDARD}
        place = target.bucket, target.full(target_key)
        target.client.copy(_source(source, key), *place, ExtraArgs=extra, Config=_in_few_requests())
    elif isinstance(target, FolderStore):
        with closing(source.open(key)) as stream, target.writing(target_key) as file:
            shutil.copyfileobj(stream, file, PIECE)
    else:
        assert isinstance(target, S3Store)
        with closing(source.open(key)) as stream:
            target.client.upload_fileobj(stream, target.bucket, target.full(target_key))


def digest(store: ObjectStore, key: str) -> str:
    """SHA-256 of a file, read once in pieces."""
    found = hashlib.sha256()
    with closing(store.open(key)) as stream:
        while piece := stream.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def set_class(store: ObjectStore, key: str, storage_class: str, tag: str) -> None:
    """Put an object into a storage class, in place and tagged ``cdap-tier=tag``; a folder has one class."""
    if not isinstance(store, S3Store):
        return
    if class_of(store, key) == storage_class:
        return  # a move that is finished after a crash: a copy onto itself would begin the minimum days anew
    extra: dict[str, Any] = {
        "StorageClass": storage_class,
        "MetadataDirective": "COPY",
        "TaggingDirective": "REPLACE",
        "Tagging": f"cdap-tier={tag}",
    }
    place = store.bucket, store.full(key)
    store.client.copy(_source(store, key), *place, ExtraArgs=extra, Config=_in_few_requests())


def class_of(store: ObjectStore, key: str) -> str:
    """The storage class of an object; of a file in a folder nothing. Raises ``FileNotFoundError``."""
    return _head(store, key).get("StorageClass", STANDARD) if isinstance(store, S3Store) else ""


def ask_back(store: ObjectStore, key: str, days: int, speed: str) -> None:
    """Ask S3 for a readable copy of a cold object for ``days``, once; what is there or on its way is not asked again.

    ``speed`` is Expedited, Standard or Bulk, and S3's own choice when empty. Raises ``FileNotFoundError``, and
    :class:`~resources.iceberg.errors.NotMoved` in a store that cannot be asked.
    """
    if not isinstance(store, S3Store):
        if not store.exists(key):
            raise _lost(store, key)
        return
    head = _head(store, key)
    if head.get("StorageClass", STANDARD) not in COLD or head.get("Restore"):
        return
    from botocore.exceptions import ClientError

    request: RestoreRequestTypeDef = {"Days": days}
    if speed:
        request["GlacierJobParameters"] = {"Tier": speed}  # type: ignore[typeddict-item]
    try:
        store.client.restore_object(Bucket=store.bucket, Key=store.full(key), RestoreRequest=request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in CANNOT_ASK:
            raise NotMoved(
                f"{store.location(key)} is in {head['StorageClass']}, which this S3 gives back to nobody"
            ) from error
        if code not in ASKED_LATER:
            raise


def is_readable(store: ObjectStore, key: str) -> bool:
    """Whether a file can be read now: it exists and is in no cold class, or was asked back and is there."""
    if not isinstance(store, S3Store):
        return store.exists(key)
    try:
        head = _head(store, key)
    except FileNotFoundError:
        return False
    return head.get("StorageClass", STANDARD) not in COLD or 'ongoing-request="false"' in head.get("Restore", "")


def _head(store: S3Store, key: str) -> HeadObjectOutputTypeDef:
    from botocore.exceptions import ClientError

    try:
        return store.client.head_object(Bucket=store.bucket, Key=store.full(key))
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            raise _lost(store, key) from error
        raise


def _lost(store: ObjectStore, key: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{store.location(key)} is not there: put it back, in S3 by deleting the delete marker of a versioned object"
    )


def _in_few_requests() -> TransferConfig:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=COPIED_AT_ONCE, multipart_chunksize=PART, max_concurrency=PARTS_AT_ONCE)


def _source(store: S3Store, key: str) -> CopySourceTypeDef:
    return {"Bucket": store.bucket, "Key": store.full(key)}
