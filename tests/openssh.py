"""A private OpenSSH server on loopback: real sshd, own keys, own port, nothing of the system's is touched.

    with OpenSshServer() as server:
        ssh.connect(server.host, server.port, server.user, server.identity)

As root it lets in an ordinary account made for it, otherwise the account that runs the tests.
Needs no pytest, so that benchmarks use it too; `missing()` says why it cannot run here.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
KEY_TYPES = ("ed25519", "ecdsa", "rsa")
ACCOUNT = "bench-e2e"

#: Where Debian, Fedora and macOS put it; it insists on being started by its absolute path.
_SSHD_PLACES = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd")
#: Debian's sshd, started by root, refuses to run without this empty folder.
_PRIVILEGE_SEPARATION_FOLDER = Path("/run/sshd")
_START_TIMEOUT_S = 10.0


def missing() -> str | None:
    """Why no server can be started here, or None."""
    if _sshd() is None:
        return "no OpenSSH server (sshd) is installed"
    if shutil.which("ssh-keygen") is None:
        return "no ssh-keygen is installed"
    return None


@dataclass
class OpenSshServer:
    """One running sshd."""

    #: Let the account in with its password too; only possible as root.
    password_login: bool = False
    #: Whether there is an SFTP subsystem (scp of OpenSSH 9 needs one).
    sftp: bool = False
    #: Further sshd_config lines.
    options: Sequence[str] = ()
    host: str = HOST
    port: int = 0
    user: str = ""
    password: str = ""
    home: Path = Path()
    #: Everything the server needs; goes with it.
    folder: Path = Path()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _account: Account | None = field(default=None, repr=False)

    def __enter__(self) -> OpenSshServer:
        """Make keys and account and start."""
        # Not in pytest's folders, which are 0700: the account has to read authorized_keys.
        self.folder = Path(tempfile.mkdtemp(prefix="edgebench-sshd-"))
        self.folder.chmod(0o755)
        self._account = Account.for_tests()
        self.user, self.home, self.password = self._account.name, self._account.home, self._account.password
        self.authorized_keys.write_text("")
        for name in KEY_TYPES:
            generate_key(self.folder / f"host_{name}", name)
        generate_key(self.identity)
        self.authorize(self.identity)
        self.port = self.port or free_port()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, sessions included, and take the account away."""
        self.stop()
        if self._account:
            self._account.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what it is reached with

    @property
    def identity(self) -> Path:
        """A private key the server accepts."""
        return self.folder / "id_ed25519"

    @property
    def authorized_keys(self) -> Path:
        """The keys the server accepts, one a line; read anew for each login."""
        return self.folder / "authorized_keys"

    @property
    def destination(self) -> str:
        """user@host:port."""
        return f"{self.user}@{self.host}:{self.port}"

    def authorize(self, identity: Path) -> None:
        """Accept that key as well."""
        with self.authorized_keys.open("a") as file:
            file.write(identity.with_name(identity.name + ".pub").read_text())

    def host_key_line(self, name: str, key_type: str = "ed25519") -> str:
        """A known_hosts line for `name`."""
        kind, key = self._public(key_type)[:2]
        return f"{name} {kind} {key}\n"

    def fingerprint(self, key_type: str = "ed25519") -> str:
        """SHA256:... of one of its host keys."""
        public = self.folder / f"host_{key_type}.pub"
        return _output("ssh-keygen", "-lf", str(public)).split()[1]

    def known_hosts(self, name: str | None = None) -> Path:
        """A new known_hosts file with all its keys, under `name` or its address."""
        path = self.folder / f"known_hosts-{secrets.token_hex(4)}"
        address = name or f"[{self.host}]:{self.port}"
        path.write_text("".join(self.host_key_line(address, key_type) for key_type in KEY_TYPES))
        return path

    def ssh_config(self, alias: str, *lines: str) -> str:
        """A Host block for ~/.ssh/config, `lines` added."""
        block = [
            f"Host {alias}",
            f"HostName {self.host}",
            f"Port {self.port}",
            f"User {self.user}",
            f"IdentityFile {self.identity}",
            "IdentitiesOnly yes",
            *lines,
        ]
        return "\n    ".join(block) + "\n"

    # --- what happens to it

    def start(self, *options: str) -> None:
        """Start with `options` (sshd_config lines) on top; returns once it listens."""
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION_FOLDER.mkdir(exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text("\n".join([*options, *self.options, *self._base_options()]) + "\n")
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_sshd()), "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop listening and cut every session."""
        if self._process is None:
            return
        self.cut_sessions()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # A session accepted between the two.
        self._kill_group()
        self._process = None

    def restart(self, *options: str) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start(*options)

    def replace_host_keys(self) -> None:
        """New host keys from the next start on."""
        for name in KEY_TYPES:
            for suffix in ("", ".pub"):
                (self.folder / f"host_{name}{suffix}").unlink()
            generate_key(self.folder / f"host_{name}", name)

    def cut_sessions(self) -> None:
        """Kill the processes of all connections, as a lost network would end them; it listens on."""
        for pid in self.session_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze_sessions(self) -> None:
        """Stop the processes of all connections: the network stays up and nobody answers any more."""
        for pid in self.session_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def session_pids(self) -> list[int]:
        """The sshd processes of connections, two for each with privilege separation."""
        assert self._process is not None
        return [pid for pid in _descendants(self._process.pid) if "sshd" in _command_name(pid)]

    def log(self) -> str:
        """What it said so far."""
        return (self.folder / "sshd.log").read_text("utf-8", "replace")

    def _kill_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _base_options(self) -> list[str]:
        password = "yes" if self.password_login else "no"
        return [
            f"ListenAddress {self.host}:{self.port}",
            *(f"HostKey {self.folder / f'host_{name}'}" for name in KEY_TYPES),
            "PidFile none",
            # The test's folder belongs to whoever runs the tests, not to the account.
            "StrictModes no",
            f"AuthorizedKeysFile {self.authorized_keys} .ssh/authorized_keys",
            f"PasswordAuthentication {password}",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "UseDNS no",
            "MaxStartups 100",
            "LogLevel VERBOSE",
            f"AllowUsers {self.user}",
            *(["Subsystem sftp internal-sftp"] if self.sftp else []),
        ]

    def _public(self, key_type: str) -> list[str]:
        return (self.folder / f"host_{key_type}.pub").read_text().split()


