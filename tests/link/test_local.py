"""What only `local` promises: process groups, and arguments of any kind."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.link.local import LocalTransport
from harness.link.transport import run_command

pytestmark = pytest.mark.processes

_WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(_WORDS.filter(lambda word: word != "~" and not word.startswith("~/")), max_size=5))
def test_any_argument_survives_the_shell(words: list[str]) -> None:
    done = run_command(LocalTransport(), ["printf", r"%s\0", *words])
    assert done.stdout.decode("utf-8").split("\0")[: len(words)] == words


def test_a_command_is_out_of_reach_of_ctrl_c() -> None:
    done = run_command(LocalTransport(), ["sh", "-c", "ps -o sid= -p $$"])
    assert int(done.stdout) != os.getsid(0)


def test_close_ends_the_whole_group(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    channel = LocalTransport().start(["sh", "-c", f"(sleep 0.4; touch {alive}) & echo up; wait"])
    assert channel.read(10, 5) == b"up\n"
    channel.close()
    time.sleep(0.6)
    assert not alive.exists()


def test_close_ends_what_a_finished_command_left_in_its_group(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    channel = LocalTransport().start(["sh", "-c", f"(sleep 0.4; touch {alive}) & exit 0"])
    assert channel.wait(5) == 0
    channel.close()
    time.sleep(0.6)
    assert not alive.exists()


def test_close_spares_a_job_with_a_session_of_its_own(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    up = tmp_path / "up"
    job = f"setsid sh -c 'touch {up}; sleep 0.2; touch {alive}' > /dev/null 2>&1 &"
    wait = f"while ! [ -e {up} ]; do sleep 0.01; done"
    assert run_command(LocalTransport(), ["sh", "-c", f"{job} {wait}"]).status == 0
    deadline = time.monotonic() + 5
    while not alive.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive.exists()


def test_what_a_command_makes_is_private(tmp_path: Path) -> None:
    run_command(LocalTransport(), ["touch", str(tmp_path / "file")])
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_no_descriptor_or_process_is_left_over() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        run_command(LocalTransport(), ["true"])
    assert len(list(Path("/dev/fd").iterdir())) == before
