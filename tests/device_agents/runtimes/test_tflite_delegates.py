"""TFLite delegates: a real one, compiled here, takes operators of real models; and every way one can fail."""

from __future__ import annotations

import gc
import hashlib
import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from device_agents.protocol import BlobRef, Event, JobEnded, RuntimeLoaded, TensorSpec
from device_agents.runtimes import tflite_delegates
from device_agents.runtimes.base import Engine, LoadFailed, Request
from device_agents.runtimes.tflite import TfliteRuntime
from tests.device_agents.board import Board, job, run

pytestmark = pytest.mark.processes

SOURCE = Path(__file__).parents[2] / "standins" / "tflite_delegate" / "tracing_delegate.c"

X, Y = TensorSpec(["x"], [1, 4], "float32"), TensorSpec(["y"], [1, 4], "float32")
FEED = {"x": np.array([[-1, 2, -3, 4]], dtype="float32")}

#: Delegate.__del__ of TFLite's own Python stumbles over what its constructor did not reach.
constructor_fails = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The delegate of tests/standins, compiled for this machine."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here")
    made = tmp_path_factory.mktemp("delegate") / "libtracing.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", made, SOURCE], check=True)
    return str(made)


@pytest.fixture
def runtime() -> TfliteRuntime:
    """The package of this environment."""
    made = TfliteRuntime()
    made.start()
    return made


def model(*operators: str) -> bytes:
    """A chain of operators on float[1,4] from `x` to `y`; a name in lower case is a custom operator's."""
    builtin = schema.BuiltinOperator
    codes, steps = [], []
    for number, name in enumerate(operators):
        code = schema.OperatorCodeT()
        code.builtinCode = builtin.CUSTOM if name.islower() else getattr(builtin, name)
        code.deprecatedBuiltinCode = code.builtinCode
        code.customCode, code.version = (name if name.islower() else None), 1
        codes.append(code)
        step = schema.OperatorT()
        step.opcodeIndex, step.inputs, step.outputs = number, [number], [number + 1]
        steps.append(step)
    names = ["x", *(f"between{number}" for number in range(1, len(operators))), "y"]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [tensor(name) for name in names], steps
    graph.inputs, graph.outputs, graph.name = [0], [len(operators)], "main"
    whole = schema.ModelT()
    whole.version, whole.operatorCodes, whole.subgraphs = 3, codes, [graph]
    whole.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor(name: str) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, [1, 4], schema.TensorType.FLOAT32, 0
    return made


def loaded(runtime: TfliteRuntime, folder: Path, content: bytes, **options: str) -> Engine:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return runtime.load(Request([str(path)], [X], [Y], 1, options))


def refused(runtime: TfliteRuntime, folder: Path, content: bytes, **options: str) -> str:
    with pytest.raises(LoadFailed) as error:
        loaded(runtime, folder, content, **options)
    said = str(error.value)
    del error
    gc.collect()  # half-made delegates complain when they go; let them go here
    return said


