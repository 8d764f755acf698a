"""Running a board's own commands: found where boards keep them, never waited for long, never an exception."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from device_agents.boards.commands import NOT_FOUND, TIMED_OUT, Commands, Finished

pytestmark = pytest.mark.processes

#: Lets only full paths pass, without asking for a password; what it was called with is kept.
SUDO = r"""
printf "%s\n" "$*" >> "$0.calls"
[ "$1" = -n ] || exit 9
shift
root=${0%/usr/bin/sudo}
[ -x "$root$1" ] || { echo "sudo: $1: command not found" >&2; exit 1; }
command=$root$1
shift
exec "$command" "$@"
"""


def command(root: Path, path: str, script: str, mode: int = 0o755) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n" + script + "\n")
    file.chmod(mode)
    return file


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# --- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["/usr/sbin", "/usr/bin", "/opt/vc/bin", "/usr/src/tensorrt/bin"])
def test_a_command_is_found_where_no_shell_over_ssh_looks(tmp_path: Path, folder: str) -> None:
    command(tmp_path, f"{folder}/nvpmodel", "echo here")
    commands = Commands(str(tmp_path))
    assert commands.path("nvpmodel") == f"{folder}/nvpmodel"
    assert commands.run("nvpmodel") == Finished(0, "here\n", "")


def test_the_administrators_own_comes_before_the_systems(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", "echo system")
    command(tmp_path, "/usr/local/bin/tool", "echo own")
    assert Commands(str(tmp_path)).run("tool").stdout == "own\n"


def test_a_command_of_the_machine_is_none_of_the_tree(tmp_path: Path) -> None:
    said = Commands(str(tmp_path)).run("sh", "-c", "exit 0")
    assert said == Finished(NOT_FOUND, "", "sh: not found on this board")


def test_a_file_that_nobody_may_run_is_no_command(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", "echo no", mode=0o644)
    assert Commands(str(tmp_path)).path("tool") is None


# --- running --------------------------------------------------------------------------------------


def test_it_gets_its_words_as_they_are_and_its_input(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", 'printf "%s|" "$@"; cat')
    said = Commands(str(tmp_path)).run("tool", "a b", "$HOME; exit 3", stdin="typed é")
    assert said.stdout == "a b|$HOME; exit 3|typed é"


def test_a_status_other_than_0_comes_back_with_its_first_words(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", 'echo out; echo >&2; echo "  NVPM ERROR: no" >&2; exit 7')
    said = Commands(str(tmp_path)).run("tool")
    assert (said.status, said.reason) == (7, "NVPM ERROR: no")


def test_a_silent_failure_is_named_by_its_status() -> None:
    assert Finished(7, " \n", "").reason == "status 7"


def test_it_speaks_english_whatever_the_user_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    command(tmp_path, "/usr/bin/tool", 'echo "$LC_ALL $LANG"')
    assert Commands(str(tmp_path)).run("tool").stdout == "C C\n"


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", r"printf 'a\377b'")
    assert Commands(str(tmp_path)).run("tool").stdout == "a\ufffdb"


def test_a_file_that_is_no_program_is_a_failure_and_no_exception(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", "").write_bytes(b"\x7fELF of another machine")
    said = Commands(str(tmp_path)).run("tool")
    assert said.status == 126
    assert "Exec format error" in said.reason


def test_input_that_nobody_reads_is_no_exception(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", "exec <&-; echo done")
    said = Commands(str(tmp_path)).run("tool", stdin="x" * (1 << 20))
    assert said == Finished(0, "done\n", "")


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", f'sleep 60 & echo $! > "{tmp_path}/child"; wait')
    began = time.monotonic()
    said = Commands(str(tmp_path)).run("tool", timeout_s=0.3)
    assert said == Finished(TIMED_OUT, "", "tool: no answer within 0.3 s")
    assert time.monotonic() - began < 5
    assert is_gone(int((tmp_path / "child").read_text()))


# --- as root --------------------------------------------------------------------------------------


def test_in_a_tree_nobody_is_root_but_by_the_trees_sudo(tmp_path: Path) -> None:
    command(tmp_path, "/usr/sbin/nvpmodel", 'echo "set $2"')
    commands = Commands(str(tmp_path))
    assert not commands.is_root
    assert commands.run_as_root("nvpmodel", "-m", "0").reason == "sudo: not found on this board"
    sudo = command(tmp_path, "/usr/bin/sudo", SUDO)
    assert commands.run_as_root("nvpmodel", "-m", "0") == Finished(0, "set 0\n", "")
    # A narrow sudoers file names full paths, and nobody is there to type a password.
    assert sudo.with_name("sudo.calls").read_text() == "-n /usr/sbin/nvpmodel -m 0\n"


def test_sudo_that_refuses_is_a_failure_in_its_words(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/tool", "echo never")
    command(tmp_path, "/usr/bin/sudo", 'echo "sudo: a password is required" >&2; exit 1')
    said = Commands(str(tmp_path)).run_as_root("tool")
    assert (said.status, said.reason) == (1, "sudo: a password is required")


def test_a_command_that_is_not_there_is_not_asked_of_sudo(tmp_path: Path) -> None:
    sudo = command(tmp_path, "/usr/bin/sudo", SUDO)
    assert Commands(str(tmp_path)).run_as_root("tool").status == NOT_FOUND
    assert not sudo.with_name("sudo.calls").exists()


def test_a_file_of_a_tree_is_written_by_tee(tmp_path: Path) -> None:
    command(tmp_path, "/usr/bin/sudo", SUDO)
    command(tmp_path, "/usr/bin/tee", 'cat > "${0%/usr/bin/tee}$1"')
    (tmp_path / "sys").mkdir()
    assert Commands(str(tmp_path)).write_as_root("/sys/governor", "performance").status == 0
    assert (tmp_path / "sys/governor").read_text() == "performance"


def test_a_file_of_this_machine_that_may_be_written_is(tmp_path: Path) -> None:
    assert Commands().write_as_root(str(tmp_path / "governor"), "performance") == Finished(0, "", "")
    assert (tmp_path / "governor").read_text() == "performance"


def test_a_file_that_cannot_be_is_a_failure_that_names_it(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere/governor")
    said = Commands().write_as_root(path, "performance")
    assert (said.status, said.reason) == (1, f"{path}: No such file or directory")


def test_the_machines_own_root_needs_no_sudo() -> None:
    assert Commands().is_root == (os.geteuid() == 0)


# --- commands that hang ---------------------------------------------------------------------------


@pytest.mark.processes
def test_a_daemon_that_a_hung_command_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    hanging = tmp_path / "usr" / "bin" / "nvpmodel"
    hanging.parent.mkdir(parents=True)
    hanging.write_text("#!/bin/sh\nsetsid sleep 20 &\nsleep 20\n")
    hanging.chmod(0o755)
    began = time.monotonic()
    finished = Commands(str(tmp_path)).run("nvpmodel", timeout_s=0.2)
    assert (finished.status, finished.stderr) == (124, "nvpmodel: no answer within 0.2 s")
    assert time.monotonic() - began < 5
