"""The whole `bench` command as a user runs it, with folders of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.openssh import OpenSshServer

#: Long enough for a loaded two-core machine; a test that needs it has failed anyway.
TIMEOUT_S = 280

BENCH = Path(sys.executable).with_name("bench")


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    status: int
    out: str
    err: str


class Workplace:
    """A folder to work in, and a home, configuration and cache apart from the user's."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"},
            "HOME": str(self.home),
            "EDGEBENCH_CONFIG_DIR": str(folder / "config"),
            "EDGEBENCH_CACHE_DIR": str(cache),
            "COLUMNS": "200",
        }

    def bench(self, *arguments: str | Path) -> Finished:
        """Run `bench` to its end; a traceback is never right."""
        done = subprocess.run(
            [BENCH, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `bench` and leave it running; its standard error can be read."""
        return subprocess.Popen(
            [BENCH, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # As from a terminal: a shell starts what it runs in the background with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def results(self, out: str = "out") -> dict[str, Any]:
        """results.json of a run that was given `--out`."""
        content: dict[str, Any] = json.loads((self.folder / out / "results.json").read_text())
        return content

    def add_board(self, name: str, server: OpenSshServer, *, python: str | Path = "python3") -> None:
        """Enrol a server as a board, its host key checked."""
        done = self.bench(
            "device", "add", name, server.destination, "--identity", server.identity,
            "--python", python, "--host-key", server.fingerprint(),
        )  # fmt: skip
        assert done.status == 0, done.err


def record_of(results: dict[str, Any], runtime: str, precision: str) -> dict[str, Any]:
    """The one record of that runtime and precision."""
    found = [
        record
        for record in results["records"]
        if (record["case"]["runtime"], record["case"]["precision"]) == (runtime, precision)
    ]
    assert len(found) == 1, found
    record: dict[str, Any] = found[0]
    return record
