"""Memory limits, on trees that stand for the kernel's two versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.machine import cgroups

LIMIT = 950_118_400


def _tree(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def test_the_first_version_has_a_hierarchy_for_memory(tmp_path: Path) -> None:
    _tree(tmp_path, "memory/memory.limit_in_bytes")
    assert cgroups.memory_hierarchy(tmp_path) == tmp_path / "memory"


def test_the_second_version_has_one_for_all(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert cgroups.memory_hierarchy(tmp_path) == tmp_path


def test_a_kernel_without_a_memory_controller_is_told(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io pids\n")
    with pytest.raises(LabError, match="no memory controller"):
        cgroups.memory_hierarchy(tmp_path)


def test_the_first_version_counts_memory_and_swap_together(tmp_path: Path) -> None:
    group = tmp_path / "lab/pi3"
    _tree(group, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    cgroups.make_group(group, LIMIT)
    assert (group / "memory.limit_in_bytes").read_text() == "950118400"
    assert (group / "memory.memsw.limit_in_bytes").read_text() == "950118400"


def test_the_second_version_counts_swap_apart_and_hands_the_controller_down(tmp_path: Path) -> None:
    group = tmp_path / "lab/pi3"
    _tree(tmp_path, "cgroup.subtree_control", "lab/pi3/memory.max", "lab/pi3/memory.swap.max")
    cgroups.make_group(group, LIMIT)
    assert (group / "memory.max").read_text() == "950118400"
    assert (group / "memory.swap.max").read_text() == "0"
    handed = [(place / "cgroup.subtree_control").read_text() for place in (tmp_path, tmp_path / "lab")]
    assert handed == ["+memory", "+memory"]


def test_a_group_that_is_not_there_has_no_processes_and_is_removed(tmp_path: Path) -> None:
    assert cgroups.processes(tmp_path / "gone") == []
    cgroups.remove_group(tmp_path / "gone")
