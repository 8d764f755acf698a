"""Runs one task of convert.worker in a process of its own, so that its crashes are errors here.

The request and the reply are JSON files in a folder that both sides use; stdout and stderr of the
child go to a log beside them, so whatever a library prints disturbs nobody.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convert.errors import ERRORS, ConvertError

#: Long enough for the largest models on a slow host; a tool that hangs must still end.
DEADLINE_S = 3600.0

_PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent)
#: `-P` keeps the current folder off sys.path: a stray onnx.py there must not be imported.
_BOOTSTRAP = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from convert.worker import main; main(sys.argv[1])"
)
_LOG_TAIL_CHARACTERS = 600


def run_child(
    task: str,
    request: Mapping[str, Any],
    *,
    error: type[ConvertError],
    deadline_s: float = DEADLINE_S,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The worker's reply to `task`.

    Errors of the worker come back as the class they were; a child that dies of a signal, ends
    without a reply or outlives `deadline_s` raises `error`, named for what happened.
    """
    with tempfile.TemporaryDirectory(prefix="edgebench-") as temporary:
        exchange = folder or Path(temporary)
        (exchange / "request.json").write_text(json.dumps({"task": task, **request}), encoding="utf-8")
        code = _run(exchange, deadline_s)
        log = (exchange / "log").read_text(encoding="utf-8", errors="replace").strip()
        reply_file = exchange / "reply.json"
        if code == 0 and reply_file.is_file():
            return _answer(json.loads(reply_file.read_text(encoding="utf-8")))
    raise _death(task, code, log, deadline_s, error)


def _run(exchange: Path, deadline_s: float) -> int | None:
    """Exit status of the child, None if it was ended at its deadline."""
    command = [sys.executable, "-P", "-c", _BOOTSTRAP, _PACKAGE_ROOT, str(exchange)]
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "default",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # onnxruntime's wheels from 1.31 on report their use over the network; converting reaches for none.
        "ORT_DISABLE_TELEMETRY": "1",
    }
    with (
        (exchange / "log").open("wb") as log,
        # The child watches its stdin and ends when we do, so that no orphan keeps the machine busy.
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()


def _answer(reply: dict[str, Any]) -> dict[str, Any]:
    failure = reply.get("error")
    if failure is None:
        result: dict[str, Any] = reply["result"]
        return result
    raise ERRORS[failure["class"]](failure["message"], reason=failure["reason"], remedy=failure["remedy"])


def _death(
    task: str, code: int | None, log: str, deadline_s: float, error: type[ConvertError]
) -> ConvertError:
    if code is None:
        return error(
            f"{task} did not end within {deadline_s:.0f} s and was stopped",
            reason="timeout",
            remedy="Try a smaller model or fewer calibration samples",
        )
    tail = f"; its last words: {log[-_LOG_TAIL_CHARACTERS:]}" if log else ""
    if code == -signal.SIGKILL:
        return error(
            f"the {task} process was killed (SIGKILL), most likely for want of memory{tail}",
            reason="out_of_memory",
            remedy="Free memory on this computer or use a smaller model",
        )
    if code < 0:
        return error(f"the {task} process crashed with {_signal_name(-code)}{tail}", reason="crashed")
    return error(f"the {task} process ended with status {code} and no result{tail}", reason="crashed")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
