"""What docs/aws.md lets each role do, and which IAM action an API call asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cloud.account import Aws

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"

# S3 names some permissions unlike its operations; of all other services the operation is the action
S3_ACTIONS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObject": "DeleteObject",
    "DeleteObjects": "DeleteObject",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketLocation": "GetBucketLocation",
    "GetObject": "GetObject",
    "GetObjectTagging": "GetObjectTagging",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutObject": "PutObject",
    "PutObjectTagging": "PutObjectTagging",
    "RestoreObject": "RestoreObject",
    "UploadPart": "PutObject",
}


def policies() -> dict[str, list[dict[str, Any]]]:
    """The statements of each role: the JSON block below its heading ``### Role `name` ``."""
    found = re.findall(r"^### Role `([\w-]+)`.*?^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {role: json.loads(policy)["Statement"] for role, policy in found}


def allowed(role: str) -> set[str]:
    """The actions that a role is allowed, on whatever resource."""
    return {action for statement in policies()[role] for action in statement["Action"]}


def action(service: str, operation: str) -> str:
    """The IAM action of an API call, such as ``s3:GetObject`` of ``("s3", "HeadObject")``.

    Raises ``KeyError`` for an operation of S3 that nothing of ours was known to call.
    """
    if service == "s3":
        return f"s3:{S3_ACTIONS[operation]}"
    return f"{service}:{operation.removesuffix('Batch')}"


def refused(roles: Iterable[str], calls: Iterable[tuple[str, str]]) -> set[str]:
    """The actions of ``(service, operation)`` calls that none of the roles is allowed."""
    return {action(*call) for call in calls} - {allowance for role in roles for allowance in allowed(role)}


def calls(account: Aws) -> set[tuple[str, str]]:
    """What was asked of an account since its log was begun anew, but for what its Athena asked."""
    return {(call["service"], call["action"]) for call in account.requests()}
