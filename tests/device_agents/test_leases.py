"""The lease of a board: who has it, for how long, and who is next. With a clock that the tests set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device_agents import leases as leases_module
from device_agents.leases import LEASE_S, LEASE_VARIABLE, Clock, Holder, Leases, Ticket
from device_agents.workspace import Workspace, WorkspaceError

ALICE, BOB = "alice@laptop (run a)", "bob@desk (run b)"


@dataclass
class Board:
    """A workspace and the clock of its board."""

    root: Path
    now: float = 1000.0
    boot_id: str = "boot-1"
    waiting: list[Ticket] = field(default_factory=list)

    def run(self, lease: str | None) -> Leases:
        """What a command of that run sees."""
        workspace = Workspace(str(self.root), lease)
        workspace.create()
        return Leases(workspace, Clock(lambda: self.now, self.boot_id))

    def workspace(self, lease: str | None) -> Workspace:
        """What a job of that run is on."""
        made = Workspace(str(self.root), lease)
        made.create()
        return made

    def queued(self, lease: str, words: str) -> tuple[Leases, Ticket]:
        """A run that waits."""
        leases = self.run(lease)
        self.waiting.append(leases.enter_queue(words))
        return leases, self.waiting[-1]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "w")
    yield made
    for ticket in made.waiting:
        ticket.leave()


def test_a_free_board_is_granted_and_then_belongs_to_that_run(board: Board) -> None:
    assert board.run("b").holder() is None
    assert board.run("a").take(ALICE) is None
    board.now += 30
    assert board.run("b").take(BOB) == Holder(ALICE, 30.0, None, "a")
    assert board.run("b").holder() == Holder(ALICE, 30.0, None, "a")
    assert board.run("a").holder() is None


def test_the_same_run_gets_in_at_once_and_has_had_it_all_the_while(board: Board) -> None:
    """As when it was killed and is resumed."""
    board.run("a").take(ALICE)
    board.now += 30
    assert board.run("a").take(ALICE) is None
    assert board.run("b").holder() == Holder(ALICE, 30.0, None, "a")


def test_it_lasts_so_long_after_the_last_sign_of_its_run_and_no_longer(board: Board) -> None:
    board.run("a").take(ALICE)
    board.now += 100
    assert board.run("a").renew()
    board.now += LEASE_S
    assert board.run("b").take(BOB) == Holder(ALICE, 100 + LEASE_S, None, "a")
    board.now += 0.1
    assert board.run("b").take(BOB) is None
    assert not board.run("a").renew()
    assert board.run("a").take(ALICE) == Holder(BOB, 0.0, None, "b")


def test_how_long_it_lasts_can_be_set(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "3")
    board.run("a").take(ALICE)
    board.now += 3.1
    assert board.run("b").holder() is None


def test_a_jump_of_the_wall_clock_changes_nothing(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.run("a").take(ALICE)
    for jump in (-10 * 365 * 86400, 10 * 365 * 86400):
        wall = time.time() + jump
        monkeypatch.setattr("time.time", lambda wall=wall: wall)
        assert board.run("b").take(BOB) == Holder(ALICE, 0.0, None, "a")
        board.now += LEASE_S + 1
        assert board.run("b").holder() is None
        board.now -= LEASE_S + 1


def test_the_next_start_of_the_system_ends_it(board: Board) -> None:
    board.run("a").take(ALICE)
    board.boot_id = "boot-2"
    assert board.run("b").take(BOB) is None


def test_where_starts_cannot_be_told_apart_a_clock_that_went_back_ends_it(board: Board) -> None:
    board.run("a").take(ALICE)
    board.now = 5.0
    assert board.run("b").take(BOB) is None


def test_a_command_that_names_it_writes_only_now_and_then(board: Board) -> None:
    board.run("a").take(ALICE)
    before = (board.root / "lease").read_bytes()
    board.now += 4.9
    assert board.run("a").renew()
    assert (board.root / "lease").read_bytes() == before
    board.now += 0.2
    assert board.run("a").renew()
    assert (board.root / "lease").read_bytes() != before


def test_while_a_job_of_the_run_is_measured_it_lives_and_nothing_is_written(board: Board) -> None:
    board.run("a").take(ALICE)
    before = (board.root / "lease").read_bytes()
    lock = board.workspace("a").try_board("job-1")
    assert lock is not None
    with lock:
        board.now += 3600
        assert board.run("b").take(BOB) == Holder(ALICE, 3600.0, None, "a")
        assert board.run("a").renew()
        assert (board.root / "lease").read_bytes() == before
        board.run("a").hand_back()
    board.now += LEASE_S
    assert board.run("b").take(BOB) == Holder(ALICE, 3600 + LEASE_S, None, "a")
    board.now += 1
    assert board.run("b").take(BOB) is None


def test_the_end_of_a_job_neither_renews_another_runs_lease_nor_brings_one_back(board: Board) -> None:
    board.run("b").take(BOB)
    board.now += LEASE_S
    board.run("a").hand_back()
    assert board.run("a").holder() == Holder(BOB, LEASE_S, None, "b")
    board.now += 1
    assert board.run("a").holder() is None
    assert board.run("b").release()
    board.run("b").hand_back()
    assert board.run("a").holder() is None


def test_a_job_without_a_lease_keeps_a_run_waiting_as_well(board: Board) -> None:
    lock = board.workspace(None).try_board("job-of-old")
    assert lock is not None
    with lock:
        found = board.run("b").take(BOB)
        assert found is not None
        assert (found.words, found.job) == ("job job-of-old", "job-of-old")
    assert board.run("b").take(BOB) is None


def test_only_the_run_that_has_it_gives_it_back(board: Board) -> None:
    board.run("a").take(ALICE)
    assert not board.run("b").release()
    assert board.run("a").release()
    assert not board.run("a").release()
    assert board.run("b").take(BOB) is None


def test_somebody_elses_lease_can_be_ended_and_its_owner_gets_it_back_only_in_turn(board: Board) -> None:
    board.run("a").take(ALICE)
    assert board.run(None).evict("another lease") is None
    assert board.run(None).evict() == Holder(ALICE, 0.0, None, "a")
    assert board.run(None).evict() is None
    assert not board.run("a").renew()
    assert board.run("b").take(BOB) is None
    assert board.run("a").take(ALICE) == Holder(BOB, 0.0, None, "b")


def test_a_running_job_keeps_its_lease_from_being_ended(board: Board) -> None:
    board.run("a").take(ALICE)
    lock = board.workspace("a").try_board("job-1")
    assert lock is not None
    with lock:
        assert board.run(None).evict() == Holder(ALICE, 0.0, "job-1", "a")
    assert board.run("b").take(BOB) == Holder(ALICE, 0.0, None, "a")


# --- the queue ------------------------------------------------------------------------------------


def test_a_board_that_gets_free_goes_to_whoever_waited_longest(board: Board) -> None:
    board.run("a").take(ALICE)
    first, second = board.queued("b", BOB), board.queued("c", "carol")
    board.run("a").release()
    board.now += 7
    assert board.run("d").take("dave") == Holder(BOB, 7.0)
    assert second[0].take("carol", second[1]) == Holder(BOB, 7.0)
    assert first[0].take(BOB, first[1]) is None
    first[1].leave()
    board.run("b").release()
    assert second[0].take("carol", second[1]) is None


def test_who_comes_after_a_place_was_left_is_last_all_the_same(board: Board) -> None:
    board.run("a").take(ALICE)
    first, second = board.queued("b", BOB), board.queued("c", "carol")
    first[1].leave()
    third = board.queued("d", "dave")
    board.run("a").release()
    assert third[0].take("dave", third[1]) == Holder("carol", 0.0)
    assert second[0].take("carol", second[1]) is None


def test_the_place_of_a_dead_waiter_is_nobodys(board: Board) -> None:
    board.run("a").take(ALICE)
    place = board.queued("b", BOB)[1]
    place._file.close()  # as its process ends
    board.run("a").release()
    assert board.run("c").take("carol") is None
    assert list((board.root / "queue").iterdir()) == []


def test_the_run_that_has_the_board_need_not_queue(board: Board) -> None:
    board.run("a").take(ALICE)
    board.queued("b", BOB)
    assert board.run("a").take(ALICE) is None
    board.now += LEASE_S + 1
    # Once it has lost it, it has to.
    assert board.run("a").take(ALICE) == Holder(BOB, LEASE_S + 1)


# --- files that are not as they should be ---------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}", b"[]", b"null", b"{\xff", b'{"id":1}', b"[" * 70_000, b'"' * 100_000]
)
def test_what_is_no_lease_is_none(board: Board, content: bytes) -> None:
    board.run("a")
    (board.root / "lease").write_bytes(content)
    assert board.run("a").holder() is None
    assert board.run("a").take(ALICE) is None
    assert board.run("b").holder() == Holder(ALICE, 0.0, None, "a")


def test_a_shorter_lease_written_over_a_longer_one_is_read_even_if_its_end_was_not_cut_off(
    board: Board,
) -> None:
    board.run("a").take(ALICE + "!" * 100)
    longer = (board.root / "lease").read_bytes()
    board.run("a").take(ALICE)
    shorter = (board.root / "lease").read_bytes()
    (board.root / "lease").write_bytes(shorter + longer[len(shorter) :])
    assert board.run("b").holder() == Holder(ALICE, 0.0, None, "a")


def test_odd_files_in_the_queue_keep_nobody_waiting(board: Board) -> None:
    board.run("a")
    (board.root / "queue").mkdir()
    (board.root / "queue" / "1").write_bytes(b"\xff")
    (board.root / "queue" / "x").write_bytes(b"")
    assert board.run("a").take(ALICE) is None


def test_a_stopped_process_that_holds_the_file_is_told_after_a_while(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "PATIENCE_S", 0.01)
    with board.run("a")._held(), pytest.raises(WorkspaceError, match="is a process of the agent stopped"):
        board.run("b").take(BOB)
    assert (board.root / "lease").stat().st_mode & 0o777 == 0o600
