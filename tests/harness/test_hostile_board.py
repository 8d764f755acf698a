"""A broken or hostile board: its case fails with a class and a reason, the others go on, memory stays."""

from __future__ import annotations

import csv
import io
import itertools
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from device_agents.protocol import (
    MAX_NUMBER,
    BlobState,
    JobEnded,
    JobStarted,
    JobWaiting,
    OutputsSaved,
    RepetitionEnded,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    TelemetrySample,
    encode,
)
from harness.commands import console, results_table
from harness.outputs import write_outputs
from harness.records.result_files import DamagedResult, read_outputs
from harness.store import Store
from reports.record import Record
from tests.fuzzing.material import SCORES
from tests.fuzzing.mutations import HOSTILE_TEXT, endless
from tests.harness.events import FACTS, QUIET
from tests.harness.hostile import PlayedBoard, measured, npz
from tests.harness.played_boards import RUN

pytestmark = pytest.mark.processes  # for their time: many campaigns of two boards

MIB = 1 << 20


def failure_of(store: Store, board: PlayedBoard) -> tuple[str, str, str]:
    """Class, reason and message of its failure; the board beside it is measured all the same."""
    records = measured(store, {"evil": board, "good": PlayedBoard()})
    assert (records["good"].status, records["good"].attempts) == ("ok", ())
    assert records["good"].accuracy is not None
    failure = records["evil"].failure
    assert failure is not None
    assert "evil" in failure.message
    return failure.class_, failure.reason, failure.message


