"""Settings come from variables over the home's file, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from resources.settings import Settings


def test_a_variable_wins_over_the_file_of_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.env").write_text("CDAP_TIMEZONE=Europe/Berlin\nCDAP_THREADS=3\n")
    monkeypatch.setenv("CDAP_THREADS", "2")
    settings = Settings.load(tmp_path)
    assert (settings.timezone, settings.threads, settings.home) == ("Europe/Berlin", 2, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CDAP_TIMEZONE", "Berlin", "no IANA time zone"),
        ("CDAP_FIRST_SNAPSHOT", "2024-01-01", "is a Monday"),
        ("CDAP_THREADS", "0", "threads"),
        ("CDAP_TARGET", "moon", "target"),
        ("CDAP_OWNERS", "team:data", "is not a mapping of texts"),
        ("CDAP_OWNERS", "{retention: [a, b]}", "is not a mapping of texts"),
        ("CDAP_OWNERS", "{retention: team:crm", "is not YAML"),
        ("CDAP_OWNERS", "{retension: team:crm}", "'retension' is not a group of assets; the groups are raw, curated"),
        ("CDAP_OWNERS", "{retention: team:crm}", r"nobody owns raw; name an owner under '\*'"),
        ("CDAP_OWNERS", '{"*": data}', "'data' is not an owner; write team:NAME or an e-mail address"),
        ("CDAP_TAGS", "{cost center: a}", "'cost center' is not the name of a tag"),
        ("CDAP_TAGS", "{dagster/kind/x: a}", "'dagster/kind/x' is not the name of a tag"),
        ("CDAP_TAGS", "{note: two words}", "tag note: 'two words' is not a value"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=told):
        Settings.load(tmp_path)


def test_owners_and_tags_are_written_as_yaml_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.env").write_text("CDAP_OWNERS={storage: ann@example.com, '*': team:crm}\n")
    monkeypatch.setenv("CDAP_TAGS", '{"cost-center": 4711}')
    settings = Settings.load(tmp_path)
    assert [settings.owner_of(group) for group in ("storage", "raw")] == ["ann@example.com", "team:crm"]
    assert settings.tags == {"cost-center": "4711"}


@pytest.mark.parametrize("name", ["what?", "no #1", "a%20b"])
def test_a_home_whose_name_would_garble_locations_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match=r"has a \?, # or %"):
        Settings(home=tmp_path / name)
