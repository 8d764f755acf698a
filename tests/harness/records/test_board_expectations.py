"""Sentences on where a board differs from its kind, and on latencies far from what others measured."""

from __future__ import annotations

from typing import Any

import pytest

from device_agents.protocol import DeviceFacts, RuntimeStatus
from harness.records.board_expectations import differences, profile_of, remarks
from profiles.devices import DeviceProfile, device_profile
from reports.record import Case

NANO = DeviceFacts(
    board="NVIDIA Jetson Nano Developer Kit",
    cpu_model="Cortex-A57",
    cpu_count=4,
    cpu_max_mhz=1479.0,
    cpu_features="fp asimd evtstrm aes pmull sha1 sha2 crc32",
    machine="aarch64",
    os="Ubuntu 18.04.6 LTS",
    kernel="4.9.337-tegra",
    python="3.6.9",
    memory_bytes=3964 * 2**20,
    swap_bytes=0,
    governor="schedutil",
    boot_id=None,
    hostname="nano",
    virtualization=None,
    family="jetson",
    compatible=["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
    power_mode="MAXN (0)",
    details={"l4t_release": "32.7.1"},
)
PI_5 = NANO._replace(
    board="Raspberry Pi 5 Model B Rev 1.0",
    cpu_max_mhz=2400.0,
    cpu_features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp",
    os="Debian GNU/Linux 12 (bookworm)",
    python="3.11.2",
    memory_bytes=8_254_960 * 1024,
    family="raspberry-pi",
    compatible=["raspberrypi,5-model-b", "brcm,bcm2712"],
    power_mode=None,
    details={},
)
TX2 = NANO._replace(
    board="NVIDIA Jetson TX2",
    cpu_count=6,
    cpu_max_mhz=2035.0,
    memory_bytes=7859 * 2**20,
    compatible=["nvidia,quill", "nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"],
)
ORIN = NANO._replace(
    board="NVIDIA Jetson Orin NX",
    cpu_count=8,
    cpu_max_mhz=1984.0,
    cpu_features="fp asimd atomics fphp asimdhp asimddp",
    os="Ubuntu 22.04.5 LTS",
    python="3.10.12",
    memory_bytes=15_600 * 2**20,
    compatible=["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"],
    details={"l4t_release": "36.4.3"},
)
PC = PI_5._replace(
    board="QEMU Standard PC",
    machine="x86_64",
    family="generic-linux",
    compatible=[],
    cpu_features="sse2 avx2",
)


def tensorrt(version: str, **details: str) -> RuntimeStatus:
    return RuntimeStatus("tensorrt", True, version, "tensorrt", None, details)


def told(claimed: str | None, facts: DeviceFacts, *runtimes: RuntimeStatus) -> tuple[str, ...]:
    return differences(device_profile(claimed) if claimed else None, facts, runtimes)


# --- which profile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [None, "generic-linux", "raspberry-pi-5", "jetson-tx2"])
def test_what_the_board_says_it_is_wins_over_what_was_typed(claimed: str | None) -> None:
    assert profile_of(device_profile(claimed) if claimed else None, TX2).name == "jetson-tx2"
    assert profile_of(device_profile(claimed) if claimed else None, NANO).name == "jetson-nano"


def test_a_name_alone_makes_no_board() -> None:
    assert profile_of(device_profile("jetson-nano"), PC).name == "generic-linux"
    assert profile_of(None, PC).name == "generic-linux"


def test_a_name_counts_where_the_family_bears_it_out() -> None:
    nameless = NANO._replace(compatible=["acme,box"])
    assert profile_of(device_profile("jetson-nano"), nameless).name == "jetson-nano"
    assert profile_of(device_profile("raspberry-pi-4"), nameless).name == "generic-linux"


def test_the_profile_is_that_of_the_module_at_hand() -> None:
    small = profile_of(None, ORIN._replace(memory_bytes=7600 * 2**20, cpu_count=6))
    assert (small.name, small.variant, small.cpu_cores) == ("jetson-orin-nx", "8 GB", 6)


# --- differences -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("claimed", "facts"), [
    ("jetson-nano", NANO),
    ("jetson-tx2", TX2),
    ("jetson-orin-nx", ORIN),
    ("raspberry-pi-5", PI_5),
    ("generic-linux", PI_5),
    (None, PI_5),
    ("generic-linux", PC),
    (None, PC),
])  # fmt: skip
def test_a_board_as_it_should_be_is_not_worth_a_word(claimed: str | None, facts: DeviceFacts) -> None:
    assert told(claimed, facts) == ()


