"""Lines off a channel, within bounds."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from device_agents.protocol import MAX_LINE_BYTES, BlobState, CommandFailed, JobEnded, encode
from harness.errors import AgentError, BoardBusy, BoardFull, LinkTimeout
from harness.link.transport import run_command
from harness.link.wire import LineReader, message_of, message_of_kind
from tests.harness.channels import PlayedChannel, PlayedTransport


def lines_of(*pieces: bytes) -> list[bytes]:
    reader = LineReader(PlayedChannel(pieces), "pi-5")
    found = []
    while (line := reader.line(1)) is not None:
        found.append(line)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    content = b"one\n\ntwo and more\nthree\n"
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert lines_of(*pieces) == [b"one\n", b"\n", b"two and more\n", b"three\n"]


def test_half_a_line_at_the_end_is_no_line_and_not_counted() -> None:
    reader = LineReader(PlayedChannel([b"one\ntw"]), "pi-5")
    assert reader.line(1) == b"one\n"
    assert reader.line(1) is None
    assert reader.consumed == 4


def test_a_line_without_end_is_refused_at_the_bound() -> None:
    endless = (b"x" * 65536 for _ in range(1000))
    reader = LineReader(PlayedChannel(endless), "pi-5")
    with pytest.raises(
        AgentError, match=f"pi-5: the agent sent a line of more than {MAX_LINE_BYTES} bytes"
    ) as error:
        reader.line(1)
    assert error.value.reason == "bad_protocol"
    assert len(list(endless)) == 1000 - MAX_LINE_BYTES // 65536 - 1


def test_a_line_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte a minute is no silence, and no line either."""
    clock = itertools.count(step=59.0)
    monkeypatch.setattr("harness.link.wire.time", SimpleNamespace(monotonic=lambda: next(clock)))
    trickle = (b"x" for _ in range(1000))
    with pytest.raises(LinkTimeout, match="pi-5: a line was not complete within 300 s"):
        LineReader(PlayedChannel(trickle), "pi-5").line(60.0)
    assert len(list(trickle)) == 1000 - 5


def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=59.0)
    monkeypatch.setattr("harness.link.transport.time", SimpleNamespace(monotonic=lambda: next(clock)))
    trickle = (b"x" for _ in range(1000))
    board = PlayedTransport(lambda _command: PlayedChannel(trickle), "pi-5")
    with pytest.raises(LinkTimeout, match="pi-5: an answer was not complete within 600 s"):
        run_command(board, ["examine"], within_s=600.0)
    assert len(list(trickle)) == 1000 - 11


def test_an_answer_without_end_is_refused_at_the_bound() -> None:
    endless = (b"x" * 65536 for _ in range(1000))
    board = PlayedTransport(lambda _command: PlayedChannel(endless), "pi-5")
    with pytest.raises(AgentError, match="pi-5: a command said more than 1000000 bytes") as error:
        run_command(board, ["examine"], stdout_limit=1_000_000)
    assert error.value.reason == "bad_protocol"
    assert len(list(endless)) == 1000 - 16


def test_what_a_login_shell_prints_is_named_with_its_remedy() -> None:
    with pytest.raises(
        AgentError, match="pi-5: the agent said something that is not of its protocol"
    ) as error:
        message_of("pi-5", b"Welcome!\n")
    assert "login shell" in (error.value.remedy or "")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("disk_full", BoardFull), ("board_busy", BoardBusy), ("hash_mismatch", AgentError)],
)
def test_a_failed_command_is_raised_as_what_it_means(reason: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="pi-5: no luck") as error:
        message_of("pi-5", encode(CommandFailed(reason, "no luck")))
    assert error.value.reason == reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", ["", "<b>", "\x1b[31mred", "Two words", "x" * 41])
def test_a_reason_that_is_no_word_is_not_repeated(reason: str) -> None:
    with pytest.raises(AgentError) as error:
        message_of("pi-5", encode(CommandFailed(reason, "no luck")))
    assert error.value.reason == "agent_error"


def test_another_message_than_the_one_that_is_due_is_refused() -> None:
    with pytest.raises(AgentError, match="sent JobEnded where BlobState was due"):
        message_of_kind("pi-5", BlobState, encode(JobEnded(1.0, "ok", None, None, None)))
