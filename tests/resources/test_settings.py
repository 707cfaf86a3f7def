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
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=told):
        Settings.load(tmp_path)


@pytest.mark.parametrize("name", ["what?", "no #1", "a%20b"])
def test_a_home_whose_name_would_garble_locations_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match=r"has a \?, # or %"):
        Settings(home=tmp_path / name)