def test_a_board_of_which_little_can_be_read_is_not_worth_a_word() -> None:
    silent = PI_5._replace(
        cpu_count=None, cpu_max_mhz=None, cpu_features=None, memory_bytes=None, os=None, python="3.11.2"
    )
    assert told("raspberry-pi-5", silent) == ()


def test_another_board_than_devices_toml_says() -> None:
    assert told("jetson-nano", TX2) == (
        "devices.toml says jetson-nano, the board says it is NVIDIA Jetson TX2 (jetson-tx2); "
        "its own word counts",
    )


def test_a_claim_that_nothing_bears_out() -> None:
    assert told("jetson-nano", PC) == (
        "devices.toml says jetson-nano, but nothing on the board says so (QEMU Standard PC): "
        "it counts as generic-linux",
    )


def test_a_claim_that_only_the_family_bears_out() -> None:
    assert told("jetson-nano", NANO._replace(compatible=[])) == (
        "its device tree does not say that it is a jetson-nano, but it is of that family (jetson): "
        "devices.toml is believed",
    )


def test_a_board_known_by_its_soc_only() -> None:
    unknown = ORIN._replace(board="Acme Box", compatible=["acme,box", "nvidia,tegra234"])
    assert told(None, unknown) == (
        "its device tree names no board that edgebench knows (Acme Box): it is compared with jetson-orin-nx, "
        "the nearest with the same SoC (nvidia,tegra234)",
    )


@pytest.mark.parametrize(("facts", "changes", "sentence"), [
    (NANO, {"memory_bytes": 7859 * 2**20}, "it sees 7.7 GiB of RAM; jetson-nano has 2 or 4 GiB"),
    (
        PI_5,
        {"memory_bytes": 3 * 2**30 - 1 - 2**29},
        "it sees 2.5 GiB of RAM; raspberry-pi-5 has 1, 2, 4, 8 or 16 GiB",
    ),
    (
        NANO,
        {"cpu_count": 2, "power_mode": "5W (1)"},
        "2 of the 4 cores of jetson-nano are online; its power mode is 5W (1)",
    ),
    (PI_5, {"cpu_count": 3}, "3 of the 4 cores of raspberry-pi-5 are online"),
    (PI_5, {"cpu_count": 8}, "it has 8 cores; raspberry-pi-5 has 4"),
    (
        PI_5,
        {"cpu_max_mhz": 2800.0},
        "its CPU goes up to 2800 MHz; raspberry-pi-5 is shipped with 2400 MHz (overclocked)",
    ),
    (
        NANO,
        {"cpu_max_mhz": 918.0},
        "its CPU goes up to 918 MHz; jetson-nano is shipped with 1479 MHz (capped)",
    ),
    (
        PI_5,
        {"machine": "armv7l", "cpu_features": "half thumb neon"},
        "its system is 32-bit (armv7l): the package index has no onnxruntime and no ai-edge-litert for it; "
        "install a 64-bit system",
    ),
    (NANO, {"machine": "x86_64"}, "its processor is x86_64, that of jetson-nano is aarch64"),
    (
        PI_5,
        {"cpu_features": "fp asimd crc32"},
        "its CPU does not report asimddp (dot product), asimdhp (half-precision arithmetic), "
        "which raspberry-pi-5 has: runtimes choose slower kernels",
    ),
    (
        NANO,
        {"details": {"l4t_release": "35.4.1"}},
        "it runs L4T 35.4.1; known for jetson-nano: "
        "JetPack 4.4.1 to 4.5.1, JetPack 4.6, JetPack 4.6.1 to 4.6.6",
    ),
    (
        PI_5,
        {"os": "Ubuntu 24.04.1 LTS"},
        "it runs Ubuntu 24.04.1 LTS; known for raspberry-pi-5: "
        "Raspberry Pi OS bookworm, Raspberry Pi OS trixie",
    ),
    (
        NANO,
        {"python": "3.8.0"},
        "its Python is 3.8.0; JetPack 4.6.1 to 4.6.6 brings 3.6: "
        "TensorRT's Python package exists for that one only",
    ),
    (PI_5, {"python": "3.12.4"}, "its Python is 3.12.4; Raspberry Pi OS bookworm brings 3.11"),
])  # fmt: skip
def test_a_difference_is_told_with_both_sides(
    facts: DeviceFacts, changes: dict[str, Any], sentence: str
) -> None:
    assert told(None, facts._replace(**changes)) == (sentence,)


