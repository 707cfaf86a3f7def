"""What is left to S3's own lifecycle rules: versions that were replaced or deleted, and uploads that never ended.

Which object is in which class is not left to it, for it knows age and not reads, and moves objects behind the
table's back:

- below ``lake/`` nothing transitions: Athena leaves out objects in Glacier without an error, and metadata is read
  by every query;
- below ``archive/data/`` neither: a file gets its class when it was read back and the table has let go of it, and
  a restore copies from there. By age, S3 would take a file that is still being checked;
- ``archive/manifests/``, ``archive/keys/`` and ``archive/journal/`` are read before and during a restore.

No current version expires by a rule either: expiry and the sweep delete, which know what is referenced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KEPT = ("lake", "archive", "reads", "runs")  # roots of the warehouse whose files we replace and delete
PLACED = ("lake", "archive")  # whose classes we set
LOCKS, LOCK_DAYS = "locks", 1  # a held lock is written every ten seconds
NAMED = "cdap-"  # how the ids of our rules begin


def lifecycle(prefix: str, noncurrent_days: int, abort_days: int) -> dict[str, Any]:
    """The document for ``put_bucket_lifecycle_configuration`` of a bucket with the warehouse below ``prefix``.

    ``noncurrent_days`` after a file was replaced or deleted its version goes for good. Until then it is billed in
    the class it had: a file in place that became cool, or an archived one that became cold, is paid twice for as
    long; an erased person's rows are still there for as long. ``abort_days`` after an upload in parts began its
    parts go. Delete markers without a version behind them go as well, for listings pass over each of them.

    The call replaces all rules of the bucket: see :func:`merged`. Raises ``ValueError`` for less than a day.
    """
    for name, days in (("noncurrent_days", noncurrent_days), ("abort_days", abort_days)):
        if days < 1:
            raise ValueError(f"{name} is {days}; S3 counts whole days, write 1 or more")
    days_of = {**dict.fromkeys(KEPT, noncurrent_days), LOCKS: min(LOCK_DAYS, noncurrent_days)}
    return {
        "Rules": [
            {
                "ID": f"{NAMED}{_below(prefix, root).strip('/').replace('/', '-')}",
                "Status": "Enabled",
                "Filter": {"Prefix": _below(prefix, root)},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
                "NoncurrentVersionExpiration": {"NoncurrentDays": days},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_days},
            }
            for root, days in days_of.items()
        ]
    }


def merged(present: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The rules that a bucket has, with ours in the place of those that have their ids."""
    ids = {rule["ID"] for rule in ours["Rules"]}
    return {"Rules": [*(rule for rule in present.get("Rules", ()) if rule.get("ID") not in ids), *ours["Rules"]]}


def harmful(present: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """What is wrong with the rules of a bucket with the warehouse below ``prefix``, one sentence for each rule.

    A rule harms when it moves or deletes current versions below ``lake/`` or ``archive/``, also when it is only for
    objects of some tags or sizes.
    """
    for rule in present.get("Rules", ()):
        does = [
            *(["moves"] if rule.get("Transitions") or rule.get("Transition") else []),
            *(["deletes"] if {"Days", "Date"} & set(rule.get("Expiration") or ()) else []),
        ]
        met = [place for root in PLACED if _overlap(_prefix_of(rule), place := _below(prefix, root))]
        if rule.get("Status") == "Enabled" and does and met:
            yield (
                f"lifecycle rule {rule.get('ID', 'without an id')} {' and '.join(does)} objects below "
                f"{', '.join(met)}, which tables and archives refer to: limit it to other prefixes, or disable it"
            )


def _below(prefix: str, root: str) -> str:
    return f"{prefix.strip('/')}/{root}/".lstrip("/")


def _prefix_of(rule: Mapping[str, Any]) -> str:
    # the oldest form has it in the rule itself
    chosen = rule.get("Filter") or {}
    found: str = chosen.get("Prefix") or (chosen.get("And") or {}).get("Prefix") or rule.get("Prefix") or ""
    return found


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
