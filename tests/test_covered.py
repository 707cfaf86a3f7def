"""What `make coverage` tells: lines of Python by room, and whether enough of all were run."""

from __future__ import annotations

from pathlib import Path

import pytest
from coverage import CoverageData

from tests import covered


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in which three of four lines ran, and a template, of which coverage was taken as well."""
    monkeypatch.chdir(tmp_path)
    files = {"ml/a.py": "x = 1\ny = 2\n", "resources/lake/b.py": "x = 1\ny = 2\n", "pages/page.html": "<p>→</p>\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = CoverageData(str(tmp_path / ".coverage"))
    data.add_lines({str(tmp_path / "ml/a.py"): [1, 2], str(tmp_path / "resources/lake/b.py"): [1]})
    data.add_lines({str(tmp_path / "pages/page.html"): [1]})
    data.write()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(("floor", "code"), [(75.0, 0), (75.1, 1)])
def test_rooms_are_told_and_less_than_the_floor_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], floor: float, code: int
) -> None:
    monkeypatch.setattr(covered, "FLOOR", floor)
    with pytest.raises(SystemExit) as ended:
        covered.main()
    assert int(ended.value.code or 0) == code
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[3]) for line in told] == [("ml", "100.0"), ("resources/lake", "50.0"), ("all", "75.0")]
