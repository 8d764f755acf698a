"""The stand-in commands once more, in this process: for the many runs that kill an agent line by line.

test_fakes.py holds them against the shell's on the same board.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from device_agents.boards import nvpmodel
from device_agents.boards.commands import NOT_FOUND, TIMEOUT_S, Finished
from device_agents.boards.host import Host
from device_agents.boards.linux_files import LinuxFiles
from device_agents.performance.root_commands import RootCommands
from tests.device_agents.performance.boards import EMC, GPU, STATUS

_CPUS = "/sys/devices/system/cpu"


def fake_host(root: Path, workspace: Path) -> Host:
    """The board at `root` with these commands."""
    return Host(LinuxFiles(str(root)), FakeRoot(str(root), str(workspace / "performance.running")))


class FakeRoot(RootCommands):
    """sudo, tee, rm, nvpmodel and jetson_clocks on the small boards of boards.py."""

    def __init__(self, root: str, lock_file: str) -> None:
        super().__init__(root, lock_file)
        #: What root was asked to do.
        self.asked: list[str] = []
        #: Commands that sudo refuses, by the beginning of their line.
        self.refuses: tuple[str, ...] = ()
        #: Commands that do nothing and say so to nobody.
        self.idle: tuple[str, ...] = ()

    def run(
        self, name: str, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> Finished:
        if self.path(name) is None:
            return Finished(NOT_FOUND, "", f"{name}: not found on this board")
        if name == "sudo":
            return self._as_root(Path(arguments[1]).name, list(arguments[2:]), stdin or "")
        assert (name, arguments) == ("nvpmodel", ("-q",))
        if not self._path(STATUS).exists():
            return Finished(255, "", "NVPM ERROR: no power mode")
        number = nvpmodel.parse_status(self._get(STATUS))
        modes = {mode.id: mode for mode in nvpmodel.modes(LinuxFiles(self.root))}
        return Finished(0, f"NV Power Mode: {modes[number].name}\n{number}\n", "")

    def _as_root(self, name: str, arguments: list[str], stdin: str) -> Finished:
        actions: dict[tuple[str, str], Any] = {
            ("tee", ""): lambda: self._put(arguments[0], stdin),
            ("rm", "-f"): lambda: self._path(arguments[1]).unlink(missing_ok=True),
            ("nvpmodel", "-m"): lambda: self._nvpmodel(int(arguments[1])),
            ("jetson_clocks", "--store"): lambda: self._store(arguments[1]),
            ("jetson_clocks", "--restore"): lambda: self._restore(arguments[1]),
            ("jetson_clocks", ""): self._lock,
        }
        line = " ".join([name, *arguments])
        self.asked.append(line)
        if self.refuses and line.startswith(self.refuses):
            return Finished(1, "", "sudo: a password is required")
        if self.idle and line.startswith(self.idle):
            return Finished(0, "", "")
        option = arguments[0] if arguments and arguments[0].startswith("-") else ""
        try:
            actions[name, option]()
        except OSError as error:
            return Finished(1, "", str(error))
        return Finished(0, "", "")

    # --- nvpmodel ---------------------------------------------------------------------------------

    def _nvpmodel(self, number: int) -> None:
        modes = {mode.id: mode for mode in nvpmodel.modes(LinuxFiles(self.root))}
        hardware = {"CPU_A": (0, 2035200), "CPU_B": (2, 2035200)}
        for key, text in modes[number].settings.items():
            parameter, argument = key.split()
            if parameter == "CPU_ONLINE":
                self._put(f"{_CPUS}/cpu{argument[-1]}/online", text)
            elif parameter in hardware:
                policy, most = hardware[parameter]
                value = most if text == "-1" else int(text)
                self._put(f"{_CPUS}/cpufreq/policy{policy}/scaling_{argument.lower()}", str(value))
            elif parameter == "GPU":
                value = {"-1": 1300500000, "0": 114750000}.get(text) or int(text)
                self._put(f"{GPU}/{argument.lower()}", str(value))
            elif parameter == "EMC":
                self._put("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", text)
        self._put(STATUS, f"pmode:{number:04d} fmode:fan_mode_quiet")

    # --- jetson_clocks ----------------------------------------------------------------------------

    def _moved(self) -> list[str]:
        """What it notes, in its order."""
        cpus = range(4)
        return [
            *(f"{_CPUS}/cpu{cpu}/online" for cpu in cpus if cpu > 0),
            *(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_min_freq" for cpu in cpus),
            *(f"{_CPUS}/cpu{cpu}/cpuidle/state1/disable" for cpu in cpus),
            f"{GPU}/min_freq",
            f"{GPU}/device/railgate_enable",
            f"{EMC}/mrq_rate_locked",
        ]

    def _store(self, path: str) -> None:
        if self._path(path).exists():
            raise FileExistsError(f"Error: file {path} already exists!")
        for noted in self._moved():
            with self._path(path).open("a") as file:
                file.write(f"{noted}:{self._get(noted)}\n")

    def _lock(self) -> None:
        for policy in (0, 2):
            folder = f"{_CPUS}/cpufreq/policy{policy}"
            self._put(f"{folder}/scaling_min_freq", self._get(f"{folder}/scaling_max_freq"))
        for cpu in range(4):
            self._put(f"{_CPUS}/cpu{cpu}/cpuidle/state1/disable", "1")
        self._put(f"{GPU}/device/railgate_enable", "0")
        self._put(f"{GPU}/min_freq", self._get(f"{GPU}/max_freq"))
        self._put(f"{EMC}/mrq_rate_locked", "1")
        self._put(f"{EMC}/rate", self._get(f"{EMC}/max_rate"))

    def _restore(self, path: str) -> None:
        for line in self._get(path).splitlines():
            noted, _, value = line.partition(":")
            with contextlib.suppress(OSError):
                self._put(noted, value)
        self._put(f"{EMC}/rate", "204000000")

    # --- files ------------------------------------------------------------------------------------

    def _path(self, path: str) -> Path:
        return Path(self.root) / path.lstrip("/")

    def _get(self, path: str) -> str:
        return self._path(path).read_text().strip()

    def _put(self, path: str, value: str) -> None:
        """As the kernel: no upper limit below the lower one, no lower one above the upper."""
        if path.endswith("max_freq") and int(value) < int(self._get(path.replace("max_freq", "min_freq"))):
            raise OSError(22, "Invalid argument", path)
        if path.endswith("min_freq") and int(value) > int(self._get(path.replace("min_freq", "max_freq"))):
            raise OSError(22, "Invalid argument", path)
        self._path(path).write_text(value + "\n")
