"""trtexec on a stand-in board: every generation gets options it has, which make its figures comparable."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_agents.engines import trtexec
from device_agents.protocol import ToolTiming
from tests.device_agents.board import is_running, wait_until
from tests.device_agents.board_trees import CAPTURES, Tree

pytestmark = pytest.mark.processes

GENERATIONS = ("8.2", "8.5", "10.3", "11.1")
TOOL = "usr/src/tensorrt/bin/trtexec"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A board that has trtexec and an engine, and nothing else."""
    made = Tree("jetson", tmp_path)
    made.write(f"/{TOOL}", (CAPTURES / "commands" / "jetson" / TOOL).read_bytes())
    made.path(f"/{TOOL}").chmod(0o755)
    made.write("/engine.plan", "an engine")
    return made


def engine(tree: Tree, **changes: object) -> trtexec.Engine:
    """The board's engine, of one input `x`."""
    plain = trtexec.Engine(str(tree.path("/engine.plan")), {"x": [4, 3, 8, 8]}, [], None)
    return plain._replace(**changes)


def measured(tree: Tree, generation: str, timeout_s: float = 30.0, **changes: object) -> ToolTiming:
    tree.write("/stand-in/trtexec-generation", generation)
    return trtexec.measure(tree.host, engine(tree, **changes), str(tree.root), timeout_s)


