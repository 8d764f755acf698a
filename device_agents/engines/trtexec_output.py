"""What trtexec writes: its help, its banner, its log and the file of --exportTimes. Text in, figures out.

Nothing here raises for what the tool wrote: what cannot be read is absent. Layouts are those of trtexec's own
sources (NVIDIA/TensorRT, samples/common: sampleOptions.cpp, sampleReporting.cpp, sampleInference.cpp,
logging.h).
"""

import json
import math
import re
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Pattern

#: As many of the tool's own words as are kept.
MAX_WARNINGS = 20
_MAX_CHARACTERS = 300

#: An option begins its line in the help; its explanation stands further right and may name others.
_OPTION = re.compile(r"^\s{0,8}(--[A-Za-z][A-Za-z0-9]*)", re.MULTILINE)

#: `[TensorRT v8502]`, `[TensorRT v101601] [b11]`; also with dots.
_BANNER = re.compile(r"\[TensorRT v(\d[\d.]{0,20})\]")

#: `[11/21/2026-10:00:00] [W] text`; the date is missing where a log was cut.
_LINE = re.compile(r"^(?:\[[^\]]*\] )?\[([FEWIV])\] ?(.*)$")

_TRACED = re.compile(r"^Timing trace has (\d{1,9}) queries")
_THROUGHPUT = re.compile(r"^Throughput: ([0-9.eE+-]{1,30}) qps")
_WALLTIME = re.compile(r"^Total Host Walltime: ([0-9.eE+-]{1,30}) s")
_MEDIAN = re.compile(r"median = ([0-9.eE+-]{1,30}) ms")

#: Without its shape given, a dynamic dimension becomes 1. First the words of 8.x, then of 10 on.
_GUESSED_SHAPE = re.compile(r"Automatically (?:overriding shape|setting shape|setting values) to: ")
_INPUT_8 = re.compile(r"^Created input binding for (.+) with dimensions ([0-9x]*)$")
_INPUT_10 = re.compile(r"^Input binding for (.+) with dimensions ([0-9x]*) is created\.$")


class Timing(NamedTuple):
    """Medians of what the tool timed, milliseconds; latency is both copies and the compute between them."""

    iterations: int
    latency_p50_ms: float
    compute_p50_ms: float


def offered_options(help_text: str) -> FrozenSet[str]:
    """Names of the options in the answer to --help, as in "--loadEngine"."""
    return frozenset(_OPTION.findall(help_text))


def version(text: str) -> str:
    """The TensorRT the tool belongs to by its banner, as in "8.5.2"; empty where there is none.

    The number is NV_TENSORRT_VERSION: major x 1000 + minor x 100 + patch up to 8.x, major x 10000 from 10 on.
    """
    found = _BANNER.search(text)
    if found is None:
        return ""
    digits = found.group(1).strip(".")
    if "." in digits:
        return digits
    number = int(digits)
    base = 1000 if number < 10000 else 10000
    return "{}.{}.{}".format(number // base, number % base // 100, number % 100)


def passed(text: str) -> bool:
    """Whether the tool says that it did its work."""
    return any(line.startswith("&&&& PASSED") for line in text.splitlines())


def exported_timing(text: str, warmup_ms: float) -> Optional[Timing]:
    """Medians of the file of --exportTimes; None where it is not such a file.

    The times of warming up are in it in early 8.x and left out later. What began before `warmup_ms` is left
    out here, which is the rule of the tool's own summary. Only `computeMs`, `latencyMs` and `startComputeMs`
    are read: they go by these names since 7.0, while other fields were renamed in 8.0, and 7.1 writes
    startEnqMs and startInMs each in the other's place.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list):
        return None
    latencies, computes = [], []
    for row in rows:
        started = _number(row, "startComputeMs")
        latency, compute = _number(row, "latencyMs"), _number(row, "computeMs")
        if latency is None or compute is None or (started is not None and started < warmup_ms):
            continue
        latencies.append(latency)
        computes.append(compute)
    if not latencies:
        return None
    return Timing(len(latencies), _median(latencies), _median(computes))


def summarised_timing(log: str) -> Optional[Timing]:
    """Medians by the performance summary in the log; None where it has none."""
    lines = _said(log, "I")
    latency, compute = _median_of(lines, "Latency: "), _median_of(lines, "GPU Compute Time: ")
    iterations = _first(lines, _TRACED)
    if iterations is None:  # a log that begins later; the tool's throughput is iterations by time
        iterations = (_first(lines, _THROUGHPUT) or 0.0) * (_first(lines, _WALLTIME) or 0.0)
    if latency is None or compute is None or not 0.5 <= iterations < 1e9:
        return None
    return Timing(round(iterations), latency, compute)


def timed_shapes(log: str) -> Dict[str, List[int]]:
    """The shapes of the inputs that were timed, by name, as far as the tool says."""
    shapes: Dict[str, List[int]] = {}
    for words in _said(log, "I"):
        match = _INPUT_8.match(words) or _INPUT_10.match(words)
        if match is not None:
            shapes[match.group(1)] = [int(size) for size in match.group(2).split("x") if size]
    return shapes


def guessed_shapes(log: str) -> List[str]:
    """What the tool says of inputs whose shape it had to guess: each open dimension became 1."""
    return [_short(words) for words in _said(log, "W") if _GUESSED_SHAPE.search(words)]


def warnings(log: str) -> List[str]:
    """What the tool holds against its own figures, each once, without its advice to use other options."""
    kept: List[str] = []
    for words in _said(log, "W"):
        if words.startswith("  "):  # the line before goes on: "  If not already in use, --useCudaGraph ..."
            continue
        text = _short(words[2:] if words.startswith("* ") else words)
        if text and text not in kept:
            kept.append(text)
    return kept[:MAX_WARNINGS]


def failure(log: str) -> str:
    """Why the tool failed, in its own words: its first errors; empty where it named none."""
    errors = [_short(words) for words in _said(log, "FE") if words.strip()]
    return "; ".join(errors[:3])


def _median_of(lines: List[str], name: str) -> Optional[float]:
    return _first([line for line in lines if line.startswith(name)], _MEDIAN)


def _first(lines: List[str], pattern: "Pattern[str]") -> Optional[float]:
    """The number of the first line that has it."""
    for line in lines:
        match = pattern.search(line)
        if match is not None:
            return _finite(match.group(1))
    return None


def _said(log: str, severities: str) -> List[str]:
    found = []
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is not None and match.group(1) in severities:
            found.append(match.group(2))
    return found


def _short(words: str) -> str:
    return words.strip()[:_MAX_CHARACTERS]


def _number(row: Any, name: str) -> Optional[float]:
    """A duration or a moment of one row, never negative."""
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return _finite(value)


def _finite(value: Any) -> Optional[float]:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _median(values: List[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
