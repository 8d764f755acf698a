"""Hostile boards over a real OpenSSH server: each fails by its name, the one beside them is measured."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.boards import write_ssh_board
from tests.end_to_end.workplace import Workplace
from tests.openssh import OpenSshServer

pytestmark = pytest.mark.e2e

#: Stands in the place of a board's Python: runs the real agent and spoils what it says.
_SPOILED = """#!/usr/bin/env python3
import subprocess, sys

mode = {mode!r}
verb = next((word for word in sys.argv if word in ("probe", "follow")), "")
real = subprocess.run(["python3", *sys.argv[1:]], stdout=subprocess.PIPE)
said = real.stdout
if said and mode == "endless" and verb == "probe":
    while True:
        sys.stdout.buffer.write(b"x" * 65536)
if said and mode == "gigabyte" and verb == "follow":
    for _ in range(1 << 14):
        sys.stdout.buffer.write(b"x" * 65536)
if mode == "bytes" and verb == "probe":
    said = said and b"\\xff\\xfe\\n"
if mode == "newer" and verb == "probe":
    said = said.replace(b'"protocol":2', b'"protocol":3')
if mode == "path" and verb == "follow":
    said = said.replace(b'"name":"samples-0.i64"', b'"name":"../../x"')
if mode == "repetition" and verb == "follow":
    said = said.replace(b'"repetition":1,', b'"repetition":7,')
sys.stdout.buffer.write(said)
sys.exit(real.returncode)
"""

EXPECTED = {
    "endless": "bad_protocol",
    "gigabyte": "bad_protocol",
    "bytes": "bad_protocol",
    "newer": "protocol_mismatch",
    "path": "bad_result",
    "repetition": "implausible_event",
}


def test_hostile_boards_fail_by_name_and_the_controller_stays_small(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    for mode in EXPECTED:
        script = _script(ssh_server.home / f"spoiled-{mode}", mode)
        write_ssh_board(workplace, mode, ssh_server, python=script, workspace=f"~/hostile/{mode}")
    write_ssh_board(workplace, "good", ssh_server, workspace="~/hostile/good")
    boards = [word for name in (*EXPECTED, "good") for word in ("--device", name)]
    running = workplace.start("run", "--runtime", "null", "--measurement", "quick", "--out", "out", *boards)
    with ThreadPoolExecutor(1) as beside:
        finished = beside.submit(running.communicate)
        peak_kib = _peak_kib(running.pid, finished)
        _, told = finished.result()

    assert running.returncode == 3, told
    assert "Traceback" not in told
    records = {record["case"]["device"]: record for record in workplace.results()["records"]}
    assert (records["good"]["status"], records["good"]["attempts"]) == ("ok", [])
    failures = {name: records[name]["failure"] for name in EXPECTED}
    assert {name: failure["reason"] for name, failure in failures.items()} == EXPECTED
    assert {failure["class"] for failure in failures.values()} == {"infrastructure"}
    assert [name for name, failure in failures.items() if name not in failure["message"]] == []
    assert not (workplace.folder.parent / "x").exists()
    # It was 159 MiB, and 147 MiB with the good board alone: imports, and the report.
    assert 50 * 1024 < peak_kib < 250 * 1024


def _peak_kib(pid: int, until: Future[Any]) -> int:
    """A process's peak memory by its own word: what wait4 tells counts the process it was forked from."""
    peak = 0
    while not until.done():
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0])
        time.sleep(0.02)
    return peak


def _script(path: Path, mode: str) -> Path:
    path.write_text(_SPOILED.format(mode=mode))
    path.chmod(0o755)
    return path
