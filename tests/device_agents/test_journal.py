"""The journal: what a follower reads while it grows, after cuts, and when nobody writes any more."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents import journal
from device_agents.journal import Journal, follow
from device_agents.protocol import (
    MAX_LINE_BYTES,
    DeviceFacts,
    JobEnded,
    JobStarted,
    JobWaiting,
    ProtocolError,
    decode,
    encode,
)
from device_agents.workspace import hold

LINES = [encode(JobWaiting(float(i), f"job-{i}", 0.0)) for i in range(5)]
END = encode(JobEnded(9.0, "ok", None, None, None))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "journal.jsonl").touch()
    return str(tmp_path)


def write(folder: str, content: bytes) -> None:
    Path(folder, "journal.jsonl").write_bytes(content)


def read(folder: str) -> bytes:
    return Path(folder, "journal.jsonl").read_bytes()


def no_sleep(_seconds: float) -> None:
    raise AssertionError("there was something to tell without waiting")


def test_a_follower_sees_whole_lines_only_however_they_are_written(folder: str) -> None:
    content = b"".join(LINES) + END
    supervisor = hold(folder)
    assert supervisor is not None
    out = os.open(Path(folder, "journal.jsonl"), os.O_WRONLY | os.O_APPEND)
    rest = iter(range(len(content)))

    def write_one_byte(_seconds: float) -> None:
        at = next(rest)
        os.write(out, content[at : at + 1])

    with supervisor:
        pieces = list(follow(folder, 0, write_one_byte))
    os.close(out)
    assert pieces == [*LINES, END]


def test_a_line_as_long_as_lines_may_be_is_followed(folder: str) -> None:
    empty = len(encode(JobEnded(9.0, "ok", None, None, "")))
    long = encode(JobEnded(9.0, "ok", None, None, "x" * (MAX_LINE_BYTES - empty)))
    write(folder, LINES[0] + long)
    assert b"".join(follow(folder, 0, no_sleep)) == LINES[0] + long


def test_a_job_whose_supervisor_is_gone_is_ended_once(folder: str) -> None:
    write(folder, b"".join(LINES))
    told = b"".join(follow(folder, len(LINES[0]), no_sleep))
    assert told.startswith(b"".join(LINES[1:]))
    end = decode(told.splitlines()[-1])
    assert (end.outcome, end.failure_class, end.reason) == ("failed", "infrastructure", "supervisor_died")
    before = read(folder)
    assert b"".join(follow(folder, 0, no_sleep)) == before
    assert read(folder) == before


def test_half_a_line_of_a_dead_supervisor_is_dropped(folder: str) -> None:
    write(folder, LINES[0] + LINES[1][:-5])
    lines = b"".join(follow(folder, 0, no_sleep)).splitlines(keepends=True)
    assert lines[0] == LINES[0]
    assert [json.loads(line)["type"] for line in lines] == ["waiting", "ended"]


def test_an_empty_journal_of_a_dead_supervisor_gets_its_end(folder: str) -> None:
    (end,) = follow(folder, 0, no_sleep)
    assert decode(end).reason == "supervisor_died"


def test_lines_that_a_power_cut_took_back_leave_the_end_to_tell(folder: str) -> None:
    """What a controller has seen already may never have reached the card."""
    write(folder, LINES[0])
    (end,) = follow(folder, 100_000, no_sleep)
    assert decode(end).reason == "supervisor_died"


def test_from_the_end_on_there_is_nothing_more(folder: str) -> None:
    write(folder, LINES[0] + END)
    assert list(follow(folder, len(LINES[0] + END), no_sleep)) == []


def test_a_follower_waits_while_somebody_else_ends_the_job(folder: str) -> None:
    write(folder, LINES[0])
    other = hold(folder)
    assert other is not None

    def let_go(_seconds: float) -> None:
        other.close()

    told = list(follow(folder, len(LINES[0]), let_go))
    assert [decode(line).reason for line in told] == ["supervisor_died"]


@pytest.fixture
def writer(folder: str) -> Iterator[Journal]:
    yield Journal(folder)


def test_what_is_written_is_appended_line_by_line(folder: str, writer: Journal) -> None:
    writer.write(JobWaiting(0.0, "job-0", 0.0))
    writer.write_line(LINES[1])
    assert read(folder) == LINES[0] + LINES[1]


@pytest.fixture
def full_disk(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes ten bytes of each write and then none, until the reserve is given up."""
    write = os.write

    def write_some(fd: int, data: bytes) -> int:
        if not Path(folder, "reserve").exists():
            return write(fd, data)
        if len(data) < len(LINES[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:10])

    monkeypatch.setattr(journal.os, "write", write_some)


