"""Getting files onto a board, each once: the agent's archive, and blobs named by their content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agents.protocol import BlobState
from harness.errors import AgentError, BoardFull
from harness.link.agent_archive import AgentArchive
from harness.link.transfer_time import TransferTime
from harness.link.transport import Channel, Completed, Transport, run_command
from harness.link.wire import LineReader, message_of_kind

#: Bounds every wait for the board while sending; a slow SD card may take long to sync a large file.
WRITE_TIMEOUT_S = 120.0
_CHUNK_BYTES = 1 << 18

#: Told how many bytes of a file are on the board, and its size.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Blob:
    """A file of this host that a board should have."""

    sha256: str
    bytes: int
    path: Path
    name: str


def deploy_agent(transport: Transport, archive: AgentArchive, workspace: str) -> None:
    """Write the archive to the board, complete or not at all. Needs a POSIX shell there, nothing more."""
    folder = f"{workspace.rstrip('/')}/agents"
    # $0 and $1 instead of text in the script: the shell then quotes for us.
    # $$: two controllers may do this at once, each in a file of its own.
    # sync: a power cut after the renaming must not leave the name of a file that never reached the card.
    script = (
        'umask 077; part="$0/$1.$$.part"; mkdir -p "$0" && cat > "$part" && '
        'test "$(wc -c < "$part")" -eq "$2" && { sync "$part" 2>/dev/null || sync; } && '
        'mv "$part" "$0/$1" || { rm -f "$part"; exit 1; }'
    )
    result = run_command(
        transport,
        ["sh", "-c", script, folder, archive.file_name, str(len(archive.content))],
        stdin=archive.content,
        timeout_s=WRITE_TIMEOUT_S,
    )
    if result.status != 0:
        raise _deployment_error(transport.name, folder, result)


def send_blob(transport: Transport, put: list[str], blob: Blob, on_progress: OnProgress | None) -> None:
    """Send a blob with the agent's `put` command, from where an earlier try stopped."""
    channel = transport.start([*put, blob.sha256, str(blob.bytes)])
    try:
        lines = LineReader(channel, transport.name)
        state = _state(transport.name, channel, lines, blob)
        if not state.complete:
            _write_from(transport.name, channel, blob, state.have, on_progress)
            channel.finish_input()
            state = _state(transport.name, channel, lines, blob)
        if not state.complete:
            raise AgentError(f"{transport.name}: took only {state.have} of {blob.bytes} bytes of {blob.name}")
    finally:
        channel.close()


def _write_from(
    device: str, channel: Channel, blob: Blob, offset: int, on_progress: OnProgress | None
) -> None:
    transfer = TransferTime(device, blob.name, blob.bytes - offset)
    with blob.path.open("rb") as file:
        file.seek(offset)
        sent = offset
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            with transfer.spent():
                channel.write(chunk, WRITE_TIMEOUT_S)
            sent += len(chunk)
            if on_progress is not None:
                on_progress(sent, blob.bytes)


def _state(device: str, channel: Channel, lines: LineReader, blob: Blob) -> BlobState:
    line = lines.line(WRITE_TIMEOUT_S)
    if line is None:
        channel.wait(WRITE_TIMEOUT_S)
        raise AgentError(
            f"{device}: the agent ended while it was sent a file: {channel.stderr_tail().strip()}"
        )
    state = message_of_kind(device, BlobState, line)
    if not 0 <= state.have <= blob.bytes:
        raise AgentError(
            f"{device}: the agent says that it has {state.have} of {blob.bytes} bytes of {blob.name}",
            reason="bad_protocol",
        )
    return state


def _deployment_error(device: str, folder: str, result: Completed) -> AgentError | BoardFull:
    words = result.stderr.strip() or f"the shell ended with status {result.status}"
    if "No space left" in words or "quota" in words.lower():
        return BoardFull(
            f"{device}: no space for the agent in {folder}: {words}",
            "free some space on the board, or give another folder as `workspace` in the inventory",
        )
    return AgentError(
        f"{device}: cannot write the agent to {folder}: {words}",
        "give a folder that the user may write to as `workspace` in the inventory",
        reason="workspace_unusable",
    )
