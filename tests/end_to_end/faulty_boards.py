"""Virtual boards with a fault each: stand-ins for what goes wrong, put where the real trouble would be.

A board's Python is a wrapper that puts a folder of ours in front of its PYTHONPATH. Its `sitecustomize` makes
the null runtime, in the process that is to be timed, do what the file `fault` says.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
import re
import subprocess
import zipfile
from pathlib import Path

from harness.farm.inventory import known_hosts_beside, load_inventory
from harness.lab.boards.board import Board
from harness.lab.lab import Lab
from harness.lab.machine import cgroups
from harness.link.agent_archive import agent_archive
from harness.link.host_keys import HostKey, pin
from tests.end_to_end.boards import write_board
from tests.end_to_end.workplace import Workplace

HOME = "home/bench"
WORKSPACE = f"{HOME}/.cache/edgebench"

_WRAPPER = """#!/bin/sh
export PYTHONPATH=/home/bench/faulty
if [ -e /home/bench/clock.so ]; then export LD_PRELOAD=/home/bench/clock.so; fi
if [ -e /home/bench/spoil.py ]; then exec {python} /home/bench/spoil.py {python} "$@"; fi
exec {python} "$@"
"""

#: Python 3.6, as everything on a board.
_SITECUSTOMIZE = '''
import builtins, ctypes, fcntl, mmap, os, stat, sys, time

HOME = "/home/bench/"
WORKSPACE = HOME + ".cache/edgebench/"
plain_import = builtins.__import__


def noted(name):
    """Whether the file was there; it is from now on."""
    if os.path.exists(HOME + name):
        return True
    open(HOME + name, "w").close()
    return False


def hangs():
    noted("reached")
    time.sleep(3600)


def hangs_once():
    if not noted("reached"):
        time.sleep(3600)


def waits():
    noted("reached")
    while not os.path.exists(HOME + "go"):
        time.sleep(0.05)


def segfaults():
    ctypes.string_at(0)


def runs_sdot():
    """A dot product, which ARMv8.2 has and a Cortex-A72 has not: sdot v0.4s, v0.16b, v0.16b; ret."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write((0x4E809400).to_bytes(4, "little") + (0xD65F03C0).to_bytes(4, "little"))
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def eats_memory():
    eaten = []
    while True:
        eaten.append(b"x" * (8 << 20))


def babbles():
    libc = ctypes.CDLL(None)
    line = b"\\xff\\xfe \\x1b[2J <script>alert(1)</script>\\n" * 100000
    for _ in range(2):
        libc.write(1, line, len(line))
    print("and Python", flush=True)


def writes_to_channel():
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY:
                os.write(fd, b"\\xff\\xfe\\n")
        except OSError:
            continue


def fills_disk():
    """And puts nothing of it back."""
    size = 1 << 20
    with open(WORKSPACE + "filler", "ab", buffering=0) as filler:
        while size:
            try:
                filler.write(b"x" * size)
            except OSError:
                size //= 2


def fills_disk_and_hangs():
    """So that the journal is what finds no room."""
    fills_disk()
    time.sleep(3600)


def clock_jumps():
    """A month ahead in the first repetition, two months back in the second."""
    with open(HOME + "clock_offset", "w") as file:
        file.write(str(-30 * 86400 if noted("reached") else 30 * 86400))


FAULTS = {
    "none": lambda: None, "hangs": hangs, "hangs once": hangs_once, "waits": waits, "segfaults": segfaults,
    "runs sdot": runs_sdot, "eats memory": eats_memory, "babbles": babbles, "garbage": writes_to_channel,
    "fills disk": fills_disk, "fills disk and hangs": fills_disk_and_hangs,
    "clock jumps": clock_jumps,
}


def spoil(null):
    load = null.NullRuntime.load

    def spoiled(self, request):
        with open(HOME + "fault") as file:
            FAULTS[file.read()]()
        return load(self, request)

    null.NullRuntime.load = spoiled


def watching_import(name, *arguments, **named):
    module = plain_import(name, *arguments, **named)
    null = sys.modules.get("device_agents.runtimes.null")
    if null is not None and hasattr(null, "NullRuntime"):
        builtins.__import__ = plain_import
        spoil(null)
    return module


