"""The performance mode of every board in tests/captures: its best, and back to the very files."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.boards.host import ROOT_VARIABLE
from device_agents.performance.mode import PerformanceMode
from tests.device_agents.board_trees import CAPTURES, stand_in
from tests.device_agents.performance.boards import snapshot

pytestmark = pytest.mark.processes

#: The power mode after entering, and the governor.
RAISED = {
    "jetson-nano": ("MAXN (0)", "schedutil"),
    "jetson-tx2": ("MAXN (0)", "schedutil"),
    "jetson-xavier-nx": ("MODE_20W_6CORE (8)", "schedutil"),
    "jetson-agx-xavier": ("MAXN (0)", "schedutil"),
    "jetson-orin-nano": ("15W (0)", "schedutil"),
    "jetson-orin-nano-super": ("MAXN_SUPER (2)", "schedutil"),
    "jetson-orin-nx": ("MAXN (0)", "schedutil"),
    "jetson-agx-orin": ("MAXN (0)", "performance"),  # recorded while it was locked
    "jetson-thor": ("MAXN (0)", "schedutil"),
    "raspberry-pi-3b-plus": (None, "performance"),
    "raspberry-pi-zero-2-w": (None, "performance"),
    "raspberry-pi-4": (None, "performance"),
    "raspberry-pi-5": (None, "performance"),
}


def test_every_board_is_here() -> None:
    boards = {path.name for path in CAPTURES.iterdir() if path.name.startswith(("jetson-", "raspberry-pi-"))}
    assert boards == set(RAISED)


@pytest.mark.parametrize("name", RAISED)
def test_a_board_gets_its_best_and_is_as_before_afterwards(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stand_in(name, tmp_path)
    (tree.root / "run/edgebench").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv(ROOT_VARIABLE, str(tree.root))
    tree.workspace.create()
    before = snapshot(tree.root)
    mode = PerformanceMode(tree.workspace, tree.host, "max")
    entered = mode.enter()
    assert (entered.reached, entered.problems) == (True, [])
    assert (entered.after.get("power mode"), entered.after["governor"]) == RAISED[name]
    locked = [text for key, text in entered.after.items() if key.startswith(("policy", "gpu"))]
    if name.startswith("jetson"):
        assert all(low == high for low, high in (text.removesuffix(" MHz").split(" to ") for text in locked))
    left = mode.leave()
    assert (left.restored, left.problems) == (True, [])
    assert snapshot(tree.root) == before
