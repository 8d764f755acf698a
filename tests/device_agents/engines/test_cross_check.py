"""The vendor's tool on a job's engine: what it is told of the job, and that it never fails one."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest

from device_agents.boards.host import ROOT_VARIABLE
from device_agents.engines import cross_check
from device_agents.protocol import (
    EngineBuilt,
    Job,
    JobEnded,
    RuntimeLoaded,
    TensorSpec,
    ToolTiming,
    decode,
    encode,
)
from tests.device_agents.board import job
from tests.device_agents.board_trees import Tree, agent_python, stand_in

pytestmark = pytest.mark.processes


@pytest.fixture
def nano(tmp_path: Path) -> Tree:
    """A stand-in Jetson Nano whose trtexec is of TensorRT 8.2."""
    tree = stand_in("jetson-nano", tmp_path)
    tree.write("/stand-in/trtexec-generation", "8.2")
    return tree


def asked(**changes: Any) -> Job:
    """A job that wants trtexec's opinion; `x` is what the model's author calls the engine's `input`."""
    plain = job(
        runtime="tensorrt",
        inputs=[TensorSpec(["x", "input"], [4, 3, 8, 8], "float32")],
        options={"via": "trtexec"},
    )
    return plain._replace(**changes)


def checked(tree: Tree, wanted: Job, *events: Any) -> ToolTiming:
    """What the check says in a folder with an engine and that journal."""
    folder = Path(tree.workspace.job(wanted.job_id))
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "engine.plan").write_bytes(b"an engine")
    (folder / "journal.jsonl").write_bytes(b"not a line of ours\n" + b"".join(encode(one) for one in events))
    return cross_check.check(str(folder), wanted, tree.host)


def loaded(*shape: int) -> RuntimeLoaded:
    return RuntimeLoaded(0, "8.2.1", {}, [TensorSpec(["input"], list(shape), "float32")], [])


def built(**details: str) -> EngineBuilt:
    return EngineBuilt(0.0, "key", False, 1.0, 9, None, None, details, {}, 0, [])


def options_given(tree: Tree) -> list[str]:
    return tree.read("/stand-in/trtexec-calls").splitlines()[-1].split()


def test_a_dynamic_engine_is_timed_at_the_jobs_shape(nano: Tree) -> None:
    nano.write("/stand-in/trtexec-inputs", "input -1x3x8x8\n")
    found = checked(nano, asked(), loaded(-1, 3, 8, 8))
    assert (found.iterations, found.version) == (21, "8.2.1"), found.warnings
    assert "--shapes=input:4x3x8x8" in options_given(nano)


def test_a_static_engine_is_not_told_its_shape(nano: Tree) -> None:
    nano.write("/stand-in/trtexec-inputs", "input 4x3x8x8\n")
    assert checked(nano, asked(), loaded(4, 3, 8, 8)).iterations == 21
    assert not any(option.startswith("--shapes") for option in options_given(nano))


def test_what_the_runtime_told_last_counts(nano: Tree) -> None:
    nano.write("/stand-in/trtexec-inputs", "input -1x3x8x8\n")
    assert checked(nano, asked(), loaded(4, 3, 8, 8), loaded(-1, 3, 8, 8)).iterations == 21


@pytest.mark.parametrize(
    ("details", "options", "core"),
    [
        ({"dla_core": "1"}, {}, "1"),
        ({}, {"dla_core": "0"}, "0"),
        ({"dla_core": "1"}, {"dla_core": "0"}, "1"),
        ({}, {}, None),
        ({"dla_core": "none"}, {}, None),
    ],
)
def test_an_engine_for_the_dla_is_loaded_onto_its_core(
    nano: Tree, details: dict[str, str], options: dict[str, str], core: str | None
) -> None:
    wanted = asked(options={"via": "trtexec", **options})
    assert checked(nano, wanted, built(**details), loaded(4, 3, 8, 8)).iterations == 21
    given = [option for option in options_given(nano) if option.startswith("--useDLACore")]
    assert given == ([] if core is None else [f"--useDLACore={core}"])


def test_a_tool_that_nobody_knows_is_named_with_those_there_are(nano: Tree) -> None:
    found = checked(nano, asked(options={"via": "nsys"}))
    assert (found.tool, found.iterations) == ("nsys", 0)
    assert found.warnings == ["this agent has no tool 'nsys'; it has trtexec"]


def test_one_timing_is_all_it_says(nano: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(nano.root))
    wanted = asked()
    checked(nano, wanted)
    said = io.BytesIO()
    assert cross_check.run(nano.workspace, wanted, said) == 0
    assert isinstance(decode(said.getvalue()), ToolTiming)


def test_a_runtime_without_engines_is_told_so_and_its_job_goes_well(nano: Tree) -> None:
    events = nano.run_job(options={"via": "trtexec"})
    timings = [event for event in events if isinstance(event, ToolTiming)]
    assert [(one.tool, one.iterations, one.warnings) for one in timings] == [
        ("trtexec", 0, ["there is no engine: null builds none"])
    ]
    assert isinstance(events[-1], JobEnded)
    assert events[-1].outcome == "ok"


def test_the_tool_runs_from_the_agents_oldest_python(nano: Tree) -> None:
    python = agent_python("3.6")
    if python is None:
        pytest.skip("no Python 3.6; tests/agent_pythons.sh makes it")
    nano.write("/stand-in/trtexec-inputs", "input -1x3x8x8\n")
    session = nano.session(python)
    session.open(("null",))
    wanted = asked()
    folder = Path(nano.workspace.job(wanted.job_id))
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "engine.plan").write_bytes(b"an engine")
    (folder / "job.json").write_bytes(encode(wanted))
    (folder / "journal.jsonl").write_bytes(encode(loaded(-1, 3, 8, 8)))
    found = run_in_agent(nano, python, wanted)
    assert (found.iterations, found.compute_p50_ms) == (21, pytest.approx(2.5)), found.warnings


def run_in_agent(tree: Tree, python: str, wanted: Job) -> ToolTiming:
    """The command as the supervisor starts it, in the agent's archive."""
    archive = next((Path(tree.workspace.root) / "agents").iterdir())
    with subprocess.Popen(
        [python, archive, "--workspace", tree.workspace.root, "cross-check", wanted.job_id],
        stdin=subprocess.PIPE,  # its end is the parent's end, so it stays open
        stdout=subprocess.PIPE,
        env=tree.environment(),
    ) as child:
        assert child.stdout is not None
        found = decode(child.stdout.read())
    assert isinstance(found, ToolTiming)
    return found
