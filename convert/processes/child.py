"""Runs one task of convert.processes.worker in a process of its own, so that its crashes are errors here.

The request and the reply are JSON files in a folder that both sides use; stdout and stderr of the
child go to a log beside them, so whatever a library prints disturbs nobody.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from convert.errors import ERRORS, ConvertError
from convert.held_folders import held_folder, scratch_folder

#: Long enough for the largest models on a slow host; a tool that hangs must still end.
DEADLINE_S = 3600.0

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
#: `-P` keeps the current folder off sys.path: a stray onnx.py there must not be imported.
_BOOTSTRAP = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from convert.processes.worker import main; main(sys.argv[1])"
)
_LOG_TAIL_CHARACTERS = 600
#: How often memory is looked at; a converter needs longer to fill a gigabyte.
_LOOK_S = 0.05
_NO_MEMORY = re.compile(r"bad[ _]alloc|MemoryError|[Cc]annot allocate memory|out of memory")


@dataclass(frozen=True)
class Limits:
    """What a child may take: seconds, and bytes of memory with all processes it starts."""

    deadline_s: float = DEADLINE_S
    memory: int | None = None


@dataclass(frozen=True)
class _End:
    """How a child ended. `code` is None where it was stopped at its deadline."""

    code: int | None
    over_memory: bool
    #: Most bytes that were resident at once, as far as looking every _LOOK_S can tell.
    peak_memory: int


def run_child(
    task: str,
    request: Mapping[str, Any],
    *,
    error: type[ConvertError],
    limits: Limits = Limits(),
    python: Path | None = None,
) -> dict[str, Any]:
    """The worker's reply to `task`; `python` is another environment's interpreter.

    Errors of the worker come back as the class they were; a child that dies of a signal, ends
    without a reply or takes more than its limits raises `error`, named for what happened.
    """
    with held_folder(scratch_folder(), "edgebench-child-") as exchange:
        (exchange / "request.json").write_text(json.dumps({"task": task, **request}), encoding="utf-8")
        end = _run(exchange, limits, python or Path(sys.executable))
        log = (exchange / "log").read_text(encoding="utf-8", errors="replace").strip()
        reply_file = exchange / "reply.json"
        if end.code == 0 and reply_file.is_file():
            return _answer(json.loads(reply_file.read_text(encoding="utf-8")))
    raise _death(task, end, log, limits, error)


def _run(exchange: Path, limits: Limits, python: Path) -> _End:
    command = [str(python), "-P", "-c", _BOOTSTRAP, _PACKAGE_ROOT, str(exchange)]
    with (
        (exchange / "log").open("wb") as log,
        # The child watches its stdin and ends when we do, so that no orphan keeps the machine busy. In a
        # session of its own, so that what it starts itself can be ended with it.
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(python),
            start_new_session=True,
        ) as process,
    ):
        try:
            return _watched(process, limits)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment(python: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "default",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # onnxruntime's wheels from 1.31 on report their use over the network; converting reaches for none.
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "OPENVINO_TELEMETRY_DISABLED": "1",
    }
    if python != Path(sys.executable):
        # Converters look for their helpers on PATH, and what is on the user's Python path is not theirs.
        environment["PATH"] = os.pathsep.join([str(python.parent), environment.get("PATH", os.defpath)])
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            environment.pop(name, None)
    return environment


def _watched(process: subprocess.Popen[bytes], limits: Limits) -> _End:
    """Waits for the end of `process`, or brings it about."""
    ends_at = time.monotonic() + limits.deadline_s
    peak = 0
    while True:
        patience = min(_LOOK_S if limits.memory else limits.deadline_s, ends_at - time.monotonic())
        with suppress(subprocess.TimeoutExpired):
            return _End(process.wait(max(patience, 0)), over_memory=False, peak_memory=peak)
        if limits.memory:
            peak = max(peak, _resident(process.pid))
            if peak > limits.memory:
                return _End(None, over_memory=True, peak_memory=peak)
        if time.monotonic() >= ends_at:
            return _End(None, over_memory=False, peak_memory=peak)


def _resident(pid: int) -> int:
    """Bytes that a process and all it started hold in memory."""
    total = 0
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _answer(reply: dict[str, Any]) -> dict[str, Any]:
    failure = reply.get("error")
    if failure is None:
        result: dict[str, Any] = reply["result"]
        return result
    raise ERRORS[failure["class"]](failure["message"], reason=failure["reason"], remedy=failure["remedy"])


def _death(task: str, end: _End, log: str, limits: Limits, error: type[ConvertError]) -> ConvertError:
    tail = f"; its last words: {log[-_LOG_TAIL_CHARACTERS:]}" if log else ""
    if end.over_memory:
        return error(
            f"the {task} process needs more memory than it may have: it held {_megabytes(end.peak_memory)}, "
            f"the limit is {_megabytes(limits.memory or 0)}",
            reason="out_of_memory",
            remedy="Raise --memory-limit or use a smaller model or input",
        )
    if end.code is None:
        return error(
            f"{task} did not end within {limits.deadline_s:.0f} s and was stopped",
            reason="timeout",
            remedy="Try a smaller model or fewer calibration samples",
        )
    if end.code == -signal.SIGKILL or (end.code != 0 and _NO_MEMORY.search(log)):
        how = "was killed (SIGKILL), most likely" if end.code == -signal.SIGKILL else "ended"
        return error(
            f"the {task} process {how} for want of memory{tail}",
            reason="out_of_memory",
            remedy="Free memory on this computer or use a smaller model",
        )
    if end.code < 0:
        return error(f"the {task} process crashed with {_signal_name(-end.code)}{tail}", reason="crashed")
    return error(f"the {task} process ended with status {end.code} and no result{tail}", reason="crashed")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
