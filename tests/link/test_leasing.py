"""Waiting for a board's lease over a link: what the board says, and how long it may say it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from device_agents.protocol import BlobState, LeaseReply, encode
from harness.errors import AgentError, LinkError, LinkLost, LinkTimeout
from harness.link import leasing
from harness.link.leasing import lease_replies
from tests.harness.channels import Piece, PlayedChannel, PlayedTransport

ALICE = LeaseReply("waiting", "alice@laptop (run x)", 60.0)
GRANTED = LeaseReply("granted")
QUIET = LinkTimeout("nothing came for half a second")


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(leasing, "time", made)
    return made


def says(*sayings: list[Piece]) -> PlayedTransport:
    """A board that says this, one list a connection."""
    left = list(sayings)
    return PlayedTransport(lambda _command: PlayedChannel(left.pop(0)))


def pause(_failures: int, _error: LinkError) -> None:
    """Without waiting, as often as one likes."""


def test_the_answers_come_up_to_the_last_and_each_wait_is_answered() -> None:
    board = says([encode(ALICE), QUIET, encode(ALICE), encode(GRANTED), encode(ALICE)])
    assert list(lease_replies(board, ["agent", "lease", "me"], 9, pause)) == [ALICE, None, ALICE, GRANTED]
    assert board.commands == [["agent", "lease", "me", "9.0"]]
    assert board.channels[0].written == b"\n\n"
    assert board.channels[0].closed


def test_who_stops_listening_hangs_up() -> None:
    board = says([encode(ALICE), encode(GRANTED)])
    replies = lease_replies(board, ["lease"], 9, pause)
    assert next(iter(replies)) == ALICE
    replies.close()  # type: ignore[attr-defined]
    assert board.channels[0].closed


def test_a_broken_link_is_renewed_and_the_wait_goes_on_with_what_is_left_of_it(clock: Clock) -> None:
    paused: list[int] = []

    def some_time(breaks: int, _error: LinkError) -> int:
        paused.append(breaks)
        clock.now += 10
        return breaks + 1

    cut: list[Piece] = [encode(ALICE), LinkLost("gone")]
    board = says(cut, [], [], list(cut), [encode(GRANTED)])
    assert list(lease_replies(board, ["lease"], 35.0, some_time)) == [ALICE, ALICE, GRANTED]
    assert [command[-1] for command in board.commands] == ["35.0", "25.0", "15.0", "5.0", "0.0"]
    assert paused == [0, 1, 2, 0]  # counted anew once it had answered
    assert all(channel.closed for channel in board.channels)


def test_a_link_that_stays_broken_is_given_up() -> None:
    def no_more(_breaks: int, error: LinkError) -> int:
        raise error

    with pytest.raises(LinkLost, match="board: the wait for the board broke off"):
        list(lease_replies(says([]), ["lease"], 9, no_more))


def test_a_board_that_has_fallen_silent_is_a_broken_link(clock: Clock) -> None:
    board = PlayedTransport(lambda _command: Late(clock))
    seen: list[type[LinkError]] = []

    def once(failures: int, error: LinkError) -> None:
        seen.append(type(error))
        raise error

    with pytest.raises(LinkTimeout):
        list(lease_replies(board, ["lease"], 600, once))
    assert seen == [LinkTimeout]


class Late(PlayedChannel):
    """Says nothing; half a minute goes by each time it is asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__([])
        self._clock = clock

    def read(self, limit: int, timeout_s: float) -> bytes:
        self._clock.now += 31
        raise QUIET


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (lambda: encode(LeaseReply("perhaps")), "answers 'perhaps' to who has the board"),
        (lambda: encode(BlobState(1, True)), "sent BlobState where LeaseReply was due"),
        (lambda: b"hello\n", "not of its protocol"),
    ],
)
def test_an_answer_that_is_none_is_the_boards_fault(said: Callable[[], bytes], words: str) -> None:
    with pytest.raises(AgentError, match=words) as error:
        list(lease_replies(says([said()]), ["lease"], 9, pause))
    assert error.value.reason == "bad_protocol"


def test_a_board_that_lets_one_wait_for_ever_is_given_up(clock: Clock) -> None:
    board = says([encode(ALICE)] * 100)
    seen = 0
    with pytest.raises(AgentError, match="neither gives the board nor refuses it"):
        for _ in lease_replies(board, ["lease"], 9, pause):
            seen += 1
            clock.now += 5
    assert seen == 1 + (9 + leasing.SILENCE_S) // 5
