"""Two small boards made for these tests, with the stand-in commands of their families.

A Raspberry Pi 4 with its one cpufreq policy, and a Jetson with two clusters and a GPU in a power mode that
is not its best. Somebody has set some limits of the Jetson by hand: they have to come back as well.
"""

from __future__ import annotations

from pathlib import Path

from tests.device_agents.stand_in_commands import lay_commands

BOOT_ID = "/proc/sys/kernel/random/boot_id"
STATUS = "/var/lib/nvpmodel/status"
STORE = "/run/edgebench/clocks.conf"
POLICIES = "/sys/devices/system/cpu/cpufreq"
GPU = "/sys/class/devfreq/17000000.gp10b"
EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"

CONF = """\
# the shape of NVIDIA's file
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
CORE_1 /sys/devices/system/cpu/cpu1/online
CORE_2 /sys/devices/system/cpu/cpu2/online
CORE_3 /sys/devices/system/cpu/cpu3/online

< PARAM TYPE=CLOCK NAME=CPU_A >
FREQ_TABLE /sys/devices/system/cpu/cpu0/cpufreq/scaling_available_frequencies
MAX_FREQ /sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq
MIN_FREQ /sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq

< PARAM TYPE=CLOCK NAME=CPU_B >
MAX_FREQ /sys/devices/system/cpu/cpu2/cpufreq/scaling_max_freq
MIN_FREQ /sys/devices/system/cpu/cpu2/cpufreq/scaling_min_freq

< PARAM TYPE=FILE NAME=TPC_POWER_GATING >
TPC_PG_MASK /sys/devices/gpu.0/tpc_pg_mask

< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ /sys/devices/17000000.gp10b/devfreq/17000000.gp10b/max_freq
MIN_FREQ /sys/devices/17000000.gp10b/devfreq/17000000.gp10b/min_freq

< PARAM TYPE=FILE NAME=EMC >
MAX_FREQ /sys/kernel/nvpmodel_emc_cap/emc_iso_cap

< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_1 1
CPU_ONLINE CORE_2 1
CPU_ONLINE CORE_3 1
TPC_POWER_GATING TPC_PG_MASK 0
CPU_A MIN_FREQ 345600
CPU_A MAX_FREQ -1
CPU_B MIN_FREQ 345600
CPU_B MAX_FREQ -1
GPU MIN_FREQ 0
GPU MAX_FREQ -1
EMC MAX_FREQ 0

< POWER_MODEL ID=1 NAME=MODE_10W >
CPU_ONLINE CORE_1 1
CPU_ONLINE CORE_2 0
CPU_ONLINE CORE_3 0
TPC_POWER_GATING TPC_PG_MASK 0
CPU_A MIN_FREQ 345600
CPU_A MAX_FREQ 1200000
CPU_B MIN_FREQ 345600
CPU_B MAX_FREQ 1200000
GPU MIN_FREQ 0
GPU MAX_FREQ 854000000
EMC MAX_FREQ 1331200000

< POWER_MODEL ID=2 NAME=MODE_5W_GATED >
CPU_ONLINE CORE_1 0
CPU_ONLINE CORE_2 0
CPU_ONLINE CORE_3 0
TPC_POWER_GATING TPC_PG_MASK 1
CPU_A MIN_FREQ 345600
CPU_A MAX_FREQ 1200000
GPU MIN_FREQ 0
GPU MAX_FREQ 114750000

# mandatory section to configure the default power mode
< PM_CONFIG DEFAULT=1 >
"""


def raspberry_pi(folder: Path) -> Path:
    """The Raspberry Pi 4, under `folder`."""
    files = {BOOT_ID: "11111111-1111-1111-1111-111111111111"}
    files.update(_policy(0, range(4), "ondemand", "600000", "1800000", "conservative ondemand performance"))
    return _made(folder, files, "raspberry-pi")


def jetson(folder: Path) -> Path:
    """The Jetson in MODE_10W, under `folder`."""
    files = {
        BOOT_ID: "22222222-2222-2222-2222-222222222222",
        "/etc/nvpmodel/nvpmodel_t186.conf": CONF,
        STATUS: "pmode:0001 fmode:fan_mode_quiet",
        f"{GPU}/available_frequencies": "114750000 854000000 1122000000 1300500000",
        f"{GPU}/min_freq": "114750000",
        f"{GPU}/max_freq": "854000000",
        f"{GPU}/device/railgate_enable": "1",
        f"{EMC}/mrq_rate_locked": "0",
        f"{EMC}/rate": "204000000",
        f"{EMC}/min_rate": "40800000",
        f"{EMC}/max_rate": "1866000000",
        "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap": "1331200000",
        "/sys/devices/gpu.0/tpc_pg_mask": "0",
    }
    for cpu in range(4):
        files[f"/sys/devices/system/cpu/cpu{cpu}/cpuidle/state1/disable"] = "0"
        if cpu > 0:
            files[f"/sys/devices/system/cpu/cpu{cpu}/online"] = "1" if cpu < 2 else "0"
    # By hand: a lower limit above the configuration's, and an upper one below it.
    files.update(_policy(0, range(2), "schedutil", "499200", "1113600", "ondemand performance schedutil"))
    files.update(_policy(2, range(2, 4), "schedutil", "345600", "1200000", "ondemand performance schedutil"))
    root = _made(folder, files, "jetson")
    (root / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel/nvpmodel_t186.conf")
    (root / "run/edgebench").mkdir(parents=True, mode=0o755)
    return root


def _policy(
    number: int, cpus: range, governor: str, minimum: str, maximum: str, offered: str
) -> dict[str, str]:
    """One cpufreq policy; the folders of its cores are links to it, see `_made`."""
    folder = f"{POLICIES}/policy{number}"
    return {
        f"{folder}/scaling_governor": governor,
        f"{folder}/scaling_available_governors": offered,
        f"{folder}/scaling_min_freq": minimum,
        f"{folder}/scaling_max_freq": maximum,
        f"{folder}/cpuinfo_min_freq": "345600" if number or maximum != "1800000" else "600000",
        f"{folder}/cpuinfo_max_freq": "1800000" if maximum == "1800000" else "2035200",
        f"{folder}/related_cpus": " ".join(str(cpu) for cpu in cpus),
    }


def _made(folder: Path, files: dict[str, str], family: str) -> Path:
    root = folder / "board"
    lay_commands(family, root)
    for path, content in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content + "\n")
    for related in (root / POLICIES.lstrip("/")).glob("policy*/related_cpus"):
        for cpu in related.read_text().split():
            core = root / f"sys/devices/system/cpu/cpu{cpu}"
            core.mkdir(exist_ok=True)
            (core / "cpufreq").symlink_to(f"../cpufreq/{related.parent.name}")
    return root


BOARDS = {"raspberry-pi": raspberry_pi, "jetson": jetson}


def snapshot(root: Path) -> dict[str, str]:
    """Every file of the tree but the commands' own notes: what has to be as it was."""
    return {
        str(path.relative_to(root)): path.read_bytes().decode("utf-8", "replace")
        for top in ("etc", "proc", "run", "sys", "var")
        for path in sorted((root / top).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def read(root: Path, path: str) -> str:
    """A file of the tree."""
    return (root / path.lstrip("/")).read_text().strip()


def write(root: Path, path: str, content: str) -> None:
    """Give a file of the tree another content, or make it."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content + "\n")
