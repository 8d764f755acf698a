"""NVIDIA Jetsons, from the Nano to Thor: what they are and how they are doing.

Files come first: they cost little and need no process. tegrastats, which runs while a job does, fills in what
they do not say to an ordinary user, such as the memory clock.
"""

import re
from typing import Dict, List, Optional

from device_agents.boards import jetpack, nvpmodel, power_rails
from device_agents.boards.board import Board, BoardFacts, BoardSample
from device_agents.boards.device_tree import compatible
from device_agents.boards.generic_linux import linux_sample
from device_agents.boards.host import Host
from device_agents.boards.jetson_gpu import JetsonGpu, nvidia_smi_load, nvmap_bytes, nvmap_readable
from device_agents.boards.linux_files import LinuxFiles
from device_agents.boards.tegrastats import TegraStats, TegraStatsProcess

#: Zones that are no temperature of this board: PMIC-Die is a constant, thermal-fan-est an average with a
#: delay, iwlwifi that of a plugged-in card.
_NO_TEMPERATURE = ("PMIC-Die", "thermal-fan-est", "iwlwifi")
_GPU_ZONES = ("gpu-therm", "gpu-thermal")

#: What a gated or broken sensor says lies outside.
_COLDEST_C, _HOTTEST_C = -40.0, 150.0

#: Cooling devices that mean lower clocks when active; the fan and `hot-surface-alert` do not.
_THROTTLES = ("cpufreq", "devfreq", "throttle", "balanced")

_FAN_PROFILE = re.compile(r"^\s*FAN_DEFAULT_PROFILE\s+(\S+)", re.MULTILINE)

#: The memory's clock in Hz: everybody's on Thor, root's alone elsewhere (Xavier and Orin, TX2; Nano).
_MEMORY_CLOCKS = (
    "/sys/class/devfreq/bwmgr/cur_freq",
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "/sys/kernel/debug/clk/override.emc/clk_rate",
)


