"""tegrastats: right numbers or none, from every line it was ever seen to print; and its process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.boards.host import host_at
from device_agents.boards.tegrastats import Rail, TegraStats, TegraStatsProcess, Temperature, Use, parse
from tests.device_agents.board import is_running, wait_until

LINES = dict(
    line.split("\t", 1)
    for line in (Path(__file__).parents[2] / "captures/tegrastats/lines.txt").read_text().splitlines(True)
)
MIB = 1 << 20


def memory(ram: str, blocks: str, swap: str | None = None) -> dict[str, int]:
    """Fields in MiB: used/total, count x size, used/total/cached."""
    fields = dict(zip(("ram_used_bytes", "ram_total_bytes"), ram.split("/"), strict=True))
    fields |= dict(zip(("free_blocks", "free_block_bytes"), blocks.split("x"), strict=True))
    if swap:
        names = ("swap_used_bytes", "swap_total_bytes", "swap_cached_bytes")
        fields |= dict(zip(names, swap.split("/"), strict=True))
    return {name: int(value) * (1 if name == "free_blocks" else MIB) for name, value in fields.items()}


def cores(*entries: Any) -> list[Use | None]:
    """(percent, MHz), or None for one that is off."""
    return [None if entry is None else Use(entry[0] / 100, entry[1]) for entry in entries]


def celsius(**zones: float) -> dict[str, Temperature]:
    return {name: Temperature(degrees, None) for name, degrees in zones.items()}


def rails(**milliwatts: Any) -> dict[str, Rail]:
    """Now, or (now, average[, highest]) where they differ or there are three."""
    told = {name: (value, value) if isinstance(value, int) else value for name, value in milliwatts.items()}
    return {
        name: Rail(value[0], value[1], value[2] if len(value) > 2 else None) for name, value in told.items()
    }


def clocks(**mhz: float | None) -> dict[str, Use | None]:
    return {name: None if value is None else Use(None, value) for name, value in mhz.items()}


EXPECTED = {
    "nano": TegraStats(
        **memory("330/3964", "758x4", "0/1982/0"),
        cores=cores((5, 102), (0, 102), (0, 102), (0, 102)),
        emc=Use(0.0, None),
        gpu_load=0.0,
        temperatures=celsius(PLL=20.5, CPU=23, PMIC=100, GPU=22.5, AO=27, thermal=22.5),
        rails=rails(POM_5V_IN=933, POM_5V_GPU=0, POM_5V_CPU=84),
    ),
    "nano-root": TegraStats(
        **memory("331/3964", "758x4", "0/1982/0"),
        cores=cores((5, 102), (0, 102), (0, 102), (0, 102)),
        emc=Use(0.03, 204),
        gpu_load=0.09,
        gpu_mhz=[76],
        engines=clocks(APE=25),
        temperatures=celsius(PLL=20.5, CPU=23.5, PMIC=100, GPU=22.5, AO=27.5, thermal=23),
        rails=rails(POM_5V_IN=933, POM_5V_GPU=0, POM_5V_CPU=(84, 105)),
    ),
    "tx2": TegraStats(
        **memory("3276/7859", "5x4", "1626/12122/181"),
        cores=cores((44, 1421), (49, 2031), (67, 2034), (17, 1420), (25, 1419), (8, 1420)),
        emc=Use(0.01, 1866),
        gpu_load=0.0,
        gpu_mhz=[114],
        engines=clocks(APE=150),
        temperatures=celsius(
            PLL=42.5, MCPU=42.5, PMIC=50, Tboard=38, GPU=39.5, BCPU=42.5, thermal=41.3, Tdiode=39.25
        ),
        rails=rails(
            VDD_SYS_GPU=182,
            VDD_SYS_SOC=730,
            VDD_4V0_WIFI=0,
            VDD_IN=5297,
            VDD_SYS_CPU=1917,
            VDD_SYS_DDR=1241,
        ),
    ),
    "tx2-cores-off": TegraStats(
        **memory("2007/7852", "180x4", "0/3926/0"),
        cores=cores((1, 345), None, None, (0, 345), (2, 346), (0, 345)),
        emc=Use(0.16, 102),
        gpu_load=0.0,
        gpu_mhz=[114],
        engines=clocks(APE=150),
        temperatures=celsius(
            PLL=35.5, MCPU=35.5, PMIC=100, Tboard=33, GPU=34.5, BCPU=35.5, thermal=35.1, Tdiode=33.5
        ),
        rails=rails(
            VDD_SYS_GPU=153, VDD_SYS_SOC=384, VDD_4V0_WIFI=0, VDD_IN=1423, VDD_SYS_CPU=153, VDD_SYS_DDR=230
        ),
    ),
    "xavier-nx": TegraStats(
        **memory("5246/7771", "7x4", "983/20269/280"),
        cores=cores((47, 1420), (23, 1420), (32, 1420), (22, 1420), (31, 1420), (96, 1420)),
        emc=Use(0.02, 1600),
        gpu_load=0.0,
        gpu_mhz=[1109],
        engines=clocks(APE=150),
        temperatures=celsius(AO=29, GPU=31.5, PMIC=100, AUX=30, CPU=33.5, thermal=31.35),
        rails=rails(VDD_IN=(6140, 5510), VDD_CPU_GPU_CV=(2706, 2119), VDD_SOC=(1074, 1051)),
    ),
    "xavier-nx-jp5": TegraStats(
        **memory("3168/6851", "2x4", "161/3426/0"),
        cores=cores((23, 1397), (17, 1192), (16, 1190), (13, 1190), (23, 1190), (10, 1190)),
        emc=Use(0.02, 204),
        gpu_load=0.0,
        gpu_mhz=[114],
        engines=clocks(VIC=115, APE=150),
        temperatures=celsius(AUX=45, CPU=46.5, thermal=45.6, AO=45, GPU=45.5, PMIC=50),
        rails=rails(VDD_IN=(2763, 2846), VDD_CPU_GPU_CV=(650, 670), VDD_SOC=(650, 711)),
    ),
    "agx-xavier": TegraStats(
        **memory("407/15823", "3702x4", "0/7911/0"),
        cores=cores((2, 2265), *[(0, 2265)] * 7),
        emc=Use(0.0, None),
        gpu_load=0.0,
        temperatures=celsius(
            AO=26.5,
            GPU=28,
            iwlwifi=30,
            Tdiode=31.25,
            PMIC=100,
            AUX=26.5,
            CPU=27.5,
            thermal=27.45,
            Tboard=27,
        ),
        rails=rails(GPU=1155, CPU=385, SOC=(2504, 2503), CV=0, VDDRQ=192, SYS5V=2692),
    ),
    "agx-orin-jp5": TegraStats(
        **memory("2257/30536", "5392x4", "0/15268/0"),
        cores=cores((0, 729), (1, 729), *[(0, 729)] * 10),
        emc=Use(0.0, 204),
        gpu_load=0.0,
        gpu_mhz=[0, 0],
        engines=clocks(NVJPG1=729, VIC=115, APE=233),
        temperatures=celsius(
            CPU=41.437, Tboard=29, SOC2=39.062, Tdiode=30.75, SOC0=39.031, tj=41.656, SOC1=38.937
        ),
        rails=rails(
            **{
                "VDD_GPU_SOC": 2390,
                "VDD_CPU_CV": 796,
                "VIN_SYS_5V0": 3522,
                "NC": 0,
                "VDDQ_VDD2_1V8AO": 301,
                "NC 2": 0,
            }
        ),
    ),
    "orin-nano-root": TegraStats(
        **memory("6185/7620", "8x2", "851/3810/1"),
        cores=cores((15, 729), (11, 729), (14, 729), (13, 729), (11, 729), (8, 729)),
        emc=Use(0.43, 2133),
        gpu_load=0.63,
        gpu_mhz=[621],
        engines=clocks(NVDEC=None, NVJPG=None, NVJPG1=None, VIC=None, OFA=None, APE=200),
        temperatures=celsius(cpu=53.968, soc2=52.437, soc0=50.75, gpu=53.343, tj=53.968, soc1=51.656),
        rails=rails(VDD_IN=12479, VDD_CPU_GPU_CV=4667, VDD_SOC=2817),
    ),
    "orin-nano-user": TegraStats(
        **memory("3452/7620", "25x4", "1518/16384/174"),
        cores=cores((1, 1420), (2, 1420), (0, 1420), (2, 1420), (2, 729), (1, 729)),
        gpu_load=0.0,
        temperatures=celsius(cpu=50.031, soc2=49.031, soc0=50, gpu=49.031, tj=50.25, soc1=50.25),
        rails=rails(VDD_IN=4824, VDD_CPU_GPU_CV=518, VDD_SOC=1475),
    ),
    "orin-nx": TegraStats(
        **memory("3941/15656", "6x4", "0/24212/0"),
        cores=cores(*[(load, 1984) for load in (1, 7, 3, 2, 0, 5, 1, 2)]),
        gpu_load=0.0,
        temperatures=celsius(
            cv0=47.156,
            cpu=52.375,
            soc2=45.531,
            soc0=48.25,
            cv1=47.968,
            gpu=50,
            tj=52.375,
            soc1=46.156,
            cv2=44.406,
        ),
        rails=rails(VDD_IN=7956, VDD_CPU_GPU_CV=2363, VDD_SOC=2506),
    ),
    "agx-orin-jp7": TegraStats(
        **memory("20642/62817", "1x2"),
        cores=cores(*[(load, 2201) for load in (23, 10, 4, 14, 30, 18, 10, 10, 33, 7, 5, 27)]),
        emc=Use(0.03, 3199),
        gpu_load=0.12,
        gpu_mhz=[1300, 1300],
        engines=clocks(
            NVENC0=None,
            NVDEC0=None,
            NVJPG0=None,
            NVJPG1=None,
            VIC=None,
            OFA=None,
            NVDLA0=None,
            NVDLA1=None,
            PVA0=None,
            APE=174,
        ),
        temperatures={
            "cpu": Temperature(52.968, 52.968),
            "soc2": Temperature(48.406, 48.406),
            "soc0": Temperature(49.531, 49.531),
            "gpu": Temperature(47.625, 47.625),
        },
        rails=rails(
            VDD_GPU_SOC=(5139, 5139, 5139), VDD_CPU_CV=(3268, 3268, 3268), VIN_SYS_5V0=(5500, 5500, 5500)
        ),
    ),
    "thor": TegraStats(
        **memory("105265/125772", "34x4"),
        cores=cores(*[(load, 972) for load in (0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0)]),
        emc=Use(0.0, 2750),
        gpu_mhz=[314, 314, 314],
        engines=clocks(
            NVENC0=314,
            NVENC1=314,
            NVDEC0=314,
            NVDEC1=314,
            NVJPG0=314,
            VIC=None,
            OFA=315,
            PVA0=None,
            APE=300,
        ),
        temperatures=celsius(cpu=37.343, tj=38.875, soc012=37.468, gpu=38.875, soc345=37.406),
        rails=rails(VDD_GPU=1962, VDD_CPU_SOC_MSS=5887, VIN_SYS_5V0=5635, VIN=19780),
    ),
    "thor-jp7-2": TegraStats(
        **memory("8353/125749", "31x4"),
        cores=cores((90, 2601), (75, 2601), None, (7, 2601)),
        emc=Use(0.34, 4266),
        gpu_load=0.87,
        gpu_mhz=[1574, 1574, 1574],
        engines=clocks(NVENC0=1691, VIC=None),
        temperatures={
            "cpu": Temperature(58.25, 61.75),
            "tj": Temperature(66.625, 66.625),
            "gpu": Temperature(56.937, 66.625),
            "soc012": Temperature(55.375, 58.781),
            "soc345": Temperature(55.812, 60.031),
        },
        rails=rails(
            VDD_GPU=(37939, 8660, 37939),
            VDD_CPU_SOC_MSS=(30059, 12281, 30059),
            VIN_SYS_5V0=(15486, 7424, 15486),
            VIN=(124486, 36487, 124486),
        ),
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_every_known_line_gives_all_its_numbers(name: str) -> None:
    assert parse(LINES[name]) == EXPECTED[name]


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (
            "CPU [3%@345,off,off,0%@345,1%@345,1%@345]",
            "cores",
            cores((3, 345), None, None, *[(0, 345)], *[(1, 345)] * 2),
        ),
        ("CPU [0%,5%,off,]@2601", "cores", cores((0, 2601), (5, 2601), None, None)),
        ("CPU [1%@729, 2%@730]", "cores", cores((1, 729), (2, 730))),
        ("CPU [1%@729,101%@730]", "cores", []),
        ("CPU [1%@729", "cores", []),
        ("EMC_FREQ @4266", "emc", Use(None, 4266)),
        ("EMC_FREQ 101%@4266", "emc", None),
        ("GR3D_FREQ 0%@[0, 0]", "gpu_mhz", [0, 0]),
        ("GR3D2_FREQ 7%@2 GR3D_FREQ 5%@1", "gpu_mhz", [1, 2]),
        ("GR3D_FREQ @[300,off,600]", "gpu_mhz", [300, 600]),
        ("GR3D_FREQ N/A%@[300]", "gpu_mhz", []),
        ("NVENC OFF", "engines", {"NVENC": None}),
        ("VIC_FREQ 3%@1152", "engines", {"VIC": Use(0.03, 1152)}),
        ("RAM 4722/7844MB (lfb 1x512kB)", "free_block_bytes", 512 << 10),
        ("SWAP 0/1982", "rails", {}),
        ("IRAM 0/252kB(lfb 252kB)", "rails", {}),
        ("MTS fg 1% bg 9%", "engines", {}),
        ("VDD_GPU -392mW/1mW", "rails", {"VDD_GPU": Rail(-392, 1, None)}),
        ("VDD_GPU_SOC 2171mW", "rails", {"VDD_GPU_SOC": Rail(2171, None, None)}),
        ("GPU@-256C", "temperatures", {}),
        ("GPU@40C/-256C", "temperatures", {"GPU": Temperature(40, None)}),
        ("GPU@-12.5C", "temperatures", {"GPU": Temperature(-12.5, None)}),
    ],
)
def test_other_forms(words: str, field: str, value: Any) -> None:
    assert getattr(parse(words + "\n"), field) == value


@pytest.mark.parametrize(
    "words",
    [
        "RAM 99999999999/999999999999MB",
        "RAM " + "9" * 5000 + "/1MB",
        "CPU [5%@" + "1" * 5000 + "]",
        "EMC_FREQ 5%@123456789",
        "GR3D_FREQ 5%@[" + "7" * 100 + "]",
        "APE " + "1" * 5000,
        "GPU@" + "9" * 400 + "C",
        "VDD_IN 999999999999mW/1mW",
        "RAM ٣/٤MB",
        "APE ²",
        "GPU@٣C",
    ],
)
def test_numbers_that_cannot_be_are_none(words: str) -> None:
    assert parse(words + "\n") == TegraStats()


def subset(found: TegraStats, whole: TegraStats) -> bool:
    """Whether everything found is what the whole line says."""
    for name, value in found._asdict().items():
        full = getattr(whole, name)
        if isinstance(value, dict):
            if any(full.get(key) != entry for key, entry in value.items()):
                return False
        elif value not in (None, [], full) and not (name == "gpu_mhz" and value == full[: len(value)]):
            return False
    return True


@pytest.mark.parametrize("name", ["nano-root", "agx-orin-jp5", "thor-jp7-2"])
def test_a_line_cut_at_any_byte_gives_right_numbers_or_none(name: str) -> None:
    line, whole = LINES[name], EXPECTED[name]
    assert [cut for cut in range(len(line)) if not subset(parse(line[:cut]), whole)] == []


@pytest.mark.parametrize("name", ["tx2", "orin-nano-root", "agx-orin-jp7", "thor"])
def test_a_line_cut_between_words_gives_right_numbers_or_none(name: str) -> None:
    line, whole = LINES[name], EXPECTED[name]
    spaces = [at for at, letter in enumerate(line) if letter == " "]
    assert [cut for cut in spaces if not subset(parse(line[: cut + 1]), whole)] == []


def items(line: str) -> list[str]:
    """A line's words, each with those that belong to it."""
    found: list[str] = []
    for word in line.split():
        alone = "@" in word and word.endswith("C")
        opens = word[0].isupper() or word in ("(cached", "(lfb") or "-" in word[:3]
        if alone or opens or not found:
            found.append(word)
        else:
            found[-1] += " " + word
    return found


