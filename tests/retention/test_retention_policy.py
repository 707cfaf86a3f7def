"""retention.yaml: what is wrong with it is told by field."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import ibis
import pytest

from cdap_assets.commands.new_home import TEMPLATES
from cdap_assets.profiles.segments import _segment
from cdap_assets.retention.retention_policy import RetentionPolicyError, Segment, read_policy

GOOD = (TEMPLATES / "retention.yaml").read_text(encoding="utf-8")


def test_the_policy_that_a_new_home_begins_with_is_valid() -> None:
    policy = read_policy(TEMPLATES / "retention.yaml")
    assert (policy.currency, policy.channels[0].name) == ("USD", "direct mail")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("currency: USD", "currency: dollars", "currency.*found 'dollars'"),
        ("margin: 0.25", "margin: 25", "margin.*less than or equal to 1.*found 25"),
        ("budget: 500.00", "budget: -1", "budget.*found -1"),
        ("budget: 500.00", "budgte: 500", "budget: Field required"),
        ("holdout_share: 0.05", "holdout_share: 1", "holdout_share.*less than 1"),
        ("control_share: 0.20", "control_share: a fifth", "control_share.*found 'a fifth'"),
        ("cost: 0.85", "cost: free", "channels.0.cost.*found 'free'"),
        ("{name: direct mail, cost: 0.85}", "{name: a, cost: 1}\n  - {name: a, cost: 2}", "two channels have one name"),
        ("exclude_segments: []", "exclude_segments: [at rsik]", "exclude_segments.0.*'at risk'.*found 'at rsik'"),
        ("currency: USD", "currency: [", "is not YAML"),
    ],
)
def test_an_error_names_the_field_and_what_was_found(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    path = tmp_path / "retention.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(RetentionPolicyError, match=f"(?s){told}") as caught:
        read_policy(path)
    assert "retention.yaml" in str(caught.value)


def test_an_absent_or_empty_file_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RetentionPolicyError, match=r"is not there; `cdap init` writes one"):
        read_policy(tmp_path / "retention.yaml")
    (tmp_path / "retention.yaml").write_text("")
    with pytest.raises(RetentionPolicyError, match=r"retention\.yaml: currency: Field required, found nothing"):
        read_policy(tmp_path / "retention.yaml")


def test_every_segment_can_be_excluded_by_its_name() -> None:
    fifths = ibis.memtable([{"r": r, "f": f} for r in range(1, 6) for f in range(1, 6)])
    found = fifths.mutate(segment=_segment(fifths)).segment.to_pyarrow().to_pylist()
    assert set(found) == set(get_args(Segment))
