"""An onnxruntime session in which a graph is judged, and not the processor of this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def precise_session(path: Path) -> Any:
    """A session that does not saturate where this processor would: what is judged is the graph."""
    import onnxruntime

    for precise in ("1", "0"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3 + int(precise)  # a failure of the first try is no news
        options.add_session_config_entry("session.x64quantprecision", precise)
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception:  # its classes share no base
            # With that option onnxruntime 1.31 trips over some s8 graphs ("Attempt to replace the existing
            # tensor") that it loads without.
            if precise == "0":
                raise
    raise AssertionError("unreachable")