class Jetson(Board):
    """A Jetson of any generation."""

    family = "jetson"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._gpu = JetsonGpu(host.files)
        self._rails = power_rails.PowerRails(host.files)
        self._tegrastats = TegraStatsProcess(host)
        self._is_thor = "nvidia,tegra264" in compatible(host.files)

    def facts(self) -> BoardFacts:
        """Software, chip and settings; reads dpkg's list, some 10 ms on the slowest board."""
        files = self.host.files
        told = jetpack.details(files, compatible(files))
        settings = {"fan_mode": fan_mode(files), "zram": zram(files), "jetson_clocks": self._clocks()}
        told.update({name: text for name, text in settings.items() if text is not None})
        return BoardFacts(nvpmodel.current_mode(self.host), told, self._unreadable())

    def sample(self, thorough: bool) -> BoardSample:
        """A hundred small files or more; with `thorough` also nvpmodel's mode and, on Thor, nvidia-smi.

        1 ms of a PC's processor for the stand-in Nano's files, 2 ms for those of Thor's 14 cores.
        """
        files, told = self.host.files, self._tegrastats.newest()
        temperatures = zones(files)
        rails_w = self._rails_w(told)
        power_w, power_rail = power_rails.total(rails_w)
        plain = linux_sample(files)
        return plain._replace(
            temperature_c=_first(_hottest(temperatures), _hottest(_told_temperatures(told))),
            cpu_mhz=_first(plain.cpu_mhz, max((c.mhz for c in told.cores if c and c.mhz), default=None)),
            throttled=throttled(files),
            throttle_count=over_currents(files),
            power_w=power_w,
            power_rail=power_rail,
            rails_w=rails_w,
            gpu_temperature_c=_first(_of_gpu(temperatures), _of_gpu(_told_temperatures(told))),
            gpu_mhz=_first(self._gpu.clock().mhz, max(told.gpu_mhz, default=None)),
            gpu_load=_first(self._gpu.load(), told.gpu_load, self._thor_load(thorough)),
            memory_mhz=_first(memory_mhz(files), told.emc.mhz if told.emc else None),
            power_mode=nvpmodel.current_mode(self.host) if thorough else None,
            fan_rpm=fan_rpm(files),
        )

    def gpu_bytes(self, pid: int) -> Optional[int]:
        """All of the process that lies in nvmap, the CUDA context included; needs root or its sudo line."""
        return nvmap_bytes(self.host, pid)

    def start(self) -> None:
        """Start tegrastats, where there is one."""
        self._tegrastats.start()

    def stop(self) -> None:
        """Stop it."""
        self._tegrastats.stop()

    def _rails_w(self, told: TegraStats) -> Dict[str, float]:
        """By the monitors' files; tegrastats knows the same rails and adds those that have none."""
        rails_w = {
            name: rail.now_mw / 1e3 for name, rail in told.rails.items() if name.partition(" ")[0] != "NC"
        }
        rails_w.update(self._rails.watts())
        return rails_w

    def _thor_load(self, thorough: bool) -> Optional[float]:
        return nvidia_smi_load(self.host) if self._is_thor and thorough else None

    def _clocks(self) -> Optional[str]:
        """Whether jetson_clocks was run, by what it does: lowest and highest clock are the same."""
        gpu = self._gpu.clock()
        cpu_locked = _cores_locked(self.host.files)
        gpu_locked = None if gpu.min_mhz is None or gpu.max_mhz is None else gpu.min_mhz == gpu.max_mhz
        known = [locked for locked in (cpu_locked, gpu_locked) if locked is not None]
        if not known:
            return None
        if all(known):
            return "locked"
        return "CPU locked" if cpu_locked else "GPU locked" if gpu_locked else "not locked"

    def _unreadable(self) -> List[str]:
        """What this user cannot have, and why."""
        reason = "not in this kernel" if self.host.commands.is_root else "its file needs root"
        missing = []
        if memory_mhz(self.host.files) is None:
            missing.append("memory clock (EMC): {}".format(reason))
        if not nvmap_readable(self.host):
            why = "no nvidia-smi" if self._is_thor else reason
            missing.append("GPU memory by process: {}".format(why))
        if not self._rails.watts():
            missing.append("power rails: no INA monitor in /sys")
        if self._gpu.load() is None and not self._is_thor:
            missing.append("GPU load: no load file in /sys")
        if self.host.commands.path("tegrastats") is None:
            missing.append("tegrastats: not on this board")
        return missing


def zones(files: LinuxFiles) -> Dict[str, float]:
    """Degrees by thermal zone. A gated unit's zone, which cannot be read, is not in it."""
    found: Dict[str, float] = {}
    for zone in files.matches("/sys/class/thermal/thermal_zone*"):
        kind, millidegrees = files.text(zone + "/type"), files.integer(zone + "/temp")
        if kind is not None and millidegrees is not None:
            found.setdefault(kind, millidegrees / 1000.0)
    return found


def throttled(files: LinuxFiles) -> Optional[bool]:
    """Whether heat holds clocks down now; None where the kernel has no such cooling devices."""
    states = []
    for device in files.matches("/sys/class/thermal/cooling_device*"):
        kind, state = (files.text(device + "/type") or "").lower(), files.integer(device + "/cur_state")
        if state is not None and any(word in kind for word in _THROTTLES):
            states.append(state > 0)
    return any(states) if states else None


def over_currents(files: LinuxFiles) -> Optional[int]:
    """How often since boot too low a voltage or too high a current cut the clocks (Orin and later).

    NVIDIA's developer guide, "Over-current throttling": hwmon soctherm_oc. Channels that do not throttle
    are left out.
    """
    counts = []
    for monitor in _hwmon(files, "soctherm_oc"):
        for path in files.matches(monitor + "/oc[0-9]*_event_cnt"):
            count = files.integer(path)
            if count is not None and files.integer(path.replace("_event_cnt", "_throt_en")) != 0:
                counts.append(count)
    return sum(counts) if counts else None


