"""A contract that changes while `cdap ui` runs is loaded without anybody doing anything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cdap_assets.commands import reloading
from cdap_assets.commands.reloading import contract_files, follow_contracts, reload_definitions
from resources.settings import Settings


def test_each_change_of_a_contract_is_loaded_once_and_again_only_while_it_could_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "EVERY", 0.01)
    contract, stop = tmp_path / "contracts" / "orders.yaml", threading.Event()
    contract.parent.mkdir()
    contract.write_text("version: 1")
    answers, asked, quiet = [False, True, True], [0], threading.Event()

    def reload() -> bool:
        asked[0] += 1
        if asked[0] >= 2:
            quiet.set()
        return answers[asked[0] - 1]

    follower = threading.Thread(target=follow_contracts, args=(Settings(home=tmp_path), reload, stop))
    follower.start()
    try:
        assert not quiet.wait(0.1)
        assert asked == [0]
        contract.write_text("version: 1.0.1")
        assert quiet.wait(10)
        assert not threading.Event().wait(0.1)
        assert asked == [2]  # the first answer was that it did not work
        contract.unlink()
        while asked == [2]:
            assert follower.is_alive()
        assert asked == [3]
    finally:
        stop.set()
        follower.join()


def test_a_contract_that_goes_while_the_folder_is_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "gone.yaml").symlink_to("nowhere")  # listed, and not there when it is looked at
    (tmp_path / "contracts" / "orders.yaml").write_text("version: 1")
    assert {name for name, _written, _size in contract_files(Settings(home=tmp_path))} == {"orders.yaml"}


def test_a_server_that_does_not_answer_is_told_as_such() -> None:
    assert not reload_definitions(("127.0.0.1", 9))
