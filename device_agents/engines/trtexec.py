"""NVIDIA's trtexec on an engine of ours: which options it gets, and what becomes of its answer.

Options are chosen by what this very tool offers in its --help, never by its version: it refuses those it does
not know. 11 turned three defaults around (CUDA graph and spin-wait on, copies off); it is told to do as the
others, and as our own measurement, do: no graph, no spinning, inputs and outputs copied.
"""

import ctypes
import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional

from device_agents.boards.commands import FOLDERS, TIMED_OUT, Finished
from device_agents.boards.host import Host
from device_agents.engines import trtexec_output
from device_agents.protocol import ToolTiming

NAME = "trtexec"

#: The tool's own defaults of all versions, given all the same so that no version can differ.
WARMUP_MS = 200
DURATION_S = 3
ITERATIONS = 10

#: --help loads all of TensorRT, from an SD card if it has to.
HELP_TIMEOUT_S = 60.0

#: Loading an engine and three seconds of timing take less, however slow the card and the model.
TIMEOUT_S = 600.0

#: A larger file of times is not read on a board; the summary then has to do.
MAX_TIMES_BYTES = 64 << 20

#: Each turns one difference to our own measurement off where the tool has it; --exposeDMA lets one inference
#: end before the next begins to copy.
_COMPARABLE = ("--includeDataTransfers", "--noCudaGraph", "--noSpinWait", "--exposeDMA")

#: linux/prctl.h
_PR_SET_PDEATHSIG = 1


class Engine(NamedTuple):
    """What is to be timed: a file, the shapes of its inputs, and which of them it leaves open itself."""

    path: str
    shapes: Dict[str, List[int]]
    dynamic: List[str]
    #: The DLA core it was built for.
    dla_core: Optional[int]


class _Unsuitable(Exception):
    """The tool that is there cannot time the engine; the text says why."""


def measure(host: Host, engine: Engine, folder: str, timeout_s: float) -> ToolTiming:
    """Let the board's trtexec time the engine, for `timeout_s` seconds at most; its file goes into `folder`.

    Never raises for what the tool does: without figures, iterations are 0 and the warnings say why.
    """
    path = host.commands.path(NAME)
    if path is None:
        remedy = "it comes with JetPack's package libnvinfer-bin (sudo apt-get install libnvinfer-bin)"
        return failed(NAME, "trtexec is not installed in {}; {}".format(", ".join(FOLDERS), remedy))
    give_up = time.monotonic() + min(timeout_s, TIMEOUT_S)
    tool = host.files.path(path)
    help_text = _run([tool, "--help"], min(HELP_TIMEOUT_S, timeout_s))
    offered = trtexec_output.offered_options(help_text.stdout)
    version = trtexec_output.version(help_text.stdout)
    times = os.path.join(folder, "times.json")
    if "--loadEngine" not in offered:
        return failed(NAME, "trtexec --help offers no --loadEngine: {}".format(_reason(help_text)), version)
    try:
        arguments = _arguments(engine, offered, times)
    except _Unsuitable as error:
        return failed(NAME, str(error), version)
    command = " ".join(shlex.quote(word) for word in [path] + arguments)
    _remove(times)
    finished = _run([tool] + arguments, max(1.0, give_up - time.monotonic()))
    timing = _judged(finished, engine, version, command, times)
    _remove(times)
    return timing._replace(warnings=timing.warnings + _not_offered(offered))


def failed(tool: str, reason: str, version: str = "", command: str = "") -> ToolTiming:
    """The timing of a tool that gave none."""
    return ToolTiming(time.time(), tool, version, command, 0, 0.0, 0.0, [reason])


def _arguments(engine: Engine, offered: FrozenSet[str], times: str) -> List[str]:
    """The command line without the tool itself; raises _Unsuitable where an option it needs is not there."""
    arguments = ["--loadEngine=" + engine.path]
    if engine.dynamic:
        _need(offered, "--shapes", "the engine's dynamic inputs")
        arguments.append("--shapes=" + ",".join(_shape(name, engine.shapes[name]) for name in engine.dynamic))
    if engine.dla_core is not None:
        _need(offered, "--useDLACore", "an engine for the DLA")
        arguments.append("--useDLACore={}".format(engine.dla_core))
    wanted = [
        ("--warmUp", WARMUP_MS),
        ("--duration", DURATION_S),
        ("--iterations", ITERATIONS),
        ("--exportTimes", times),
    ]
    arguments += ["{}={}".format(name, value) for name, value in wanted if name in offered]
    return arguments + [name for name in _COMPARABLE if name in offered]