@pytest.mark.parametrize("clock", [1500.0, 1800.0, 1795.0])
def test_clocks_that_a_kind_is_shipped_with_are_no_difference(clock: float) -> None:
    pi_4 = PI_5._replace(
        cpu_max_mhz=clock, memory_bytes=3_884_360 * 1024, compatible=["raspberrypi,4-model-b", "brcm,bcm2711"]
    )
    assert told("raspberry-pi-4", pi_4) == ()


@pytest.mark.parametrize(
    "text", ["R32.6.1", "# R32 (release), REVISION: 6.1, GCID: 27863751, BOARD: t210ref"]
)
def test_the_release_is_read_as_the_board_writes_it(text: str) -> None:
    found = told(None, NANO._replace(details={"l4t_release": text}), tensorrt("8.2.1.8"))
    assert found == ("its TensorRT is 8.2.1.8; JetPack 4.6 brings 8.0.1",)


def test_a_tensorrt_that_the_system_did_not_bring() -> None:
    assert told(None, ORIN, tensorrt("10.7.0.23", compute_capability="8.7")) == (
        "its TensorRT is 10.7.0.23; JetPack 6.1 to 6.2.2 brings 10.3.0",
    )


def test_a_gpu_that_is_not_the_profiles() -> None:
    assert told(None, ORIN, tensorrt("10.3.0.30", compute_capability="7.2", fp16="yes", int8="no")) == (
        "its GPU has compute capability 7.2; that of jetson-orin-nx has 8.7",
        "TensorRT says that its GPU has no int8; that of jetson-orin-nx has it",
    )


def test_what_the_gpu_should_not_have_is_not_missed() -> None:
    assert told(None, NANO, tensorrt("8.2.1.8", compute_capability="5.3", fp16="yes", int8="no")) == ()


def test_a_runtime_that_does_not_work_proves_nothing() -> None:
    broken = RuntimeStatus("tensorrt", False, "10.7.0", None, "no", {"compute_capability": "7.2"})
    assert told(None, ORIN, broken) == ()


def test_a_module_is_named_by_its_variant() -> None:
    small = ORIN._replace(memory_bytes=7600 * 2**20, cpu_count=4, power_mode="10W (1)")
    assert told(None, small) == (
        "4 of the 6 cores of jetson-orin-nx (8 GB) are online; its power mode is 10W (1)",
    )


# --- remarks -----------------------------------------------------------------------------------------


def case(model: str = "resnet50", batch_size: int = 1, precision: str = "fp16", threads: int = 1) -> Case:
    return Case("nano-01", model, "tensorrt", precision, batch_size, threads)


def nano() -> DeviceProfile:
    return profile_of(None, NANO)


def test_a_latency_far_from_what_others_measured_is_remarked() -> None:
    assert remarks(nano(), case(), 117.0) == (
        "117 ms is 4 times the 29.3 ms that NetsPresso Trainer's device matrix gives for this model, runtime "
        "and precision on jetson-nano (JetPack 4.6, 3 classes, power mode not stated): "
        "look at clocks, cooling and what else runs there",
    )


@pytest.mark.parametrize(("measured", "latency_ms"), [
    (case(), 31.0),
    (case(batch_size=8), 300.0),
    (case(precision="fp32"), 300.0),
    (case("resnet50_v2"), 300.0),
    (case("digits"), 300.0),
])  # fmt: skip
def test_a_latency_that_is_near_or_has_nothing_to_be_near_to_is_not(
    measured: Case, latency_ms: float
) -> None:
    assert remarks(nano(), measured, latency_ms) == ()


def test_another_input_size_has_no_reference() -> None:
    assert remarks(nano(), case(), 117.0, input_size=224) != ()
    assert remarks(nano(), case(), 117.0, input_size=448) == ()


def test_a_board_that_is_only_like_another_is_not_held_to_its_figures() -> None:
    like_a_nano = profile_of(None, NANO._replace(compatible=["acme,box", "nvidia,tegra210"]))
    assert like_a_nano.name == "jetson-nano"
    assert remarks(like_a_nano, case(), 117.0) == ()
