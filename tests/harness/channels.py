"""Channels and transports with an agent that only plays back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

#: What a played-back channel gives piece by piece: bytes, or an error that is raised there.
Piece = bytes | Exception


class PlayedChannel:
    """A command whose output is fixed."""

    def __init__(self, pieces: Iterable[Piece], status: int = 0, stderr: str = "") -> None:
        self._pieces: Iterator[Piece] = iter(pieces)
        self._status = status
        self._stderr = stderr
        self._rest = b""
        self.written = b""
        self.closed = False

    def write(self, data: bytes, timeout_s: float) -> None:
        self.written += data

    def finish_input(self) -> None:
        pass

    def read(self, limit: int, timeout_s: float) -> bytes:
        if not self._rest:
            piece = next(self._pieces, b"")
            if isinstance(piece, Exception):
                raise piece
            self._rest = piece
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    def wait(self, timeout_s: float) -> int:
        return self._status

    def stderr_tail(self) -> str:
        return self._stderr

    def close(self) -> None:
        self.closed = True


class PlayedTransport:
    """A board that answers each command as the given function says; keeps what was asked."""

    def __init__(self, answer: Callable[[list[str]], PlayedChannel], name: str = "board") -> None:
        self.name = name
        self._answer = answer
        self.commands: list[list[str]] = []
        self.channels: list[PlayedChannel] = []

    def start(self, command: Sequence[str]) -> PlayedChannel:
        self.commands.append(list(command))
        self.channels.append(self._answer(list(command)))
        return self.channels[-1]

    def close(self) -> None:
        pass
