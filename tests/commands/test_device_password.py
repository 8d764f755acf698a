"""`bench device add` at a terminal: questions, and installing a key with a password, over a real sshd."""

from __future__ import annotations

import os
import select
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import openssh
from tests.openssh import OpenSshServer, generate_key

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make an account with a known password"),
]

_DEADLINE_S = 20.0

_COMMAND = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # as a shell's job control has done: getpass asks on /dev/tty
from harness.commands.device import device_app
from harness.errors import BenchError
try:
    device_app()
except BenchError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def sshd() -> Iterator[OpenSshServer]:
    reason = openssh.missing()
    if reason:
        pytest.skip(reason)
    with OpenSshServer(password_login=True) as server:
        # Only what the account itself holds counts here.
        server.authorized_keys.write_text("")
        yield server


class Terminal:
    """A command at a terminal of its own: wait for a text, type an answer."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.said = ""
        self._ended = False
        self._deadline = time.monotonic() + _DEADLINE_S
        self._terminal, theirs = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        """Read until `text` was said."""
        while text not in self.said:
            assert self._read(), f"it ended without saying {text!r}: {self.said}"

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._terminal, text.encode() + b"\n")

    def end(self) -> int:
        """Read to the end; its exit status."""
        while self._read():
            pass
        os.close(self._terminal)
        self._ended = True
        return self._process.wait()

    def kill(self) -> None:
        """End it if a test left it half-way."""
        if not self._ended:
            self._process.kill()
            self.end()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, self._deadline - time.monotonic()))
        assert ready, f"nothing more was said: {self.said}"
        try:
            data = os.read(self._terminal, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            return False
        self.said += data.decode("utf-8", "replace")
        return bool(data)


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path, sshd: OpenSshServer) -> Iterator[OpenTerminal]:
    """A user without keys and an account without authorized_keys."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    environment = {
        "HOME": str(tmp_path / "home"),
        "EDGEBENCH_CONFIG_DIR": str(tmp_path / "config"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "dumb",
    }
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(environment, *arguments))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.kill()
    (sshd.home / ".ssh" / "authorized_keys").unlink(missing_ok=True)


def _prompt(sshd: OpenSshServer) -> str:
    """All of it: what is typed before its last blank is thrown away when echo is switched off."""
    return f"Password of {sshd.user}@[{sshd.host}]:{sshd.port}: "


def _installed(sshd: OpenSshServer) -> Path:
    return sshd.home / ".ssh" / "authorized_keys"


def test_a_password_installs_a_new_key_and_is_kept_nowhere(
    sshd: OpenSshServer, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    terminal = open_terminal("add", "nano", sshd.destination)
    terminal.expect("Is that what the board itself says")
    assert sshd.fingerprint() in terminal.said
    terminal.answer("y")
    terminal.expect(_prompt(sshd))
    terminal.answer(sshd.password)
    terminal.expect("Added nano")
    assert terminal.end() == 0

    assert sshd.password not in terminal.said
    kept = [path for path in (tmp_path / "config").rglob("*") if path.is_file()]
    assert sorted(path.name for path in kept) == [
        "devices.known_hosts",
        "devices.toml",
        "id_ed25519",
        "id_ed25519.pub",
    ]
    assert all(sshd.password not in path.read_text() for path in kept)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    assert _installed(sshd).read_text() == (tmp_path / "config" / "id_ed25519.pub").read_text()
    assert stat.S_IMODE(_installed(sshd).stat().st_mode) == 0o600
    assert stat.S_IMODE(_installed(sshd).parent.stat().st_mode) == 0o700

    # The key of edgebench's own is found again for the next board, and no password is asked for.
    again = open_terminal("add", "nano-02", sshd.destination, "--host-key", sshd.fingerprint())
    assert again.end() == 0
    assert "Password" not in again.said


def test_a_default_key_is_installed_once_beside_what_is_there(
    sshd: OpenSshServer, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    key = tmp_path / "home" / ".ssh" / "id_ed25519"
    generate_key(key)
    _installed(sshd).parent.mkdir(exist_ok=True)
    _installed(sshd).write_text("# a line without an end")
    openssh.give_to_account(sshd, _installed(sshd).parent)
    terminal = open_terminal("add", "nano", sshd.destination, "--yes")
    terminal.expect(_prompt(sshd))
    terminal.answer(sshd.password)
    assert terminal.end() == 0
    first, second = _installed(sshd).read_text().splitlines()
    assert first == "# a line without an end"
    assert second.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    assert not (tmp_path / "config" / "id_ed25519").exists()


def test_a_wrong_password_is_asked_for_once_and_nothing_is_written(
    sshd: OpenSshServer, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    generate_key(tmp_path / "home" / ".ssh" / "id_ed25519")
    terminal = open_terminal("add", "nano", sshd.destination, "--yes")
    terminal.expect(_prompt(sshd))
    terminal.answer("not-the-password")
    assert terminal.end() != 0
    assert terminal.said.count("Password of") == 1
    assert "did not accept the password" in " ".join(terminal.said.split())
    assert "not-the-password" not in terminal.said
    assert not (tmp_path / "config").exists()
    assert not _installed(sshd).exists()


def test_a_host_key_that_is_not_confirmed_ends_it(
    sshd: OpenSshServer, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    terminal = open_terminal("add", "nano", sshd.destination)
    terminal.expect("Is that what the board itself says")
    terminal.answer("n")
    assert terminal.end() != 0
    assert "Password" not in terminal.said
    assert not (tmp_path / "config").exists()
