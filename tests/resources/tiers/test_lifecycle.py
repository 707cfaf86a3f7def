"""Lifecycle rules as a document: what S3 may do by itself, and what of others would harm."""

from __future__ import annotations

from typing import Any

import pytest

from resources.tiers.lifecycle import harmful, lifecycle, merged

LAKE_TO_GLACIER: dict[str, Any] = {
    "ID": "old",
    "Status": "Enabled",
    "Filter": {"And": {"Prefix": "shop/lake/visits/", "ObjectSizeGreaterThan": 131072}},
    "Transitions": [{"Days": 90, "StorageClass": "GLACIER"}],
}


def test_replaced_and_deleted_versions_and_unfinished_uploads_go() -> None:
    rules = {rule["Filter"]["Prefix"]: rule for rule in lifecycle("shop", 7, 3)["Rules"]}
    assert set(rules) == {"shop/lake/", "shop/archive/", "shop/reads/", "shop/runs/", "shop/locks/"}
    assert rules["shop/lake/"] == {
        "ID": "cdap-shop-lake",
        "Status": "Enabled",
        "Filter": {"Prefix": "shop/lake/"},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
    }
    assert rules["shop/locks/"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}


@pytest.mark.parametrize("prefix", ["", "shop", "teams/shop/"])
def test_s3_moves_no_object_and_deletes_no_current_version(prefix: str) -> None:
    document = lifecycle(prefix, 30, 7)
    assert list(harmful(document, prefix)) == []
    assert all(not {"Transitions", "NoncurrentVersionTransitions"} & set(rule) for rule in document["Rules"])
    assert all(
        rule["Filter"]["Prefix"][0] != "/" and "//" not in rule["Filter"]["Prefix"] for rule in document["Rules"]
    )


def test_less_than_a_day_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="noncurrent_days is 0"):
        lifecycle("shop", 0, 7)
    with pytest.raises(ValueError, match="abort_days is -1"):
        lifecycle("shop", 7, -1)


def test_ours_take_the_place_of_ours_and_leave_those_of_others() -> None:
    other = {"ID": "athena", "Status": "Enabled", "Filter": {"Prefix": "athena/"}, "Expiration": {"Days": 7}}
    present = {"Rules": [*lifecycle("shop", 30, 7)["Rules"], other]}
    ours = lifecycle("shop", 3, 7)
    assert merged(present, ours) == {"Rules": [other, *ours["Rules"]]}
    assert merged({}, ours) == ours


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Filter": {"Prefix": "shop/"}},
        {"Filter": {"Tag": {"Key": "cdap-tier", "Value": "cool"}}},
        {"Filter": None, "Prefix": ""},
        {"Filter": {"Prefix": "shop/archive/manifests/"}},
        {"Transitions": [], "Expiration": {"Days": 400}},
    ],
)
def test_a_rule_that_would_move_or_delete_what_tables_refer_to_is_named(change: dict[str, Any]) -> None:
    [told] = harmful({"Rules": [LAKE_TO_GLACIER | change]}, "shop")
    assert "lifecycle rule old" in told
    assert "below shop/" in told


@pytest.mark.parametrize(
    "change",
    [{"Status": "Disabled"}, {"Filter": {"Prefix": "shop/landing/"}}, {"Filter": {"Prefix": "shop/lake-of-others/"}}],
)
def test_a_rule_for_something_else_is_not(change: dict[str, Any]) -> None:
    assert list(harmful({"Rules": [LAKE_TO_GLACIER | change]}, "shop")) == []