def test_a_delegate_computes_the_operators_it_takes(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    engine = loaded(
        runtime, tmp_path, model("RELU"), delegate=library, delegate_options=f"say={said}, device = usb:0"
    )
    assert engine.run(FEED)["y"].tolist() == [[0, 2, 0, 4]]
    assert said.read_text() == f"say={said}\ndevice=usb:0\ninvoked\n"
    assert engine.details == {
        "delegate": library,
        "delegate_options": f"say={said},device=usb:0",
        "delegated_operators": "1 of 1",
    }


def test_operators_it_leaves_run_beside_it_and_are_counted(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    engine = loaded(runtime, tmp_path, model("RELU", "NEG", "RELU", "RELU", "ABS"), delegate=library)
    assert engine.details["delegated_operators"] == "3 of 5"
    assert engine.run(FEED)["y"].tolist() == [[0, 0, 0, 0]]


def test_a_delegate_that_takes_nothing_is_seen_to(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    engine = loaded(runtime, tmp_path, model("RELU"), delegate=library, delegate_options="take=none")
    assert engine.details["delegated_operators"] == "0 of 1"
    assert engine.run(FEED)["y"].tolist() == [[0, 2, 0, 4]]


def test_without_a_delegate_nothing_is_said_of_one(runtime: TfliteRuntime, tmp_path: Path) -> None:
    assert loaded(runtime, tmp_path, model("RELU")).details == {}


@constructor_fails
def test_a_delegate_without_its_device_fails_with_its_own_words(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    said = refused(runtime, tmp_path, model("RELU"), delegate=library, delegate_options="fail=create")
    assert said == (
        f"the delegate {library} does not start: no accelerator is plugged in; "
        "its delegate_options or its device may be at fault"
    )


def test_a_delegate_that_refuses_the_model_is_named(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    said = refused(runtime, tmp_path, model("RELU"), delegate=library, delegate_options="fail=prepare")
    assert "the tracing delegate was asked to refuse" in said
    assert said.endswith(f"(with the delegate {library})")


@constructor_fails
@pytest.mark.parametrize(
    ("name", "file", "remedy"),
    [
        ("edgetpu", "libedgetpu.so.1", "install Coral's libedgetpu1-std"),
        ("/opt/coral/libedgetpu.so.1.0", "/opt/coral/libedgetpu.so.1.0", "install Coral's libedgetpu1-std"),
        ("gpu", "libtensorflowlite_gpu_delegate.so", "or give the path of one"),
        ("libnone.so", "libnone.so", "give the path of a delegate's library on the board"),
    ],
)
def test_a_library_that_is_not_there_is_named_with_the_remedy(
    runtime: TfliteRuntime, tmp_path: Path, name: str, file: str, remedy: str
) -> None:
    said = refused(runtime, tmp_path, model("RELU"), delegate=name)
    assert said.startswith(f"the delegate {file} cannot be loaded: {file}: cannot open shared object file")
    assert remedy in said


@constructor_fails
def test_a_library_that_is_no_delegate_is_told_apart(runtime: TfliteRuntime, tmp_path: Path) -> None:
    said = refused(runtime, tmp_path, model("RELU"), delegate="libm.so.6")
    assert said.startswith("libm.so.6 is a library and no TFLite delegate: ")
    assert "tflite_plugin_create_delegate" in said


def test_a_model_for_the_edge_tpu_asks_for_its_delegate(runtime: TfliteRuntime, tmp_path: Path) -> None:
    said = refused(runtime, tmp_path, model("edgetpu-custom-op"))
    assert "compiled for the Edge TPU (operator edgetpu-custom-op)" in said
    assert "give the option delegate edgetpu" in said


def test_another_unknown_operator_is_tflites_own_to_explain(
    runtime: TfliteRuntime, library: str, tmp_path: Path
) -> None:
    said = refused(runtime, tmp_path, model("mystery"), delegate=library)
    assert "unresolved custom op: mystery" in said
    assert "Edge TPU" not in said


@pytest.mark.parametrize("text", ["device", "=usb", "a=b,c"])
def test_options_that_are_not_pairs_are_refused(text: str) -> None:
    with pytest.raises(LoadFailed, match=r"^delegate_options are key=value,key=value; found '"):
        tflite_delegates.wanted({"delegate": "x", "delegate_options": text}, lambda *_: None, "tflite")


def test_options_without_a_delegate_are_refused() -> None:
    with pytest.raises(LoadFailed, match="delegate_options without a delegate"):
        tflite_delegates.wanted({"delegate_options": "a=b"}, lambda *_: None, "tflite")


def test_a_value_may_hold_an_equals_sign() -> None:
    given: list[dict[str, str]] = []
    tflite_delegates.wanted(
        {"delegate": "x", "delegate_options": "path=/a=b,empty=,"},
        lambda _library, settings: given.append(settings),
        "tflite",
    )
    assert given == [{"path": "/a=b", "empty": ""}]


def test_an_interpreter_that_tells_nothing_of_its_operators_gives_no_count() -> None:
    assert tflite_delegates.delegated_operators(object()) is None


# --- through the agent ----------------------------------------------------------------------------


def events_of(board: Board, **options: str) -> list[Event]:
    """A job that runs relu with these options."""
    session = board.opened()
    content = model("RELU")
    blob = BlobRef(hashlib.sha256(content).hexdigest(), len(content), "relu.tflite")
    Path(board.workspace.blob(blob.sha256)).write_bytes(content)
    return run(session, job(runtime="tflite", artifact=[blob], inputs=[X], outputs=[Y], options=options))


def test_a_job_tells_which_delegate_ran_its_operators(board: Board, library: str) -> None:
    details = [
        event.details for event in events_of(board, delegate=library) if isinstance(event, RuntimeLoaded)
    ]
    assert [found["delegated_operators"] for found in details] == ["1 of 1"]


def test_a_job_whose_edge_tpu_library_crashes_says_that_they_do_not_fit(board: Board, library: str) -> None:
    named = board.folder / "libedgetpu.so.1"
    shutil.copy(library, named)
    end = events_of(board, delegate=str(named), delegate_options="fail=crash")[-1]
    assert isinstance(end, JobEnded)
    assert end.reason == "crashed"
    assert end.message is not None
    assert end.message.startswith("the worker died of SIGSEGV; it last said: loading ")
    assert (
        "if that crashes, they do not fit: install Coral's libedgetpu1-std, or a libedgetpu built"
        in end.message
    )
