"""Every store of files keeps one contract, whether its keys are in a folder or on S3."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.settings import Settings
from resources.stores.folder_store import FolderStore
from resources.stores.object_store import ObjectStore, read_bytes
from resources.stores.stores import open_store

NAMES = ["plain", "with space", "Zoë 東京", "a=b/day=2024-03-01/x.parquet", "per%20cent", "it's", "#1?[x]*"]


class StoreContract:
    """What a fixture ``store``, empty at first, is held to."""

    def test_what_is_written_is_read_and_listed(self, store: ObjectStore) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        for name in NAMES:
            store.write(name, name.encode())
        assert [found.key for found in store.list()] == sorted(NAMES)
        for found in store.list():
            assert read_bytes(store, found.key) == found.key.encode()
            assert found.size == len(found.key.encode())
            assert before < found.modified < datetime.now(UTC) + timedelta(seconds=2)
            assert store.key(store.location(found.key)) == found.key

    def test_keys_come_in_the_order_of_their_text(self, store: ObjectStore) -> None:
        keys = ["a/2", "a-b/1", "a.txt", "a/10", "B", "a/b/c", "ab", "ä"]
        for key in keys:
            store.write(key, b"")
        assert [found.key for found in store.list()] == sorted(keys)
        assert [found.key for found in store.list("a")] == sorted(key for key in keys if key.startswith("a"))
        assert [found.key for found in store.list("a/")] == ["a/10", "a/2", "a/b/c"]
        assert [found.key for found in store.list("a/1")] == ["a/10"]
        assert list(store.list("none/")) == []

    def test_a_file_written_again_is_of_another_version(self, store: ObjectStore) -> None:
        store.write("k", b"one")
        [first] = store.list("k")
        store.write("k", b"two, longer")
        [second] = store.list("k")
        assert read_bytes(store, "k") == b"two, longer"
        assert first.version != second.version

    def test_a_file_that_is_not_there_is_said_so(self, store: ObjectStore) -> None:
        assert not store.exists("k")
        with pytest.raises(FileNotFoundError):
            store.open("k")
        store.write("k/inner", b"")
        assert not store.exists("k")
        assert store.exists("k/inner")

    def test_a_file_is_created_once(self, store: ObjectStore) -> None:
        ready = threading.Barrier(6)

        def create(number: int) -> bool:
            ready.wait()
            return store.create("folder/lock", str(number).encode())

        with ThreadPoolExecutor(6) as pool:
            created = list(pool.map(create, range(6)))
        assert created.count(True) == 1
        assert read_bytes(store, "folder/lock") == str(created.index(True)).encode()
        assert [found.key for found in store.list()] == ["folder/lock"]

    def test_what_is_deleted_is_gone_and_deleting_it_again_is_nothing(self, store: ObjectStore) -> None:
        for key in ("a/1", "a/2", "b"):
            store.write(key, b"")
        store.delete(["a/1", "b"])
        store.delete(["a/1", "never"])
        store.delete([])
        assert [found.key for found in store.list()] == ["a/2"]
        store.write("a/1", b"again")
        assert read_bytes(store, "a/1") == b"again"

    def test_files_of_a_folder_are_written_together(self, store: ObjectStore) -> None:
        store.write_together("export", {"plan.csv": b"1", "plan.json": b"{}"})
        assert {found.key: read_bytes(store, found.key) for found in store.list("export/")} == {
            "export/plan.csv": b"1",
            "export/plan.json": b"{}",
        }

    def test_an_address_outside_is_no_key(self, store: ObjectStore) -> None:
        with pytest.raises(ValueError, match="does not lie below"):
            store.key(f"{store.root}-other/k")
        with pytest.raises(ValueError, match="does not lie below"):
            store.key("s3://elsewhere/k")


class TestFolderStore(StoreContract):
    """A folder of this machine."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_store(tmp_path / "root", Settings(home=tmp_path))

    def test_a_file_that_is_being_written_is_not_listed(
        self, store: FolderStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write("folder/k", b"old")
        replace, seen = Path.replace, []

        def look_then_replace(self: Path, target: Path) -> Path:
            seen.append([(found.key, read_bytes(store, found.key)) for found in store.list()])
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", look_then_replace)
        store.write("folder/k", b"new")
        assert seen == [[("folder/k", b"old")]]
        assert read_bytes(store, "folder/k") == b"new"

    def test_folders_that_hold_nothing_more_go_and_the_root_stays(self, store: FolderStore) -> None:
        store.write("a/b/c", b"")
        assert store.delete(["a/b/c", "a/b/d"]) == 1
        assert list(store.folder.iterdir()) == []

    def test_a_file_that_vanishes_while_it_is_listed_is_not_listed(self, store: FolderStore) -> None:
        for key in ("1", "2", "3"):
            store.write(key, b"")
        listed = store.list()
        assert next(listed).key == "1"
        store.delete(["2"])
        assert [found.key for found in listed] == ["3"]


def test_a_link_to_a_file_is_read_as_that_file_and_never_deleted(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere.csv"
    folder.mkdir()
    elsewhere.write_bytes(b"delivered")
    (folder / "orders.csv").symlink_to(elsewhere)
    (folder / "gone.csv").symlink_to(tmp_path / "nothing")
    store = FolderStore(folder)
    assert [(found.key, found.size) for found in store.list()] == [("orders.csv", 9)]
    assert store.delete(["orders.csv"]) == 0
    assert elsewhere.read_bytes() == (folder / "orders.csv").read_bytes() == b"delivered"
