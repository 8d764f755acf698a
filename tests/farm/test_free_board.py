"""Which board of a kind is taken."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from device_agents.protocol import DeviceFacts, ProbeReply
from harness.board_lease import claim
from harness.errors import Unreachable
from harness.farm.free_board import free_board
from harness.farm.inventory import DeviceEntry
from harness.link.device_session import DeviceSession
from harness.link.local import LocalTransport

FACTS = DeviceFacts(
    None, None, None, None, None, "aarch64", None, "6.1", "3.11.2", None, None, None, None, "pi", None
)
BOARDS = [DeviceEntry(name, host=name) for name in ("a", "b", "c")]


@dataclass
class Session:
    """A session whose board is free, busy since a moment, or gone."""

    busy_since: float | None
    answers: bool
    closed: bool = False

    def open(self, runtimes: list[str]) -> ProbeReply:
        if not self.answers:
            raise Unreachable("no answer")
        return ProbeReply(1, FACTS, [], "~", None, "job" if self.busy_since else None, self.busy_since)

    def close(self) -> None:
        self.closed = True


@dataclass
class Farm:
    """Boards by name; `asked` are the sessions that were opened."""

    sessions: dict[str, Session]
    asked: list[str] = field(default_factory=list)

    def open(self, board: DeviceEntry) -> DeviceSession:
        self.asked.append(board.name)
        return cast("DeviceSession", self.sessions[board.name])


def farm(**states: float | str | None) -> Farm:
    return Farm(
        {
            name: Session(state if isinstance(state, float) else None, state != "gone")
            for name, state in states.items()
        }
    )


def test_the_first_free_board_is_taken_and_no_further_one_is_asked() -> None:
    boards = farm(a=100.0, b=None, c=None)
    assert free_board(BOARDS, boards.open).name == "b"
    assert boards.asked == ["a", "b"]
    assert all(boards.sessions[name].closed for name in boards.asked)


def test_a_board_that_does_not_answer_is_passed_over() -> None:
    assert free_board(BOARDS, farm(a="gone", b=None, c=None).open).name == "b"


def test_of_busy_boards_the_one_busy_longest_is_taken() -> None:
    assert free_board(BOARDS, farm(a=200.0, b=100.0, c=300.0).open).name == "b"


def test_if_none_answers_the_first_one_has_to_say_why() -> None:
    assert free_board(BOARDS, farm(a="gone", b="gone", c="gone").open).name == "a"


def test_a_single_board_is_not_asked() -> None:
    boards = farm(a="gone")
    assert free_board(BOARDS[:1], boards.open).name == "a"
    assert boards.asked == []


@pytest.mark.processes
def test_two_that_choose_at_the_same_moment_get_two_boards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find all boards free before either claims one; real agents keep the leases."""
    monkeypatch.setenv("HOME", str(tmp_path))
    both = threading.Barrier(2)
    chosen: dict[str, str] = {}

    def choose(run: str) -> None:
        first = True

        def open_one(board: DeviceEntry) -> DeviceSession:
            transport = LocalTransport(board.name)
            return DeviceSession(
                transport, python=sys.executable, workspace=str(tmp_path / board.name), lease=run
            )

        def claim_it(session: DeviceSession) -> bool:
            nonlocal first
            if first:
                both.wait(60)
            first = False
            return claim(session, run)

        chosen[run] = free_board(BOARDS[:2], open_one, claim_it).name

    choosing = [threading.Thread(target=choose, args=(run,)) for run in ("run-a", "run-b")]
    for thread in choosing:
        thread.start()
    for thread in choosing:
        thread.join(120)
    assert sorted(chosen.values()) == ["a", "b"]
