"""The child process of child.run_child: does one task and writes its reply as JSON.

Everything that imports a runtime or a converter, and so may crash, happens here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed, ConvertError


def main(exchange: str) -> None:
    """Answers EXCHANGE/request.json with EXCHANGE/reply.json."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    folder = Path(exchange)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        reply = {"result": _TASKS[request["task"]](request)}
    except ConvertError as error:
        reply = {"error": _error(error)}
    except MemoryError:
        failed = ConversionFailed("not enough memory on this computer", reason="out_of_memory")
        reply = {"error": _error(failed)}
    unfinished = folder / "reply.json.part"
    unfinished.write_text(json.dumps(reply), encoding="utf-8")
    unfinished.rename(folder / "reply.json")
    # The reply is complete; runtimes that crash in their destructors must not spoil it.
    sys.stdout.flush()
    os._exit(0)


def _end_with_the_parent() -> None:
    """The parent holds the other end of stdin open for as long as it lives."""
    while os.read(0, 4096):
        continue
    os._exit(3)


def _error(error: ConvertError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "message": error.message,
        "reason": error.reason,
        "remedy": error.remedy,
    }


def _inspection(request: dict[str, Any]) -> dict[str, Any]:
    from convert.model_file import inspect_file

    return inspect_file(Path(request["path"]))


def _reference(request: dict[str, Any]) -> dict[str, Any]:
    from convert.arrays import load_arrays, save_arrays
    from convert.execution import run_model
    from convert.inspection import info_from_json

    info = info_from_json(request["info"], Path(request["path"]))
    inputs = load_arrays(Path(request["inputs"]), request["names"])
    return {"names": save_arrays(Path(request["outputs"]), run_model(info, inputs))}


def _conversion(request: dict[str, Any]) -> dict[str, Any]:
    from convert.pipeline import make_artifact

    return make_artifact(request)


_TASKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "inspection": _inspection,
    "reference": _reference,
    "conversion": _conversion,
}