builtins.__import__ = watching_import
'''

#: Runs the real agent and spoils the journal that it tells, as the file `spoiled` says.
_SPOIL = """
import subprocess, sys

how = open("/home/bench/spoiled").read()
real = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
said, _ = real.communicate()
if "follow" in sys.argv and how == "disorder":
    said = b"".join(reversed(said.splitlines(True)))
if "follow" in sys.argv and how == "gigabyte":
    for _ in range(1 << 14):
        sys.stdout.buffer.write(b"x" * 65536)
if "follow" in sys.argv and how == "paths":
    said = said.replace(b'"name":"samples-0.i64"', b'"name":"../../x"')
sys.stdout.buffer.write(said)
sys.stdout.flush()
sys.exit(real.returncode)
"""

#: The wall clock of whoever loads it, moved by the seconds that a file says.
_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) {
    const char *path = getenv("CLOCK_OFFSET");
    FILE *file = fopen(path ? path : "/home/bench/clock_offset", "r");
    long seconds = 0;
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (!status && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return status;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


def clock_library(folder: Path) -> Path:
    """The library that moves a process's wall clock; needs gcc."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class FaultyBoard:
    """A virtual board and what a test does to it."""

    def __init__(self, lab: Lab, board: Board) -> None:
        self.lab = lab
        self.board = board
        self.entry = load_inventory(lab.inventory.path).devices[board.name]

    # --- its files

    @property
    def root(self) -> Path:
        """Its root directory, as its own processes see it."""
        for pid in cgroups.processes(self.board.group):
            if os.readlink(f"/proc/{pid}/root").endswith("/root"):  # noqa: PTH115 - it is in another namespace
                return Path(f"/proc/{pid}/root")
        raise AssertionError(f"{self.board.name} has no process")

    def put(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """A file of the board's user, there now and after each restart."""
        now = [self.root] if self.board.is_running else []
        for root in (*now, self.board.folder / "files"):
            target = root / path
            self._make_folder(target.parent)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            target.chmod(mode)
            os.chown(target, *self._owner)

    def has(self, path: str) -> bool:
        """Whether there is such a file in the user's home."""
        return (self.root / HOME / path).exists()

    def fault(self, name: str) -> None:
        """What its runtime does from now on."""
        self.put(f"{HOME}/fault", name)

    def prepare(self, fault: str = "none", *, spoiled: str | None = None) -> None:
        """The wrapper around its Python, and the fault of its runtime or of its agent."""
        wrapper = _WRAPPER.format(python=self.entry.python or "python3")
        self.put(f"{HOME}/python", wrapper, mode=0o755)
        self.put(f"{HOME}/faulty/sitecustomize.py", _SITECUSTOMIZE)
        self.fault(fault)
        if spoiled is not None:
            self.put(f"{HOME}/spoil.py", _SPOIL)
            self.put(f"{HOME}/spoiled", spoiled)

    def put_agent(self, protocol: int) -> None:
        """An agent under the name of ours that speaks another version of the protocol."""
        ours, changed = zipfile.ZipFile(io.BytesIO(agent_archive().content)), io.BytesIO()
        with zipfile.ZipFile(changed, "w") as theirs:
            for name in ours.namelist():
                content = ours.read(name)
                if name.startswith("device_agents/protocol"):
                    content = re.sub(
                        rb"(?m)^PROTOCOL_VERSION = \d+", b"PROTOCOL_VERSION = %d" % protocol, content
                    )
                theirs.writestr(name, content)
        self.put(f"{WORKSPACE}/agents/{agent_archive().file_name}", changed.getvalue())

    def small_disk(self, size: str) -> None:
        """A file system of its own, of that size, for the agent's folder."""
        self._make_folder(self.root / WORKSPACE)
        pid = self.root.parent.name
        # The path as the board's mount namespace has it: that of this machine, below the board's folder.
        place = str(self.board.folder / "root" / WORKSPACE)
        uid, gid = self._owner
        options = f"size={size},mode=0700,uid={uid},gid={gid}"
        enter = ["nsenter", "-t", pid, f"--mount=/proc/{pid}/ns/mnt"]
        subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", options, "small", place], check=True)

    def new_host_key(self) -> None:
        """As if its card had been written anew."""
        key = self.board.host_key.with_suffix("")
        for path in (key, self.board.host_key):
            path.unlink()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    # --- its life

    def limit_memory(self, size: int) -> None:
        """As if it had so many bytes of memory."""
        cgroups._limit(self.board.group, size)

    def agents(self) -> list[str]:
        """Command lines of the agent's processes there."""
        found = []
        for pid in cgroups.processes(self.board.group):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            except OSError:
                continue
            if {"supervise", "worker", "follow", "build", "guard", "prove", "get"} & set(words):
                found.append(" ".join(words))
        return found

    def is_free(self) -> bool:
        """Whether nobody holds the board's lock."""
        lock = self.root / WORKSPACE / "lock"
        if not lock.exists():
            return True
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def enrol(self, workplace: Workplace, name: str) -> None:
        """Make it a board of that workplace, its host key pinned as it is now."""
        write_board(
            workplace, name, host=str(self.board.address), user="bench", identity=self.lab.inventory.identity,
            python="/home/bench/python",
        )  # fmt: skip
        kind, key = self.board.host_key.read_text("utf-8").split()[:2]
        known_hosts = known_hosts_beside(workplace.folder / "devices.toml")
        pin(known_hosts, name, [HostKey(kind, base64.b64decode(key))])

    @property
    def _owner(self) -> tuple[int, int]:
        status = (self.board.folder / "files" / HOME).stat()
        return status.st_uid, status.st_gid

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            self._make_folder(folder.parent)
            folder.mkdir(mode=0o755)
            os.chown(folder, *self._owner)
