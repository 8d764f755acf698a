"""A conversation with the agent on one board: probe, send, submit, follow, fetch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from device_agents.protocol import (
    PROTOCOL_VERSION,
    BlobRef,
    BlobState,
    Event,
    Examination,
    Job,
    JobEnded,
    LeaseReply,
    ProbeReply,
    SubmitReply,
    encode,
)
from harness.errors import AgentError, LinkError, LinkLost
from harness.link.agent_archive import agent_archive
from harness.link.arriving_files import ArrivingFiles
from harness.link.deployment import Blob, OnProgress, deploy_agent, send_blob
from harness.link.leasing import lease_replies
from harness.link.patience import Patience, Persistence
from harness.link.transfer_time import TransferTime
from harness.link.transport import Completed, Transport, run_command
from harness.link.wire import LineReader, message_of, message_of_kind, protocol_mismatch

#: A probe proves runtimes in child processes, and importing one on a slow board takes long.
PROBE_TIMEOUT_S = 180.0
COMMAND_TIMEOUT_S = 60.0

#: A running job's journal grows every second or so by telemetry; silence for this long is a dead link.
SILENCE_S = 60.0

#: A board that was never reached is tried no more once so long was spent on it, but twice at least: one
#: handshake may fall into silence.
FIRST_CONTACT_S = 10.0

#: An answer that trickles is given up after this, seconds.
ANSWER_TIMEOUT_S = 600.0

#: Six hours of a job that tells of its board every second. The events are kept until the job ends, and took
#: 218 MiB of memory at worst (thousands of power rails).
MAX_JOURNAL_BYTES = 16 << 20

_CHUNK_BYTES = 1 << 18

#: What a journal may tell.
_EVENTS: tuple[type, ...] = get_args(Event)


class DeviceSession:
    """One board, reached. `open` first; then the other calls in any order."""

    def __init__(
        self,
        transport: Transport,
        *,
        python: str,
        workspace: str,
        lease: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._patience = Patience(transport, sleep)
        self._transport: Transport = self._patience.transport
        self._python = python
        self._workspace = workspace
        self._lease = lease
        agent = f"{workspace.rstrip('/')}/agents/{agent_archive().file_name}"
        self._agent = [python, agent, "--workspace", workspace]
        if lease is not None:  # whose signs of life all commands of this session are
            self._agent += ["--lease", lease]

    @property
    def device(self) -> str:
        """What the board is called."""
        return self._transport.name

    def open(self, runtimes: Sequence[str], persistence: Persistence | None = None) -> ProbeReply:
        """Connect, put the agent there unless it is, ask what board this is and whether `runtimes` work.

        With `persistence` a link that fails is tried again, now and in all calls that follow.
        """
        if persistence is None:
            return self._open(runtimes)
        self.persist(persistence)
        breaks, tries, begun = 0, 0, time.monotonic()
        while True:
            try:
                return self._open(runtimes)
            except LinkError as error:
                tries += 1
                if (
                    tries > 1
                    and not self._patience.ever_reached
                    and time.monotonic() - begun > FIRST_CONTACT_S
                ):
                    raise
                breaks = self._patience.wait(breaks, error)

    def persist(self, persistence: Persistence) -> None:
        """Who hears of it while this board is waited for, and until when that goes on."""
        self._patience.persistence = persistence

    def _open(self, runtimes: Sequence[str]) -> ProbeReply:
        answer = self._ask("probe", ",".join(runtimes), timeout_s=PROBE_TIMEOUT_S)
        reply = message_of_kind(self.device, ProbeReply, answer)
        if reply.protocol != PROTOCOL_VERSION:
            raise protocol_mismatch(self.device, reply.protocol)
        return reply

    def examine(self) -> Examination:
        """What the board's setup is judged by; `open` comes first. Takes some seconds on a slow card."""
        return message_of_kind(self.device, Examination, self._ask("examine"))

    def send(self, blob: Blob, on_progress: OnProgress | None = None) -> None:
        """Put a file among the board's blobs unless it is there; a connection that breaks is renewed."""
        breaks = 0
        while True:
            try:
                send_blob(self._transport, [*self._agent, "put"], blob, on_progress)
                return
            except LinkError as error:
                breaks = self._patience.wait(breaks, error)

    def run_script(self, script: str, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Completed:
        """Run a POSIX shell script on the board: its arguments are $0, $1, ..."""
        return run_command(self._transport, ["sh", "-c", script, *arguments], timeout_s=timeout_s)

    def submit(self, job: Job, blobs: Mapping[str, Blob], on_progress: Callable[[Blob], OnProgress]) -> bool:
        """Hand over a job, sending first what the board lacks; False if the board knew the job already.

        A connection that breaks on the way is renewed: handing over a job twice changes nothing.
        """
        breaks, begun_before = 0, False
        while True:
            try:
                # Once the link has broken, the board may know the job from this very call.
                return self._hand_over(job, blobs, on_progress) or begun_before
            except LinkError as error:
                breaks = self._patience.wait(breaks, error)
                begun_before = True

    def _hand_over(
        self, job: Job, blobs: Mapping[str, Blob], on_progress: Callable[[Blob], OnProgress]
    ) -> bool:
        for _ in range(3):
            line = self._ask("submit", stdin=encode(job))
            reply = message_of_kind(self.device, SubmitReply, line)
            if reply.state in ("accepted", "exists"):
                return reply.state == "accepted"
            if reply.state != "missing":
                raise AgentError(
                    f"{self.device}: the agent answers a job with {reply.state[:80]!r}", reason="bad_protocol"
                )
            for sha256 in dict.fromkeys(reply.missing):
                if sha256 not in blobs:
                    raise AgentError(
                        f"{self.device}: the agent asks for {sha256[:80]!r}, which is not of this job",
                        reason="bad_protocol",
                    )
                blob = blobs[sha256]
                send_blob(self._transport, [*self._agent, "put"], blob, on_progress(blob))
        raise AgentError(f"{self.device}: files that were sent are missing again; is the board out of space?")

    def follow(self, job_id: str) -> Iterator[Event]:
        """Events of a job from its beginning to its end, across as many reconnections as it takes."""
        offset = 0
        breaks = 0
        while True:
            try:
                for event, position in self._follow_from(job_id, offset):
                    offset, breaks = position, 0
                    if offset > MAX_JOURNAL_BYTES:
                        raise AgentError(
                            f"{self.device}: the journal of job {job_id} is longer than {MAX_JOURNAL_BYTES} "
                            "bytes and has no end",
                            f"look what writes to it; `bench device clean {self.device}` removes it",
                            "bad_protocol",
                        )
                    yield event
                    if isinstance(event, JobEnded):
                        return
                # The agent's `follow` goes on until the job ends: this one was killed, or its link is gone.
                raise LinkLost(f"{self.device}: the journal of job {job_id} broke off before the job's end")
            except LinkError as error:
                breaks = self._patience.wait(breaks, error)

    def fetch(self, job_id: str, files: Sequence[BlobRef], folder: Path) -> None:
        """Result files to `folder`, each complete and with the hash it was announced with, or an error.

        All in one command: starting the agent anew for each takes a slow board longer than sending them does.
        At most one byte more than announced is taken, and nothing is kept in memory.
        """
        breaks = 0
        transfer = TransferTime(self.device, f"result of job {job_id}", sum(file.bytes for file in files))
        with ArrivingFiles(self.device, job_id, files, folder) as arriving:
            while arriving.lacking:
                before = arriving.received
                try:
                    self._fetch_lacking(job_id, arriving, transfer)
                except LinkError as error:
                    if transfer.is_over:
                        raise
                    breaks = self._patience.wait(breaks if arriving.received == before else 0, error)

    def cancel(self, job_id: str) -> None:
        """End a job; one that has ended stays as it is."""
        self._ask("cancel", job_id)

    def take_lease(self, words: str, wait_s: float) -> Iterator[LeaseReply | None]:
        """Ask for the board under this session's lease: what it says until it has granted or refused.

        None comes every half second meanwhile. `words` say whose lease it is. A session that names no lease
        needs none: its jobs wait for the board one by one.
        """
        if self._lease is None:
            return iter([LeaseReply("granted")])
        return lease_replies(self._transport, [*self._agent, "lease", words], wait_s, self._patience.wait)

    def renew_lease(self) -> None:
        """Show that the lease is still wanted."""
        message_of_kind(self.device, LeaseReply, self._ask("renew"))

    def release_lease(self) -> None:
        """Give the board back."""
        if self._lease is None:
            return
        message_of_kind(self.device, LeaseReply, self._ask("release"))

    def evict(self, *lease: str) -> LeaseReply:
        """End whoever's lease it is, or that one: `released`, `free`, or `running` where a job has to end."""
        return message_of_kind(self.device, LeaseReply, self._ask("evict", *lease))

    def clean(self) -> int:
        """Remove what no running job needs from the board; returns the bytes freed."""
        return message_of_kind(self.device, BlobState, self._ask("clean")).have

    def close(self) -> None:
        """Hang up; jobs on the board go on."""
        self._transport.close()

    def _ask(self, *arguments: str, stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
        """What the agent says to a command; it is sent first if it is not there, or not there any more."""
        result = self._run(arguments, timeout_s, stdin)
        if not result.stdout and _agent_is_missing(result.status, result.stderr):
            self._deploy()
            result = self._run(arguments, timeout_s, stdin)
        if not result.stdout:
            raise self._no_answer(result)
        return result.stdout

    def _run(self, arguments: Sequence[str], timeout_s: float, stdin: bytes) -> Completed:
        return run_command(
            self._transport,
            [*self._agent, *arguments],
            stdin=stdin,
            timeout_s=timeout_s,
            within_s=ANSWER_TIMEOUT_S,
        )

    def _deploy(self) -> None:
        deploy_agent(self._transport, agent_archive(), self._workspace)

    def _fetch_lacking(self, job_id: str, arriving: ArrivingFiles, transfer: TransferTime) -> None:
        """Take what is still lacking, while the link holds."""
        names = [file.name for file in arriving.lacking]
        channel = self._transport.start([*self._agent, "get", job_id, str(arriving.offset), *names])
        try:
            channel.finish_input()
            while True:
                with transfer.spent():
                    piece = channel.read(min(_CHUNK_BYTES, arriving.lacking_bytes + 1), COMMAND_TIMEOUT_S)
                if not piece:
                    break
                arriving.take(piece)
            if arriving.lacking_bytes and channel.wait(COMMAND_TIMEOUT_S) < 0:
                raise LinkLost(f"{self.device}: the agent was killed giving {arriving.lacking[0].name}")
            arriving.end()
        finally:
            channel.close()

    def _follow_from(self, job_id: str, offset: int) -> Iterator[tuple[Event, int]]:
        """Events from a byte offset of the journal, each with the offset after it, while the link holds."""
        channel = self._transport.start([*self._agent, "follow", job_id, str(offset)])
        try:
            channel.finish_input()
            lines = LineReader(channel, self.device)
            while (line := lines.line(SILENCE_S)) is not None:
                event = message_of(self.device, line)
                if not isinstance(event, _EVENTS):
                    raise AgentError(
                        f"{self.device}: the journal of job {job_id} holds a {type(event).__name__}",
                        reason="bad_protocol",
                    )
                yield cast(Event, event), offset + lines.consumed
            if not lines.consumed and _agent_is_missing(channel.wait(SILENCE_S), channel.stderr_tail()):
                self._deploy()  # a restart can empty a board's workspace
        finally:
            channel.close()

    def _no_answer(self, result: Completed) -> AgentError:
        words = result.stderr.strip().splitlines()[-1:] or [f"status {result.status}"]
        if result.status == 127:
            return AgentError(
                f"{self.device}: no {self._python!r} on the board ({words[0]})",
                "install Python 3.6 or newer there, or name its interpreter as `python` in the inventory",
                reason="no_python",
            )
        return AgentError(
            f"{self.device}: the agent could not start with {self._python!r}: {words[0]}",
            "it needs Python 3.6 or newer; name another interpreter as `python` in the inventory",
            reason="agent_start_failed",
        )


def _agent_is_missing(status: int, stderr: str) -> bool:
    """Python's words and status for a script that is not there (pythonrun: status 2)."""
    return status == 2 and "can't open file" in stderr
