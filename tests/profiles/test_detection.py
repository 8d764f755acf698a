"""A board's device tree decides its profile; the strings are those that real boards were seen to have."""

from __future__ import annotations

import pytest

from profiles.detection import Detected, detect, detected_profile, detection, identities
from profiles.devices import device_profile, device_profile_names

GIB = 2**30


@pytest.mark.parametrize(("profile", "compatible"), [
    ("raspberry-pi-3b-plus", ["raspberrypi,3-model-b-plus", "brcm,bcm2837"]),
    ("raspberry-pi-zero-2-w", ["raspberrypi,model-zero-2-w", "brcm,bcm2837"]),
    ("raspberry-pi-4", ["raspberrypi,4-model-b", "brcm,bcm2711"]),
    ("raspberry-pi-4", ["raspberrypi,400", "brcm,bcm2711"]),
    ("raspberry-pi-4", ["raspberrypi,4-compute-module", "brcm,bcm2711"]),
    ("raspberry-pi-4", ["raspberrypi,4-compute-module-s", "brcm,bcm2711"]),
    ("raspberry-pi-5", ["raspberrypi,5-model-b", "brcm,bcm2712"]),
    ("raspberry-pi-5", ["raspberrypi,500", "brcm,bcm2712"]),
    ("raspberry-pi-5", ["raspberrypi,5-compute-module", "brcm,bcm2712"]),
    ("jetson-nano", ["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"]),
    ("jetson-nano", ["nvidia,p3449-0000-a02+p3448-0000-a02", "nvidia,tegra210"]),
    ("jetson-nano", ["nvidia,p3542-0000+p3448-0003", "nvidia,jetson-nano-2gb", "nvidia,tegra210"]),
    ("jetson-tx2", ["nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"]),
    ("jetson-tx2", ["nvidia,quill", "nvidia,tegra186"]),
    ("jetson-tx2", ["nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"]),
    ("jetson-xavier-nx", ["nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"]),
    ("jetson-xavier-nx", ["nvidia,p3449-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194"]),
    ("jetson-xavier-nx", ["nvidia,p3449-0000+p3668-0003", "nvidia,tegra194"]),
    ("jetson-agx-xavier", ["nvidia,galen", "nvidia,jetson-xavier", "nvidia,p2822-0000+p2888-0001"]),
    ("jetson-agx-xavier", ["nvidia,galen", "nvidia,p2822-0000+p2888-0004", "nvidia,tegra194"]),
    ("jetson-agx-xavier", ["nvidia,p2972-0000", "nvidia,tegra194"]),
    ("jetson-orin-nano", ["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"]),
    ("jetson-orin-nano", ["nvidia,p3509-0000+p3767-0004", "nvidia,tegra234"]),
    ("jetson-orin-nano", ["nvidia,p3768-0000+p3767-0003", "nvidia,p3767-0003", "nvidia,tegra234"]),
    ("jetson-orin-nano-super", ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005"]),
    ("jetson-orin-nano-super", ["nvidia,p3768-0000+p3767-0004-super", "nvidia,tegra234"]),
    ("jetson-orin-nx", ["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"]),
    ("jetson-orin-nx", ["nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234"]),
    ("jetson-orin-nx", ["nvidia,p3509-0000+p3767-0001", "nvidia,tegra234"]),
    ("jetson-agx-orin", ["nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"]),
    ("jetson-agx-orin", ["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"]),
    ("jetson-agx-orin", ["rm01,rm01+p3701-0005", "nvidia,tegra234"]),
    ("jetson-agx-thor", ["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"]),
])  # fmt: skip
def test_a_board_is_known_by_its_device_tree(profile: str, compatible: list[str]) -> None:
    found = detection(compatible)
    assert found is not None
    assert (found.profile, found.exact) == (profile, True)


def test_every_profile_but_the_generic_one_is_found_by_each_string_it_lists() -> None:
    listed = {name: device_profile(name).compatible for name in device_profile_names()}
    assert [name for name, compatible in listed.items() if not compatible] == ["generic-linux"]
    assert {word: detect([word]) for words in listed.values() for word in words} == {
        word: name for name, words in listed.items() for word in words
    }


@pytest.mark.parametrize(
    "compatible",
    [
        [],
        [""],
        ["\0"],
        ["radxa,rock-5b", "rockchip,rk3588"],
        ["linux,dummy-virt"],
        ["nvidia,p9999-0000", "nvidia,tegra999"],
        ["raspberrypi,model-zero-w", "brcm,bcm2835"],
        ["nvidia,p3767"],
        ["xnvidia,tegra210x"],
        ["raspberrypi,4-model-b-nachbau"],
    ],
)  # fmt: skip
def test_a_board_nobody_knows_has_no_profile(compatible: list[str]) -> None:
    assert detect(compatible, 4 * GIB, 4) is None
    assert detected_profile(compatible, 4 * GIB, 4) is None


def test_spelling_does_not_matter_where_it_means_nothing() -> None:
    assert detect(["NVIDIA,P3768-0000+P3767-0005-SUPER\0"]) == "jetson-orin-nano-super"


def test_a_device_tree_names_its_board_most_specific_first() -> None:
    assert identities(["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"]) == (
        "nvidia,p3768-0000+p3767-0005-super",
        "nvidia,p3768-0000",
        "nvidia,p3767-0005-super",
        "nvidia,p3767-0005",
        "nvidia,tegra234",
    )


@pytest.mark.parametrize(("profile", "soc", "memory_gib", "cores"), [
    ("jetson-nano", "nvidia,tegra210", 3.9, 4),
    ("jetson-tx2", "nvidia,tegra186", 7.7, 6),
    ("jetson-xavier-nx", "nvidia,tegra194", 7.6, 6),
    ("jetson-agx-xavier", "nvidia,tegra194", 30.0, 8),
    # 16 GB are sold with both; the smaller one is expected, unless it cannot be.
    ("jetson-xavier-nx", "nvidia,tegra194", 15.4, 6),
    ("jetson-agx-xavier", "nvidia,tegra194", 15.4, 8),
    ("jetson-orin-nano", "nvidia,tegra234", 7.4, 6),
    ("jetson-orin-nx", "nvidia,tegra234", 15.3, 8),
    ("jetson-agx-orin", "nvidia,tegra234", 61.0, 12),
    ("jetson-agx-thor", "nvidia,tegra264", 122.0, 14),
    ("raspberry-pi-3b-plus", "brcm,bcm2837", 0.9, 4),
    ("raspberry-pi-5", "brcm,bcm2712", 16.0, 4),
])  # fmt: skip
def test_of_an_unknown_board_the_nearest_with_its_soc_is_told(
    profile: str, soc: str, memory_gib: float, cores: int
) -> None:
    found = detection(["acme,carrier-1", soc], round(memory_gib * GIB), cores)
    assert found == Detected(profile, soc, exact=False)


def test_super_clocks_are_never_guessed() -> None:
    guesses = {detect(["acme,super", "nvidia,tegra234"], size * GIB) for size in (3, 4, 7, 8, 15, 16, 31, 64)}
    assert "jetson-orin-nano-super" not in guesses
    assert None not in guesses


def test_without_ram_nothing_is_guessed_where_several_boards_have_the_soc() -> None:
    assert detect(["acme,carrier-1", "nvidia,tegra234"]) is None
    assert detect(["acme,carrier-1", "nvidia,tegra264"]) == "jetson-agx-thor"


def test_a_guessed_profile_only_stands_in() -> None:
    guessed = detected_profile(["acme,carrier-1", "nvidia,tegra234"], round(7.4 * GIB), 6)
    known = detected_profile(["nvidia,p3767-0005", "nvidia,tegra234"], round(7.4 * GIB), 6)
    assert guessed is not None
    assert known is not None
    assert (guessed.name, guessed.stands_in) == ("jetson-orin-nano", True)
    assert (known.name, known.stands_in) == ("jetson-orin-nano", False)


def test_the_ram_tells_the_module_where_the_device_tree_is_wrong() -> None:
    """Seen on an Orin NX of 8 GB: 6 cores and 7.4 GiB under the name of the 16 GB module."""
    found = detected_profile(["nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000"], round(7.4 * GIB))
    assert found is not None
    assert (found.name, found.variant, found.cpu_cores) == ("jetson-orin-nx", "8 GB, super", 6)
