"""The result database: what is saved is found again, bit by bit, and a bad database is said to be one."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

from harness.errors import StoreError
from harness.store import Store, case_key
from reports.record import Attempt, Case, Failure, Record
from tests.harness.played_boards import RUN

CASE = Case("local", "digits", "onnxruntime", "int8", 4, 2)
RECORD = Record(
    case=CASE,
    status="failed",
    failure=Failure("runtime", "crashed", "the worker died of SIGSEGV", None),
    facts={"board": "Größe 🦀", "cpu_max_mhz": None},
    attempts=(Attempt(Failure("infrastructure", "link_lost", "gone"), "2026-11-21T22:01:00Z"),),
)


def test_a_record_comes_back_as_it_was_saved(store: Store) -> None:
    store.save(RUN.id, RECORD, {})
    assert store.results(RUN.id).records == (RECORD,)
    assert store.results(RUN.id).run == RUN


def test_samples_come_back_bit_by_bit(store: Store) -> None:
    rng = np.random.default_rng(1)
    extremes = np.array([0, 2**63 - 1, -(2**63), 1, -1], dtype=np.int64)
    series = {
        "latency": [rng.integers(0, 2**62, 1000), extremes],
        "compute": [np.array([7], dtype=np.int64), np.array([], dtype=np.int64)],
        "warmup": [],
    }
    store.save(RUN.id, RECORD, series)
    found = store.samples(RUN.id, CASE)
    assert set(found) == {"latency", "compute"}
    for name, repetitions in found.items():
        assert [values.tolist() for values in repetitions] == [values.tolist() for values in series[name]]
        assert {values.dtype for values in repetitions} == {np.dtype(np.int64)}


def test_a_record_of_the_same_case_replaces_the_earlier_one_and_its_samples(store: Store) -> None:
    store.save(RUN.id, RECORD, {"latency": [np.arange(3)], "compute": [np.arange(3)]})
    better = replace(RECORD, status="ok", failure=None)
    store.save(RUN.id, better, {"latency": [np.arange(5)]})
    assert store.results(RUN.id).records == (better,)
    assert {name: len(repetitions[0]) for name, repetitions in store.samples(RUN.id, CASE).items()} == {
        "latency": 5
    }


def test_many_boards_that_save_at_once_take_turns(tmp_path: Path, begun_database: Path) -> None:
    """With one connection, for which nobody waits: two at a time would be one too many."""
    shutil.copy(begun_database, tmp_path / "bench.sqlite")
    url = f"sqlite:///{tmp_path / 'bench.sqlite'}"
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.0)
    store = Store(engine, url)
    together = threading.Barrier(8)

    def save(number: int) -> None:
        together.wait(10)
        store.save(RUN.id, replace(RECORD, case=replace(CASE, batch_size=number)), {})

    with ThreadPoolExecutor(8) as boards:
        for saved in [boards.submit(save, number) for number in range(8)]:
            saved.result()
    assert sorted(record.case.batch_size for record in store.results(RUN.id).records) == list(range(8))
    store.close()


def test_records_stay_in_the_order_they_were_finished(store: Store) -> None:
    cases = [replace(CASE, batch_size=size) for size in (8, 1, 4)]
    for case in cases:
        store.save(RUN.id, replace(RECORD, case=case), {})
    assert [record.case for record in store.results(RUN.id).records] == cases


def test_cases_that_read_alike_are_told_apart() -> None:
    assert case_key(replace(CASE, device="a", model="b, c")) != case_key(
        replace(CASE, device="a, b", model="c")
    )


def test_what_was_saved_is_there_for_another_process_at_once(store: Store) -> None:
    store.save(RUN.id, RECORD, {"latency": [np.arange(3)]})
    second = Store.open(store.place)
    assert second.results("latest").records == (RECORD,)
    second.close()


# --- runs -----------------------------------------------------------------------------------------


def test_an_interrupted_run_is_resumed_and_a_finished_one_is_not(store: Store) -> None:
    assert store.unfinished("digest") == RUN  # killed: it never said how it ended
    store.finish(RUN.id, "2026-11-21T23:00:00Z", interrupted=True)
    assert store.unfinished("digest") == replace(RUN, finished_at="2026-11-21T23:00:00Z", interrupted=True)
    store.finish(RUN.id, "2026-11-21T23:30:00Z", interrupted=False)
    assert store.unfinished("digest") is None


@pytest.mark.parametrize(("failure_class", "is_resumed"), [("infrastructure", True), ("runtime", False)])
def test_a_finished_run_is_resumed_if_a_case_lost_its_board_and_not_if_it_failed_itself(
    store: Store, failure_class: str, is_resumed: bool
) -> None:
    failure = Failure(failure_class, "link_lost", "pi: the connection broke")
    store.save(RUN.id, replace(RECORD, status="failed", failure=failure), {})
    store.finish(RUN.id, "2026-11-21T23:00:00Z", interrupted=False)
    assert (store.unfinished("digest") is not None) == is_resumed


def test_a_run_that_goes_on_has_not_ended(store: Store) -> None:
    store.finish(RUN.id, "2026-11-21T23:00:00Z", interrupted=True)
    store.reopen(RUN.id)
    assert store.run(RUN.id) == RUN


def test_a_run_of_another_plan_is_not_resumed(store: Store) -> None:
    assert store.unfinished("another digest") is None


def test_only_the_latest_run_of_a_plan_is_resumed(store: Store) -> None:
    later = replace(RUN, id="20261122-220000-ffff", started_at="2026-11-22T22:00:00Z")
    store.begin(later, "digest")
    store.finish(later.id, "2026-11-22T23:00:00Z", interrupted=False)
    assert store.unfinished("digest") is None


def test_the_latest_run_is_the_last_that_began_also_after_this_computers_clock_went_back(
    store: Store,
) -> None:
    store.finish(RUN.id, "2026-11-21T23:00:00Z", interrupted=False)
    later = replace(RUN, id="20261101-120000-ffff", started_at="2026-11-01T12:00:00Z")
    store.begin(later, "digest")
    assert store.run("latest").id == later.id
    assert [run.id for run in store.runs()] == [later.id, RUN.id]
    resumed = store.unfinished("digest")
    assert resumed is not None
    assert resumed.id == later.id


def test_a_run_is_found_by_its_id_the_beginning_of_it_or_as_the_latest(store: Store) -> None:
    later = replace(RUN, id="20261122-220000-ffff", started_at="2026-11-22T22:00:00Z")
    store.begin(later, "digest")
    assert store.run(RUN.id).id == RUN.id
    assert store.run("20261121").id == RUN.id
    assert store.run("latest").id == later.id
    assert [run.id for run in store.runs()] == [later.id, RUN.id]
    with pytest.raises(StoreError, match="2 runs are named '202611'"):
        store.run("202611")
    with pytest.raises(StoreError, match="there is no run 'x'"):
        store.run("x")


# --- trouble --------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bench.sqlite").write_bytes(b"this is not a database, whatever its name says" * 10)
    with pytest.raises(StoreError, match="file is not a database") as error:
        Store.open(tmp_path / "bench.sqlite")
    assert error.value.remedy is not None


@pytest.mark.parametrize("place", ["/proc/none/bench.sqlite", "nonsense://host/db", "sqlite:////proc/none/x"])
def test_a_place_that_cannot_be_used_is_named(place: str) -> None:
    with pytest.raises(StoreError, match="cannot use the result database") as error:
        Store.open(place)
    assert place in error.value.message


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path: Path) -> None:
    place = tmp_path / "new" / "50% of #2?mode=ro" / "bench.sqlite"
    Store.open(place).close()
    assert place.is_file()


@pytest.mark.parametrize("content", ["{", '{"status": 3}', "[]"])
def test_a_damaged_record_is_an_error_of_the_database(store: Store, content: str) -> None:
    store.save(RUN.id, RECORD, {})
    _execute(store, "UPDATE records SET content = ?", content)
    with pytest.raises(StoreError, match="failed"):
        store.results(RUN.id)


def test_damaged_samples_are_an_error_of_the_database(store: Store) -> None:
    store.save(RUN.id, RECORD, {"latency": [np.arange(3)]})
    _execute(store, "UPDATE samples SET content = ?", b"not zlib")
    with pytest.raises(StoreError, match="failed"):
        store.samples(RUN.id, CASE)


def test_a_record_of_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        store.save("no-such-run", RECORD, {})


def test_two_writers_at_once_lose_nothing(store: Store) -> None:
    failures: list[Exception] = []

    def write(device: str) -> None:
        own = Store.open(store.place)
        try:
            for number in range(1, 16):
                case = replace(CASE, device=device, batch_size=number)
                own.save(RUN.id, replace(RECORD, case=case), {"latency": [np.arange(100)]})
        except StoreError as error:
            failures.append(error)
        finally:
            own.close()

    writers = [threading.Thread(target=write, args=(device,)) for device in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert len(store.results(RUN.id).records) == 30


def _execute(store: Store, statement: str, value: object) -> None:
    connection = sqlite3.connect(store.place)
    with connection:
        connection.execute(statement, (value,))
    connection.close()
