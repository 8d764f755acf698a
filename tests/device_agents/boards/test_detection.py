"""Which kind of board it is: by the device tree, whatever else the machine says."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.boards.host import host_at
from device_agents.boards.table import compatible, this_board

TREES = ("proc/device-tree", "sys/firmware/devicetree/base")

FAMILIES = {
    "raspberrypi,3-model-b-plus brcm,bcm2837": "raspberry-pi",
    "raspberrypi,model-zero-2-w brcm,bcm2837": "raspberry-pi",
    "raspberrypi,4-model-b brcm,bcm2711": "raspberry-pi",
    "raspberrypi,5-compute-module raspberrypi,5-compute-module-cm5io brcm,bcm2712": "raspberry-pi",
    "acme,gateway brcm,bcm2711": "raspberry-pi",
    "nvidia,p3450-0000 nvidia,jetson-nano nvidia,tegra210": "jetson",
    "nvidia,quill nvidia,p2771-0000 nvidia,tegra186": "jetson",
    "nvidia,p3509-0000+p3668-0000 nvidia,tegra194": "jetson",
    "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234": "jetson",
    "nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264": "jetson",
    "nvidia,tegra30": "generic-linux",
    "brcm,bcm63138": "generic-linux",
    "radxa,rock-5b rockchip,rk3588": "generic-linux",
    "acme,not-a-raspberrypi,5": "generic-linux",
    "linux,dummy-virt": "generic-linux",
}


def told(root: Path, tree: str, names: str) -> None:
    folder = root / tree
    folder.mkdir(parents=True)
    (folder / "compatible").write_bytes(b"".join(name.encode() + b"\0" for name in names.split()))


@pytest.mark.parametrize(("names", "family"), FAMILIES.items())
def test_the_family_by_its_compatible_strings(tmp_path: Path, names: str, family: str) -> None:
    told(tmp_path, TREES[0], names)
    assert this_board(host_at(str(tmp_path))).family == family


@pytest.mark.parametrize("tree", TREES)
def test_either_place_of_the_device_tree_will_do(tmp_path: Path, tree: str) -> None:
    told(tmp_path, tree, "raspberrypi,5-model-b brcm,bcm2712")
    host = host_at(str(tmp_path))
    assert compatible(host.files) == ["raspberrypi,5-model-b", "brcm,bcm2712"]
    assert this_board(host).family == "raspberry-pi"


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\xff\xfe\0\x80", None])
def test_a_device_tree_that_says_nothing_is_of_no_family(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / TREES[0] / "compatible"
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert this_board(host_at(str(tmp_path))).family == "generic-linux"


def test_the_name_of_a_board_decides_nothing(tmp_path: Path) -> None:
    told(tmp_path, TREES[0], "radxa,rock-5b")
    (tmp_path / TREES[0] / "model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    assert this_board(host_at(str(tmp_path))).family == "generic-linux"
