"""Device profiles: each that comes along is complete and consistent, variants stand in where they should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from profiles.devices import (
    DeviceProfile,
    Peaks,
    UnknownProfile,
    device_profile,
    device_profile_names,
    has_ram,
)
from profiles.strict_toml import InvalidFile

GIB = 2**30
JETSONS = [name for name in device_profile_names() if name.startswith("jetson-")]
PIS = [name for name in device_profile_names() if name.startswith("raspberry-pi-")]
VARIANTS = [
    profile.for_board(variant.compatible, variant.ram_bytes[0] if variant.ram_bytes else None)
    for profile in map(device_profile, JETSONS)
    for variant in profile.variants
]
WITH_KNOWN_GPU_CLOCK = [
    profile for profile in (*map(device_profile, JETSONS), *VARIANTS) if profile.gpu_max_mhz is not None
]


def named(profile: DeviceProfile) -> str:
    return f"{profile.name} {profile.variant or ''}"


def number_in(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def test_every_variant_is_chosen_by_what_it_says_of_itself() -> None:
    assert [profile.variant for profile in VARIANTS] == [
        variant.name for name in JETSONS for variant in device_profile(name).variants
    ]


def test_every_board_that_edgebench_knows_has_a_profile() -> None:
    assert device_profile_names() == (
        "generic-linux",
        "jetson-agx-orin",
        "jetson-agx-thor",
        "jetson-agx-xavier",
        "jetson-nano",
        "jetson-orin-nano",
        "jetson-orin-nano-super",
        "jetson-orin-nx",
        "jetson-tx2",
        "jetson-xavier-nx",
        "raspberry-pi-3b-plus",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "raspberry-pi-zero-2-w",
    )


@pytest.mark.parametrize("name", [*JETSONS, *PIS])
def test_a_board_says_all_that_a_run_wants_to_know(name: str) -> None:
    profile = device_profile(name)
    hardware = [
        "soc",
        "cpu",
        "cpu_cores",
        "cpu_max_mhz",
        "isa_features",
        "ram_bytes",
        "memory_bandwidth_gb_s",
    ]
    assert [field for field in (*hardware, "compatible", "systems") if not getattr(profile, field)] == []
    assert profile.board_family == ("jetson" if name in JETSONS else "raspberry-pi")


def tensorrt_versions(profile: DeviceProfile) -> tuple[str, ...]:
    """Major and minor, oldest first, each once."""
    found = [system.tensorrt.split(".") for system in profile.system_generations if system.tensorrt]
    return tuple(dict.fromkeys(".".join(version[:2]) for version in found))


@pytest.mark.parametrize("name", JETSONS)
def test_a_jetson_has_a_gpu_rails_and_tensorrt(name: str) -> None:
    profile = device_profile(name)
    capability = (profile.compute_capability or "").replace(".", "")
    assert (profile.gpu or "").endswith(f"sm_{capability}")
    assert profile.dla_cores is not None
    assert tensorrt_versions(profile)
    assert bool(profile.power_rail) != bool(profile.power_rail_sum)
    assert {profile.power_rail or profile.power_rails[0], *profile.power_rail_sum} <= {*profile.power_rails}


@pytest.mark.parametrize(("name", "versions"), [
    ("jetson-nano", ("7.1", "8.0", "8.2")),
    ("jetson-tx2", ("7.1", "8.0", "8.2")),
    ("jetson-agx-xavier", ("7.1", "8.0", "8.2", "8.4", "8.5")),
    ("jetson-agx-orin", ("8.4", "8.5", "8.6", "10.3", "10.16")),
    ("jetson-orin-nano-super", ("10.3", "10.16")),
    ("jetson-agx-thor", ("10.13", "10.16")),
    ("raspberry-pi-5", ()),
])  # fmt: skip
def test_tensorrt_versions_are_those_of_the_systems(name: str, versions: tuple[str, ...]) -> None:
    assert tensorrt_versions(device_profile(name)) == versions


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2"])
def test_tensorrt_has_no_int8_where_the_gpu_has_none_but_the_cpu_does(name: str) -> None:
    profile = device_profile(name)
    assert profile.native_for("tensorrt") == ("fp32", "fp16")
    assert (
        profile.native_for("onnxruntime") == profile.native_for("tflite") == ("fp32", "int8", "int8-dynamic")
    )


def test_without_a_gpu_every_runtime_has_the_cpu() -> None:
    profile = device_profile("raspberry-pi-5")
    assert profile.native_for("onnxruntime") == ("fp32", "fp16", "int8", "int8-dynamic")
    assert profile.native_for("onnxruntime") == profile.native_precisions


@pytest.mark.parametrize("name", [*JETSONS, *PIS])
def test_half_precision_is_native_to_the_cpu_where_it_has_the_instructions(name: str) -> None:
    profile = device_profile(name)
    assert ("fp16" in profile.native_for("onnxruntime")) == ("asimdhp" in profile.isa_features)


@pytest.mark.parametrize("name", PIS)
def test_cpu_peaks_are_cores_times_clock_times_operations(name: str) -> None:
    profile = device_profile(name)
    per_clock = 16 if "asimddp" in profile.isa_features else 8
    expected = (profile.cpu_cores or 0) * (profile.cpu_max_mhz or 0) * per_clock / 1e3
    assert profile.peaks.cpu_fp32_gflops == pytest.approx(expected)


@pytest.mark.parametrize("profile", WITH_KNOWN_GPU_CLOCK, ids=named)
def test_gpu_peaks_follow_from_cores_and_clock(profile: DeviceProfile) -> None:
    """A core does one multiply-add a clock, two in half precision; a tensor core 64 (Volta) or 256."""
    ghz = (profile.gpu_max_mhz or 0.0) / 1e3
    gpu = profile.gpu or ""
    fp32 = number_in(r"(\d+)-core", gpu) * 2 * ghz
    tensor_cores = number_in(r"(\d+) tensor cores", gpu)
    fp16 = tensor_cores * (64 if "Volta" in gpu else 256) * 2 * ghz or 2 * fp32
    int8 = 2 * fp16 if tensor_cores else None
    assert profile.peaks.gpu_fp32_gflops == pytest.approx(fp32, rel=0.01)
    assert profile.peaks.gpu_fp16_gflops == pytest.approx(fp16, rel=0.02)
    assert profile.peaks.gpu_int8_gops == (pytest.approx(int8, rel=0.03) if int8 else None)


@pytest.mark.parametrize("name", [*JETSONS, *PIS])
def test_a_measurement_starts_below_where_the_firmware_slows_down(name: str) -> None:
    profile = device_profile(name)
    assert profile.max_start_temperature_c is not None
    assert profile.max_start_temperature_c < (profile.throttle_temperature_c or 80.0)


@pytest.mark.parametrize("name", [*JETSONS, *PIS])
def test_threads_to_measure_with_are_no_more_than_cores(name: str) -> None:
    profile = device_profile(name)
    assert 1 <= (profile.default_num_threads or 0) <= (profile.cpu_cores or 0)


@pytest.mark.parametrize(("name", "compatible", "ram_gib", "variant", "cores", "gpu_mhz"), [
    ("jetson-orin-nx", "nvidia,p3767-0000", 15.3, None, 8, 918),
    ("jetson-orin-nx", "nvidia,p3767-0000-super", 15.3, "16 GB, super", 8, 1173),
    ("jetson-orin-nx", "nvidia,p3767-0001", 7.4, "8 GB", 6, 765),
    ("jetson-orin-nx", "nvidia,p3767-0000-super", 7.4, "8 GB, super", 6, 1173),
    ("jetson-agx-orin", "nvidia,p3701-0004", 29.8, "32 GB", 8, 930),
    ("jetson-agx-orin", "nvidia,p3701-0000", 29.8, None, 12, 1300),
    ("jetson-agx-orin", "nvidia,p3701-0005", 61.3, None, 12, 1300),
    ("jetson-orin-nano", "nvidia,p3767-0004", 3.7, "4 GB", 6, 625),
    ("jetson-agx-thor", "nvidia,p3834-0008", 122.8, None, 14, None),
    ("jetson-tx2", "nvidia,p3636-0001", 3.7, "TX2 NX", 6, 1300),
])  # fmt: skip
def test_a_variant_is_chosen_by_module_and_ram(
    name: str, compatible: str, ram_gib: float, variant: str | None, cores: int, gpu_mhz: float | None
) -> None:
    profile = device_profile(name).for_board([compatible], round(ram_gib * GIB))
    assert (profile.name, profile.variant) == (name, variant)
    assert (profile.cpu_cores, profile.gpu_max_mhz) == (cores, gpu_mhz)


def test_a_variant_changes_only_what_it_names() -> None:
    whole = device_profile("jetson-orin-nano")
    small = whole.for_board([], 4 * GIB)
    assert small.ram_bytes == (4 * GIB,)
    assert small.memory_bandwidth_gb_s == 34.0
    assert small.peaks.gpu_int8_gops == 10_000.0
    assert (small.cpu_cores, small.cpu_max_mhz, small.power_rail) == (6, 1510, "VDD_IN")
    assert whole.for_board([], 8 * GIB) == whole
    assert device_profile("jetson-tx2").for_board(["nvidia,p3636-0001"], None).ram_bytes == (4 * GIB, 8 * GIB)


def test_a_variant_of_unknown_clocks_has_no_peaks_at_all() -> None:
    assert device_profile("jetson-agx-thor").for_board([], 62 * GIB).peaks == Peaks()


def test_without_knowing_the_ram_no_variant_is_guessed() -> None:
    assert device_profile("jetson-orin-nano").for_board(["nvidia,p3767-0005"], None).variant is None


@pytest.mark.parametrize(("sizes_gib", "seen_gib", "fits"), [
    ([4.0], 3.71, True),
    ([4.0], 4.0, True),
    ([4.0], 4.01, False),
    ([4.0], 2.99, False),
    ([0.5], 426_688 / 2**20, True),
    ([4.0, 8.0], 7620 / 1024, True),
])  # fmt: skip
def test_a_system_sees_a_little_less_ram_than_was_sold(
    sizes_gib: list[float], seen_gib: float, fits: bool
) -> None:
    assert has_ram([round(size * GIB) for size in sizes_gib], round(seen_gib * GIB)) is fits


def test_a_profile_is_read_once() -> None:
    assert device_profile("jetson-nano") is device_profile("jetson-nano")


def test_every_fault_of_a_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(
        'description = "d"\nboard_family = "jetson"\nnative_precisions = []\nname = "other"\n'
        '[peaks]\ncpu_gflops = 3\n[[variants]]\nram_bytes = ["4"]\n'
    )
    with pytest.raises(InvalidFile) as raised:
        device_profile("odd", tmp_path)
    faults = [fault.removeprefix(f"{tmp_path}/odd.toml: ") for fault in raised.value.faults]
    assert [fault.partition(":")[0] for fault in faults] == [
        "peaks",
        "variants[0].name",
        "variants[0].ram_bytes[0]",
        "unknown key 'name'; known",
    ]


def test_a_system_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(
        'description = "d"\nboard_family = "jetson"\nnative_precisions = []\nsystems = ["jetpack-4"]\n'
    )
    with pytest.raises(InvalidFile, match=r"odd\.toml: systems: unknown 'jetpack-4'; known: jetpack-4-4, "):
        device_profile("odd", tmp_path)


def test_a_variant_that_every_board_would_be_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(
        'description = "d"\nboard_family = "jetson"\nnative_precisions = []\n[[variants]]\nname = "mini"\n'
    )
    with pytest.raises(InvalidFile, match="variants: 'mini' says neither compatible nor ram_bytes"):
        device_profile("odd", tmp_path)


def test_a_profile_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    with pytest.raises(UnknownProfile, match="no device profile 'nano'; known: mine"):
        device_profile("nano", tmp_path)
