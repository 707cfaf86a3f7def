"""Locks among machines: one holder at a time, one that died is followed, and one that lost its lock notices."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdap_assets.retention import ledger
from cdap_assets.retention.ledger import deciding
from cdap_assets.retention.plan_id import PlanRefused
from resources.settings import Settings
from resources.stores import lease
from resources.stores.busy import Busy, LockLost
from resources.stores.lease import Lease
from resources.stores.lock import confirm, exclusive, holder_of
from resources.stores.object_store import read_bytes
from resources.stores.s3_store import S3Store
from tests.cloud.account import Aws
from tests.cloud.s3 import on_s3
from tests.processes import fresh
from tests.retention.lake import NOON, PlanLake, policy

ME = f"process {os.getpid()} of {socket.gethostname()}"


@pytest.fixture
def settings(aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    hurried(monkeypatch.setattr)
    return on_s3(tmp_path / "home", bucket)


def hurried(patch: Callable[[Any, str, float], None], *, lasting: float = 3, renew: float = 0.2) -> None:
    """Leases of three seconds: a busy machine may be late with a renewal."""
    for name, seconds in (("LEASE", lasting), ("RENEW", renew), ("POLL", 0.05)):
        patch(lease, name, seconds)


def store(settings: Settings) -> S3Store:
    return S3Store(settings.root("locks"), settings)


def hold(settings: Settings, gate: Any) -> None:
    hurried(setattr)
    with exclusive(settings, "run", timeout=10):
        gate.wait(60)
        time.sleep(60)


def test_who_holds_a_lock_is_told_to_whoever_comes_and_the_next_one_follows(settings: Settings) -> None:
    with exclusive(settings, "run", timeout=0):
        confirm()
        with pytest.raises(Busy, match=f"run is being worked on by {ME} since") as told:
            exclusive(settings, "run", timeout=0).__enter__()
        assert (told.value.name, told.value.holder) == ("run", ME)
        with exclusive(settings, "other", timeout=0):
            confirm()
    began = time.monotonic()
    with exclusive(settings, "run", timeout=0):
        assert time.monotonic() - began < 1


def test_who_holds_a_lease_is_told_without_waiting_and_its_mark_changes_with_each_renewal(settings: Settings) -> None:
    assert holder_of(settings, "run") is None
    with exclusive(settings, "run", timeout=0, holder="Dagster run 12345678 since 08:00 UTC"):
        first = holder_of(settings, "run")
        assert first is not None
        assert first.name == "Dagster run 12345678 since 08:00 UTC"
        confirm()
        assert holder_of(settings, "run") not in (None, first)
    assert holder_of(settings, "run") is None


def test_a_holder_at_work_for_longer_than_a_lease_keeps_it(settings: Settings) -> None:
    with exclusive(settings, "run", timeout=0):
        with pytest.raises(Busy):
            exclusive(settings, "run", timeout=4.5).__enter__()
        confirm()


def test_the_lock_of_a_process_that_was_killed_is_taken_over_when_its_lease_has_run_out(settings: Settings) -> None:
    context = fresh()
    gate = context.Barrier(2)
    process = context.Process(target=hold, args=(settings, gate))
    process.start()
    gate.wait(60)
    with pytest.raises(Busy, match=f"process {process.pid} of"):
        exclusive(settings, "run", timeout=0).__enter__()
    process.kill()
    process.join()
    with exclusive(settings, "run", timeout=0):
        confirm()


def taken_over(settings: Settings) -> Lease:
    """Another machine's hold of the plans, taken over from one that no longer renews."""
    other = Lease(store(settings), "plans", 0)
    other.__enter__()
    return other


def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on holders do not renew, as on a machine that sleeps."""
    hurried(monkeypatch.setattr, lasting=1, renew=1000)


def test_a_holder_that_slept_notices_before_it_goes_on_and_on_leaving(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep(monkeypatch)
    held = exclusive(settings, "plans", timeout=0)
    held.__enter__()
    other = taken_over(settings)
    with pytest.raises(LockLost, match=f"plans was taken over by {ME}, for this process was out of reach"):
        confirm()
    with pytest.raises(LockLost):
        held.__exit__(None, None, None)
    other.renew()  # the one that slept has taken nothing from it
    other.__exit__(None, None, None)
    confirm()


def test_a_lock_lost_and_free_again_is_lost_all_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep(monkeypatch)
    held = exclusive(settings, "plans", timeout=0)
    held.__enter__()
    taken_over(settings).__exit__(None, None, None)
    with pytest.raises(LockLost):
        held.__exit__(None, None, None)


def test_what_went_wrong_inside_says_more_than_a_lost_lock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep(monkeypatch)

    def fail() -> None:
        with exclusive(settings, "plans", timeout=0):
            taken_over(settings).__exit__(None, None, None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_an_approval_that_lost_its_lock_fixes_no_arms(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = PlanLake(tmp_path / "lake")
    plan = lake.draft(rules=policy(holdout_share=0.0))
    asleep(monkeypatch)

    def approve_after_a_sleep() -> None:
        with deciding(settings), lake.session() as session:
            taken_over(settings).__exit__(None, None, None)
            ledger.approve(session, plan, by="Ann", at=NOON)

    with pytest.raises(PlanRefused, match="plans was taken over by"):
        approve_after_a_sleep()
    assert lake.arms(plan) == []
    with deciding(settings), lake.session() as session:
        assert ledger.approve(session, plan, by="Bea", at=NOON).by == "Bea"
    assert len(lake.arms(plan)) == len(lake.keys)


def test_a_write_whose_answer_was_lost_is_known_as_ones_own(aws: Aws, settings: Settings) -> None:
    lost = {"service": "s3", "action": r"PUT .*\.lease", "when": "after", "status": 500, "code": "InternalError"}
    with aws.faults(lost) as fired, exclusive(settings, "plans", timeout=0):
        assert fired() == [1]
        with aws.faults(lost) as renewed:
            confirm()
            assert renewed() == [1]
    with aws.faults({**lost, "after": 1}) as fired:  # the first one takes it, the second lets go of it
        with exclusive(settings, "plans", timeout=0):
            assert fired() == [0]
        assert fired() == [1]
    assert read_bytes(store(settings), "plans.lease").startswith(b"\n")


def test_a_renewal_that_s3_does_not_answer_is_tried_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    working = S3Store.replace

    def down(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="s3")

    with exclusive(settings, "run", timeout=0):
        monkeypatch.setattr(S3Store, "replace", down)
        time.sleep(0.6)
        with pytest.raises(EndpointConnectionError):
            confirm()
        monkeypatch.setattr(S3Store, "replace", working)
        time.sleep(0.6)
        confirm()


def count_up(settings: Settings, times: int) -> None:
    lease.POLL = 0.05
    places = S3Store(settings.root("exports"), settings)
    for _ in range(times):
        with exclusive(settings, "counter", timeout=60):
            number = int(read_bytes(places, "counter"))
            time.sleep(0.01)
            places.write("counter", str(number + 1).encode())


def test_of_several_processes_one_at_a_time_is_inside(settings: Settings) -> None:
    places = S3Store(settings.root("exports"), settings)
    places.write("counter", b"0")
    context = fresh()
    processes = [context.Process(target=count_up, args=(settings, 5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert read_bytes(places, "counter") == b"15"