def test_the_played_board_goes_well_when_nothing_is_changed(store: Store) -> None:
    (record,) = measured(store, {"good": PlayedBoard()}).values()
    assert record.latency_ms is not None
    assert (record.status, record.latency_ms.count, record.latency_ms.p50) == ("ok", 40, 2.0)


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["probe", "submit", "follow"])
@pytest.mark.parametrize(
    "content", [b"x", b"\xff", b"\0", b"["], ids=["text", "no UTF-8", "zeros", "nesting"]
)
def test_a_gigabyte_without_a_newline_is_given_up_after_some_pieces(
    store: Store, verb: str, content: bytes
) -> None:
    left = endless(content, 1 << 30)
    board = PlayedBoard(answers={verb: lambda: left})
    failure_class, reason, _ = failure_of(store, board)
    assert (failure_class, reason) == ("infrastructure", "bad_protocol")
    # A command's answer may have 4 MiB, a line 1 MiB; a failed case is tried three times.
    assert len(list(left)) * 65536 > (1 << 30) - 3 * 5 * MIB


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe\x00\n", b"{}\n", b"[" * 5000 + b"\n", b"\x1b[31mWelcome\n", b'{"type":"unheard_of"}\n'],
    ids=["no UTF-8", "no type", "nesting", "a login shell", "an event of tomorrow"],
)
def test_a_line_that_is_no_event_is_named(store: Store, line: bytes) -> None:
    failure_class, reason, message = failure_of(store, PlayedBoard(answers={"follow": lambda: [line]}))
    assert (failure_class, reason) == ("infrastructure", "bad_protocol")
    assert "not of its protocol" in message


def test_a_journal_that_never_ends_is_left(store: Store) -> None:
    line = encode(StageReached(0, "x" * 500_000, 1.0, None, None, None, None))
    read = itertools.count()

    def forever() -> Iterable[bytes]:
        for _ in read:
            yield line

    _, reason, message = failure_of(store, PlayedBoard(answers={"follow": forever}))
    assert reason == "bad_protocol"
    assert "longer than 16777216 bytes and has no end" in message
    assert next(read) < 3 * (16 * MIB // len(line) + 3)


def test_a_command_that_answers_out_of_turn_is_named(store: Store) -> None:
    board = PlayedBoard(answers={"submit": lambda: [encode(BlobState(0, False))]})
    _, reason, message = failure_of(store, board)
    assert (reason, message) == ("bad_protocol", "evil: the agent sent BlobState where SubmitReply was due")


@pytest.mark.parametrize("verb", ["probe", "submit", "follow"])
def test_an_agent_of_a_newer_protocol_says_what_to_do(store: Store, verb: str) -> None:
    newer = b'{"type":"%s","protocol":3,"tomorrow":true}\n' % {"probe": b"probe"}.get(verb, b"tomorrow")
    board = PlayedBoard(answers={verb: lambda: [newer]})
    records = measured(store, {"evil": board, "good": PlayedBoard()})
    failure = records["evil"].failure
    assert failure is not None
    assert failure.reason == "protocol_mismatch"
    assert failure.message == "evil: its agent speaks protocol 3, this edgebench 2"
    assert "update edgebench on this computer" in (failure.remedy or "")
    assert records["evil"].attempts == ()


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "words"),
    [
        (PlayedBoard().tells_instead(SamplesTaken, repetition=7), "tells of repetition 7, and 2 were asked"),
        (PlayedBoard().tells_instead(RepetitionEnded, repetition=-1), "tells of repetition -1"),
        (PlayedBoard().tells_instead(RuntimeLoaded, repetition=2), "tells of repetition 2"),
        (PlayedBoard().tells_instead(SamplesTaken, repetition=1), "twice of the samples of repetition 1"),
        (PlayedBoard().tells_instead(SamplesTaken, iterations=0), "0 iterations after 3"),
        (PlayedBoard().tells_instead(SamplesTaken, warmups=-3), "20 iterations after -3"),
        (PlayedBoard().tells_instead(SamplesTaken, iterations=MAX_NUMBER), "at most 20000 were asked for"),
        (PlayedBoard().tells_instead(SamplesTaken, loop_s=-1.0), "its timed loop -1 s"),
        (
            PlayedBoard().tells_instead(OutputsSaved, purpose="espionage"),
            "'espionage', which nobody asked for",
        ),
        (PlayedBoard().tells_instead(OutputsSaved, purpose="evaluation"), "twice of the evaluation outputs"),
        (PlayedBoard().tells_instead(OutputsSaved, examples=3), "of 3 examples; 2 were sent"),
        (PlayedBoard().tells(StageReached(0, "steady", -5.0, None, None, None, None)), "'steady' took -5 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_true_of_the_job_is_refused(store: Store, board: PlayedBoard, words: str) -> None:
    failure_class, reason, message = failure_of(store, board)
    assert (failure_class, reason) == ("infrastructure", "implausible_event")
    assert words in message


def test_a_job_whose_end_comes_first_has_no_samples(store: Store) -> None:
    events = PlayedBoard().events()
    _, reason, message = failure_of(store, PlayedBoard().tells(events[-1], *events[:-1]))
    assert reason == "bad_result"
    assert "ended well without a single sample" in message


@pytest.mark.parametrize("jump", [-2e9, 3e9, 4e18], ids=["before 1970", "2065", "the end of time"])
def test_a_clock_that_jumps_between_events_changes_nothing(store: Store, jump: float) -> None:
    events = [
        event._replace(time=event.time + jump * (number % 3)) if hasattr(event, "time") else event
        for number, event in enumerate(PlayedBoard().events())
    ]
    events.insert(0, JobWaiting(jump, "nightly", -jump))
    records = measured(store, {"jumpy": PlayedBoard().tells(*events), "good": PlayedBoard()})
    jumpy, good = records["jumpy"], records["good"]
    assert (jumpy.latency_ms, jumpy.verdict, jumpy.telemetry) == (
        good.latency_ms,
        good.verdict,
        good.telemetry,
    )
    assert (jumpy.started_at or "")[:2] == "20"


# --- result files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/b", "x\0y", "x\ny", "..", "", "x" * 101, "größe", "-x", "\x1b[31m"]
)
def test_a_result_named_like_a_path_is_not_fetched(store: Store, name: str) -> None:
    board = PlayedBoard()
    board.tells_instead(SamplesTaken, file=board.samples(0).file._replace(name=name))
    _, reason, message = failure_of(store, board)
    assert reason == "bad_result"
    assert message == f"evil: {name[:80]!r} is not the name of a result file"
    assert board.transport is not None
    assert [command for command in board.transport.commands if command[4] == "get"] == []


def test_two_results_of_one_name_are_refused(store: Store) -> None:
    board = PlayedBoard()
    second = board.samples(0).file._replace(name="SAMPLES-1.i64", sha256="f" * 64)
    _, _, message = failure_of(store, board.tells_instead(SamplesTaken, file=second))
    assert message == "evil: it calls two result files 'samples-1.i64'"


@pytest.mark.parametrize("announced_bytes", [len(PlayedBoard().files["samples-0.i64"]) + 8, 0, -1, 1 << 40])
def test_samples_of_another_size_than_their_count_are_not_fetched(store: Store, announced_bytes: int) -> None:
    board = PlayedBoard()
    file = board.samples(0).file._replace(bytes=announced_bytes)
    _, reason, message = failure_of(store, board.tells_instead(SamplesTaken, file=file))
    assert reason == "implausible_event"
    assert message == f"evil: it announces {announced_bytes} bytes of 'samples-0.i64'; there can be 344"


def test_outputs_of_gigabytes_are_not_fetched(store: Store) -> None:
    board = PlayedBoard()
    file = board.outputs("check").file._replace(bytes=5 << 30)
    _, reason, message = failure_of(store, board.tells_instead(OutputsSaved, file=file))
    assert reason == "implausible_event"
    # Two examples of three floats, and what numpy writes around them.
    assert message == "evil: it announces 5368709120 bytes of 'check-0.npz'; there can be at most 1048624"


@pytest.mark.parametrize("sent", [b"", b"x" * 343, b"x" * 344], ids=["nothing", "less", "something else"])
def test_a_result_that_is_not_what_was_announced_is_damaged(store: Store, sent: bytes) -> None:
    _, reason, message = failure_of(store, PlayedBoard(answers={"get": lambda: [sent]}))
    assert reason == "bad_result"
    assert "came damaged" in message


def test_a_result_that_never_ends_is_read_no_further_than_announced(store: Store) -> None:
    left = endless(b"x", 1 << 30)
    _, reason, _ = failure_of(store, PlayedBoard(answers={"get": lambda: left}))
    assert reason == "bad_result"
    assert len(list(left)) == (1 << 30) // 65536 - 3  # one piece a try


def _zip(method: int, *members: tuple[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _huge_array() -> bytes:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000)}"
    return _zip(zipfile.ZIP_STORED, ("array_0.npy", _npy(header, b"1234")))


def _no_bytes_an_element() -> bytes:
    header = "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 1000000000000)}"
    return _zip(zipfile.ZIP_STORED, ("array_0.npy", _npy(header)))


def _large_directory() -> bytes:
    content = bytearray(npz(SCORES))
    content[-10:-6] = struct.pack("<I", 2 * MIB)
    return bytes(content)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "64 MiB of zeros": (lambda: npz(np.zeros((2, 8 << 20), dtype="float32")), "it unpacks to 67108992 bytes"),
    "an array that is not there": (_huge_array, "which its 4 bytes are not"),
    "elements of no size": (_no_bytes_an_element, "which its 0 bytes are not"),
    "another way to pack": (
        lambda: _zip(zipfile.ZIP_BZIP2, ("array_0.npy", b"0" * 1000)),
        "is packed in a way that no agent uses",
    ),
    "a large directory": (_large_directory, "its directory is longer than 1048576 bytes"),
    "objects": (lambda: npz(np.array([{}, {}], dtype=object)), "which its"),
    "another name": (lambda: _zip(zipfile.ZIP_STORED, ("../../array_0.npy", b"")), "There is no item named"),
    "too few examples": (lambda: npz(SCORES[:1]), "there are 2 examples"),
    "no examples": (lambda: npz(np.float32(1)), "there are 2 examples"),
    "no zip file": (lambda: b"\x1f\x8b" * 100, "it is no .npz file"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_outputs_that_unpack_to_something_else_are_refused_unread(store: Store, bomb: str) -> None:
    make, words = BOMBS[bomb]
    content = make()
    board = PlayedBoard()
    board.files["check-0.npz"] = content
    tracemalloc.start()
    try:
        failure_class, reason, message = failure_of(store, board)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (failure_class, reason) == ("infrastructure", "bad_result")
    assert words in message
    assert peak < 12 * MIB


def test_outputs_are_read_as_numpy_would(tmp_path: Path) -> None:
    (tmp_path / "o.npz").write_bytes(npz(SCORES, SCORES.T[:2].copy(order="F").astype("int8")))
    found = read_outputs(tmp_path / "o.npz", ["y", "z"], 2, MIB)
    assert (found["y"] == SCORES).all()
    assert (found["z"].dtype, found["z"].tolist()) == (np.int8, SCORES.T[:2].astype("int8").tolist())
    with pytest.raises(DamagedResult, match=r"where there can be 10$"):
        read_outputs(tmp_path / "o.npz", ["y"], 2, 10)


# --- words ----------------------------------------------------------------------------------------


def _hostile_board(text: str) -> PlayedBoard:
    """One that says it wherever words may stand, and fails in the end."""
    facts = FACTS._replace(
        board=text, cpu_model=text, os=text, hostname=text, governor=text, details={text: text, "gpu": text}
    )
    board = PlayedBoard(facts=facts)
    return board.tells(
        JobWaiting(1.0, text, 1.0),
        JobStarted(1.0, 100, facts),
        QUIET._replace(governor=text, power_mode=text, rails_w={text: 1.0}),
        JobEnded(3.0, "failed", text, text, text),
    )


def _lively_board(text: str) -> PlayedBoard:
    """The same one, but its job goes well."""
    board = PlayedBoard(facts=FACTS._replace(board=text))
    events = [
        event._replace(facts=FACTS._replace(board=text, cpu_model=text, details={text: text}))
        if isinstance(event, JobStarted)
        else event._replace(version=text, details={text: text})
        if isinstance(event, RuntimeLoaded)
        else event._replace(stopped_by=text)
        if isinstance(event, SamplesTaken)
        else event._replace(governor=text, power_mode=text)
        if isinstance(event, TelemetrySample)
        else event
        for event in board.events()
    ]
    return board.tells(*events)


@pytest.fixture(scope="module")
def hostile_texts() -> list[str]:
    """Those that can stand in JSON lines of some length."""
    return [text for text in HOSTILE_TEXT if len(text) < 20_000]


def test_a_failure_of_no_known_class_is_the_boards_own(store: Store) -> None:
    board = PlayedBoard().tells(JobEnded(3.0, "failed", "<b>", "\x1b[31mred", "x" * 100_000))
    records = measured(store, {"evil": board})
    failure = records["evil"].failure
    assert failure is not None
    assert (failure.class_, failure.reason, len(failure.message)) == ("infrastructure", "failed", 8000)


def test_no_word_of_a_board_gets_out_of_its_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile_texts: list[str]
) -> None:
    boards = {f"evil-{number}": _hostile_board(text) for number, text in enumerate(hostile_texts)}
    boards |= {f"lively-{number}": _lively_board(text) for number, text in enumerate(hostile_texts)}
    records = measured(store, boards)
    assert {record.status for name, record in records.items() if name.startswith("lively")} == {"ok"}
    assert {record.status for name, record in records.items() if name.startswith("evil")} == {"failed"}
    shown = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=shown, width=200, highlight=False))
    results, files = write_outputs(store, RUN.id, tmp_path / "out")
    results_table.show_results(results)

    steering = {"\x1b", "\x07", "\x9b", "\0", "\u202e", "\u2066"}
    assert steering & set(shown.getvalue()) == set()
    page = files.report.read_text()
    assert steering & set(page) == set()
    assert page.count("<img src=x") == 0
    assert "&lt;img src=x" in page
    table = files.csv.read_text()
    assert steering & set(table) == set()
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert [cell for cell in cells if cell[:1] in ("=", "@", "+")] == []
    assert len(json.loads(files.json.read_text())["records"]) == len(boards)


def test_facts_of_a_board_do_not_hide_those_of_all_boards(store: Store) -> None:
    facts = FACTS._replace(
        details={"board": "another", "kernel": "another", "l4t_release": "7" * 100_000 + "."}
    )
    board = PlayedBoard(facts=facts)
    record: Record = measured(store, {"pi": board.tells_instead(JobStarted, facts=facts)})["pi"]
    assert record.status == "ok"
    assert (record.facts["board"], record.facts["kernel"]) == (FACTS.board, FACTS.kernel)
