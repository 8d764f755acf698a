"""ONNX Runtime's execution providers: which are meant, what each is told, and which one really runs a model.

`get_available_providers` says what the package was compiled with, not what works. A provider that cannot
start (onnxruntime-gpu without CUDA's libraries) is left out of the session with a line on standard error and
no exception; seen with onnxruntime-gpu 1.31.1. So what a session really uses is asked of the session.
"""

import contextlib
import os
import re
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from device_agents.runtimes.base import LoadFailed

CPU = "CPUExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

#: It asks a service in the network for answers; nothing runs on the board.
AZURE = "AzureExecutionProvider"

NOT_ACCELERATORS = frozenset({CPU, AZURE})

_SUFFIX = "executionprovider"

#: What onnxruntime's lines begin with, `2026-11-21 16:45:57.45 [E:onnxruntime:Default, file.cc:1 f()]`, and
#: what its errors do, `/src/file.cc:2 f() [ONNXRuntimeError] : 1 : FAIL : `.
_LOG_PREFIX = re.compile(r"^\S+ \S+ \[[VIWEF]:[^\]]*\] ?")
_ERROR_PREFIX = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MAX_CHARACTERS = 600


def asked_for(text: str, offered: Sequence[str]) -> List[str]:
    """The providers of an option such as "cuda" or "XnnpackExecutionProvider,cpu", CPU last unless named.

    A short name is the full one without its ending, in any case. LoadFailed where this package lacks one.
    """
    full_names = {name.lower(): name for name in offered}
    full_names.update({name.lower().replace(_SUFFIX, ""): name for name in offered})
    words = [word.strip() for word in text.split(",") if word.strip()]
    absent = [word for word in words if word.lower() not in full_names]
    if absent:
        raise LoadFailed(f"this onnxruntime has no {', '.join(absent)}; it has {', '.join(offered)}")
    names: List[str] = []
    for name in [full_names[word.lower()] for word in words] + [CPU]:
        if name not in names:
            names.append(name)
    return names


def settings_of(provider: str, num_threads: int, precision: str, cache: Optional[str]) -> Dict[str, str]:
    """What a provider is told, as text, which every version takes. The GPU is the first in any case.

    TensorRT keeps the engines it builds in the folder `cache` if there is one, so that only a job's first
    repetition builds.
    """
    if provider == XNNPACK:  # it has threads of its own, see `configure`
        return {"intra_op_num_threads": str(num_threads)}
    if provider == TENSORRT:
        settings = {}
        if cache is not None:
            settings.update({"trt_engine_cache_enable": "True", "trt_engine_cache_path": cache})
        if precision == "fp16":
            settings["trt_fp16_enable"] = "True"
        if precision == "int8":
            settings["trt_int8_enable"] = "True"
        return settings
    return {}


def configure(options: Any, providers: Sequence[str]) -> None:
    """Settings of a session that uses more than the CPU provider."""
    if list(providers) == [CPU] or not hasattr(options, "add_session_config_entry"):
        return
    if XNNPACK in providers:
        # XNNPACK's threads and onnxruntime's would fight for the cores (onnxruntime's own advice).
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Unknown to versions before 1.24, which keep it and do nothing.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def details_of(session: Any) -> Dict[str, str]:
    """Which providers a session uses, the first one, and how many nodes each got where onnxruntime tells."""
    used = session.get_providers()
    details = {"providers": ",".join(used), "provider": used[0] if used else ""}
    nodes = _nodes_by_provider(session)
    if nodes:
        details["nodes_by_provider"] = ", ".join(f"{name} {count}" for name, count in sorted(nodes.items()))
    return details


def check_used(session: Any, wanted: Sequence[str], again: Callable[[], Any], package: str) -> None:
    """LoadFailed unless the session has every provider that was asked for, with onnxruntime's own reason.

    The reason is on standard error only, so the same call, `again`, is made once more to overhear it.
    """
    used = session.get_providers()
    missing = [name for name in wanted if name not in used]
    if not missing:
        return
    # Whatever it raises this time: the first call has shown already that the provider does not start.
    with _overheard() as words, contextlib.suppress(Exception):
        again()
    reason = _in_short("".join(words)) or "it did not say why"
    raise LoadFailed(
        f"{package} could not start {', '.join(missing)} and would have run on {', '.join(used)}: {reason}"
    )


def _nodes_by_provider(session: Any) -> Dict[str, int]:
    """Nodes of the graph by the provider that runs them (onnxruntime 1.24 and newer); empty where unknown."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # noqa: BLE001 - not recorded for this session; its error classes share no base
        return {}
    counts: Dict[str, int] = {}
    for part in parts:
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


@contextlib.contextmanager
def _overheard() -> Iterator[List[str]]:
    """What native code and Python write to standard output and error meanwhile, as one text in the list."""
    words: List[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard:
        kept = [(fd, os.dup(fd)) for fd in (1, 2)]
        try:
            for fd, _ in kept:
                os.dup2(heard.fileno(), fd)
            yield words
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            for fd, copy in kept:
                os.dup2(copy, fd)
                os.close(copy)
        heard.seek(0)
        words.append(heard.read(1 << 16).decode("utf-8", "replace"))


def _in_short(text: str) -> str:
    """A log without colours, dates, places in the source and banners, as far as its first words."""
    plain = [_LOG_PREFIX.sub("", _COLOUR.sub("", line)) for line in text.splitlines()]
    lines = [_ERROR_PREFIX.sub("", line).strip() for line in plain]
    return "; ".join(line for line in lines if line and not line.startswith("***"))[:_MAX_CHARACTERS]