def memory_mhz(files: LinuxFiles) -> Optional[float]:
    """The memory controller's clock (EMC), where this user may see it."""
    hertz = _first(*(files.integer(path) for path in _MEMORY_CLOCKS))
    return None if hertz is None else hertz / 1e6


def fan_rpm(files: LinuxFiles) -> Optional[float]:
    """By the fan's tachometer: hwmon since JetPack 5; before, only where its counting is switched on."""
    for monitor in files.matches("/sys/class/hwmon/hwmon*"):
        for name in ("/fan1_input", "/rpm"):
            rpm = files.integer(monitor + name)
            if rpm is not None:
                return float(rpm)
    if files.integer("/sys/devices/pwm-fan/tach_enable") == 1:
        rpm = files.integer("/sys/devices/pwm-fan/rpm_measured")
        return None if rpm is None else float(rpm)
    return None


def fan_mode(files: LinuxFiles) -> Optional[str]:
    """The fan's profile, as in "quiet"; JetPack 4 may also have it at a fixed speed."""
    fixed = files.integer("/sys/devices/pwm-fan/temp_control")
    if fixed == 0:
        return "fixed at PWM {} of 255".format(files.integer("/sys/devices/pwm-fan/target_pwm"))
    for word in (files.text(nvpmodel.STATUS) or "").split():
        name, _, mode = word.partition(":")
        if name == "fmode" and mode:
            return mode[len("fan_mode_") :] if mode.startswith("fan_mode_") else mode
    profile = _FAN_PROFILE.search(files.text("/etc/nvfancontrol.conf") or "")
    return profile.group(1) if profile else "by temperature" if fixed == 1 else None


def zram(files: LinuxFiles) -> Optional[str]:
    """Swap that is compressed memory: it hides how much a model needs."""
    sizes = []
    for line in (files.text("/proc/swaps") or "").splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].startswith("/dev/zram") and words[2].isdecimal():
            sizes.append(int(words[2]))
    return "{} MiB in {} devices".format(sum(sizes) // 1024, len(sizes)) if sizes else None


def _cores_locked(files: LinuxFiles) -> Optional[bool]:
    pairs = []
    for policy in files.matches("/sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        lowest = files.integer(policy + "/scaling_min_freq")
        highest = files.integer(policy + "/scaling_max_freq")
        if lowest is not None and highest is not None:
            pairs.append((lowest, highest))
    return all(lowest == highest for lowest, highest in pairs) if pairs else None


def _told_temperatures(told: TegraStats) -> Dict[str, float]:
    return {name: temperature.now_c for name, temperature in told.temperatures.items()}


def _hottest(temperatures: Dict[str, float]) -> Optional[float]:
    """Of the zones that are the board's; tegrastats calls PMIC-Die PMIC and thermal-fan-est thermal."""
    sensible = [
        degrees
        for zone, degrees in temperatures.items()
        if not zone.startswith(_NO_TEMPERATURE) and zone not in ("PMIC", "thermal")
        if _COLDEST_C < degrees < _HOTTEST_C
    ]
    return max(sensible, default=None)


def _of_gpu(temperatures: Dict[str, float]) -> Optional[float]:
    for zone, degrees in temperatures.items():
        if zone.lower() in _GPU_ZONES + ("gpu",) and _COLDEST_C < degrees < _HOTTEST_C:
            return degrees
    return None


def _hwmon(files: LinuxFiles, name: str) -> List[str]:
    return [path for path in files.matches("/sys/class/hwmon/hwmon*") if files.text(path + "/name") == name]


def _first(*values: Optional[float]) -> Optional[float]:
    """The first that is known; zero is."""
    return next((value for value in values if value is not None), None)