def test_a_line_that_the_disk_has_no_room_for_is_not_there_in_part(folder: str, full_disk: None) -> None:
    writer = Journal(folder)
    writer.write_line(LINES[0])  # there is no reserve yet, and so this disk is not full
    writer.keep_space_for_end()
    with pytest.raises(OSError, match="No space left"):
        writer.write_line(LINES[1])
    assert read(folder) == LINES[0]


def test_the_end_is_told_on_a_full_disk_in_the_space_that_was_kept_for_it(
    folder: str, full_disk: None
) -> None:
    writer = Journal(folder)
    writer.keep_space_for_end()
    assert Path(folder, "reserve").stat().st_size == 65536
    writer.end(JobEnded(9.0, "failed", "infrastructure", "disk_full", "full"))
    assert decode(read(folder)).reason == "disk_full"
    assert not Path(folder, "reserve").exists()


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says which boot of the board it is."""
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(tmp_path))
    file = tmp_path / "proc/sys/kernel/random/boot_id"
    file.parent.mkdir(parents=True)
    file.write_text("1111\n")
    return file


def test_a_job_whose_board_restarted_ends_with_both_boot_ids(folder: str, boot: Path) -> None:
    journal.note_boot(folder)
    boot.write_text("2222\n")
    (line,) = follow(folder, 0, no_sleep)
    end = decode(line)
    assert (end.failure_class, end.reason) == ("infrastructure", "board_restarted")
    assert end.message == "the board restarted during the job: its boot id was 1111 and is 2222"


def test_a_supervisor_that_was_killed_is_no_restart(folder: str, boot: Path) -> None:
    journal.note_boot(folder)
    (line,) = follow(folder, 0, no_sleep)
    assert decode(line).reason == "supervisor_died"
    assert decode(line).message.endswith("killed, or out of memory; no restart")


def test_where_boots_have_no_names_a_restart_is_possible(folder: str, boot: Path) -> None:
    boot.unlink()
    journal.note_boot(folder)
    (line,) = follow(folder, 0, no_sleep)
    assert decode(line).message.endswith("the board may have restarted")


def test_words_in_a_message_are_no_end() -> None:
    line = encode(JobWaiting(1.0, '"type":"ended"', 0.0))
    assert not journal.ended(line)
    assert journal.ended(line + END)
    assert not journal.ended(END + line)


def test_no_other_message_is_taken_for_the_end() -> None:
    """A fact of the board may be called `type` and say `ended`."""
    tricky = DeviceFacts(*[None] * 5, "m", None, "k", "p", *[None] * 4, "h", None, details={"type": "ended"})
    line = encode(JobStarted(1.0, 7, tricky))
    assert b'"type":"ended"' in line
    assert not journal.ended(line)


@pytest.mark.parametrize("tail", [b"", b"\n", b"\n" + END], ids=["no end", "its end", "an end after it"])
def test_a_journal_with_an_endless_line_is_refused_and_left_alone(folder: str, tail: bytes) -> None:
    """A follower would look for the end of that line for ever, or take a damaged file into memory."""
    write(folder, LINES[0] + b"x" * (3 * MAX_LINE_BYTES) + tail)
    told = follow(folder, 0, no_sleep)
    assert next(told) == LINES[0]
    with pytest.raises(ProtocolError, match="a line of more than 1048576 bytes"):
        next(told)
    assert len(read(folder)) == len(LINES[0]) + 3 * MAX_LINE_BYTES + len(tail)


def test_the_end_of_a_large_journal_is_found_without_reading_all_of_it(folder: str) -> None:
    long = encode(JobWaiting(1.0, "x" * 999_000, 0.0))
    write(folder, long * 4 + END + b'{"half')
    end = journal.end_orphan(folder)
    assert end == 4 * len(long)
