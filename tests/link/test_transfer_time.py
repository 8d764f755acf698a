"""A file that is under way: bounded in time, not only in bytes and silences."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from device_agents.protocol import BlobRef
from harness.errors import LinkTimeout
from harness.link import transfer_time
from harness.link.device_session import DeviceSession
from harness.link.transfer_time import TransferTime
from tests.harness.channels import PlayedChannel, PlayedTransport


class Clock:
    """Goes on by a minute each time it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(transfer_time, "time", self)

    def monotonic(self) -> float:
        self.now += 60.0
        return self.now


def test_a_transfer_may_take_five_minutes_and_one_second_for_8_kib(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    waiting = TransferTime("pi", "samples", 61 * 8192)  # 361 s, and each block takes 60
    for _ in range(6):
        with waiting.spent():
            pass
    assert not waiting.is_over
    over = pytest.raises(LinkTimeout, match=r"pi: samples was not complete after 361 s of transfer")
    with over, waiting.spent():
        pass
    assert waiting.is_over


def test_time_between_the_blocks_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    waiting = TransferTime("pi", "samples", 0)
    for _ in range(5):
        clock.now += 3600.0
        with waiting.spent():
            pass
    assert not waiting.is_over


def test_a_result_that_trickles_is_given_up_and_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Clock(monkeypatch)
    transport = PlayedTransport(lambda _command: PlayedChannel([b"x"] * 1000), "pi")
    session = DeviceSession(transport, python="python3", workspace="/w", sleep=_never)
    file = BlobRef(hashlib.sha256(b"x" * 1000).hexdigest(), 1000, "samples-0.i64")
    with pytest.raises(LinkTimeout, match="result of job j was not complete after 300 s"):
        session.fetch("j", [file], tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("samples")] == []


def _never(_seconds: float) -> None:
    raise AssertionError(f"waited at {time.monotonic()} for a link that is not broken")