def calls(tree: Tree) -> list[str]:
    """Command lines the tool was given, without those that ask for its help."""
    return [line for line in tree.read("/stand-in/trtexec-calls").splitlines() if line != "--help"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_times_alike(tree: Tree, generation: str) -> None:
    found = measured(tree, generation)
    assert (found.tool, found.iterations) == ("trtexec", 21), found.warnings
    # 0.1 ms in, 2.5 ms of computing without a graph and without spinning, 0.05 ms out, one after the other.
    assert found.compute_p50_ms == pytest.approx(2.5)
    assert found.latency_p50_ms == pytest.approx(2.65)


@pytest.mark.parametrize(
    ("generation", "version"), [("8.2", "8.2.1"), ("8.5", "8.5.2"), ("10.3", "10.3.0"), ("11.1", "11.1.0")]
)
def test_the_version_is_that_of_the_banner(tree: Tree, generation: str, version: str) -> None:
    assert measured(tree, generation).version == version


def test_its_own_doubts_about_its_figures_are_kept(tree: Tree) -> None:
    assert measured(tree, "8.5").warnings == [
        "Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be under-utilized.",
        "GPU compute time is unstable, with coefficient of variance = 2.42%.",
    ]


def test_the_command_is_one_that_a_person_can_repeat_on_the_board(tree: Tree) -> None:
    found = measured(tree, "8.2", dla_core=1)
    times = tree.root / "times.json"
    assert found.command == (
        f"/{TOOL} --loadEngine={tree.root}/engine.plan --useDLACore=1 --warmUp=200 --duration=3 "
        f"--iterations=10 --exportTimes={times} --exposeDMA"
    )
    assert not times.exists()


def test_the_newest_is_told_to_do_as_the_others(tree: Tree) -> None:
    measured(tree, "11.1")
    assert calls(tree)[-1].endswith("--includeDataTransfers --noCudaGraph --noSpinWait --exposeDMA")


def test_an_option_of_another_generation_would_be_refused(tree: Tree) -> None:
    """The stand-in does as the real one; else the tests above could not fail."""
    for generation, option in [("8.2", "--noSpinWait"), ("10.3", "--workspace=64"), ("11.1", "--fp16")]:
        tree.write("/stand-in/trtexec-generation", generation)
        done = subprocess.run(
            [tree.path(f"/{TOOL}"), f"--loadEngine={tree.root}/engine.plan", option],
            env=tree.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "&&&& FAILED" in done.stdout) == (1, True)
        assert f"[E] Unknown option: {option.split('=')[0]} " in done.stderr


@pytest.mark.parametrize("generation", ["8.2", "10.3"])
def test_a_dynamic_input_is_given_the_jobs_shape(tree: Tree, generation: str) -> None:
    tree.write("/stand-in/trtexec-inputs", "x -1x3x8x8\nmask 4x8\n")
    shapes = {"x": [4, 3, 8, 8], "mask": [4, 8]}
    found = measured(tree, generation, shapes=shapes, dynamic=["x"])
    assert found.iterations == 21, found.warnings
    assert " --shapes=x:4x3x8x8 " in calls(tree)[-1]


@pytest.mark.parametrize("generation", ["8.2", "10.3"])
def test_figures_of_another_shape_than_the_jobs_do_not_count(tree: Tree, generation: str) -> None:
    tree.write("/stand-in/trtexec-inputs", "x -1x3x8x8\n")
    found = measured(tree, generation)  # nobody says that x is dynamic, so the tool takes a batch of one
    assert (found.iterations, found.latency_p50_ms) == (0, 0.0)
    assert found.warnings == ["trtexec timed other shapes than the job's: x is 1x3x8x8 there, 4x3x8x8 here"]


def test_an_input_whose_name_it_would_split_is_not_given_to_it(tree: Tree) -> None:
    found = measured(tree, "8.5", shapes={"a,b": [4, 8]}, dynamic=["a,b"])
    assert found.warnings == ["trtexec cannot be told the shape of 'a,b': it splits names at commas"]


def test_the_summary_serves_where_the_file_of_times_is_missing(tree: Tree) -> None:
    tree.write("/stand-in/trtexec-writes-no-times", "")
    found = measured(tree, "8.2")
    assert found[4:7] == (21, 2.65, 2.5)
    assert found.warnings[-1] == "medians are those of its summary: its file of times could not be read"


def test_an_older_file_of_times_is_never_taken_for_this_runs(tree: Tree) -> None:
    tree.write("/stand-in/trtexec-writes-no-times", "")
    tree.write("/times.json", '[{"latencyMs": 99, "computeMs": 99}]')
    assert measured(tree, "8.2").latency_p50_ms == 2.65


def test_a_board_without_it_gives_no_figures_and_the_remedy(tree: Tree) -> None:
    tree.remove(f"/{TOOL}")
    found = measured(tree, "8.2")
    assert (found.iterations, found.version, found.command) == (0, "", "")
    assert found.warnings[0].startswith("trtexec is not installed in ")
    assert found.warnings[0].endswith("(sudo apt-get install libnvinfer-bin)")


def test_an_engine_that_it_refuses_gives_no_figures_and_its_words(tree: Tree) -> None:
    tree.write("/stand-in/trtexec-refuses-engine", "")
    found = measured(tree, "10.3")
    assert (found.iterations, found.version) == (0, "10.3.0")
    assert found.warnings[0].startswith("trtexec failed: Error[1]: [runtime.cpp::parsePlan::455] ")
    assert found.warnings[0].endswith("; Engine deserialization failed")


def test_a_tool_that_cannot_even_start_gives_its_last_words(tree: Tree) -> None:
    said = "trtexec: libnvinfer.so.8: cannot open shared object file"
    tree.write(f"/{TOOL}", f"#!/bin/sh\necho '{said}' >&2\nexit 127\n")
    assert measured(tree, "8.2").warnings == [f"trtexec --help offers no --loadEngine: {said}"]


def test_a_tool_that_crashes_is_named_for_its_signal(tree: Tree) -> None:
    tree.write(f"/{TOOL}", '#!/bin/sh\necho "  --loadEngine=<file>  "\n[ "$1" = --help ] || kill -SEGV $$\n')
    found = measured(tree, "8.2")
    assert found.warnings[0] == "trtexec failed: it died of signal 11"
    assert "this trtexec offers no --exportTimes" in found.warnings


def test_a_tool_that_hangs_ends_with_the_time_it_was_given(tree: Tree) -> None:
    tree.write("/stand-in/trtexec-hangs", "")
    began = time.monotonic()
    found = measured(tree, "8.2", timeout_s=1.2)
    assert time.monotonic() - began < 5
    assert found.warnings[0].startswith("trtexec failed: trtexec: no end within ")


def test_the_tool_ends_with_the_process_that_started_it(tree: Tree) -> None:
    """The supervisor kills the process that waits; an orphan would disturb the next job."""
    tree.write("/stand-in/trtexec-hangs", "")
    tree.write(
        f"/{TOOL}",
        f"#!/bin/sh\n[ \"$1\" = --help ] && {{ echo '  --loadEngine'; exit; }}\n"
        f"echo $$ > {tree.root}/tool.pid\nexec sleep 60\n",
    )
    code = (
        "from device_agents.engines import trtexec\nfrom device_agents.boards.host import this_host\n"
        f"trtexec.measure(this_host(), trtexec.Engine('e', {{}}, [], None), {str(tree.root)!r}, 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=tree.environment()) as waiting:
        try:
            pid_file = tree.path("/tool.pid")
            assert wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
            tool = int(pid_file.read_text())
            assert is_running(tool)
        finally:
            waiting.kill()
    assert wait_until(lambda: not is_running(tool))