def _need(offered: FrozenSet[str], option: str, purpose: str) -> None:
    if option not in offered:
        raise _Unsuitable("this trtexec offers no {}, which {} need".format(option, purpose))


def _shape(name: str, sizes: List[int]) -> str:
    """`input0:1x3x256x256`; the tool splits at commas first, and a name's own colons do no harm."""
    if "," in name:
        raise _Unsuitable("trtexec cannot be told the shape of {!r}: it splits names at commas".format(name))
    return "{}:{}".format(name, _sizes(sizes))


def _sizes(sizes: List[int]) -> str:
    return "x".join(str(size) for size in sizes)


def _not_offered(offered: FrozenSet[str]) -> List[str]:
    """What could not be asked of it, so that its own habits decide."""
    usual = ("--warmUp", "--duration", "--iterations", "--exportTimes", "--exposeDMA")
    return ["this trtexec offers no {}".format(name) for name in usual if name not in offered]


def _judged(finished: Finished, engine: Engine, version: str, command: str, times: str) -> ToolTiming:
    """The figures of a run, or why there are none."""
    log = finished.stdout + "\n" + finished.stderr
    version = trtexec_output.version(log) or version
    if finished.status != 0 or not trtexec_output.passed(log):
        return failed(NAME, "trtexec failed: {}".format(_reason(finished)), version, command)
    others = _other_shapes(engine, log)
    if others:
        reason = "trtexec timed other shapes than the job's: {}".format("; ".join(others))
        return failed(NAME, reason, version, command)
    warnings = trtexec_output.warnings(log)
    timing = trtexec_output.exported_timing(_text(times), WARMUP_MS)
    if timing is None:
        timing = trtexec_output.summarised_timing(log)
        if timing is None:
            return failed(NAME, "trtexec passed and gave no figures that could be read", version, command)
        warnings.append("medians are those of its summary: its file of times could not be read")
    return ToolTiming(
        time.time(),
        NAME,
        version,
        command,
        timing.iterations,
        timing.latency_p50_ms,
        timing.compute_p50_ms,
        warnings,
    )


def _reason(finished: Finished) -> str:
    """Why the tool gave nothing: its own errors, else the signal it died of, else its last words."""
    errors = trtexec_output.failure(finished.stdout + "\n" + finished.stderr)
    if errors:
        return errors
    if finished.status < 0:
        return "it died of signal {}".format(-finished.status)
    words = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    return words[-1][:300] if words else "status {}".format(finished.status)


def _other_shapes(engine: Engine, log: str) -> List[str]:
    """Where what was timed is not what the job runs: its figures would be of another model."""
    timed = trtexec_output.timed_shapes(log)
    if not timed:
        return trtexec_output.guessed_shapes(log)
    return [
        "{} is {} there, {} here".format(name, _sizes(timed[name]), _sizes(wanted))
        for name, wanted in sorted(engine.shapes.items())
        if name in timed and timed[name] != wanted
    ]


def _text(path: str) -> str:
    """A file's text; empty where there is none or it is too large for a board."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TIMES_BYTES + 1)
    except OSError:
        return ""
    return "" if len(content) > MAX_TIMES_BYTES else content.decode("utf-8", "replace")


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:  # it was not written, or cannot be read either
        pass


def _run(command: List[str], timeout_s: float) -> Finished:
    """Run the tool, which is killed when this process ends: an orphan would disturb the next job."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_ends_with_parent(),
            env=dict(os.environ, LC_ALL="C", LANG="C"),
        )
    except OSError as error:
        return Finished(126, "", "{}: {}".format(command[0], error.strerror))
    try:
        out, err = process.communicate(timeout=timeout_s)
        status, late = process.returncode, ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        status, late = TIMED_OUT, "trtexec: no end within {:g} s\n".format(timeout_s)
    return Finished(status, out.decode("utf-8", "replace"), late + err.decode("utf-8", "replace"))


def _ends_with_parent() -> Optional[Callable[[], Any]]:
    """What the new process does before it becomes the tool; nothing where there is no prctl."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return functools.partial(prctl, _PR_SET_PDEATHSIG, int(signal.SIGKILL))
