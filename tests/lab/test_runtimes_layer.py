"""Which boards share runtimes, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.farm.wheelhouse import WheelsMissing
from harness.lab.boards.kinds import kinds
from harness.lab.lab import Lab
from harness.lab.systems import qemu
from harness.lab.systems.roots import root_folder
from harness.lab.systems.runtimes_layer import RuntimesLayer, layer_of

KINDS = kinds()


def layer(kind: str, roots: Path = Path("/roots")) -> RuntimesLayer:
    found = layer_of(roots, KINDS[kind])
    assert found is not None
    return found


def test_boards_whose_processors_take_the_same_packages_share_a_layer() -> None:
    assert layer("pi3") == layer("zero2w") == layer("pi4")
    assert layer("pi4").folder != layer("pi5").folder


def test_each_processor_gets_the_onnxruntime_that_runs_on_it() -> None:
    assert [pin.exact for pin in layer("pi4").pins] == [
        "numpy==2.2.6", "onnxruntime==1.20.1", "ai-edge-litert==2.3.0", "pip==25.3",
    ]  # fmt: skip
    assert "onnxruntime==1.31.1" in [pin.exact for pin in layer("pi5").pins]


def test_another_root_and_other_packages_have_another_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    before = layer("pi5").folder
    monkeypatch.setattr(
        "harness.lab.systems.runtimes_layer.root_folder", lambda roots: roots / "debian-other"
    )
    assert layer("pi5").folder != before


def test_a_board_on_the_hosts_own_system_has_none() -> None:
    assert layer_of(Path("/roots"), KINDS["nano"]) is None


class Place:
    """A lab whose QEMU is as good as the test wants, and whose package index is out of reach."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.lab = Lab(folder / "lab", folder / "roots", self.told.append)
        self.tried: list[RuntimesLayer] = []
        patch.setattr(qemu, "runs_runtimes", lambda _: self.qemu_is_good)
        patch.setattr(Lab, "_make_runtimes", self.make)
        self.qemu_is_good = True

    def make(self, wanted: RuntimesLayer) -> None:
        self.tried.append(wanted)
        raise WheelsMissing("the package index is out of reach", "connect this computer")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_without_a_package_index_a_board_comes_up_bare_and_says_so(place: Place) -> None:
    assert place.lab._runtimes(KINDS["pi5"]) is None
    assert place.told == [
        "pi5 comes up bare: the package index is out of reach; bench device setup pi5, with --wheels DIR "
        "where there is no package index (--bare does not try)"
    ]


def test_under_a_qemu_that_runs_no_runtime_none_is_installed(place: Place) -> None:
    place.qemu_is_good = False
    assert place.lab._runtimes(KINDS["pi5"]) is None
    assert place.tried == []


def test_a_layer_that_is_there_is_used_whatever_is_out_of_reach(place: Place) -> None:
    made = layer("pi5", place.lab.roots)
    made.folder.mkdir(parents=True)
    (made.folder / "python").write_text("/home/bench/venv/bin/python")
    assert place.lab._runtimes(KINDS["pi5"]) == made
    assert (place.tried, place.told) == ([], [])
    fittings = place.lab._fittings(KINDS["pi5"], bare=False)
    assert fittings.agent_python == "/home/bench/venv/bin/python"
    assert fittings.lowers == (made.tree, root_folder(place.lab.roots))
    bare = place.lab._fittings(KINDS["pi5"], bare=True)
    assert (bare.agent_python, bare.lowers) == (None, (root_folder(place.lab.roots),))
