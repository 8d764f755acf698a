"""Whatever line of the performance mode an agent dies in: the board comes back as it was.

Every so many lines here; benchmarks/performance_mode_kills.py takes every one, and the real archive.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

#: Who dies, every how many lines on the Raspberry Pi and on the Jetson, and how many points that is at least.
DEATHS = {
    "supervisor": (4, 12, 240),
    "guard": (4, 16, 210),
    "both": (4, 12, 240),
    "guard-restoring": (2, 12, 200),
    "contact-restoring": (2, 11, 200),
}


@pytest.mark.parametrize("who", DEATHS)
def test_a_death_at_any_line_leaves_governor_clocks_and_power_mode_as_they_were(who: str) -> None:
    *steps, least = DEATHS[who]
    points = 0
    for board, step in zip(("raspberry-pi", "jetson"), steps, strict=True):
        told = subprocess.run(
            [sys.executable, "-m", "tests.device_agents.performance.kill_points", board, who, str(step)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        result = json.loads(told.stdout)
        assert result["wrong"] == []
        points += result["points"]
    assert points >= least
