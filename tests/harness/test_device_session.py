"""Conversations with an agent: real ones on this machine, and played-back ones whose link breaks anywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from device_agents.protocol import (
    PROTOCOL_VERSION,
    BlobRef,
    BlobState,
    JobEnded,
    ProbeReply,
    SubmitReply,
    encode,
)
from harness.errors import AgentError, BoardFull, LinkLost, Unreachable
from harness.link.agent_archive import agent_archive
from harness.link.deployment import Blob, deploy_agent
from harness.link.device_session import DeviceSession
from harness.link.local import LocalTransport
from harness.link.patience import AWAY_PAUSES_S, FIRST_PAUSES_S, RECONNECT_PAUSES_S, Persistence
from tests.device_agents.board import Board, RecordingTransport, job, names_in, run
from tests.harness.channels import Piece, PlayedChannel, PlayedTransport
from tests.harness.events import FACTS

pytestmark = pytest.mark.processes

REPLY = ProbeReply(PROTOCOL_VERSION, FACTS, [], "/w", None, None, None)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Board(tmp_path)


# --- deployment, for real -------------------------------------------------------------------------


def test_the_agent_is_sent_once_and_found_there_from_then_on(board: Board) -> None:
    transport = RecordingTransport()
    first = board.session(transport).open(["null"])
    assert transport.verbs() == ["probe", "sh", "probe"]
    assert transport.sent_bytes == len(agent_archive().content)
    assert [status.available for status in first.runtimes] == [True]

    transport.commands.clear()
    transport.sent_bytes = 0
    second = board.session(transport).open(["null"])
    assert (transport.verbs(), transport.sent_bytes) == (["probe"], 0)
    assert second.facts == first.facts
    name = agent_archive().file_name
    assert names_in(f"{board.workspace.root}/agents") == [name.removesuffix(".pyz"), name]


def test_a_board_without_python_says_what_to_do(board: Board) -> None:
    board.python = "python3-of-another-board"
    with pytest.raises(AgentError, match="no 'python3-of-another-board' on the board") as error:
        board.session().open(["null"])
    assert error.value.reason == "no_python"
    assert "Python 3.6 or newer" in (error.value.remedy or "")


def test_a_python_that_cannot_start_the_agent_is_quoted(board: Board) -> None:
    board.python = "false"
    with pytest.raises(AgentError, match="could not start with 'false': status 1") as error:
        board.session().open(["null"])
    assert error.value.reason == "agent_start_failed"


def test_a_workspace_that_cannot_be_written_is_named(board: Board, tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("in the way")
    with pytest.raises(AgentError, match="cannot write the agent to") as error:
        board.session().open(["null"])
    assert error.value.reason == "workspace_unusable"


def test_files_are_sent_once_and_linked_into_the_job(board: Board, tmp_path: Path) -> None:
    content = b"m" * 600_000
    (tmp_path / "model.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    blob = Blob(sha256, len(content), tmp_path / "model.onnx", "model.onnx")
    progress: list[tuple[str, int, int]] = []

    def sending(of: Blob) -> Callable[[int, int], None]:
        return lambda done, total: progress.append((of.name, done, total))

    board.deploy()
    transport = RecordingTransport()
    session = board.session(transport)
    wanted = job(artifact=[BlobRef(sha256, len(content), "model.onnx")])
    assert session.submit(wanted, {sha256: blob}, sending)
    assert transport.verbs() == ["submit", "put", "submit"]
    assert progress[-1] == ("model.onnx", len(content), len(content))
    assert (board.folder_of("job-1") / "artifact" / "model.onnx").read_bytes() == content

    assert list(session.follow("job-1"))[-1].outcome == "ok"  # type: ignore[union-attr]

    transport.commands.clear()
    assert session.submit(wanted._replace(job_id="job-2"), {}, sending)
    assert transport.verbs() == ["submit"]
    assert list(session.follow("job-2"))[-1].outcome == "ok"  # type: ignore[union-attr]


def test_a_file_that_is_not_of_the_job_is_not_sent(tmp_path: Path) -> None:
    def answer(command: list[str]) -> PlayedChannel:
        return PlayedChannel([encode(SubmitReply("missing", "job-1", ["f" * 64]))])

    with pytest.raises(AgentError, match="which is not of this job"):
        played(answer).submit(job(), {}, _no_progress)


def test_a_board_that_loses_every_file_again_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"m")
    blob = Blob("f" * 64, 1, tmp_path / "m", "m")

    def answer(command: list[str]) -> PlayedChannel:
        if command[4] == "put":
            return PlayedChannel([encode(BlobState(0, False)), encode(BlobState(1, True))])
        return PlayedChannel([encode(SubmitReply("missing", "job-1", ["f" * 64]))])

    with pytest.raises(AgentError, match="missing again"):
        played(answer).submit(job(), {blob.sha256: blob}, _no_progress)


@pytest.mark.parametrize("have", [-1, 2, 2**62])
def test_a_board_that_has_more_or_less_than_a_file_can_be_is_refused(tmp_path: Path, have: int) -> None:
    (tmp_path / "m").write_bytes(b"m")
    session = played(lambda _command: PlayedChannel([encode(BlobState(have, False))]))
    with pytest.raises(AgentError, match=rf"says that it has {have} of 1 bytes of m") as error:
        session.send(Blob("f" * 64, 1, tmp_path / "m", "m"))
    assert error.value.reason == "bad_protocol"


def test_a_job_that_is_answered_with_another_word_is_not_taken_for_known() -> None:
    session = played(lambda _command: PlayedChannel([encode(SubmitReply("perhaps", "job-1", []))]))
    with pytest.raises(AgentError, match="answers a job with 'perhaps'"):
        session.submit(job(), {}, _no_progress)


def test_a_file_that_is_asked_for_a_hundred_times_is_sent_once_a_time(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"m")
    blob = Blob("f" * 64, 1, tmp_path / "m", "m")
    asked: list[str] = []

    def answer(command: list[str]) -> PlayedChannel:
        asked.append(command[4])
        if command[4] == "put":
            return PlayedChannel([encode(BlobState(1, True))])
        return PlayedChannel([encode(SubmitReply("missing", "job-1", ["f" * 64] * 100))])

    with pytest.raises(AgentError, match="missing again"):
        played(answer).submit(job(), {blob.sha256: blob}, _no_progress)
    assert asked == ["submit", "put"] * 3


def test_a_result_that_this_computer_cannot_keep_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="cannot be kept on this computer: No such file") as error:
        played(lambda _command: PlayedChannel([CONTENT])).fetch("job-1", [FILE], tmp_path / "gone")
    assert error.value.reason == "host_disk"
    assert str(tmp_path / "gone") in (error.value.remedy or "")


def test_a_full_disk_while_deploying_is_a_full_board() -> None:
    def answer(command: list[str]) -> PlayedChannel:
        if command[0] == "sh":
            return PlayedChannel([], 1, "cat: write error: No space left on device")
        return PlayedChannel([], 2, "python3: can't open file 'x.pyz': [Errno 2] No such file or directory")

    with pytest.raises(BoardFull, match="no space for the agent"):
        played(answer).open(["null"])


@pytest.mark.processes
def test_the_agent_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would leave an empty file under a name that is never sent again."""
    sync = tmp_path / "bin/sync"
    sync.parent.mkdir()
    sync.write_text(f'#!/bin/sh\necho "${{1##*.}} $(ls {tmp_path}/w/agents | wc -l)" >>{tmp_path}/synced\n')
    sync.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sync.parent}:{os.environ['PATH']}")
    deploy_agent(LocalTransport(), agent_archive(), str(tmp_path / "w"))
    assert (tmp_path / "synced").read_text() == "part 1\n"
    (sent,) = (tmp_path / "w/agents").iterdir()
    assert sent.read_bytes() == agent_archive().content


