"""Processes of tests: they have the environment of the test that starts them, whichever test started the first."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.processes import fresh


def tell(name: str, told: Any) -> None:
    told.put(os.environ.get(name))


def seen_by_a_process(name: str) -> str | None:
    context = fresh()
    told = context.SimpleQueue()
    process = context.Process(target=tell, args=(name, told))
    process.start()
    process.join()
    found: str | None = told.get()
    return found


def test_a_process_has_the_environment_of_the_test_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDAP_PROBE", raising=False)
    assert seen_by_a_process("CDAP_PROBE") is None
    monkeypatch.setenv("CDAP_PROBE", "here")
    assert seen_by_a_process("CDAP_PROBE") == "here"
    monkeypatch.delenv("CDAP_PROBE")
    assert seen_by_a_process("CDAP_PROBE") is None