@dataclass
class Account:
    """Whom the server lets in."""

    name: str
    home: Path
    password: str = ""
    created: bool = False

    @classmethod
    def for_tests(cls) -> Account:
        """A new ordinary account as root; else the present one, whose password nobody knows."""
        if os.geteuid() != 0 or shutil.which("useradd") is None:
            name = getpass.getuser()
            return cls(name, Path(pwd.getpwnam(name).pw_dir))
        name = f"{ACCOUNT}-{secrets.token_hex(3)}"
        password = secrets.token_urlsafe(12)
        with _accounts_locked():
            _output("useradd", "--create-home", "--shell", "/bin/bash", name)
            subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
        return cls(name, Path(pwd.getpwnam(name).pw_dir), password, created=True)

    def release(self) -> None:
        """Take a created account away with its home folder and processes."""
        if not self.created:
            return
        uid = pwd.getpwnam(self.name).pw_uid
        deadline = time.monotonic() + 5
        while (pids := _processes_of(uid)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        # By force: an unreaped process counts as a user who is logged in.
        with _accounts_locked():
            subprocess.run(["userdel", "--force", "--remove", self.name], check=True, capture_output=True)


@contextlib.contextmanager
def _accounts_locked() -> Iterator[None]:
    """One at a time: these programs do not wait for each other, and tests run side by side."""
    with (Path(tempfile.gettempdir()) / f"{ACCOUNT}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def generate_key(path: Path, key_type: str = "ed25519", passphrase: str = "") -> None:
    """A key pair at `path` and `path`.pub."""
    bits = {"rsa": ["-b", "2048"]}.get(key_type, [])
    _output(
        "ssh-keygen", "-q", "-t", key_type, *bits, "-N", passphrase, "-C", "edgebench-test", "-f", str(path)
    )


def give_to_account(server: OpenSshServer, folder: Path) -> None:
    """Make a folder that the tests wrote, with all in it, the account's own."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, server.user)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ssh_agent(folder: Path, *identities: Path) -> Iterator[Path]:
    """A running ssh-agent that holds `identities`; yields its socket. `folder` has to have a short path."""
    path = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 5
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for identity in identities:
            environment = os.environ | {"SSH_AUTH_SOCK": str(path)}
            subprocess.run(["ssh-add", "-q", str(identity)], env=environment, check=True, capture_output=True)
        yield path
    finally:
        process.terminate()
        process.wait()


def _sshd() -> str | None:
    return next((place for place in _SSHD_PLACES if os.access(place, os.X_OK)), None)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _descendants(pid: int) -> list[int]:
    """All processes below `pid`, from ps, which macOS has too."""
    children: dict[int, list[int]] = {}
    for line in _output("ps", "-A", "-o", "pid=,ppid=").splitlines():
        child, parent = (int(word) for word in line.split())
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _command_name(pid: int) -> str:
    ps = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()


def _processes_of(uid: int) -> list[int]:
    """Processes of an account, without those that only wait to be reaped by their parent."""
    lines = _output("ps", "-A", "-o", "pid=,uid=,stat=").splitlines()
    rows = (line.split() for line in lines)
    return [int(pid) for pid, owner, state in rows if int(owner) == uid and not state.startswith("Z")]