# --- following over a link that breaks ------------------------------------------------------------


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The journal of a real job."""
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        real = Board(folder)
        run(real.opened(), job())
    return real.journal("job-1")


def played(answer: Callable[[list[str]], PlayedChannel], pauses: list[float] | None = None) -> DeviceSession:
    """A session with a played-back board; its pauses are noted, not made."""
    noted: list[float] = [] if pauses is None else pauses
    return DeviceSession(PlayedTransport(answer), python="python3", workspace="/w", sleep=noted.append)


def _no_progress(_blob: Blob) -> Callable[[int, int], None]:
    return lambda _done, _total: None


@pytest.mark.parametrize(
    ("cut", "step"), [([LinkLost("gone")], 1), ([], 13)], ids=["the link is lost", "the command ends"]
)
def test_events_come_once_and_in_order_wherever_the_link_breaks(
    journal: bytes, cut: list[Piece], step: int
) -> None:
    lines = journal.splitlines(keepends=True)
    expected = list(played(lambda _command: PlayedChannel([journal])).follow("job-1"))
    assert len(expected) == len(lines)
    for at in range(0, len(journal), step):
        offsets: list[int] = []

        def answer(command: list[str], at: int = at, offsets: list[int] = offsets) -> PlayedChannel:
            offset = int(command[-1])
            offsets.append(offset)
            if len(offsets) == 1:
                return PlayedChannel([journal[:at], *cut] if at else cut)
            return PlayedChannel([journal[offset:]])

        assert list(played(answer).follow("job-1")) == expected
        assert offsets == [0, journal.rfind(b"\n", 0, at) + 1]


def test_a_link_that_breaks_after_every_line_is_followed_to_the_end(journal: bytes) -> None:
    lines = journal.splitlines(keepends=True)
    pauses: list[float] = []

    def answer(command: list[str]) -> PlayedChannel:
        rest = journal[int(command[-1]) :]
        return PlayedChannel([rest[: rest.find(b"\n") + 1], LinkLost("gone")])

    events = list(played(answer, pauses).follow("job-1"))
    assert len(events) == len(lines)
    assert pauses == [RECONNECT_PAUSES_S[0]] * (len(lines) - 1)  # each line is progress


def test_a_link_that_stays_broken_is_given_up_after_the_last_pause() -> None:
    pauses: list[float] = []
    with pytest.raises(LinkLost, match="gone"):
        list(played(lambda _command: PlayedChannel([LinkLost("gone")]), pauses).follow("job-1"))
    assert tuple(pauses) == RECONNECT_PAUSES_S


def away(times: int, pauses: list[float], journal: bytes) -> DeviceSession:
    """A board that says the first half of a journal, is away for some tries, and then answers again."""
    tries = iter([None, *[Unreachable("board: no connection")] * times])

    def answer(command: list[str]) -> PlayedChannel:
        missed = next(tries, None)
        if missed is not None:
            raise missed
        offset = int(command[-1])
        return PlayedChannel(
            [journal[offset:]] if offset else [journal[: len(journal) // 2], LinkLost("cut")]
        )

    return played(answer, pauses)


def test_a_board_that_was_away_for_ten_minutes_is_joined_again(journal: bytes) -> None:
    pauses: list[float] = []
    events = list(away(len(AWAY_PAUSES_S), pauses, journal).follow("job-1"))
    assert isinstance(events[-1], JobEnded)
    assert len(events) == len(journal.splitlines())
    assert sum(pauses[1:]) == sum(AWAY_PAUSES_S) == 600.5


def test_a_board_that_stays_away_is_given_up_and_from_then_on_tried_once_a_call(journal: bytes) -> None:
    pauses: list[float] = []
    session = away(1000, pauses, journal)
    with pytest.raises(Unreachable):
        list(session.follow("job-1"))
    assert len(pauses) == 1 + len(AWAY_PAUSES_S)
    with pytest.raises(Unreachable):
        session.submit(job(), {}, _no_progress)
    assert len(pauses) == 1 + len(AWAY_PAUSES_S)


def test_the_user_hears_of_a_board_that_is_away_for_long_and_that_it_is_back(journal: bytes) -> None:
    told: list[str] = []
    session = away(5, [], journal)
    session.persist(Persistence(tell=told.append))
    list(session.follow("job-1"))
    assert told == ["board: no connection; trying again for some 10 minutes", "board: answers again"]


def test_who_wants_to_stop_does_not_wait_for_a_board_that_is_away(journal: bytes) -> None:
    pauses: list[float] = []
    session = away(1000, pauses, journal)
    session.persist(Persistence(stopping=lambda: len(pauses) >= 10))
    with pytest.raises(Unreachable):
        list(session.follow("job-1"))
    assert len(pauses) <= 12


def unreachable(failures: Sequence[Exception], pauses: list[float]) -> DeviceSession:
    """A board that cannot be reached at first."""
    tries = iter(failures)

    def answer(_command: list[str]) -> PlayedChannel:
        missed = next(tries, None)
        if missed is not None:
            raise missed
        return PlayedChannel([encode(REPLY)])

    return played(answer, pauses)


def test_a_first_connection_that_breaks_is_made_again() -> None:
    pauses: list[float] = []
    failures = [Unreachable("reset"), LinkLost("cut"), Unreachable("refused"), LinkLost("cut")]
    session = unreachable(failures, pauses)
    assert session.open(["null"], Persistence()) == REPLY
    assert tuple(pauses) == FIRST_PAUSES_S


def test_a_board_that_never_answers_is_given_up_soon() -> None:
    pauses: list[float] = []
    with pytest.raises(Unreachable):
        unreachable([Unreachable("off")] * 100, pauses).open(["null"], Persistence())
    assert tuple(pauses) == FIRST_PAUSES_S


def test_who_only_asks_a_board_tries_it_once() -> None:
    pauses: list[float] = []
    with pytest.raises(Unreachable):
        unreachable([Unreachable("off")], pauses).open(["null"])
    assert pauses == []


#: What Python says of an agent that is not there.
NO_AGENT = "python3: can't open file '/w/agents/x.pyz': [Errno 2] No such file or directory"


def test_a_board_whose_restart_emptied_its_workspace_gets_the_agent_again(journal: bytes) -> None:
    asked: list[str] = []

    def answer(command: list[str]) -> PlayedChannel:
        asked.append("sh" if command[0] == "sh" else command[4])
        if command[0] == "sh":
            return PlayedChannel([])
        if "sh" not in asked:
            return PlayedChannel([], 2, NO_AGENT)
        if command[4] == "submit":
            return PlayedChannel([encode(SubmitReply("accepted", "job-1", []))])
        return PlayedChannel([journal])

    session = played(answer)
    assert isinstance(list(session.follow("job-1"))[-1], JobEnded)
    assert asked == ["follow", "sh", "follow"]
    asked.clear()
    assert session.submit(job(), {}, _no_progress) is True
    assert asked == ["submit", "sh", "submit"]


def test_every_channel_of_a_broken_link_is_closed(journal: bytes) -> None:
    parts = iter([[journal[:50], LinkLost("gone")], [journal]])
    transport = PlayedTransport(lambda _command: PlayedChannel(next(parts)))
    session = DeviceSession(transport, python="python3", workspace="/w", sleep=lambda _s: None)
    assert isinstance(list(session.follow("job-1"))[-1], JobEnded)
    assert [channel.closed for channel in transport.channels] == [True, True]


# --- results --------------------------------------------------------------------------------------


CONTENT = bytes(range(200))


def announced(name: str, content: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(content).hexdigest(), len(content), name)


FILE = announced("samples-0.i64", CONTENT)
RESULTS = {"samples-0.i64": CONTENT, "empty.npz": b"", "check-0.npz": CONTENT[::-1][:50]}
FILES = [announced(name, content) for name, content in RESULTS.items()]


def sent(command: list[str]) -> bytes:
    """What the agent answers to `get JOB OFFSET NAME...`."""
    assert command[4:6] == ["get", "job-1"]
    return b"".join(RESULTS[name] for name in command[7:])[int(command[6]) :]


def test_all_results_of_a_job_come_in_one_command(tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def answer(command: list[str]) -> PlayedChannel:
        commands.append(command)
        return PlayedChannel([sent(command)])

    played(answer).fetch("job-1", FILES, tmp_path)
    assert [command[4:] for command in commands] == [["get", "job-1", "0", *RESULTS]]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == RESULTS


def test_results_are_whole_wherever_the_link_breaks(tmp_path: Path) -> None:
    total = len(b"".join(RESULTS.values()))
    for at in [*range(0, total, 7), *range(198, 203), total]:
        cuts = iter([at])

        def answer(command: list[str], cuts: Iterator[int] = cuts) -> PlayedChannel:
            rest, cut = sent(command), next(cuts, None)
            pieces: list[Piece] = [rest] if cut is None else [rest[:cut], LinkLost("gone")]
            return PlayedChannel([piece for piece in pieces if piece != b""])

        folder = tmp_path / str(at)
        folder.mkdir()
        played(answer).fetch("job-1", FILES, folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == RESULTS


def test_an_agent_that_is_killed_while_it_gives_results_is_asked_for_the_rest(tmp_path: Path) -> None:
    ends = iter([-9, 0])

    def answer(command: list[str]) -> PlayedChannel:
        status = next(ends)
        return PlayedChannel([sent(command)[:210] if status else sent(command)], status)

    played(answer).fetch("job-1", FILES, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == RESULTS


@pytest.mark.parametrize("came", [b"", CONTENT[:-1], CONTENT + b"!", b"!" + CONTENT[1:]])
def test_a_result_that_is_not_what_was_announced_is_an_error(tmp_path: Path, came: bytes) -> None:
    session = played(lambda _command: PlayedChannel([came]))
    with pytest.raises(AgentError, match=r"samples-0\.i64 of job job-1 came damaged") as error:
        session.fetch("job-1", [FILE], tmp_path)
    assert error.value.reason == "bad_result"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_named_though_others_come_after_it(tmp_path: Path) -> None:
    came = CONTENT + b"?" + RESULTS["check-0.npz"][1:]
    with pytest.raises(AgentError, match=r"check-0\.npz of job job-1 came damaged"):
        played(lambda _command: PlayedChannel([came])).fetch("job-1", FILES, tmp_path)


def test_a_result_without_end_is_read_no_further_than_announced(tmp_path: Path) -> None:
    pieces = (b"x" * 100 for _ in range(1000))
    with pytest.raises(AgentError):
        played(lambda _command: PlayedChannel(pieces)).fetch("job-1", [FILE], tmp_path)
    assert len(list(pieces)) > 990