few = settings(max_examples=20, deadline=None)


@few
@given(st.sampled_from(sorted(LINES)), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(name: str, chance: random.Random) -> None:
    shuffled = items(LINES[name])
    chance.shuffle(shuffled)
    assert parse(" ".join(shuffled) + "\n") == EXPECTED[name]


@few
@given(
    st.sampled_from(sorted(LINES)),
    st.lists(
        st.sampled_from(["FUTURE", "x=1", "é@ü", "\x00", "100%", "[", "NaN", "new@1.5F", "7"]),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_unknown_words_between_items_change_nothing(
    name: str, words: list[str], chance: random.Random
) -> None:
    mixed = items(LINES[name])
    for word in words:
        mixed.insert(chance.randrange(1, len(mixed) + 1), word)
    assert parse(" ".join(mixed) + "\n") == EXPECTED[name]


@few
@given(st.sampled_from(sorted(LINES)), st.randoms(use_true_random=False), st.text(max_size=200))
def test_no_line_raises(name: str, chance: random.Random, text: str) -> None:
    words = LINES[name].split()
    chance.shuffle(words)
    assert isinstance(parse(" ".join(words) + "\n"), TegraStats)
    assert isinstance(parse(text), TegraStats)
    at = chance.randrange(len(LINES[name]))
    assert isinstance(parse(LINES[name][:at] + text + LINES[name][at:]), TegraStats)


# --- the process ----------------------------------------------------------------------------------


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def board_with(folder: Path, script: str) -> TegraStatsProcess:
    """A board whose tegrastats is that script."""
    command = folder / "usr/bin/tegrastats"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n" + script)
    command.chmod(0o755)
    return TegraStatsProcess(host_at(str(folder)), Clock())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """Call it with a script."""
    started: list[TegraStatsProcess] = []

    def run(script: str) -> TegraStatsProcess:
        started.append(board_with(tmp_path, script))
        started[-1].start()
        return started[-1]

    yield run
    for process in started:
        process.stop()


def test_a_board_without_tegrastats_says_nothing(tmp_path: Path) -> None:
    process = TegraStatsProcess(host_at(str(tmp_path)))
    process.start()
    assert process.newest() == TegraStats()
    process.stop()


@pytest.mark.processes
def test_it_is_asked_for_a_line_a_second(running: Any) -> None:
    process = running('while echo "RAM $2/9999MB $1 "; do sleep 1; done')
    assert wait_until(lambda: process.newest().ram_used_bytes == 1000 * MIB)


@pytest.mark.processes
def test_lines_nobody_asks_for_do_not_pile_up(running: Any) -> None:
    # 400 kB, several times what a pipe holds: read only when asked for, its newest line would be an old one.
    padding = "x" * 190
    process = running(
        f"i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo RAM $i/5000MB {padding}; done; exec sleep 30"
    )
    assert wait_until(lambda: process.newest().ram_used_bytes == 2000 * MIB)


@pytest.mark.processes
def test_an_old_line_is_no_longer_told(running: Any) -> None:
    process = running("echo RAM 1/2MB; exec sleep 30")
    assert wait_until(lambda: process.newest().ram_used_bytes == MIB)
    process._clock.now = 3.0
    assert process.newest().ram_used_bytes == MIB
    process._clock.now = 3.1
    assert process.newest() == TegraStats()


@pytest.mark.processes
def test_of_a_line_that_is_too_long_or_has_no_end_nothing_is_kept(running: Any, tmp_path: Path) -> None:
    process = running(
        "echo GPU@4C; head -c 100000 /dev/zero | tr '\\0' ' '; echo RAM 1/2MB; "
        f"printf 'RAM 3/4MB '; : > {tmp_path}/written; exec sleep 30"
    )
    assert wait_until((tmp_path / "written").exists)
    time.sleep(0.05)
    assert process.newest() == TegraStats(temperatures={"GPU": Temperature(4, None)})


@pytest.mark.processes
def test_it_may_die(running: Any) -> None:
    process = running("echo RAM 1/2MB; exit 3")
    assert wait_until(lambda: process.newest().ram_used_bytes == MIB)
    process._clock.now = 60.0
    assert process.newest() == TegraStats()
    process.stop()
    assert process.pid is None


@pytest.mark.processes
def test_stop_ends_it_and_what_it_started(running: Any, tmp_path: Path) -> None:
    process = running(f"sleep 60 & echo $! > {tmp_path}/child; echo RAM 1/2MB; wait")
    assert wait_until(lambda: process.newest().ram_used_bytes == MIB)
    pid, child = process.pid, int((tmp_path / "child").read_text())
    process.stop()
    assert not is_running(pid)
    assert wait_until(lambda: not is_running(child))
    assert process.newest() == TegraStats()


@pytest.mark.processes
def test_one_that_will_not_end_is_killed(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device_agents.boards.tegrastats._STOP_S", 0.1)
    process = running("trap '' TERM; echo RAM 1/2MB; while :; do sleep 0.2; done")
    assert wait_until(lambda: process.newest().ram_used_bytes == MIB)
    pid = process.pid
    process.stop()
    assert not is_running(pid)


@pytest.mark.processes
def test_it_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    board_with(tmp_path, "while echo RAM 1/2MB; do sleep 0.1; done")
    code = (
        "import subprocess, sys, time; from device_agents.boards.host import host_at; "
        "from device_agents.boards.tegrastats import TegraStatsProcess; "
        f"process = TegraStatsProcess(host_at({str(tmp_path)!r})); process.start(); "
        "other = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL); "
        "print(process.pid, other.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd()) as starter:
        assert starter.stdout is not None
        pid, other = (int(word) for word in starter.stdout.readline().split())
        assert is_running(pid)
        starter.send_signal(signal.SIGKILL)
    try:
        # A child that lives on does not hold the pipe.
        assert is_running(other)
        assert wait_until(lambda: not is_running(pid), 5.0)
    finally:
        os.kill(other, signal.SIGKILL)
