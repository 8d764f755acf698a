"""Result files as they come from a board one after the other, in one stream that may break and go on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from device_agents.protocol import BlobRef
from harness.errors import AgentError, BadResult


class ArrivingFiles:
    """Keeps the bytes of `files` in `folder` as they come; a file has its name there once it is right.

    Raises AgentError: `bad_result` for one that is not as announced, `host_disk` where none can be kept.
    """

    def __init__(self, device: str, job_id: str, files: Sequence[BlobRef], folder: Path) -> None:
        self._device = device
        self._job_id = job_id
        self._files = list(files)
        self._folder = folder
        self._done = 0
        #: Of the file that is coming: where it goes until it is whole, its hash and size so far.
        self._part: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self.offset = 0
        self.received = 0

    def __enter__(self) -> ArrivingFiles:
        """Nothing is opened before something comes."""
        return self

    def __exit__(self, *_: object) -> None:
        """What is not whole is not kept."""
        if self._part is not None:
            self._part.close()
            Path(self._part.name).unlink(missing_ok=True)

    @property
    def lacking(self) -> list[BlobRef]:
        """The files that are not whole yet; of the first, `offset` bytes are here."""
        return self._files[self._done :]

    @property
    def lacking_bytes(self) -> int:
        """What they have to come to yet."""
        return sum(file.bytes for file in self.lacking) - self.offset

    def take(self, data: bytes) -> None:
        """The next bytes of the stream."""
        self.received += len(data)
        while data:
            if not self.lacking:  # the last one is longer than it should be
                (self._folder / self._files[-1].name).unlink(missing_ok=True)
                raise self._damaged(self._files[-1])
            file = self.lacking[0]
            piece, data = data[: file.bytes - self.offset], data[file.bytes - self.offset :]
            self._keep(file, piece)

    def end(self) -> None:
        """The stream has ended, and not by a broken link."""
        while self.lacking and self.lacking[0].bytes == 0:
            self._keep(self.lacking[0], b"")
        if self.lacking:
            raise self._damaged(self.lacking[0])

    def _keep(self, file: BlobRef, piece: bytes) -> None:
        target = self._folder / file.name
        try:
            if self._part is None:
                self._part = target.with_name(f"{target.name}.part").open("wb")
            self._part.write(piece)
            self._digest.update(piece)
            self.offset += len(piece)
            if self.offset < file.bytes:
                return
            self._part.close()
            if self._digest.hexdigest() != file.sha256:
                raise self._damaged(file)
            Path(self._part.name).replace(target)
        except OSError as error:
            raise AgentError(
                f"{self._device}: result {file.name} cannot be kept on this computer: {error.strerror}",
                f"free space in {self._folder}, or name another folder in TMPDIR",
                "host_disk",
            ) from error
        self._part, self._digest, self.offset = None, hashlib.sha256(), 0
        self._done += 1

    def _damaged(self, file: BlobRef) -> AgentError:
        return BadResult(f"{self._device}: result {file.name} of job {self._job_id} came damaged")
