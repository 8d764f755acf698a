"""Boards written straight into an inventory, broken ones included, and what a command left behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.end_to_end.workplace import Finished, Workplace
from tests.openssh import OpenSshServer


def write_board(workplace: Workplace, name: str, **fields: str | int | Path) -> None:
    """A table of ./devices.toml, whatever it says."""
    lines = [f"[devices.{name}]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    with (workplace.folder / "devices.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")


def write_ssh_board(
    workplace: Workplace, name: str, server: OpenSshServer, **fields: str | int | Path
) -> None:
    """A board that is a server, its host key pinned; `fields` win."""
    address: dict[str, str | int | Path] = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "identity": server.identity,
    }
    write_board(workplace, name, **{**address, **fields})
    with (workplace.folder / "devices.known_hosts").open("a") as file:
        file.write(server.host_key_line(name))


def files_in(folder: Path) -> set[str]:
    """Every file and folder below, by its path from there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


#: Folders in which runs say that they are alive.
STATE = (
    "home/.local",
    "home/.local/state",
    "home/.local/state/edgebench",
    "home/.local/state/edgebench/runs",
)


def refused(workplace: Workplace, *arguments: str | Path) -> str:
    """Run a command that has to be refused as a whole; returns its one message.

    No run is begun and no file is written, except for an empty result database; the state folder is empty.
    """
    before = files_in(workplace.folder)
    done = workplace.bench(*arguments)
    assert done.status == 2, (done.status, done.err, done.out)
    assert done.out == ""
    assert done.err.count("error:") == 1, done.err
    assert files_in(workplace.folder) - before <= {"bench-results", "bench-results/bench.sqlite", *STATE}
    if (workplace.folder / "bench-results" / "bench.sqlite").exists():
        assert workplace.bench("report", "--list").out == ""
    return done.err


def failures(workplace: Workplace, done: Finished, out: str = "out") -> dict[str, dict[str, Any]]:
    """The failure of every failed case by its device; the command has to say that there are some."""
    assert done.status == 3, (done.status, done.err, done.out)
    records = workplace.results(out)["records"]
    return {r["case"]["device"]: r["failure"] for r in records if r["status"] == "failed"}


def only_failure(workplace: Workplace, done: Finished, out: str = "out") -> dict[str, Any]:
    """The failure of a run's one case; it is shown with its remedy."""
    assert done.status == 3, (done.status, done.err, done.out)
    (record,) = workplace.results(out)["records"]
    failure: dict[str, Any] = record["failure"]
    assert failure["message"].splitlines()[0][:100] in done.err
    if failure["remedy"]:
        assert failure["remedy"] in done.err
    return failure


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield listening.getsockname()[1]


@contextmanager
def blackholed_port() -> Iterator[int]:
    """A port whose queue is full, so that the kernel drops what else knocks: like a host that is off."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for knocking in (first, second):
            knocking.setblocking(False)
            knocking.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def _toml(value: str | int | Path) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value))
