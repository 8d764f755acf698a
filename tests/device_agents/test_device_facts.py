"""Facts and sensors of recorded boards (tests/captures), and of files that say nothing sensible.

Trees are looked at as they lie there, without their commands; end_to_end/test_board_trees.py has those too.
"""

from __future__ import annotations

import io
import os
import platform
from pathlib import Path

import pytest

from device_agents import device_facts, memory, telemetry
from device_agents.boards import generic_linux, processor
from device_agents.boards.board import Board
from device_agents.boards.host import host_at
from device_agents.boards.linux_files import LinuxFiles
from device_agents.boards.table import this_board
from device_agents.protocol import DeviceFacts, TelemetrySample, decode, encode
from device_agents.telemetry import CpuTimes

CAPTURES = Path(__file__).parents[1] / "captures"


def capture(name: str) -> LinuxFiles:
    return LinuxFiles(str(CAPTURES / name))


def board(files: LinuxFiles) -> Board:
    return this_board(host_at(files.root))


def tree(root: Path, **files: bytes | str | None) -> LinuxFiles:
    """A made-up board: `/` written as `__`; None makes a folder where the file should be."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LinuxFiles(str(root))


def test_every_capture_tells_its_origin() -> None:
    assert all((folder / "README.md").is_file() for folder in CAPTURES.iterdir() if folder.is_dir())


# --- facts ----------------------------------------------------------------------------------------


def test_a_raspberry_pi_4_names_itself() -> None:
    facts = device_facts.collect(board(capture("raspberry-pi-4")))
    assert facts == DeviceFacts(
        board="Raspberry Pi 4 Model B Rev 1.4",
        cpu_model="Cortex-A72",
        cpu_count=4,
        cpu_max_mhz=1800.0,
        cpu_features="fp asimd evtstrm crc32 cpuid",
        machine="aarch64",
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.12.34+rpt-rpi-v8",
        python=platform.python_version(),
        memory_bytes=3884360 * 1024,
        swap_bytes=102396 * 1024,
        governor="ondemand",
        boot_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        hostname="pi4",
        virtualization=None,
        family="raspberry-pi",
        compatible=["raspberrypi,4-model-b", "brcm,bcm2711"],
        details={"isa": "NEON", "revision_code": "c03114"},
        unreadable=[
            "throttling, true clock and power by vcgencmd: vcgencmd is not installed: "
            "sudo apt-get install raspi-utils, or libraspberrypi-bin on Debian 11"
        ],
    )


def test_a_virtual_machine_is_recognised_and_the_rest_is_absent() -> None:
    facts = device_facts.collect(board(capture("x86-vm")))
    assert facts.cpu_model == "AMD EPYC"
    assert facts.virtualization == "virtual machine"
    assert facts.swap_bytes == 0  # it has none and says so
    assert (facts.board, facts.governor, facts.cpu_max_mhz) == (None, None, None)


def test_of_an_empty_root_only_python_knows_anything() -> None:
    facts = device_facts.collect(board(capture("empty")))
    absent = [name for name, value in facts._asdict().items() if value is None]
    known = {
        "cpu_count",
        "machine",
        "kernel",
        "python",
        "hostname",
        "family",
        "compatible",
        "details",
        "unreadable",
    }
    assert set(absent) | known | {"cpu_model", "os"} == set(DeviceFacts._fields)
    assert decode(encode(telemetry.sample(board(capture("empty")), "before"))).phase == "before"


def test_a_pc_is_named_by_its_firmware(tmp_path: Path) -> None:
    dmi = "sys__class__dmi__id__"
    files = tree(tmp_path, **{f"{dmi}sys_vendor": "Dell Inc.\n", f"{dmi}product_name": "XPS\n"})
    assert device_facts.collect(board(files)).board == "Dell Inc. XPS"


def test_a_hypervisor_with_a_name_is_called_by_it(tmp_path: Path) -> None:
    assert device_facts.collect(board(tree(tmp_path, sys__hypervisor__type="xen\n"))).virtualization == "xen"


def test_this_very_machine_says_of_itself_what_python_says() -> None:
    facts = device_facts.collect(this_board(host_at("/")))
    assert (facts.machine, facts.kernel) == (platform.machine(), platform.release())
    assert (facts.hostname, facts.cpu_count) == (platform.node(), os.cpu_count())


def test_a_tree_that_does_not_name_its_machine_is_taken_for_one_like_this(tmp_path: Path) -> None:
    assert device_facts.collect(board(tree(tmp_path))).machine == platform.machine()


@pytest.mark.parametrize(
    ("machine", "arch", "cpuinfo", "found"),
    [
        ("aarch64", "x86_64\n", "CPU part: 0xd08", "emulated (QEMU)"),
        ("armv7l", "x86_64\n", "CPU part: 0xd08", "emulated (QEMU)"),
        ("aarch64", None, "vendor_id: AuthenticAMD\nflags: fpu hypervisor", "emulated (QEMU)"),
        ("aarch64", "aarch64\n", "CPU part: 0xd08", None),
        ("armv7l", "aarch64\n", "CPU part: 0xd08", None),  # 32-bit programs on a 64-bit kernel
        ("aarch64", None, "CPU part: 0xd08", None),
        ("x86_64", "x86_64\n", "vendor_id: AuthenticAMD\nflags: fpu hypervisor", "virtual machine"),
    ],
)
def test_an_arm_system_on_the_kernel_of_a_pc_is_emulated(
    tmp_path: Path, machine: str, arch: str | None, cpuinfo: str, found: str | None
) -> None:
    files = tree(tmp_path, proc__cpuinfo=cpuinfo, **({"proc__sys__kernel__arch": arch} if arch else {}))
    fields = files.table("/proc/cpuinfo")
    assert device_facts._virtualization(files, machine, fields) == found


def test_a_board_of_the_lab_on_the_processor_of_its_host_is_emulated_too(tmp_path: Path) -> None:
    files = tree(tmp_path, **{"etc__edgebench-virtual-board": "nano\n"})
    assert device_facts._virtualization(files, "x86_64", {}) == "emulated (virtual board)"


# --- processors -----------------------------------------------------------------------------------


def cpuinfo(*parts: str, implementer: str = "0x41", more: str = "") -> str:
    return "".join(
        f"processor\t: {at}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n{more}"
        f"CPU implementer\t: {part.split()[0] if ' ' in part else implementer}\n"
        f"CPU part\t: {part.split()[-1]}\n\n"
        for at, part in enumerate(parts)
    )


@pytest.mark.parametrize(
    ("text", "model"),
    {
        cpuinfo("0xd07", "0xd07", "0xd07", "0xd07"): "Cortex-A57",
        cpuinfo("0xd42", "0xd42"): "Cortex-A78AE",
        cpuinfo("0xd83"): "Neoverse-V3AE",
        cpuinfo("0xD0B"): "Cortex-A76",
        cpuinfo("0x4e 0x004", "0x4e 0x004"): "Carmel",
        # TX2, all cores on: Denver is 1 and 2.
        cpuinfo(
            "0xd07", "0x4e 0x003", "0x4e 0x003", "0xd07", "0xd07", "0xd07"
        ): "2x Denver 2 + 4x Cortex-A57",
        cpuinfo("0xd05", "0xd05", "0xd41"): "1x Cortex-A78 + 2x Cortex-A55",
        cpuinfo("0x51 0x802"): "core 0x802 of implementer 0x51",
        cpuinfo("0x004"): "core 0x004 of implementer 0x41",
        "processor : 0\nmodel name : AMD EPYC\n\nprocessor : 1\nmodel name : AMD EPYC\n": "AMD EPYC",
        "processor : 0\nBogoMIPS : 48.00\n": None,
        "Processor : ARMv7 rev 10\nmodel name : i.MX6\n": "i.MX6",
        "processor\nprocessor : x\n\xff : \xfe\n": None,
    }.items(),
)
def test_the_processor_by_the_names_of_its_cores(tmp_path: Path, text: str, model: str | None) -> None:
    assert processor.model(tree(tmp_path, proc__cpuinfo=text)) == model


@pytest.mark.parametrize(
    ("features", "extensions"),
    [
        ("fp asimd evtstrm crc32 cpuid", ["NEON"]),
        (
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp",
            ["NEON", "LSE atomics", "fp16 arithmetic", "int8 dot product"],
        ),
        ("half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32", ["NEON"]),
        ("fpu avx avx2 avx512f avx512_vnni", ["AVX2", "AVX-512", "AVX-512 VNNI"]),
        ("avx512_vnni_later", []),
        (None, []),
    ],
)
def test_features_that_inference_gains_by(features: str | None, extensions: list[str]) -> None:
    assert processor.extensions(features) == extensions


# --- sensors --------------------------------------------------------------------------------------


def test_the_sensors_of_a_raspberry_pi_4() -> None:
    sample = telemetry.sample(board(capture("raspberry-pi-4")), "running")
    assert sample == TelemetrySample(
        time=sample.time,
        phase="running",
        temperature_c=48.312,
        cpu_mhz=1800.0,
        cpu_mhz_limit=1800.0,
        governor="ondemand",
        throttled=None,  # only its firmware knows
        under_voltage=False,
        throttle_count=None,
        load_1m=sample.load_1m,
        memory_available_bytes=3401876 * 1024,
        swapped_pages=42,
        power_w=None,
        monotonic_s=sample.monotonic_s,
    )


def test_a_virtual_machine_has_no_sensors() -> None:
    sample = telemetry.sample(board(capture("x86-vm")), "running")
    assert sample[2:9] == (None,) * 7
    assert sample.swapped_pages == 0


def test_the_fastest_core_and_the_highest_limit_count(tmp_path: Path) -> None:
    cpu = "sys__devices__system__cpu__cpu"
    files = tree(
        tmp_path,
        **{f"{cpu}{i}__cpufreq__scaling_cur_freq": f"{khz}\n" for i, khz in enumerate((600000, 1500000))},
        **{f"{cpu}{i}__cpufreq__scaling_max_freq": f"{khz}\n" for i, khz in enumerate((1500000, 1800000))},
    )
    sample = board(files).sample(thorough=False)
    assert (sample.cpu_mhz, sample.cpu_mhz_limit) == (1500.0, 1800.0)


def test_processes_killed_for_lack_of_memory_are_counted() -> None:
    assert telemetry.oom_kills(capture("raspberry-pi-4")) == 3
    assert telemetry.oom_kills(capture("empty")) is None


def test_time_at_work_and_time_stolen() -> None:
    hz = os.sysconf("SC_CLK_TCK")
    assert telemetry.cpu_times(capture("raspberry-pi-4")) == CpuTimes((10000 + 200 + 3000 + 100) / hz, 0.0)
    stolen = telemetry.cpu_times(capture("x86-vm"))
    assert stolen is not None
    assert stolen.steal_s == 64 / hz
    assert telemetry.cpu_times(capture("empty")) is None


def test_the_hottest_zone_counts_and_zones_that_mean_nothing_do_not(tmp_path: Path) -> None:
    zones = {"CPU-therm": 41_000, "GPU-therm": 43_500, "PMIC-Die": 100_000, "CV0-therm": -256_000}
    files = tree(
        tmp_path,
        **{f"sys__class__thermal__thermal_zone{i}__type": kind for i, kind in enumerate(zones)},
        **{f"sys__class__thermal__thermal_zone{i}__temp": str(t) for i, t in enumerate(zones.values())},
    )
    assert generic_linux.temperature_c(files) == 43.5


def test_a_cooling_device_at_work_is_throttling(tmp_path: Path) -> None:
    files = tree(
        tmp_path,
        sys__class__thermal__cooling_device0__type="cpufreq-cpu0",
        sys__class__thermal__cooling_device0__cur_state="0",
        sys__class__thermal__cooling_device1__type="thermal-throttle-alert",
        sys__class__thermal__cooling_device1__cur_state="2",
    )
    assert generic_linux.cooling_active(files) is True


def test_a_fan_is_no_throttling(tmp_path: Path) -> None:
    files = tree(
        tmp_path,
        sys__class__thermal__cooling_device0__type="pwm-fan",
        sys__class__thermal__cooling_device0__cur_state="3",
    )
    assert generic_linux.cooling_active(files) is None


def test_throttle_counts_of_all_cores_are_added(tmp_path: Path) -> None:
    cpu = "sys__devices__system__cpu__cpu"
    files = tree(
        tmp_path,
        **{
            f"{cpu}0__thermal_throttle__core_throttle_count": "2\n",
            f"{cpu}0__thermal_throttle__package_throttle_count": "5\n",
            f"{cpu}11__thermal_throttle__core_throttle_count": "1\n",
        },
    )
    assert generic_linux.throttle_count(files) == 8


def test_different_governors_are_all_named(tmp_path: Path) -> None:
    cpu = "sys__devices__system__cpu__cpu"
    names = {0: "schedutil", 1: "schedutil", 4: "performance"}
    files = tree(tmp_path, **{f"{cpu}{i}__cpufreq__scaling_governor": name for i, name in names.items()})
    assert generic_linux.governor(files) == "performance,schedutil"


def test_an_alarm_of_another_monitor_is_not_the_supply(tmp_path: Path) -> None:
    files = tree(
        tmp_path,
        sys__class__hwmon__hwmon0__name="nvme",
        sys__class__hwmon__hwmon0__in0_lcrit_alarm="1",
        sys__class__hwmon__hwmon7__name="rpi_volt\n",
        sys__class__hwmon__hwmon7__in0_lcrit_alarm="1\n",
    )
    assert generic_linux.under_voltage(files) is True


HOSTILE = {"empty": b"", "not UTF-8": b"\xff\xfe\x80", "a folder": None, "words": b"n/a", "NULs": b"\0\0\0"}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_says_nothing_sensible_is_absent(tmp_path: Path, content: bytes | None) -> None:
    cpu = "sys__devices__system__cpu__cpu0__cpufreq__"
    files = tree(
        tmp_path,
        **{
            "proc__meminfo": content,
            "proc__vmstat": content,
            "proc__stat": content,
            f"{cpu}scaling_cur_freq": content,
            f"{cpu}scaling_max_freq": content,
            f"{cpu}cpuinfo_max_freq": content,
            "sys__class__thermal__thermal_zone0__temp": content,
            "sys__class__thermal__cooling_device0__type": "cpufreq",
            "sys__class__thermal__cooling_device0__cur_state": content,
            "sys__class__hwmon__hwmon0__name": "rpi_volt",
            "sys__class__hwmon__hwmon0__in0_lcrit_alarm": content,
        },
    )
    sample = telemetry.sample(board(files), "before")
    assert sample[2:9] == (None,) * 7
    assert (sample.memory_available_bytes, sample.swapped_pages) == (None, None)
    facts = device_facts.collect(board(files))
    assert (facts.memory_bytes, facts.swap_bytes, facts.cpu_max_mhz) == (None, None, None)
    assert (telemetry.cpu_times(files), telemetry.oom_kills(files)) == (None, None)


@pytest.mark.parametrize(
    "line",
    [
        "cpu a b c d e f g h",
        "cpu  1 2 3",
        "intr 1 2 3 4 5 6 7 8",
        "cpu 1 2 3 4 5 6 ² 8",
        "cpu -1 2 3 4 5 6 7 8",
    ],
)
def test_processor_times_of_another_form_are_absent(tmp_path: Path, line: str) -> None:
    assert telemetry.cpu_times(tree(tmp_path, proc__stat=line)) is None


def test_a_number_in_other_digits_is_no_number(tmp_path: Path) -> None:
    files = tree(tmp_path, proc__meminfo="MemTotal: ² kB\n", proc__vmstat="pswpin ³\noom_kill ²\n")
    assert device_facts.collect(board(files)).memory_bytes is None
    assert telemetry.oom_kills(files) is None


# --- memory of the process itself -----------------------------------------------------------------


def test_the_memory_of_this_process_is_read_and_its_peak_starts_anew() -> None:
    before = memory.read()
    ballast = bytearray(64 << 20)
    for at in range(0, len(ballast), 4096):
        ballast[at] = 1
    full = memory.read()
    assert full.rss is not None
    assert before.rss is not None
    assert full.rss - before.rss > 60 << 20
    del ballast
    assert memory.reset_peak()
    after = memory.read()
    assert after.peak_rss is not None
    assert after.pss is not None
    assert after.peak_rss < full.rss
    assert after.pss <= (after.rss or 0)


def test_mapped_files_may_be_called_anything(tmp_path: Path) -> None:
    """JetPack 4: no smaps_rollup, and Python 3.6 without a locale takes every file for ASCII."""
    smaps = tmp_path / "smaps"
    smaps.write_bytes(
        b"00400000-00452000 r-xp 00000000 08:02 173521 /home/jos\xe9/model.onnx\nPss: 10 kB\n"
        b"00651000-00652000 r--p 00051000 08:02 173521 /home/\xff/lib.so\nPss: 5 kB\n"
    )
    assert memory._kib_fields(str(smaps), add=True) == {"Pss": 15 * 1024}


def test_a_sensor_of_a_gated_cluster_that_would_block_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle GPU's zone answers EAGAIN, for which Python's read returns None instead of raising."""
    files = tree(tmp_path, sys__class__thermal__thermal_zone0__temp="41000")

    class Gated(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return None  # type: ignore[return-value]

    monkeypatch.setattr("builtins.open", lambda *_: Gated())
    assert files.text("/sys/class/thermal/thermal_zone0/temp") is None
